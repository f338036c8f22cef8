#include "server/ca.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/text.h"
#include "server/ca_index.h"

#define DAY_MS       ((int64_t)86400000)
#define ROOT_DAYS    3650
#define EARLIER_MS   300000 /* clocks differ */
#define PEM_MAX      65536
#define NAME_MAX_LEN 128

struct ca {
	struct ca_options options;
	int lock;
	struct hsm *hsm;
	struct hsm_key *key;
	struct identity_signer signer;
	struct buf root; /* PEM */
	struct ca_index index;
};

static char *path_of(const struct ca_config *config, const char *name)
{
	return xasprintf("%s/%s", config->directory, name);
}

static void tell(const struct ca *ca, const char *what, const char *name)
{
	autofree char *line = xasprintf("%s %s", what, name);
	ca->options.tell(line, ca->options.user);
}

bool ca_name_is_good(const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/@+";
	const size_t len = strlen(name);
	return len >= 1 && len <= NAME_MAX_LEN && strspn(name, letters) == len;
}

static enum err_code sign(void *user, const uint8_t digest[32], struct buf *signature, struct err *err)
{
	return hsm_sign((struct hsm_key *)user, digest, signature, err);
}

/* ---- opening ---- */

static enum err_code take_lock(struct ca *ca, struct err *err)
{
	const struct ca_config *config = ca->options.config;
	if (ca->options.make)
		(void)mkdir(config->directory, 0755);
	autofree char *path = path_of(config, "lock");
	ca->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (ca->lock < 0 || flock(ca->lock, LOCK_EX) != 0)
		return err_set(err, ERR_UNAVAILABLE, 0, "%s cannot be locked", path);
	return ERR_OK;
}

static enum err_code find_key(struct ca *ca, struct err *err)
{
	const struct ca_config *config = ca->options.config;
	char label[128];
	enum err_code code = hsm_key_find(ca->hsm, HSM_KEY_SIGN, config->key, &ca->key, err);
	if (code != ERR_NOT_FOUND || !ca->options.make)
		return code;
	code = hsm_uri_object(config->key, label, sizeof label, err);
	if (code == ERR_OK)
		code = hsm_generate_ec(ca->hsm, label, err);
	if (code == ERR_OK)
		code = hsm_key_find(ca->hsm, HSM_KEY_SIGN, config->key, &ca->key, err);
	if (code == ERR_OK)
		tell(ca, "made", label);
	return code;
}

static enum err_code open_key(struct ca *ca, struct err *err)
{
	const struct ca_config *config = ca->options.config;
	const struct hsm_options options = {
	    .module = config->token.module, .token = config->token.uri, .pin_source = config->token.pin_source};
	enum err_code code = hsm_open(&options, &ca->hsm, err);
	if (code == ERR_OK)
		code = find_key(ca, err);
	if (code != ERR_OK) {
		err_prefix(err, "token");
		return code;
	}
	ca->signer = (struct identity_signer){.spki = hsm_key_spki(ca->key), .sign = sign, .user = ca->key};
	return ERR_OK;
}

static enum err_code random_serial(struct ca *ca, uint8_t out[IDENTITY_SERIAL_BYTES], struct err *err)
{
	enum err_code code = hsm_random(ca->hsm, out, IDENTITY_SERIAL_BYTES, err);
	out[0] = (uint8_t)((out[0] & 0x7f) | 0x40); /* positive, and always of the same length */
	return code;
}

static enum err_code make_root(struct ca *ca, const char *path, struct err *err)
{
	const int64_t now = clock_now_ms(NULL);
	struct identity_certificate_wish wish = {.name = ca->options.config->name,
	                                         .spki = ca->signer.spki,
	                                         .not_before_ms = now - EARLIER_MS,
	                                         .not_after_ms = now + ROOT_DAYS * DAY_MS};
	enum err_code code = random_serial(ca, wish.serial, err);
	if (code == ERR_OK)
		code = identity_make_root(&ca->signer, &wish, &ca->root, err);
	if (code == ERR_OK)
		code = text_write_file(path, buf_span(&ca->root), 0644, err);
	if (code == ERR_OK)
		tell(ca, "wrote", path);
	return code;
}

static enum err_code open_folder(struct ca *ca, struct err *err)
{
	autofree char *root = path_of(ca->options.config, "ca.pem"), *index = path_of(ca->options.config, "index.txt");
	enum err_code code = text_read_file(root, PEM_MAX, &ca->root, err);
	if (code == ERR_OK && ca->options.make)
		tell(ca, "there is already", root);
	if (code == ERR_NOT_FOUND && ca->options.make)
		code = make_root(ca, root, err);
	if (code == ERR_NOT_FOUND)
		err_prefix(err, "`twokey ca init` has not been run");
	if (code != ERR_OK)
		return code;
	code = ca_index_read(index, &ca->index, err);
	if (code == ERR_NOT_FOUND && ca->options.make)
		code = ca_index_write(index, &ca->index, err);
	return code;
}

