#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "common/text.h"
#include "identity/identity.h"

#define NAME_MAX_BYTES 64 /* RFC 5280, ub-common-name */

/* ---- signing ---- */

/* What is signed names the algorithm inside, and OpenSSL writes it there only while it signs: a key that is thrown away
 * signs first, then its signature is replaced by the authority's. */
static EVP_PKEY *scratch_key(void)
{
	return EVP_EC_gen("P-256");
}

static enum err_code replace_signature(const struct identity_signer *signer, unsigned char *signed_part, int len,
                                       const ASN1_BIT_STRING *signature, struct err *err)
{
	uint8_t digest[32];
	autobuf struct buf bytes = {0};
	if (len <= 0 || !signature) {
		OPENSSL_free(signed_part);
		return err_set(err, ERR_INTERNAL, 0, "what is to be signed cannot be serialised");
	}
	text_sha256(span_of(signed_part, (size_t)len), digest);
	OPENSSL_free(signed_part);
	enum err_code code = signer->sign(signer->user, digest, &bytes, err);
	if (code == ERR_OK && ASN1_STRING_set((ASN1_BIT_STRING *)(uintptr_t)signature, bytes.data, (int)bytes.len) != 1)
		code = err_set(err, ERR_INTERNAL, 0, "the signature cannot be set");
	return code;
}

static enum err_code sign_certificate(const struct identity_signer *signer, X509 *certificate, EVP_PKEY *public,
                                      struct err *err)
{
	EVP_PKEY *scratch = scratch_key();
	const bool prepared = scratch && X509_sign(certificate, scratch, EVP_sha256()) > 0;
	EVP_PKEY_free(scratch);
	if (!prepared)
		return err_set(err, ERR_INTERNAL, 0, "the certificate cannot be signed");
	unsigned char *bytes = NULL;
	const ASN1_BIT_STRING *signature = NULL;
	const int len = i2d_re_X509_tbs(certificate, &bytes);
	X509_get0_signature(&signature, NULL, certificate);
	enum err_code code = replace_signature(signer, bytes, len, signature, err);
	if (code == ERR_OK && X509_verify(certificate, public) != 1)
		code = err_set(err, ERR_INTERNAL, 0, "the certificate's signature does not verify");
	return code;
}

static enum err_code sign_list(const struct identity_signer *signer, X509_CRL *list, EVP_PKEY *public, struct err *err)
{
	EVP_PKEY *scratch = scratch_key();
	const bool prepared = scratch && X509_CRL_sign(list, scratch, EVP_sha256()) > 0;
	EVP_PKEY_free(scratch);
	if (!prepared)
		return err_set(err, ERR_INTERNAL, 0, "the revocation list cannot be signed");
	unsigned char *bytes = NULL;
	const ASN1_BIT_STRING *signature = NULL;
	const int len = i2d_re_X509_CRL_tbs(list, &bytes);
	X509_CRL_get0_signature(list, &signature, NULL);
	enum err_code code = replace_signature(signer, bytes, len, signature, err);
	if (code == ERR_OK && X509_CRL_verify(list, public) != 1)
		code = err_set(err, ERR_INTERNAL, 0, "the revocation list's signature does not verify");
	return code;
}

/* ---- what stands in them ---- */

static EVP_PKEY *read_spki(struct span spki)
{
	const unsigned char *at = spki.ptr;
	return d2i_PUBKEY(NULL, &at, (long)spki.len);
}

static bool set_time(ASN1_TIME *time, int64_t ms)
{
	return ASN1_TIME_set(time, (time_t)(ms / 1000)) != NULL;
}

static bool set_serial(ASN1_INTEGER *integer, const uint8_t serial[IDENTITY_SERIAL_BYTES])
{
	BIGNUM *number = BN_bin2bn(serial, IDENTITY_SERIAL_BYTES, NULL);
	const bool done = number && BN_to_ASN1_INTEGER(number, integer);
	BN_free(number);
	return done;
}

struct extension {
	int nid;
	const char *value;
};

static bool add_extensions(X509 *certificate, X509 *issuer, const struct extension *extensions)
{
	X509V3_CTX context;
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	for (; extensions->nid; extensions++) {
		X509_EXTENSION *extension =
		    extensions->value ? X509V3_EXT_conf_nid(NULL, &context, extensions->nid, extensions->value) : NULL;
		const bool added = extension && X509_add_ext(certificate, extension, -1) == 1;
		X509_EXTENSION_free(extension);
		if (extensions->value && !added)
			return false;
	}
	return true;
}

