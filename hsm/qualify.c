/* What can this module do, and how fast? Everything is tried with keys made for it, which are removed again. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "hsm/qualify.h"

/* Always the same names, so that what a run that was killed has left is removed by the next one. */
#define LABEL_EC    "twokey-qualify-ec"
#define LABEL_AES   "twokey-qualify-aes"
#define LABEL_MAC   "twokey-qualify-mac"
#define OBJECTS_MAX 16
#define SYNC_TRIES  80
#define SYNC_NS     250000000

static const char *const labels[] = {LABEL_EC, LABEL_AES, LABEL_MAC};

/* ---- leaving nothing behind ---- */

static enum err_code destroy(struct hsm_session *session, CK_OBJECT_HANDLE unused, void *args, struct err *err)
{
	(void)unused;
	const char *label = (const char *)args;
	CK_ATTRIBUTE template = {CKA_LABEL, (void *)label, strlen(label)};
	CK_OBJECT_HANDLE objects[OBJECTS_MAX];
	size_t count = 0;
	enum err_code code = hsm_login_check(session, err);
	if (code != ERR_OK)
		return code;
	if (hsm_call_find(session, &template, 1, objects, OBJECTS_MAX, &count) != CKR_OK)
		return hsm_session_fail(session, err);
	for (size_t i = 0; i < count; i++)
		if (hsm_call_destroy(session, objects[i]) != CKR_OK)
			return hsm_session_fail(session, err);
	return ERR_OK;
}

/* The key is not looked for any more when the token comes back. */
static void forget(struct hsm *hsm, const char *label)
{
	pthread_mutex_lock(&hsm->keys_lock);
	struct hsm_key **at = &hsm->keys;
	while (*at) {
		struct hsm_key *key = *at;
		if (strcmp(key->label, label) != 0) {
			at = &key->next;
			continue;
		}
		*at = key->next;
		buf_done(&key->spki);
		free(key);
	}
	pthread_mutex_unlock(&hsm->keys_lock);
}

static enum err_code clean(struct qualify *qualify, struct err *err)
{
	enum err_code code = ERR_OK;
	for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
		struct err failed = {0};
		forget(qualify->hsm, labels[i]);
		if (hsm_run(qualify->hsm, NULL, destroy, (void *)(uintptr_t)labels[i], &failed) == ERR_OK)
			continue;
		code = failed.code;
		if (err)
			*err = failed;
		err_prefix(err, "%s is left in the token", labels[i]);
	}
	qualify->ec = qualify->aes = qualify->mac = NULL;
	return code;
}

/* ---- what is needed ---- */

enum err_code hsm_qualify_missing(struct err *err)
{
	return err_set(err, ERR_PRECONDITION, 0, "not tried: there is no key for it");
}

static enum err_code made(struct qualify *qualify, const char *label, enum err_code code)
{
	if (code == ERR_OK)
		qualify->made = label;
	return code;
}

/* A key that has just been made may take a while to be known to every HSM of a cluster. */
static enum err_code find_made(struct qualify *qualify, enum hsm_key_kind kind, const char *label, struct hsm_key **ret,
                               struct err *err)
{
	const struct timespec pause = {.tv_nsec = SYNC_NS};
	if (!qualify->made || strcmp(qualify->made, label) != 0)
		return hsm_qualify_missing(err);
	autofree char *uri = xasprintf("pkcs11:object=%s", label);
	enum err_code code = hsm_key_find(qualify->hsm, kind, uri, ret, err);
	for (int i = 0; i < SYNC_TRIES && code == ERR_NOT_FOUND; i++) {
		nanosleep(&pause, NULL);
		code = hsm_key_find(qualify->hsm, kind, uri, ret, err);
	}
	return code;
}

static enum err_code try_random(struct qualify *qualify, struct err *err)
{
	return hsm_selftest_random(qualify->hsm, err);
}

static enum err_code try_make_ec(struct qualify *qualify, struct err *err)
{
	return made(qualify, LABEL_EC, hsm_generate_ec(qualify->hsm, LABEL_EC, err));
}

/* Finding a key reads its attributes, and signs and verifies once. */
static enum err_code try_sign(struct qualify *qualify, struct err *err)
{
	return find_made(qualify, HSM_KEY_SIGN, LABEL_EC, &qualify->ec, err);
}

static enum err_code try_make_aes(struct qualify *qualify, struct err *err)
{
	return made(qualify, LABEL_AES, hsm_generate_aes(qualify->hsm, LABEL_AES, err));
}

/* ... and wraps twice and unwraps. */
static enum err_code try_gcm(struct qualify *qualify, struct err *err)
{
	return find_made(qualify, HSM_KEY_AES, LABEL_AES, &qualify->aes, err);
}

/* Only one thread is at work: the mode may be another one for a moment. */
static enum err_code try_gcm_mode(struct qualify *qualify, enum hsm_gcm_iv mode, struct err *err)
{
	struct hsm_key *key = NULL;
	enum hsm_gcm_iv before = qualify->hsm->gcm_iv;
	qualify->hsm->gcm_iv = mode;
	enum err_code code = find_made(qualify, HSM_KEY_AES, LABEL_AES, &key, err);
	qualify->hsm->gcm_iv = before;
	return code;
}

static enum err_code try_gcm_caller(struct qualify *qualify, struct err *err)
{
	return try_gcm_mode(qualify, HSM_GCM_IV_CALLER, err);
}

static enum err_code try_gcm_token(struct qualify *qualify, struct err *err)
{
	return try_gcm_mode(qualify, HSM_GCM_IV_TOKEN, err);
}

