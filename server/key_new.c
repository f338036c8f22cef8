/* `twokey key new`: the next generation of a key, beside the ones that are there. */
#include <stdio.h>

#include "server/keys.h"
#include "server/provision.h"

#define GENERATIONS_MAX 1000
#define GAP_MAX         4

static const struct {
	const char *name;
	Twokey__V1__KeyRole role;
	enum hsm_key_kind kind;
} roles[] = {
    {"transaction", TWOKEY__V1__KEY_ROLE__KEY_ROLE_TRANSACTION, HSM_KEY_SIGN},
    {"audit", TWOKEY__V1__KEY_ROLE__KEY_ROLE_AUDIT, HSM_KEY_SIGN},
    {"kek", TWOKEY__V1__KEY_ROLE__KEY_ROLE_KEK, HSM_KEY_AES},
    {"s3", TWOKEY__V1__KEY_ROLE__KEY_ROLE_S3, HSM_KEY_HMAC},
};

static const char *uri_of(const struct config *config, Twokey__V1__KeyRole role, const char *bucket)
{
	if (role == TWOKEY__V1__KEY_ROLE__KEY_ROLE_TRANSACTION)
		return config->keys.transaction;
	if (role == TWOKEY__V1__KEY_ROLE__KEY_ROLE_AUDIT)
		return config->keys.audit;
	for (size_t i = 0; i < config->buckets.n; i++) {
		const struct config_bucket *found = config_bucket(config, i);
		if (strcmp(found->name, bucket) != 0)
			continue;
		if (role == TWOKEY__V1__KEY_ROLE__KEY_ROLE_KEK)
			return found->kek;
		return found->store == CONFIG_S3 && found->credentials == CONFIG_TOKEN ? found->secret : NULL;
	}
	return NULL;
}

/* One more than the last that is there. */
static enum err_code next_generation(struct hsm *hsm, enum hsm_key_kind kind, const char *uri, const char *first,
                                     unsigned *ret, struct err *err)
{
	unsigned last = 0;
	for (unsigned number = 1; number <= last + GAP_MAX && number <= GENERATIONS_MAX; number++) {
		char label[KEY_LABEL_MAX];
		keys_label(first, number, label);
		autofree char *named = number == 1 ? xstrdup(uri) : keys_uri(label);
		struct hsm_key *key = NULL;
		enum err_code code = hsm_key_find(hsm, kind, named, &key, err);
		if (code == ERR_OK)
			last = number;
		else if (code != ERR_NOT_FOUND)
			return code;
	}
	if (last == 0)
		return err_set(err, ERR_NOT_FOUND, 0, "%s: there is no first one yet: `twokey init` makes it", uri);
	*ret = last + 1;
	return ERR_OK;
}

static enum err_code make(struct hsm *hsm, enum hsm_key_kind kind, const char *label, const struct secret *secret,
                          struct err *err)
{
	if (kind == HSM_KEY_SIGN)
		return hsm_generate_ec(hsm, label, err);
	if (kind == HSM_KEY_AES)
		return hsm_generate_aes(hsm, label, err);
	autosecret struct secret *value = provision_s3_value(secret);
	return hsm_import_hmac(hsm, label, value, err);
}

/* What the operator does next: nothing has changed for a running server yet. */
static void tell_next(const struct provision *provision, size_t role, const char *bucket, unsigned generation)
{
	static const char *const first[] = {
	    "give the new public key to every gatekeeper that trusts the old one (`vendor_keys`), and wait until they have "
	    "it",
	    "give the new public key to whoever verifies receipts and the record; keep the old one for what it signed", "",
	    ""};
	autobuf struct buf command = {0};
	buf_printf(&command, "twokey key use %s %u%s%s%s --why TEXT, at the running server; until then the old key is used",
	           roles[role].name, generation, bucket[0] ? " --bucket " : "", bucket,
	           roles[role].role == TWOKEY__V1__KEY_ROLE__KEY_ROLE_S3 ? " --access-key-id ID" : "");
	bool vendor = provision->config->role == CONFIG_VENDOR;
	const char *before =
	    role == 0 && !vendor
	        ? "give the new public key to whoever verifies envelopes; keep the old one for what it signed"
	        : first[role];
	if (before[0])
		provision_tell(provision, "next", before, "");
	provision_tell(provision, before[0] ? "then" : "next", buf_cstr(&command), "");
}

static enum err_code make_next(const struct provision *provision, size_t role, const char *bucket, const char *uri,
                               const struct secret *secret, struct err *err)
{
	char first[KEY_LABEL_MAX - 8], label[KEY_LABEL_MAX];
	unsigned generation = 0;
	enum err_code code = hsm_uri_object(uri, first, sizeof first, err);
	if (code == ERR_OK)
		code = next_generation(provision->hsm, roles[role].kind, uri, first, &generation, err);
	if (code != ERR_OK)
		return code;
	keys_label(first, generation, label);
	autofree char *named = keys_uri(label);
	struct hsm_key *key = NULL;
	code = make(provision->hsm, roles[role].kind, label, secret, err);
	if (code == ERR_OK)
		code = provision_find_made(provision, roles[role].kind, named, &key, err);
	if (code != ERR_OK)
		return code;
	provision_tell(provision, secret ? "imported" : "made", label, secret ? "" : hsm_key_id(key));
	if (roles[role].kind == HSM_KEY_SIGN) {
		autofree char *use = xasprintf("%s-%u", roles[role].name, generation);
		code = provision_write_public(provision, key, use, err);
	}
	if (code == ERR_OK)
		tell_next(provision, role, bucket, generation);
	return code;
}

enum err_code server_key_new(const struct config *config, const struct server_key_new *wanted,
                             void (*tell)(const char *line, void *user), void *user, struct err *err)
{
	struct provision provision = {.config = config, .folder = wanted->folder, .tell = tell, .user = user};
	const char *bucket = wanted->bucket ? wanted->bucket : "";
	size_t role = 0;
	while (role < sizeof roles / sizeof roles[0] && strcmp(roles[role].name, wanted->role) != 0)
		role++;
	if (role == sizeof roles / sizeof roles[0])
		return err_set(err, ERR_INVALID, 0, "roles are transaction, audit, kek and s3, not %s", wanted->role);
	const char *uri = uri_of(config, roles[role].role, bucket);
	if (!uri)
		return err_set(err, ERR_INVALID, 0, "%s has no such key: %s is of a bucket, named with --bucket", config->path,
		               wanted->role);
	if ((roles[role].kind == HSM_KEY_HMAC) != (wanted->secret != NULL))
		return err_set(err, ERR_INVALID, 0, "a secret is given for s3, with --s3-secret, and for nothing else");
	const struct hsm_options options = config_hsm_options(config);
	enum err_code code = hsm_open(&options, &provision.hsm, err);
	if (code == ERR_OK)
		code = make_next(&provision, role, bucket, uri, wanted->secret, err);
	hsm_free(provision.hsm);
	return code;
}
