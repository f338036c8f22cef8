/* Signatures and HMACs. */
#include "hsm/internal.h"

#define P256_SIG_BYTES 64

struct sign_args {
	struct hsm_key *key;
	struct span data;
	uint8_t *out;
	CK_ULONG len; /* room in out, then bytes written */
};

static CK_RSA_PKCS_PSS_PARAMS pss_params = {
    .hash_alg = CKM_SHA256,
    .mgf = CKG_MGF1_SHA256,
    .s_len = HSM_SHA256_LEN,
};

static CK_MECHANISM mechanism_of(const struct hsm_key *key)
{
	if (key->kind == HSM_KEY_HMAC)
		return (CK_MECHANISM){CKM_SHA256_HMAC, NULL, 0};
	if (key->type == CKK_RSA)
		return (CK_MECHANISM){CKM_RSA_PKCS_PSS, &pss_params, sizeof pss_params};
	return (CK_MECHANISM){CKM_ECDSA, NULL, 0};
}

static enum err_code sign(struct hsm_session *session, CK_OBJECT_HANDLE object, void *user, struct err *err)
{
	struct sign_args *args = (struct sign_args *)user;
	CK_MECHANISM mechanism = mechanism_of(args->key);
	CK_ULONG len = args->len;
	if (hsm_call_sign(session, &mechanism, object, args->data, args->out, &len) != CKR_OK)
		return hsm_session_fail(session, err);
	args->len = len;
	return ERR_OK;
}

enum err_code hsm_sign(struct hsm_key *key, const uint8_t digest[32], struct buf *sig, struct err *err)
{
	if (key->kind != HSM_KEY_SIGN)
		return err_set(err, ERR_INVALID, 0, "key \"%s\" is not for signing", key->label);
	uint8_t raw[HSM_SIG_MAX];
	struct sign_args args = {key, span_of(digest, HSM_SHA256_LEN), raw, sizeof raw};
	enum err_code code = hsm_run(key->hsm, key, sign, &args, err);
	if (code != ERR_OK)
		return code;
	bool ok;
	if (key->type == CKK_RSA) {
		buf_append(sig, span_of(raw, args.len));
		ok = !sig->failed;
	} else {
		ok = args.len == P256_SIG_BYTES && hsm_spki_ecdsa_der(span_of(raw, args.len), sig);
	}
	return ok ? ERR_OK : err_set(err, ERR_INTERNAL, 0, "the token gave a signature of %lu bytes", args.len);
}

enum err_code hsm_hmac(struct hsm_key *key, struct span data, uint8_t out[32], struct err *err)
{
	if (key->kind != HSM_KEY_HMAC)
		return err_set(err, ERR_INVALID, 0, "key \"%s\" is not for HMAC", key->label);
	if (data.len == 0 || data.len > HSM_DATA_MAX)
		return err_set(err, ERR_INVALID, 0, "HMAC of %zu bytes; 1 to %d are allowed", data.len, HSM_DATA_MAX);
	struct sign_args args = {key, data, out, HSM_SHA256_LEN};
	enum err_code code = hsm_run(key->hsm, key, sign, &args, err);
	if (code != ERR_OK)
		return code;
	return args.len == HSM_SHA256_LEN ? ERR_OK
	                                  : err_set(err, ERR_INTERNAL, 0, "the token gave an HMAC of %lu bytes", args.len);
}
