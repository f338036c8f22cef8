/* A certificate request (PKCS #10, RFC 2986) for the TLS key in the token, signed there. */
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "common/ip.h"
#include "common/text.h"
#include "server/provision.h"

/* The host that clients may call it by, as a subject alternative name; "" when `listen` says none. The authority
 * decides what stands in the certificate. */
static void alternative_name(const struct config *config, struct buf *out)
{
	const char *colon = strrchr(config->listen, ':');
	size_t len = colon ? (size_t)(colon - config->listen) : 0;
	bool bracketed = len > 2 && config->listen[0] == '[';
	autofree char *host = bracketed ? xstrndup(config->listen + 1, len - 2) : xstrndup(config->listen, len);
	struct ip_addr address;
	if (!host[0] || strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
		return;
	if (strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:") != strlen(host))
		return;
	buf_printf(out, "%s:%s", ip_parse(host, &address) ? "IP" : "DNS", host);
}

static bool add_alternative_name(X509_REQ *request, const struct config *config)
{
	autobuf struct buf name = {0};
	alternative_name(config, &name);
	if (name.len == 0)
		return true;
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, buf_cstr(&name));
	STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
	bool done = extension && extensions && sk_X509_EXTENSION_push(extensions, extension) > 0;
	if (!done)
		X509_EXTENSION_free(extension);
	done = done && X509_REQ_add_extensions(request, extensions) == 1;
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	return done;
}

static bool fill(X509_REQ *request, const struct config *config, struct span spki)
{
	const unsigned char *at = spki.ptr;
	EVP_PKEY *public = d2i_PUBKEY(NULL, &at, (long)spki.len);
	/* RFC 5280: a common name has at most 64 characters. */
	bool done =
	    public && X509_REQ_set_version(request, X509_REQ_VERSION_1) == 1 && X509_REQ_set_pubkey(request, public) == 1 &&
	    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN", MBSTRING_UTF8,
	                               (const unsigned char *)config->name, (int)strnlen(config->name, 64), -1, 0) == 1 &&
	    add_alternative_name(request, config);
	EVP_PKEY_free(public);
	return done;
}

/* What is signed is the CertificationRequestInfo; the algorithm stands outside of it. */
static enum err_code sign(X509_REQ *request, struct hsm_key *key, struct err *err)
{
	unsigned char *info = NULL;
	uint8_t digest[32];
	autobuf struct buf signature = {0};
	int len = i2d_re_X509_REQ_tbs(request, &info);
	if (len <= 0)
		return err_set(err, ERR_INTERNAL, 0, "the certificate request cannot be serialised");
	text_sha256(span_of(info, (size_t)len), digest);
	OPENSSL_free(info);
	enum err_code code = hsm_sign(key, digest, &signature, err);
	X509_ALGOR *algorithm = X509_ALGOR_new();
	ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
	if (code == ERR_OK && (!algorithm || !bits ||
	                       X509_ALGOR_set0(algorithm, OBJ_nid2obj(NID_ecdsa_with_SHA256), V_ASN1_UNDEF, NULL) != 1 ||
	                       ASN1_BIT_STRING_set(bits, signature.data, (int)signature.len) != 1 ||
	                       X509_REQ_set1_signature_algo(request, algorithm) != 1))
		code = err_set(err, ERR_INTERNAL, 0, "the certificate request cannot be signed");
	X509_ALGOR_free(algorithm);
	if (code != ERR_OK) {
		ASN1_BIT_STRING_free(bits);
		return code;
	}
	bits->flags &= ~(ASN1_STRING_FLAG_BITS_LEFT | 7); /* whole bytes */
	bits->flags |= ASN1_STRING_FLAG_BITS_LEFT;
	X509_REQ_set0_signature(request, bits);
	return ERR_OK;
}

static enum err_code write(const struct provision *provision, X509_REQ *request, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem = NULL;
	long len = bio && PEM_write_bio_X509_REQ(bio, request) == 1 ? BIO_get_mem_data(bio, &pem) : 0;
	autofree char *path = xasprintf("%s/%s.tls.csr", provision->folder, provision->config->name);
	enum err_code code = len > 0 ? text_write_file(path, span_of(pem, (size_t)len), 0644, err)
	                             : err_set(err, ERR_INTERNAL, 0, "the certificate request cannot be written");
	BIO_free(bio);
	if (code == ERR_OK)
		provision_tell(provision, "wrote", path, "for the authority that issues the certificate `tls.certificate`");
	return code;
}

enum err_code provision_csr(const struct provision *provision, struct hsm_key *key, struct err *err)
{
	X509_REQ *request = X509_REQ_new();
	enum err_code code = ERR_OK;
	if (!request || !fill(request, provision->config, hsm_key_spki(key)))
		code = err_set(err, ERR_INTERNAL, 0, "the certificate request cannot be made");
	EVP_PKEY *public = code == ERR_OK ? X509_REQ_get0_pubkey(request) : NULL;
	if (public && !EVP_PKEY_is_a(public, "EC")) {
		provision_tell(provision, "no certificate request for", hsm_key_label(key), "it is no EC key");
	} else if (code == ERR_OK) {
		code = sign(request, key, err);
		if (code == ERR_OK && X509_REQ_verify(request, public) != 1)
			code = err_set(err, ERR_INTERNAL, 0, "the certificate request's signature does not verify");
		if (code == ERR_OK)
			code = write(provision, request, err);
	}
	X509_REQ_free(request);
	return code;
}