static bool fill(X509 *certificate, X509 *issuer, const struct identity_certificate_wish *wish,
                 const struct extension *extensions)
{
	EVP_PKEY *public = read_spki(wish->spki);
	const bool done = public && X509_set_version(certificate, X509_VERSION_3) == 1 &&
	                  set_serial(X509_get_serialNumber(certificate), wish->serial) &&
	                  set_time(X509_getm_notBefore(certificate), wish->not_before_ms) &&
	                  set_time(X509_getm_notAfter(certificate), wish->not_after_ms) &&
	                  X509_set_pubkey(certificate, public) == 1 &&
	                  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
	                                             (const unsigned char *)wish->name,
	                                             (int)strnlen(wish->name, NAME_MAX_BYTES), -1, 0) == 1 &&
	                  X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) == 1 &&
	                  add_extensions(certificate, issuer, extensions);
	EVP_PKEY_free(public);
	return done;
}

static enum err_code append_pem(BIO *bio, int written, struct buf *out, struct err *err)
{
	char *pem = NULL;
	const long len = written == 1 ? BIO_get_mem_data(bio, &pem) : 0;
	if (len <= 0)
		return err_set(err, ERR_INTERNAL, 0, "PEM cannot be written");
	buf_append(out, span_of(pem, (size_t)len));
	return ERR_OK;
}

static enum err_code make(const struct identity_signer *signer, X509 *issuer,
                          const struct identity_certificate_wish *wish, const struct extension *extensions,
                          struct buf *out, struct err *err)
{
	X509 *certificate = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	EVP_PKEY *public = read_spki(signer->spki);
	enum err_code code = ERR_OK;
	if (!certificate || !bio || !public || !fill(certificate, issuer ? issuer : certificate, wish, extensions))
		code = err_set(err, ERR_INVALID, 0, "no certificate can be made for \"%s\" (%s)", wish->name,
		               wish->names ? wish->names : "");
	if (code == ERR_OK)
		code = sign_certificate(signer, certificate, public, err);
	if (code == ERR_OK)
		code = append_pem(bio, PEM_write_bio_X509(bio, certificate), out, err);
	EVP_PKEY_free(public);
	BIO_free(bio);
	X509_free(certificate);
	ERR_clear_error();
	return code;
}

enum err_code identity_make_root(const struct identity_signer *signer, const struct identity_certificate_wish *wish,
                                 struct buf *out, struct err *err)
{
	static const struct extension extensions[] = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
	                                              {NID_key_usage, "critical,keyCertSign,cRLSign"},
	                                              {NID_subject_key_identifier, "hash"},
	                                              {0}};
	return make(signer, NULL, wish, extensions, out, err);
}

static X509 *read_root(const struct identity_signer *signer, struct span pem, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	X509 *root = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY *public = read_spki(signer->spki);
	BIO_free(bio);
	if (root && (!public || EVP_PKEY_eq(public, X509_get0_pubkey(root)) != 1)) {
		X509_free(root);
		root = NULL;
	}
	EVP_PKEY_free(public);
	ERR_clear_error();
	if (!root)
		err_set(err, ERR_INVALID, 0, "the authority's certificate is not that of its key in the token");
	return root;
}

enum err_code identity_make_certificate(const struct identity_signer *signer, struct span root,
                                        const struct identity_certificate_wish *wish, struct buf *out, struct err *err)
{
	X509 *issuer = read_root(signer, root, err);
	if (!issuer)
		return ERR_INVALID;
	const struct extension extensions[] = {{NID_basic_constraints, "critical,CA:FALSE"},
	                                       {NID_key_usage, "critical,digitalSignature"},
	                                       {NID_ext_key_usage, wish->server ? "serverAuth" : "clientAuth"},
	                                       {NID_subject_key_identifier, "hash"},
	                                       {NID_authority_key_identifier, "keyid:always"},
	                                       {NID_subject_alt_name, wish->names},
	                                       {0}};
	enum err_code code = make(signer, issuer, wish, extensions, out, err);
	X509_free(issuer);
	return code;
}

/* ---- revocation lists ---- */

