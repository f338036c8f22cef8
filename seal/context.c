/* What a sealed object is bound to, and what is derived from its data key. */
#include <openssl/core_names.h>
#include <openssl/kdf.h>

#include "seal/internal.h"

#define AAD_LABEL        "twokey-seal-v1"
#define COMMITMENT_LABEL "twokey-commitment-v1"
#define NAME_MAX_BYTES   1024

static bool append_name(struct buf *out, const char *name)
{
	struct span bytes = span_str(name);
	if (bytes.len == 0 || bytes.len > NAME_MAX_BYTES)
		return false;
	buf_append_u32be(out, (uint32_t)bytes.len);
	buf_append(out, bytes);
	return true;
}

/* Each part has its length before it, so that no two contexts have the same bytes. */
enum err_code seal_context_encode(const struct seal_context *context, const uint8_t object_id[SEAL_OBJECT_ID_BYTES],
                                  struct buf *ret, struct err *err)
{
	buf_append_str(ret, AAD_LABEL);
	if (!append_name(ret, context->gatekeeper) || !append_name(ret, context->bucket) ||
	    !append_name(ret, context->object))
		return err_set(err, ERR_INVALID, 0, "gatekeeper, bucket and object need names of 1 to %d bytes",
		               NAME_MAX_BYTES);
	buf_append_u32be(ret, SEAL_OBJECT_ID_BYTES);
	buf_append(ret, span_of(object_id, SEAL_OBJECT_ID_BYTES));
	return ret->failed ? err_set(err, ERR_EXHAUSTED, 0, "the context is too long") : ERR_OK;
}

bool seal_hkdf(const char *digest, struct span key, struct span salt, struct span info, uint8_t *out, size_t len)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	EVP_KDF_free(kdf);
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digest, 0),
	    OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key.ptr, key.len),
	    OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info.ptr, info.len),
	    OSSL_PARAM_construct_end(),
	    OSSL_PARAM_construct_end(),
	};
	if (salt.len > 0)
		params[3] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt.ptr, salt.len);
	bool ok = ctx && EVP_KDF_derive(ctx, out, len, params) == 1;
	EVP_KDF_CTX_free(ctx);
	return ok;
}

/* AES-GCM lets one sealed stream open under two keys, to two contents, when somebody made it so. The commitment is a
 * hash of the data key under another digest than the stream key's: only one key fits it. */
enum err_code seal_commit(const struct secret *data_key, uint8_t out[SEAL_COMMITMENT_BYTES], struct err *err)
{
	bool ok = seal_hkdf("SHA512", secret_span(data_key), span_of(NULL, 0), span_str(COMMITMENT_LABEL), out,
	                    SEAL_COMMITMENT_BYTES);
	return ok ? ERR_OK : err_set(err, ERR_INTERNAL, 0, "HKDF failed");
}