enum err_code ca_open(const struct ca_options *options, struct ca **ret, struct err *err)
{
	struct ca *ca = xcalloc(1, sizeof *ca);
	ca->options = *options;
	ca->lock = -1;
	enum err_code code = take_lock(ca, err);
	if (code == ERR_OK)
		code = open_key(ca, err);
	if (code == ERR_OK)
		code = open_folder(ca, err);
	if (code == ERR_OK)
		*ret = ca;
	else
		ca_close(ca);
	return code;
}

void ca_close(struct ca *ca)
{
	if (!ca)
		return;
	ca_index_done(&ca->index);
	buf_done(&ca->root);
	hsm_free(ca->hsm);
	if (ca->lock >= 0)
		close(ca->lock);
	free(ca);
}

/* ---- what it does ---- */

enum err_code ca_issue(struct ca *ca, const struct ca_wish *wish, struct buf *out, char *ret_serial, struct err *err)
{
	const struct ca_config *config = ca->options.config;
	const int64_t now = clock_now_ms(NULL);
	const int64_t days = (int64_t)(wish->days ? wish->days : config->lifetime);
	struct identity_certificate_wish made = {.name = wish->identity,
	                                         .names = wish->names,
	                                         .spki = wish->spki,
	                                         .server = wish->server,
	                                         .not_before_ms = now - EARLIER_MS,
	                                         .not_after_ms = now + days * DAY_MS};
	if (!ca_name_is_good(wish->identity))
		return err_set(err, ERR_INVALID, 0, "a name is 1 to %d of A-Z a-z 0-9 - . _ ~ : / @ +", NAME_MAX_LEN);
	autofree char *path = path_of(config, "index.txt");
	autobuf struct buf pem = {0};
	enum err_code code = random_serial(ca, made.serial, err);
	if (code == ERR_OK)
		code = identity_make_certificate(&ca->signer, buf_span(&ca->root), &made, &pem, err);
	if (code != ERR_OK)
		return code;
	struct ca_issued entry = {.identity = (char *)wish->identity, .expires_ms = made.not_after_ms, .why = (char *)""};
	ca_serial_format(made.serial, entry.serial);
	ca_index_add(&ca->index, &entry);
	code = ca_index_write(path, &ca->index, err);
	if (code != ERR_OK)
		return code;
	buf_append(out, buf_span(&pem));
	memcpy(ret_serial, entry.serial, sizeof entry.serial);
	return ERR_OK;
}

enum err_code ca_write_list(struct ca *ca, struct err *err)
{
	const struct ca_config *config = ca->options.config;
	const int64_t now = clock_now_ms(NULL);
	autofree struct identity_revoked *revoked = xcalloc(ca->index.n + 1, sizeof *revoked);
	struct identity_list_wish wish = {.revoked = revoked,
	                                  .this_update_ms = now - EARLIER_MS,
	                                  .next_update_ms = now + (int64_t)config->list_lifetime * DAY_MS};
	for (size_t i = 0; i < ca->index.n; i++) {
		const struct ca_issued *entry = &ca->index.entries[i];
		if (!entry->revoked_ms)
			continue;
		revoked[wish.n_revoked].time_ms = entry->revoked_ms;
		(void)text_unhex(entry->serial, revoked[wish.n_revoked++].serial, IDENTITY_SERIAL_BYTES);
	}
	autobuf struct buf pem = {.max = (size_t)256 << 20};
	autofree char *path = path_of(config, "revoked.pem");
	enum err_code code = identity_make_list(&ca->signer, buf_span(&ca->root), &wish, &pem, err);
	if (code == ERR_OK)
		code = text_write_file(path, buf_span(&pem), 0644, err);
	if (code == ERR_OK)
		tell(ca, "wrote", path);
	return code;
}

enum err_code ca_revoke(struct ca *ca, const char *which, const char *why, size_t *ret_n, struct err *err)
{
	const int64_t now = clock_now_ms(NULL);
	size_t n = 0;
	for (size_t i = 0; i < ca->index.n; i++) {
		struct ca_issued *entry = &ca->index.entries[i];
		const bool meant = strcasecmp(entry->serial, which) == 0 || strcmp(entry->identity, which) == 0;
		if (!meant || entry->revoked_ms || entry->expires_ms < now)
			continue;
		entry->revoked_ms = now;
		free(entry->why);
		entry->why = xstrdup(why);
		n++;
	}
	if (n == 0)
		return err_set(err, ERR_NOT_FOUND, 0, "no valid certificate has this serial or identity: %s", which);
	autofree char *path = path_of(ca->options.config, "index.txt");
	enum err_code code = ca_index_write(path, &ca->index, err);
	if (code == ERR_OK)
		code = ca_write_list(ca, err);
	*ret_n = n;
	return code;
}

enum err_code ca_list(const struct ca_config *config, void (*each)(const struct ca_issued *issued, void *user),
                      void *user, struct err *err)
{
	struct ca_index index;
	autofree char *path = path_of(config, "index.txt");
	enum err_code code = ca_index_read(path, &index, err);
	for (size_t i = 0; code == ERR_OK && i < index.n; i++)
		each(&index.entries[i], user);
	ca_index_done(&index);
	return code;
}
