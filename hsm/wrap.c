/* AES-256-GCM under a key in the token: iv (12) || ciphertext || tag (16). */
#include "hsm/internal.h"

#define AMBIGUOUS_ROUNDS 6

struct gcm_args {
	enum hsm_gcm_iv mode;
	struct span aad, in;
	struct buf *out;      /* wrap */
	struct secret *plain; /* unwrap: room for the input without the IV, cut to size */
	CK_RV refused;        /* unwrap: what C_Decrypt itself said, or CKR_OK */
};

/* A token that makes the IV itself wants ulIvBits 0, as in the vendor's own sample. */
static CK_GCM_PARAMS gcm_params(const struct gcm_args *args, uint8_t *iv)
{
	return (CK_GCM_PARAMS){
	    .iv_ptr = iv,
	    .iv_len = HSM_IV_BYTES,
	    .iv_bits = args->mode == HSM_GCM_IV_CALLER ? HSM_IV_BYTES * 8 : 0,
	    .aad_ptr = (uint8_t *)args->aad.ptr,
	    .aad_len = args->aad.len,
	    .tag_bits = HSM_TAG_BYTES * 8,
	};
}

static enum err_code wrap(struct hsm_session *session, CK_OBJECT_HANDLE object, void *user, struct err *err)
{
	struct gcm_args *args = (struct gcm_args *)user;
	static const uint8_t zero[HSM_IV_BYTES];
	uint8_t iv[HSM_IV_BYTES] = {0};
	if (args->mode == HSM_GCM_IV_CALLER && hsm_call_random(session, iv, sizeof iv) != CKR_OK)
		return hsm_session_fail(session, err);
	uint8_t *to = buf_reserve(args->out, HSM_IV_BYTES + args->in.len + HSM_TAG_BYTES);
	if (!to)
		return err_set(err, ERR_EXHAUSTED, 0, "no room for the wrapped bytes");
	CK_GCM_PARAMS params = gcm_params(args, iv);
	CK_MECHANISM mechanism = {CKM_AES_GCM, &params, sizeof params};
	CK_ULONG len = args->in.len + HSM_TAG_BYTES;
	if (hsm_call_encrypt(session, &mechanism, object, args->in, to + HSM_IV_BYTES, &len) != CKR_OK)
		return hsm_session_fail(session, err);
	if (len != args->in.len + HSM_TAG_BYTES)
		return err_set(err, ERR_INTERNAL, 0, "the token gave %lu bytes for %zu", len, args->in.len);
	/* Encrypted under an IV of zeros, and the next one would be as well. */
	if (memcmp(iv, zero, sizeof iv) == 0)
		return err_set(err, ERR_PRECONDITION, 0,
		               "the AES-GCM IV stayed zero: this token does not make it; let the caller make it");
	memcpy(to, iv, sizeof iv);
	args->out->len += HSM_IV_BYTES + len;
	return ERR_OK;
}

static enum err_code unwrap(struct hsm_session *session, CK_OBJECT_HANDLE object, void *user, struct err *err)
{
	struct gcm_args *args = (struct gcm_args *)user;
	uint8_t iv[HSM_IV_BYTES];
	memcpy(iv, args->in.ptr, sizeof iv);
	struct span sealed = span_of(args->in.ptr + HSM_IV_BYTES, args->in.len - HSM_IV_BYTES);
	CK_GCM_PARAMS params = gcm_params(args, iv);
	CK_MECHANISM mechanism = {CKM_AES_GCM, &params, sizeof params};
	CK_ULONG len = sealed.len;
	args->refused = CKR_OK;
	if (hsm_call_decrypt(session, &mechanism, object, sealed, secret_bytes(args->plain), &len) != CKR_OK) {
		enum hsm_class class = hsm_rv_class(session->rv);
		session->answer = strcmp(session->failed, "C_Decrypt") == 0 && (class == HSM_NEVER || class == HSM_BACKOFF);
		args->refused = session->answer ? session->rv : CKR_OK;
		return hsm_session_fail(session, err);
	}
	if (len != sealed.len - HSM_TAG_BYTES)
		return err_set(err, ERR_INTERNAL, 0, "the token gave %lu bytes for %zu", len, sealed.len);
	return ERR_OK;
}