enum err_code hsm_qualify_wrap(struct qualify *qualify, struct err *err)
{
	autosecret struct secret *plain = secret_new(HSM_AES_BYTES);
	buf_clear(&qualify->wrapped);
	return hsm_wrap(qualify->aes, span_str("aad"), plain, &qualify->wrapped, err);
}

/* One bit of the tag, then other associated data: both must be noticed, and told from a token that fails. */
static enum err_code try_tamper(struct qualify *qualify, struct err *err)
{
	if (!qualify->aes)
		return hsm_qualify_missing(err);
	autosecret struct secret *back = NULL, *other = NULL;
	struct err found = {0};
	enum err_code code = hsm_qualify_wrap(qualify, err);
	if (code != ERR_OK)
		return code;
	qualify->wrapped.data[qualify->wrapped.len - 1] ^= 1;
	code = hsm_unwrap(qualify->aes, span_str("aad"), buf_span(&qualify->wrapped), &back, &found);
	qualify->wrapped.data[qualify->wrapped.len - 1] ^= 1;
	if (code == ERR_CORRUPT)
		code = hsm_unwrap(qualify->aes, span_str("AAD"), buf_span(&qualify->wrapped), &other, &found);
	if (code == ERR_CORRUPT)
		return ERR_OK;
	return code == ERR_OK ? err_set(err, ERR_PRECONDITION, 0, "what had been altered was decrypted")
	                      : err_set(err, code, found.native, "%s", found.text);
}

static enum err_code try_import(struct qualify *qualify, struct err *err)
{
	enum err_code code = hsm_random(qualify->hsm, qualify->mac_value, QUALIFY_MAC_BYTES, err);
	if (code != ERR_OK)
		return code;
	autosecret struct secret *value = secret_new(QUALIFY_MAC_BYTES);
	memcpy(secret_bytes(value), qualify->mac_value, QUALIFY_MAC_BYTES);
	return made(qualify, LABEL_MAC, hsm_import_hmac(qualify->hsm, LABEL_MAC, value, err));
}

static enum err_code try_hmac(struct qualify *qualify, struct err *err)
{
	static const char date[] = "20150830";
	uint8_t token[32], software[32];
	enum err_code code = find_made(qualify, HSM_KEY_HMAC, LABEL_MAC, &qualify->mac, err);
	if (code == ERR_OK)
		code = hsm_hmac(qualify->mac, span_str(date), token, err);
	if (code != ERR_OK)
		return code;
	if (!HMAC(EVP_sha256(), qualify->mac_value, QUALIFY_MAC_BYTES, (const uint8_t *)date, sizeof date - 1, software,
	          NULL) ||
	    memcmp(token, software, sizeof token) != 0)
		return err_set(err, ERR_PRECONDITION, 0, "another result than in software");
	return ERR_OK;
}

static const struct {
	const char *mechanism, *needed_for;
	bool required;
	int only; /* needed in this IV mode only; -1: in both */
	enum err_code (*try)(struct qualify *qualify, struct err *err);
} needs[] = {
    {"C_GenerateRandom", "transaction ids, object ids, data keys", true, -1, try_random},
    {"CKM_EC_KEY_PAIR_GEN, P-256", "making transaction, audit and TLS keys", true, -1, try_make_ec},
    {"CKM_ECDSA", "signing transactions, receipts, TLS; custody", true, -1, try_sign},
    {"CKM_AES_KEY_GEN, 256 bits", "making KEKs", true, -1, try_make_aes},
    {"CKM_AES_GCM, as configured", "wrapping data keys; custody", true, -1, try_gcm},
    {"CKM_AES_GCM, IV by caller", "gcm_iv: caller", false, HSM_GCM_IV_CALLER, try_gcm_caller},
    {"CKM_AES_GCM, IV by token", "gcm_iv: token", false, HSM_GCM_IV_TOKEN, try_gcm_token},
    {"CKM_AES_GCM, altered", "noticing what was altered", true, -1, try_tamper},
    {"C_CreateObject, CKK_GENERIC_SECRET", "importing S3 secrets", true, -1, try_import},
    {"CKM_SHA256_HMAC", "signing S3 requests", true, -1, try_hmac},
    {"CKA_VALUE is not shown", "custody: no key is read", true, -1, hsm_qualify_unread},
    {"C_WrapKey refuses", "custody: no key is taken out wrapped", true, -1, hsm_qualify_unwrapped},
};

/* ---- all ---- */

static bool try_needs(struct qualify *qualify, const struct hsm_qualify *asked)
{
	bool all = true;
	for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++) {
		struct err err = {0};
		enum err_code code = needs[i].try(qualify, &err);
		const struct hsm_need need = {.mechanism = needs[i].mechanism,
		                              .needed_for = needs[i].needed_for,
		                              .required = needs[i].required || needs[i].only == (int)qualify->hsm->gcm_iv,
		                              .works = code == ERR_OK,
		                              .how = code == ERR_OK ? "" : err.text};
		asked->need(&need, asked->user);
		all &= need.works || !need.required;
	}
	return all;
}

enum err_code hsm_qualify(struct hsm *hsm, const struct hsm_qualify *asked, struct err *err)
{
	struct qualify qualify = {.hsm = hsm};
	enum err_code code = clean(&qualify, err);
	if (code != ERR_OK)
		return code;
	if (!try_needs(&qualify, asked))
		code = err_set(err, ERR_PRECONDITION, 0, "it does not meet every need");
	if (code == ERR_OK && asked->ms > 0)
		code = hsm_qualify_measure(&qualify, asked, err);
	struct err left = {0};
	if (clean(&qualify, &left) != ERR_OK && code == ERR_OK)
		code = err_set(err, left.code, left.native, "%s", left.text);
	secret_wipe(qualify.mac_value, sizeof qualify.mac_value);
	buf_done(&qualify.wrapped);
	return code;
}
