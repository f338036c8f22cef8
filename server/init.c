/* Provisioning: what a deployment's token must hold, made when it is missing. */
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "server/provision.h"

static enum err_code ensure_signing_key(const struct provision *provision, const char *uri, const char *use,
                                        struct err *err)
{
	struct hsm_key *key = NULL;
	enum err_code code = provision_key(provision, HSM_KEY_SIGN, uri, hsm_generate_ec, &key, err);
	return code == ERR_OK ? provision_write_public(provision, key, use, err) : code;
}

/* A file is somebody else's to make. */
static enum err_code ensure_tls_key(const struct provision *provision, struct err *err)
{
	struct hsm_key *key = NULL;
	if (!config_tls_in_token(provision->config))
		return ERR_OK;
	enum err_code code = provision_key(provision, HSM_KEY_SIGN, provision->config->tls.key, hsm_generate_ec, &key, err);
	return code == ERR_OK ? provision_csr(provision, key, err) : code;
}

/* The token cannot be asked for its secret, but an HMAC tells whether it is the one that was given. */
static enum err_code check_same(struct hsm_key *key, const struct secret *given, const char *label, struct err *err)
{
	static const char probe[] = "twokey: is this the same secret?";
	autosecret struct secret *value = provision_s3_value(given);
	const struct span bytes = secret_span(value);
	uint8_t in_token[32], of_given[32];
	enum err_code code = hsm_hmac(key, span_str(probe), in_token, err);
	if (code != ERR_OK)
		return code;
	if (!HMAC(EVP_sha256(), bytes.ptr, (int)bytes.len, (const uint8_t *)probe, sizeof probe - 1, of_given, NULL))
		return err_set(err, ERR_INTERNAL, 0, "HMAC-SHA-256 failed");
	if (CRYPTO_memcmp(in_token, of_given, sizeof of_given) == 0)
		return ERR_OK;
	return err_set(err, ERR_EXISTS, 0, "the token holds another secret as %s; name a new one in the bucket's `secret`",
	               label);
}

static const struct secret *given_for(const struct config_bucket *bucket, const struct server_secret *secrets, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(secrets[i].bucket, bucket->name) == 0)
			return secrets[i].secret;
	return NULL;
}

static enum err_code ensure_secret(const struct provision *provision, const struct config_bucket *bucket,
                                   const struct secret *given, struct err *err)
{
	char label[128];
	enum err_code code = hsm_uri_object(bucket->secret, label, sizeof label, err);
	if (code != ERR_OK)
		return code;
	struct hsm_key *key = NULL;
	code = hsm_key_find(provision->hsm, HSM_KEY_HMAC, bucket->secret, &key, err);
	if (code == ERR_OK && given)
		code = check_same(key, given, label, err);
	if (code == ERR_OK)
		provision_tell(provision, "there is already", label, "");
	if (code != ERR_NOT_FOUND)
		return code;
	if (!given) {
		provision_tell(provision, "missing", label, "give it with --s3-secret BUCKET=file:PATH");
		return ERR_OK;
	}
	autosecret struct secret *value = provision_s3_value(given);
	code = hsm_import_hmac(provision->hsm, label, value, err);
	if (code == ERR_OK)
		provision_tell(provision, "imported", label, "");
	return code;
}

static enum err_code ensure_bucket(const struct provision *provision, const struct config_bucket *bucket,
                                   const struct secret *given, struct err *err)
{
	struct hsm_key *kek = NULL;
	enum err_code code = provision_key(provision, HSM_KEY_AES, bucket->kek, hsm_generate_aes, &kek, err);
	if (code != ERR_OK || bucket->store != CONFIG_S3)
		return code;
	if (bucket->credentials == CONFIG_TOKEN)
		return ensure_secret(provision, bucket, given, err);
	if (bucket->credentials != CONFIG_ROLES_ANYWHERE)
		return ERR_OK;
	autofree char *use = xasprintf("roles-anywhere-%s", bucket->name);
	return ensure_signing_key(provision, bucket->roles_anywhere.key, use, err);
}

static enum err_code check_names(const struct config *config, const struct server_secret *secrets, size_t n,
                                 struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		bool known = false;
		for (size_t k = 0; k < config->buckets.n; k++)
			known |= config_bucket(config, k)->store == CONFIG_S3 &&
			         config_bucket(config, k)->credentials == CONFIG_TOKEN &&
			         strcmp(config_bucket(config, k)->name, secrets[i].bucket) == 0;
		if (!known)
			return err_set(err, ERR_INVALID, 0, "%s has no s3 bucket named %s whose secret is in the token",
			               config->path, secrets[i].bucket);
	}
	return ERR_OK;
}

enum err_code server_init(const struct config *config, const char *folder, const struct server_secret *secrets,
                          size_t n_secrets, void (*tell_user)(const char *line, void *user), void *user,
                          struct err *err)
{
	struct provision provision = {.config = config, .folder = folder, .tell = tell_user, .user = user};
	enum err_code code = check_names(config, secrets, n_secrets, err);
	if (code != ERR_OK)
		return code;
	const struct hsm_options options = config_hsm_options(config);
	code = hsm_open(&options, &provision.hsm, err);
	if (code == ERR_OK)
		code = ensure_signing_key(&provision, config->keys.transaction, "transaction", err);
	if (code == ERR_OK)
		code = ensure_signing_key(&provision, config->keys.audit, "audit", err);
	if (code == ERR_OK)
		code = ensure_tls_key(&provision, err);
	for (size_t i = 0; code == ERR_OK && i < config->buckets.n; i++) {
		const struct config_bucket *bucket = config_bucket(config, i);
		code = ensure_bucket(&provision, bucket, given_for(bucket, secrets, n_secrets), err);
	}
	hsm_free(provision.hsm);
	return code;
}
