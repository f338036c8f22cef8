/* The client's certificate, as the TLS handshake has verified it. */
#include <stdlib.h>

#include <grpc/grpc_security.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "common/text.h"
#include "rpc/internal.h"

#define NAMES_MAX 64

static const char *const name_properties[] = {GRPC_PEER_URI_PROPERTY_NAME, GRPC_PEER_DNS_PROPERTY_NAME,
                                              GRPC_PEER_EMAIL_PROPERTY_NAME};

/* A value with a NUL inside would read as another name: such a one does not count. */
static char *value_text(const grpc_auth_property *property)
{
	if (!property || memchr(property->value, '\0', property->value_length))
		return NULL;
	return xstrndup(property->value, property->value_length);
}

static char *subject_of(const X509 *certificate)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL, *ret = NULL;
	if (bio &&
	    X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
		long len = BIO_get_mem_data(bio, &text);
		ret = xstrndup(text, len > 0 ? (size_t)len : 0);
	}
	BIO_free(bio);
	return ret;
}

bool rpc_identity_look_into(const char *pem, struct rpc_identity *identity)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	uint8_t digest[32];
	unsigned len = sizeof(digest);
	bool ok = certificate && X509_digest(certificate, EVP_sha256(), digest, &len) == 1 && len == sizeof(digest);
	identity->subject = ok ? subject_of(certificate) : NULL;
	if (ok)
		text_hex(span_of(digest, sizeof(digest)), identity->fingerprint);
	X509_free(certificate);
	BIO_free(bio);
	return identity->subject;
}

static const grpc_auth_property *first(const grpc_auth_context *context, const char *name)
{
	grpc_auth_property_iterator at = grpc_auth_context_find_properties_by_name(context, name);
	return grpc_auth_property_iterator_next(&at);
}

static void names_add(const grpc_auth_context *context, const char *property_name, struct rpc_identity *identity)
{
	grpc_auth_property_iterator at = grpc_auth_context_find_properties_by_name(context, property_name);
	const grpc_auth_property *property;
	while (identity->n_names < NAMES_MAX && (property = grpc_auth_property_iterator_next(&at))) {
		char *text = value_text(property);
		if (text)
			((char **)identity->names)[identity->n_names++] = text;
	}
}

static struct rpc_identity *identity_new(const grpc_auth_context *context)
{
	const grpc_auth_property *pem = first(context, GRPC_X509_PEM_CERT_PROPERTY_NAME);
	if (!pem || !grpc_auth_context_peer_is_authenticated(context))
		return NULL;
	struct rpc_identity *identity = xcalloc(1, sizeof(*identity));
	const grpc_auth_property *chain = first(context, GRPC_X509_PEM_CERT_CHAIN_PROPERTY_NAME);
	identity->certificate = xstrndup(pem->value, pem->value_length);
	identity->chain = chain ? xstrndup(chain->value, chain->value_length) : xstrdup("");
	if (!rpc_identity_look_into(identity->certificate, identity)) {
		rpc_identity_free(identity);
		return NULL;
	}
	char *name = value_text(first(context, GRPC_X509_CN_PROPERTY_NAME));
	identity->common_name = name ? name : xstrdup("");
	identity->names = xcalloc(NAMES_MAX, sizeof(identity->names[0]));
	for (size_t i = 0; i < sizeof(name_properties) / sizeof(name_properties[0]); i++)
		names_add(context, name_properties[i], identity);
	return identity;
}

struct rpc_identity *rpc_core_identity(struct rpc_call *call)
{
	grpc_auth_context *context = grpc_call_auth_context(call->core);
	if (!context)
		return NULL;
	struct rpc_identity *identity = identity_new(context);
	grpc_auth_context_release(context);
	return identity;
}

void rpc_identity_free(struct rpc_identity *identity)
{
	if (!identity)
		return;
	for (size_t i = 0; i < identity->n_names; i++)
		free((char *)identity->names[i]);
	free((void *)identity->names);
	free((char *)identity->common_name);
	free((char *)identity->subject);
	free((char *)identity->certificate);
	free((char *)identity->chain);
	free(identity);
}