static bool add_revoked(X509_CRL *list, const struct identity_revoked *revoked)
{
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_INTEGER *serial = ASN1_INTEGER_new();
	ASN1_TIME *time = ASN1_TIME_new();
	const bool done = entry && serial && time && set_serial(serial, revoked->serial) &&
	                  set_time(time, revoked->time_ms) && X509_REVOKED_set_serialNumber(entry, serial) == 1 &&
	                  X509_REVOKED_set_revocationDate(entry, time) == 1 && X509_CRL_add0_revoked(list, entry) == 1;
	if (!done)
		X509_REVOKED_free(entry);
	ASN1_INTEGER_free(serial);
	ASN1_TIME_free(time);
	return done;
}

static bool add_list_extensions(X509_CRL *list, X509 *issuer, int64_t number)
{
	X509V3_CTX context;
	X509V3_set_ctx(&context, issuer, NULL, NULL, list, 0);
	X509_EXTENSION *key = X509V3_EXT_conf_nid(NULL, &context, NID_authority_key_identifier, "keyid:always");
	ASN1_INTEGER *integer = ASN1_INTEGER_new();
	const bool done = key && X509_CRL_add_ext(list, key, -1) == 1 && integer &&
	                  ASN1_INTEGER_set_int64(integer, number) == 1 &&
	                  X509_CRL_add1_ext_i2d(list, NID_crl_number, integer, 0, 0) == 1;
	X509_EXTENSION_free(key);
	ASN1_INTEGER_free(integer);
	return done;
}

static bool fill_list(X509_CRL *list, X509 *issuer, const struct identity_list_wish *wish)
{
	ASN1_TIME *time = ASN1_TIME_new();
	bool done = time && X509_CRL_set_version(list, X509_CRL_VERSION_2) == 1 &&
	            X509_CRL_set_issuer_name(list, X509_get_subject_name(issuer)) == 1 &&
	            set_time(time, wish->this_update_ms) && X509_CRL_set1_lastUpdate(list, time) == 1 &&
	            set_time(time, wish->next_update_ms) && X509_CRL_set1_nextUpdate(list, time) == 1;
	for (size_t i = 0; done && i < wish->n_revoked; i++)
		done = add_revoked(list, &wish->revoked[i]);
	ASN1_TIME_free(time);
	return done && X509_CRL_sort(list) == 1 && add_list_extensions(list, issuer, wish->this_update_ms / 1000);
}

enum err_code identity_make_list(const struct identity_signer *signer, struct span root,
                                 const struct identity_list_wish *wish, struct buf *out, struct err *err)
{
	X509 *issuer = read_root(signer, root, err);
	if (!issuer)
		return ERR_INVALID;
	X509_CRL *list = X509_CRL_new();
	BIO *bio = BIO_new(BIO_s_mem());
	enum err_code code = ERR_OK;
	if (!list || !bio || !fill_list(list, issuer, wish))
		code = err_set(err, ERR_INTERNAL, 0, "the revocation list cannot be made");
	if (code == ERR_OK)
		code = sign_list(signer, list, X509_get0_pubkey(issuer), err);
	if (code == ERR_OK)
		code = append_pem(bio, PEM_write_bio_X509_CRL(bio, list), out, err);
	BIO_free(bio);
	X509_CRL_free(list);
	X509_free(issuer);
	ERR_clear_error();
	return code;
}

/* ---- keys ---- */

static bool append_spki(EVP_PKEY *key, struct buf *spki)
{
	unsigned char *der = NULL;
	const int len = key ? i2d_PUBKEY(key, &der) : 0;
	if (len > 0)
		buf_append(spki, span_of(der, (size_t)len));
	OPENSSL_free(der);
	return len > 0;
}

enum err_code identity_request_key(struct span pem, struct buf *spki, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	X509_REQ *request = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
	EVP_PKEY *key = request ? X509_REQ_get0_pubkey(request) : NULL;
	const bool good = key && X509_REQ_verify(request, key) == 1 && append_spki(key, spki);
	X509_REQ_free(request);
	BIO_free(bio);
	ERR_clear_error();
	return good ? ERR_OK
	            : err_set(err, ERR_INVALID, 0, "no certificate request in PEM form, or its signature does not hold");
}

enum err_code identity_make_key(struct buf *pem, struct buf *spki, struct err *err)
{
	EVP_PKEY *key = scratch_key();
	BIO *bio = BIO_new(BIO_s_secmem());
	enum err_code code =
	    key && bio && append_spki(key, spki)
	        ? append_pem(bio, PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), pem, err)
	        : err_set(err, ERR_INTERNAL, 0, "no key can be made");
	BIO_free(bio);
	EVP_PKEY_free(key);
	return code;
}
