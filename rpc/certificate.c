#include "rpc/certificate.h"

#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define CHAIN_MAX 16
#define NAMES_MAX 64

static X509 *parse_der(struct span der)
{
	const unsigned char *p = der.ptr;
	X509 *certificate = d2i_X509(NULL, &p, (long)der.len);
	if (certificate && p != der.ptr + der.len) {
		X509_free(certificate);
		return NULL;
	}
	return certificate;
}

static X509_STORE *store_of(const char *pem)
{
	X509_STORE *store = X509_STORE_new();
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *authority;
	while (store && bio && (authority = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		X509_STORE_add_cert(store, authority);
		X509_free(authority);
	}
	BIO_free(bio);
	return store;
}

static bool verify(X509 *leaf, STACK_OF(X509) * rest, const char *authorities)
{
	X509_STORE *store = store_of(authorities);
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	bool ok = store && context && X509_STORE_CTX_init(context, store, leaf, rest) == 1 &&
	          X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_CLIENT) == 1 && X509_verify_cert(context) == 1;
	X509_STORE_CTX_free(context);
	X509_STORE_free(store);
	return ok;
}

/* A value with a NUL inside would read as another name: such a one does not count. */
static char *text_of(const ASN1_STRING *value)
{
	unsigned char *utf8 = NULL;
	int len = value ? ASN1_STRING_to_UTF8(&utf8, value) : -1;
	char *text = len >= 0 && !memchr(utf8, '\0', (size_t)len) ? xstrndup((const char *)utf8, (size_t)len) : NULL;
	OPENSSL_free(utf8);
	return text;
}

static char *common_name(const X509 *leaf)
{
	X509_NAME *subject = X509_get_subject_name(leaf);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	char *name = at < 0 ? NULL : text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	return name ? name : xstrdup("");
}

static void names_add(const GENERAL_NAMES *all, int type, struct rpc_identity *identity)
{
	for (int i = 0; identity->n_names < NAMES_MAX && i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
		char *text = name->type == type ? text_of(name->d.ia5) : NULL;
		if (text)
			((char **)identity->names)[identity->n_names++] = text;
	}
}

static char *pem_of(X509 *first, STACK_OF(X509) * rest)
{
	BIO *bio = BIO_new(BIO_s_mem());
	bool ok = bio && PEM_write_bio_X509(bio, first) == 1;
	for (int i = 0; ok && i < sk_X509_num(rest); i++)
		ok = PEM_write_bio_X509(bio, sk_X509_value(rest, i)) == 1;
	char *text = NULL;
	const long len = ok ? BIO_get_mem_data(bio, &text) : 0;
	char *ret = xstrndup(text ? text : "", len > 0 ? (size_t)len : 0);
	BIO_free(bio);
	return ret;
}

/* In the order in which the gRPC core's certificates are read (identity.c). */
static struct rpc_identity *identity_of(X509 *leaf, STACK_OF(X509) * rest)
{
	static const int types[] = {GEN_URI, GEN_DNS, GEN_EMAIL};
	struct rpc_identity *identity = xcalloc(1, sizeof(*identity));
	identity->certificate = pem_of(leaf, NULL);
	identity->chain = pem_of(leaf, rest);
	identity->common_name = common_name(leaf);
	identity->names = xcalloc(NAMES_MAX, sizeof(identity->names[0]));
	GENERAL_NAMES *all = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	for (size_t i = 0; all && i < sizeof(types) / sizeof(types[0]); i++)
		names_add(all, types[i], identity);
	GENERAL_NAMES_free(all);
	if (rpc_identity_look_into(identity->certificate, identity))
		return identity;
	rpc_identity_free(identity);
	return NULL;
}

struct rpc_identity *rpc_certificate_identity(const struct span *chain, size_t n, const char *authorities)
{
	if (n == 0 || n > CHAIN_MAX)
		return NULL;
	X509 *leaf = parse_der(chain[0]);
	STACK_OF(X509) *rest = sk_X509_new_null();
	bool ok = leaf && rest;
	for (size_t i = 1; ok && i < n; i++) {
		X509 *next = parse_der(chain[i]);
		ok = next && sk_X509_push(rest, next) > 0;
		if (!ok)
			X509_free(next);
	}
	struct rpc_identity *identity = ok && verify(leaf, rest, authorities) ? identity_of(leaf, rest) : NULL;
	sk_X509_pop_free(rest, X509_free);
	X509_free(leaf);
	ERR_clear_error();
	return identity;
}
