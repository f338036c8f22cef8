/* Public keys in software: SubjectPublicKeyInfo from what the token says, and the check of a signature. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "hsm/internal.h"

#define POINT_BYTES 65 /* 04 || x || y */

static enum err_code append_spki(EVP_PKEY *pkey, struct buf *ret, struct err *err)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
	bool sound = ctx && EVP_PKEY_public_check(ctx) == 1;
	EVP_PKEY_CTX_free(ctx);
	uint8_t *der = NULL;
	int len = sound ? i2d_PUBKEY(pkey, &der) : -1;
	if (len <= 0)
		return err_set(err, ERR_INVALID, 0, "the token's public key is not a sound one");
	buf_append(ret, span_of(der, (size_t)len));
	OPENSSL_free(der);
	return ERR_OK;
}

static enum err_code from_params(const char *type, OSSL_PARAM *params, struct buf *ret, struct err *err)
{
	EVP_PKEY *pkey = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1 || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
		pkey = NULL;
	EVP_PKEY_CTX_free(ctx);
	enum err_code code =
	    pkey ? append_spki(pkey, ret, err) : err_set(err, ERR_INVALID, 0, "the token's public key cannot be read");
	EVP_PKEY_free(pkey);
	return code;
}

/* PKCS#11 wants the point wrapped as a DER OCTET STRING; some modules leave the wrapping out. */
enum err_code hsm_spki_ec(const struct hsm_attr *point, struct buf *ret, struct err *err)
{
	const uint8_t *raw = point->value;
	size_t len = point->len;
	if (len == POINT_BYTES + 2 && raw[0] == 0x04 && raw[1] == POINT_BYTES) {
		raw += 2;
		len -= 2;
	}
	if (len != POINT_BYTES || raw[0] != 0x04)
		return err_set(err, ERR_INVALID, 0, "the token's CKA_EC_POINT is no uncompressed P-256 point");
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)"prime256v1", 0),
	    OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)raw, len),
	    OSSL_PARAM_construct_end(),
	};
	return from_params("EC", params, ret, err);
}

enum err_code hsm_spki_rsa(const struct hsm_attr *modulus, const struct hsm_attr *exponent, struct buf *ret,
                           struct err *err)
{
	BIGNUM *n = BN_bin2bn(modulus->value, (int)modulus->len, NULL);
	BIGNUM *e = BN_bin2bn(exponent->value, (int)exponent->len, NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	if (n && e && build && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e))
		params = OSSL_PARAM_BLD_to_param(build);
	enum err_code code = params ? from_params("RSA", params, ret, err)
	                            : err_set(err, ERR_INTERNAL, 0, "the token's public key cannot be copied");
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	BN_free(n);
	BN_free(e);
	return code;
}

static bool set_pss(EVP_PKEY_CTX *ctx)
{
	return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
	       EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
	       EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, HSM_SHA256_LEN) == 1;
}

bool hsm_spki_verify(struct span spki, const uint8_t digest[32], struct span sig)
{
	const uint8_t *der = spki.ptr;
	EVP_PKEY *pkey = d2i_PUBKEY(NULL, &der, (long)spki.len);
	EVP_PKEY_CTX *ctx = pkey ? EVP_PKEY_CTX_new(pkey, NULL) : NULL;
	bool ok = ctx && EVP_PKEY_verify_init(ctx) == 1 && (!EVP_PKEY_is_a(pkey, "RSA") || set_pss(ctx)) &&
	          EVP_PKEY_verify(ctx, sig.ptr, sig.len, digest, HSM_SHA256_LEN) == 1;
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return ok;
}

bool hsm_spki_ecdsa_der(struct span raw, struct buf *ret)
{
	int half = (int)raw.len / 2;
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(raw.ptr, half, NULL), *s = BN_bin2bn(raw.ptr + half, half, NULL);
	uint8_t *der = NULL;
	int len = -1;
	if (sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
		len = i2d_ECDSA_SIG(sig, &der);
	} else {
		BN_free(r);
		BN_free(s);
	}
	ECDSA_SIG_free(sig);
	if (len > 0)
		buf_append(ret, span_of(der, (size_t)len));
	OPENSSL_free(der);
	return len > 0 && !ret->failed;
}
