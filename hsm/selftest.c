/* Does the token do what it says? Asked of the generator and of each key before their first use, and again whenever the
 * token comes back. */
#include "common/text.h"
#include "hsm/internal.h"

#define UNWRAP_TRIES 3

enum err_code hsm_selftest_random(struct hsm *hsm, struct err *err)
{
	uint8_t a[32], b[32];
	enum err_code code = hsm_random(hsm, a, sizeof a, err);
	if (code == ERR_OK)
		code = hsm_random(hsm, b, sizeof b, err);
	if (code == ERR_OK && memcmp(a, b, sizeof a) == 0)
		code = err_set(err, ERR_UNAVAILABLE, 0, "the token's random numbers repeat");
	return code;
}

static enum err_code test_sign(struct hsm_key *key, struct err *err)
{
	uint8_t digest[32];
	text_sha256(span_str("twokey self-test: no transaction"), digest);
	autobuf struct buf sig = {0};
	enum err_code code = hsm_sign(key, digest, &sig, err);
	if (code == ERR_OK && !hsm_spki_verify(hsm_key_spki(key), digest, buf_span(&sig)))
		code = err_set(err, ERR_INVALID, 0, "its signature does not verify with the public key beside it");
	return code;
}

/* A refusal of C_Decrypt is not retried below: here it can only be passing trouble, or a token that is broken. */
static enum err_code unwrap_patiently(struct hsm_key *key, struct span aad, struct span wrapped, struct secret **ret,
                                      struct err *err)
{
	CK_RV refused = CKR_OK;
	enum err_code code = hsm_unwrap_once(key, aad, wrapped, ret, &refused, err);
	for (unsigned i = 1; code != ERR_OK && refused != CKR_OK && i < UNWRAP_TRIES; i++)
		code = hsm_unwrap_once(key, aad, wrapped, ret, &refused, err);
	if (code == ERR_CORRUPT)
		code = err_set(err, ERR_UNAVAILABLE, (long)refused, "what the token wrapped it does not unwrap");
	return code;
}

static enum err_code test_aes(struct hsm_key *key, struct err *err)
{
	autosecret struct secret *plain = secret_new(HSM_AES_BYTES);
	autosecret struct secret *back = NULL;
	struct span aad = span_str("twokey self-test");
	autobuf struct buf a = {0}, b = {0};
	enum err_code code = hsm_wrap(key, aad, plain, &a, err);
	if (code == ERR_OK)
		code = hsm_wrap(key, aad, plain, &b, err);
	if (code == ERR_OK && memcmp(a.data, b.data, HSM_IV_BYTES) == 0)
		code = err_set(err, ERR_PRECONDITION, 0, "two encryptions had the same AES-GCM IV");
	if (code == ERR_OK)
		code = unwrap_patiently(key, aad, buf_span(&a), &back, err);
	if (code == ERR_OK && !secret_eq(plain, back))
		code = err_set(err, ERR_UNAVAILABLE, 0, "what the token wrapped it does not unwrap to the same");
	return code;
}

static enum err_code test_hmac(struct hsm_key *key, struct err *err)
{
	uint8_t a[32], b[32];
	enum err_code code = hsm_hmac(key, span_str("twokey self-test 1"), a, err);
	if (code == ERR_OK)
		code = hsm_hmac(key, span_str("twokey self-test 2"), b, err);
	if (code == ERR_OK && memcmp(a, b, sizeof a) == 0)
		code = err_set(err, ERR_UNAVAILABLE, 0, "the token's HMAC does not depend on the data");
	secret_wipe(a, sizeof a);
	secret_wipe(b, sizeof b);
	return code;
}

enum err_code hsm_selftest_key(struct hsm_key *key, struct err *err)
{
	static enum err_code (*const tests[])(struct hsm_key *, struct err *) = {
	    [HSM_KEY_SIGN] = test_sign,
	    [HSM_KEY_AES] = test_aes,
	    [HSM_KEY_HMAC] = test_hmac,
	};
	return tests[key->kind](key, err);
}
