/* One public key: parse, normalise, verify. */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "transaction/internal.h"

#define RSA_BITS_MIN 2048
#define PSS_SALT     32

/* Everything of a P-256 SubjectPublicKeyInfo (RFC 5480) that precedes the point's 64 bytes: with it, the curve is named
 * and the point is neither compressed nor at infinity. */
static const uint8_t p256_header[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                      0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                      0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
#define P256_SPKI_LEN (sizeof p256_header + 64)

static EVP_PKEY *parse_spki(struct span spki)
{
	if (spki.len == 0 || spki.len > SPKI_MAX)
		return NULL;
	const uint8_t *end = spki.ptr;
	EVP_PKEY *pkey = d2i_PUBKEY(NULL, &end, (long)spki.len);
	if (pkey && end != spki.ptr + spki.len) {
		EVP_PKEY_free(pkey);
		return NULL;
	}
	return pkey;
}

static bool canonical_spki(EVP_PKEY *pkey, struct buf *out)
{
	uint8_t *der = NULL;
	int len = i2d_PUBKEY(pkey, &der);
	if (len > 0)
		buf_append(out, span_of(der, (size_t)len));
	OPENSSL_free(der);
	return len > 0;
}

static bool accept_ec(struct pubkey *key)
{
	if (EVP_PKEY_set_utf8_string_param(key->pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed") != 1 ||
	    !canonical_spki(key->pkey, &key->spki))
		return false;
	key->is_ec = true;
	return key->spki.len == P256_SPKI_LEN && memcmp(key->spki.data, p256_header, sizeof p256_header) == 0;
}

static bool accept_rsa(struct pubkey *key)
{
	return EVP_PKEY_get_bits(key->pkey) >= RSA_BITS_MIN && canonical_spki(key->pkey, &key->spki);
}

static bool accept(struct pubkey *key)
{
	switch (EVP_PKEY_get_base_id(key->pkey)) {
	case EVP_PKEY_EC:
		return accept_ec(key);
	case EVP_PKEY_RSA:
		return accept_rsa(key);
	default:
		return false;
	}
}

static bool make_verifier(struct pubkey *key)
{
	key->verifier = EVP_PKEY_CTX_new(key->pkey, NULL);
	if (!key->verifier || EVP_PKEY_verify_init(key->verifier) != 1)
		return false;
	if (!key->is_ec && EVP_PKEY_CTX_set_rsa_padding(key->verifier, RSA_PKCS1_PSS_PADDING) != 1)
		return false;
	if (EVP_PKEY_CTX_set_signature_md(key->verifier, EVP_sha256()) != 1)
		return false;
	return key->is_ec || (EVP_PKEY_CTX_set_rsa_mgf1_md(key->verifier, EVP_sha256()) == 1 &&
	                      EVP_PKEY_CTX_set_rsa_pss_saltlen(key->verifier, PSS_SALT) == 1);
}

enum err_code pubkey_init(struct pubkey *key, struct span spki, struct err *err)
{
	struct pubkey parsed = {.pkey = parse_spki(spki)};
	bool ok = parsed.pkey && accept(&parsed) && make_verifier(&parsed);
	ERR_clear_error();
	if (!ok) {
		pubkey_done(&parsed);
		return err_set(err, ERR_INVALID, 0,
		               "not a public key that is accepted: EC P-256, or RSA of 2048 bits and more");
	}
	*key = parsed;
	return ERR_OK;
}

void pubkey_done(struct pubkey *key)
{
	EVP_PKEY_CTX_free(key->verifier);
	EVP_PKEY_free(key->pkey);
	buf_done(&key->spki);
	*key = (struct pubkey){0};
}

bool pubkey_verify(const struct pubkey *key, const uint8_t digest[32], struct span sig)
{
	/* A copy per call, because a context is not thread-safe; making one anew costs a fetch of the algorithm. */
	EVP_PKEY_CTX *verifier = EVP_PKEY_CTX_dup(key->verifier);
	bool ok = verifier && EVP_PKEY_verify(verifier, sig.ptr, sig.len, digest, 32) == 1;
	EVP_PKEY_CTX_free(verifier);
	ERR_clear_error();
	return ok;
}

bool pubkey_eq(const struct pubkey *a, const struct pubkey *b)
{
	return span_eq(buf_span(&a->spki), buf_span(&b->spki));
}
