/* The tokens that the engine is tried on: SoftHSM2, SoftHSM2 behind a shim that behaves as AWS CloudHSM, and NSS. One
 * per process, since modules read the environment when they are loaded. */
#ifndef TWOKEY_TESTS_UNIT_HSM_TOKENS_H
#define TWOKEY_TESTS_UNIT_HSM_TOKENS_H

#include <dlfcn.h>

#include "hsm/internal.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

#ifndef TEST_SHIM /* CMake says where it is */
#define TEST_SHIM "libp11shim.so"
#endif
#define NSS_MODULE "/usr/lib/x86_64-linux-gnu/libsoftokn3.so"
#define NSS_URI    "pkcs11:token=NSS%20Certificate%20DB"

/* How long a test waits for what has to come: other things run on the machine as well. */
#define PATIENCE_US 60000000

struct token {
	struct softhsm softhsm;
	char rules[128];
	char uri[64];
	const char *module;
	enum hsm_gcm_iv gcm_iv;
	unsigned rounds; /* of each thread: NSS derives a key anew whenever another one is used */
	struct hsm *hsm;
	struct hsm_key *ec, *kek, *mac;
	unsigned long (*fired)(void);
};

/* Atomically, so that no call sees half a rule. */
static inline void token_rules(const struct token *token, const char *text)
{
	autofree char *next = xasprintf("%s.next", token->rules);
	softhsm_write(next, text, 0600);
	if (rename(next, token->rules) != 0)
		abort();
}

static inline void token_shim(struct token *token, const char *module, const char *profile)
{
	snprintf(token->rules, sizeof token->rules, "%s/rules", token->softhsm.dir);
	token_rules(token, "");
	setenv("P11SHIM_MODULE", module, 1);
	setenv("P11SHIM_PROFILE", profile, 1);
	setenv("P11SHIM_RULES", token->rules, 1);
	token->module = TEST_SHIM;
	void *shim = dlopen(TEST_SHIM, RTLD_NOW | RTLD_LOCAL);
	if (!shim)
		abort();
	*(void **)&token->fired = dlsym(shim, "p11shim_fired");
}

/* SoftHSM as it is. */
static inline void token_softhsm(struct token *token)
{
	softhsm_setup(&token->softhsm, "matrix");
	snprintf(token->uri, sizeof token->uri, "pkcs11:token=matrix");
	token->module = SOFTHSM_MODULE;
	token->rounds = 20;
}

/* SoftHSM, and faults by rules. */
static inline void token_faulty(struct token *token)
{
	token_softhsm(token);
	token_shim(token, SOFTHSM_MODULE, "");
}

static inline void token_cloudhsm(struct token *token)
{
	token_softhsm(token);
	token_shim(token, SOFTHSM_MODULE, "cloudhsm");
	softhsm_write(token->softhsm.pin_path, "crypto_user:" SOFTHSM_PIN "\n", 0400);
	token->gcm_iv = HSM_GCM_IV_TOKEN;
}

static inline bool token_nss(struct token *token)
{
	if (access(NSS_MODULE, R_OK) != 0)
		return false;
	softhsm_setup(&token->softhsm, "unused");
	autofree char *init = xasprintf("mkdir %s/nss && certutil -N -d sql:%s/nss -f %s", token->softhsm.dir,
	                                token->softhsm.dir, token->softhsm.pin_path);
	softhsm_run(init);
	autofree char *reserved =
	    xasprintf("configdir='sql:%s/nss' certPrefix='' keyPrefix='' secmod='secmod.db' flags= ", token->softhsm.dir);
	setenv("P11SHIM_RESERVED", reserved, 1);
	token_shim(token, NSS_MODULE, "");
	snprintf(token->uri, sizeof token->uri, "%s", NSS_URI);
	token->rounds = 2;
	return true;
}

static inline struct hsm_options token_options(const struct token *token)
{
	struct hsm_options options = softhsm_options(&token->softhsm, token->uri);
	options.module = token->module;
	options.gcm_iv = token->gcm_iv;
	options.max_sessions = 16;
	options.timeout_ms = 5000;
	return options;
}

static inline enum err_code token_find_keys(struct token *token, struct err *err)
{
	enum err_code code = hsm_key_find(token->hsm, HSM_KEY_SIGN, "pkcs11:object=ec", &token->ec, err);
	if (code == ERR_OK)
		code = hsm_key_find(token->hsm, HSM_KEY_AES, "pkcs11:object=kek", &token->kek, err);
	if (code == ERR_OK)
		code = hsm_key_find(token->hsm, HSM_KEY_HMAC, "pkcs11:object=mac", &token->mac, err);
	return code;
}

static inline enum err_code token_make_keys(struct token *token, struct err *err)
{
	autosecret struct secret *value = secret_from(span_str("0123456789abcdef0123456789abcdef"));
	enum err_code code = hsm_generate_ec(token->hsm, "ec", err);
	if (code == ERR_OK)
		code = hsm_generate_aes(token->hsm, "kek", err);
	if (code == ERR_OK)
		code = hsm_import_hmac(token->hsm, "mac", value, err);
	return code == ERR_OK ? token_find_keys(token, err) : code;
}

static inline enum err_code token_open(struct token *token, struct err *err)
{
	struct hsm_options options = token_options(token);
	enum err_code code = hsm_open(&options, &token->hsm, err);
	return code == ERR_OK ? token_make_keys(token, err) : code;
}

/* HMAC-SHA-256 of "data" under that secret. */
static const uint8_t token_mac_of_data[32] = {
    0xed, 0x37, 0x1f, 0x87, 0x98, 0x35, 0x63, 0xd6, 0x17, 0x3c, 0x4a, 0x3c, 0x24, 0x96, 0x16, 0x40,
    0xc6, 0x26, 0x0d, 0x0a, 0xe4, 0x0d, 0xd8, 0x24, 0xdc, 0x35, 0x7c, 0x61, 0x0b, 0x8e, 0x35, 0x46,
};

/* One of each operation; what succeeds must be right. ERR_OK, or the first failure; aborts on a wrong answer. */
static inline enum err_code token_use(struct token *token, struct err *err)
{
	uint8_t digest[32] = {1}, mac[32], random[2][16];
	autobuf struct buf sig = {0}, wrapped = {0};
	autosecret struct secret *plain = secret_new(32), *back = NULL;
	secret_bytes(plain)[0] = 7;
	enum err_code code = hsm_random(token->hsm, random[0], sizeof random[0], err);
	if (code == ERR_OK)
		code = hsm_random(token->hsm, random[1], sizeof random[1], err);
	if (code == ERR_OK && memcmp(random[0], random[1], sizeof random[0]) == 0)
		abort();
	if (code == ERR_OK)
		code = hsm_sign(token->ec, digest, &sig, err);
	if (code == ERR_OK && !hsm_spki_verify(hsm_key_spki(token->ec), digest, buf_span(&sig)))
		abort();
	if (code == ERR_OK)
		code = hsm_hmac(token->mac, span_str("data"), mac, err);
	if (code == ERR_OK && memcmp(mac, token_mac_of_data, sizeof mac) != 0)
		abort();
	if (code == ERR_OK)
		code = hsm_wrap(token->kek, span_str("aad"), plain, &wrapped, err);
	if (code == ERR_OK)
		code = hsm_unwrap(token->kek, span_str("aad"), buf_span(&wrapped), &back, err);
	if (code == ERR_OK && !secret_eq(plain, back))
		abort();
	if (code == ERR_CORRUPT || code == ERR_NOT_FOUND)
		abort(); /* of what the token made itself a moment ago: a wrong answer as well */
	return code;
}

#endif