static enum err_code check(const struct hsm_key *key, struct span aad, size_t plain_len, struct err *err)
{
	if (key->kind != HSM_KEY_AES)
		return err_set(err, ERR_INVALID, 0, "key \"%s\" is not for wrapping", key->label);
	if (plain_len > HSM_DATA_MAX || aad.len > HSM_DATA_MAX)
		return err_set(err, ERR_INVALID, 0, "wrapping is for at most %d bytes", HSM_DATA_MAX);
	return ERR_OK;
}

enum err_code hsm_wrap(struct hsm_key *key, struct span aad, const struct secret *plain, struct buf *out,
                       struct err *err)
{
	struct gcm_args args = {.mode = key->hsm->gcm_iv, .aad = aad, .in = secret_span(plain), .out = out};
	enum err_code code = check(key, aad, args.in.len, err);
	return code == ERR_OK ? hsm_run(key->hsm, key, wrap, &args, err) : code;
}

enum err_code hsm_unwrap_once(struct hsm_key *key, struct span aad, struct span wrapped, struct secret **ret,
                              CK_RV *ret_refused, struct err *err)
{
	size_t plain_len = wrapped.len - HSM_IV_BYTES - HSM_TAG_BYTES;
	autosecret struct secret *plain = secret_new(plain_len + HSM_TAG_BYTES);
	struct gcm_args args = {.mode = key->hsm->gcm_iv, .aad = aad, .in = wrapped, .plain = plain};
	enum err_code code = hsm_run(key->hsm, key, unwrap, &args, err);
	*ret_refused = args.refused;
	if (code != ERR_OK)
		return code;
	secret_truncate(plain, plain_len);
	*ret = plain;
	plain = NULL;
	return ERR_OK;
}

/* Tokens do not agree on what they say of a bad tag. Most have a word for it; what SoftHSM 2.6 says, CKR_GENERAL_ERROR,
 * may be anything, and the same goes for the unknown answer of others. So the refusal is confirmed on another session,
 * and an ambiguous one several times, each time after the token has shown that it can wrap and unwrap. */
static enum err_code confirm(struct hsm_key *key, struct span aad, struct span wrapped, CK_RV refused,
                             struct secret **ret, struct err *err)
{
	unsigned rounds = hsm_rv_code(refused) == ERR_CORRUPT ? 1 : AMBIGUOUS_ROUNDS;
	for (unsigned i = 0; i < rounds; i++) {
		enum err_code code = hsm_selftest_key(key, err);
		if (code != ERR_OK)
			return code;
		code = hsm_unwrap_once(key, aad, wrapped, ret, &refused, err);
		if (code == ERR_OK || refused == CKR_OK)
			return code;
	}
	return err_set(err, ERR_CORRUPT, (long)refused, "the wrapped bytes do not verify");
}

enum err_code hsm_unwrap(struct hsm_key *key, struct span aad, struct span wrapped, struct secret **ret,
                         struct err *err)
{
	if (wrapped.len <= HSM_IV_BYTES + HSM_TAG_BYTES)
		return err_set(err, ERR_CORRUPT, 0, "%zu bytes are too few for a wrapped key", wrapped.len);
	enum err_code code = check(key, aad, wrapped.len - HSM_IV_BYTES - HSM_TAG_BYTES, err);
	if (code != ERR_OK)
		return code;
	CK_RV refused = CKR_OK;
	code = hsm_unwrap_once(key, aad, wrapped, ret, &refused, err);
	return code == ERR_OK || refused == CKR_OK ? code : confirm(key, aad, wrapped, refused, ret, err);
}
