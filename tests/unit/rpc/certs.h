/* Certificates for the tests, made in a temporary directory: two authorities, a server, and clients of each. */
#ifndef TWOKEY_TESTS_UNIT_RPC_CERTS_H
#define TWOKEY_TESTS_UNIT_RPC_CERTS_H

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "common/span.h"
#include "tests/unit/harness.h"

struct certs {
	char directory[64];
	char *ca, *ca_key, *other_ca, *server, *server_key, *client, *client_key, *stranger, *stranger_key;
};

static inline char *certs_path(const struct certs *certs, const char *name)
{
	return xasprintf("%s/%s", certs->directory, name);
}

static inline void certs_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(extension);
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
}

struct certs_wish {
	const char *name;  /* CN */
	const char *names; /* subjectAltName, or NULL */
	X509 *issuer;      /* NULL: its own */
	EVP_PKEY *issuer_key;
	EVP_PKEY *key;
};

static inline X509 *certs_issue(const struct certs_wish *wish)
{
	X509 *certificate = X509_new();
	uint64_t serial;
	assert_int_equal(RAND_bytes((unsigned char *)&serial, sizeof(serial)), 1);
	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_set_pubkey(certificate, wish->key);
	X509_NAME *subject = X509_get_subject_name(certificate);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)wish->name, -1, -1, 0);
	X509 *issuer = wish->issuer ? wish->issuer : certificate;
	X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
	certs_extension(certificate, issuer, NID_basic_constraints, wish->issuer ? "CA:FALSE" : "critical,CA:TRUE");
	if (wish->names)
		certs_extension(certificate, issuer, NID_subject_alt_name, wish->names);
	assert_true(X509_sign(certificate, wish->issuer_key ? wish->issuer_key : wish->key, EVP_sha256()) > 0);
	return certificate;
}

static inline void certs_write(const char *path, X509 *certificate, EVP_PKEY *key)
{
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	if (certificate)
		assert_int_equal(PEM_write_X509(out, certificate), 1);
	if (key)
		assert_int_equal(PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(out);
}

/* A leaf and its key, in two files. */
static inline void certs_leaf(const char *name, const char *names, X509 *ca, EVP_PKEY *ca_key, const char *path,
                              const char *key_path)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *leaf = certs_issue(&(struct certs_wish){name, names, ca, ca_key, key});
	certs_write(path, leaf, NULL);
	certs_write(key_path, NULL, key);
	X509_free(leaf);
	EVP_PKEY_free(key);
}

static inline void certs_init(struct certs *certs)
{
	*certs = (struct certs){.directory = "/tmp/twokey-rpc-XXXXXX"};
	assert_non_null(mkdtemp(certs->directory));
	certs->ca = certs_path(certs, "ca.pem");
	certs->ca_key = certs_path(certs, "ca.key");
	certs->other_ca = certs_path(certs, "other-ca.pem");
	certs->server = certs_path(certs, "server.pem");
	certs->server_key = certs_path(certs, "server.key");
	certs->client = certs_path(certs, "client.pem");
	certs->client_key = certs_path(certs, "client.key");
	certs->stranger = certs_path(certs, "stranger.pem");
	certs->stranger_key = certs_path(certs, "stranger.key");
	EVP_PKEY *key = EVP_EC_gen("P-256"), *other_key = EVP_EC_gen("P-256");
	X509 *ca = certs_issue(&(struct certs_wish){.name = "test authority", .key = key});
	X509 *other = certs_issue(&(struct certs_wish){.name = "other authority", .key = other_key});
	certs_write(certs->ca, ca, NULL);
	certs_write(certs->ca_key, NULL, key);
	certs_write(certs->other_ca, other, NULL);
	certs_leaf("server", "IP:127.0.0.1,DNS:gatekeeper.test", ca, key, certs->server, certs->server_key);
	certs_leaf("alice", "URI:spiffe://test/alice,DNS:alice.test,email:alice@test", ca, key, certs->client,
	           certs->client_key);
	certs_leaf("mallory", "DNS:alice.test", other, other_key, certs->stranger, certs->stranger_key);
	X509_free(ca);
	X509_free(other);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other_key);
}

static inline void certs_done(struct certs *certs)
{
	char **paths[] = {&certs->ca,     &certs->ca_key,     &certs->other_ca, &certs->server,      &certs->server_key,
	                  &certs->client, &certs->client_key, &certs->stranger, &certs->stranger_key};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		unlink(*paths[i]);
		free(*paths[i]);
	}
	rmdir(certs->directory);
}

#endif
