#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "common/secret.h"
#include "common/text.h"
#include "rpc/tls.h"

#define PEM_MAX ((size_t)1 << 20)

static enum err_code read_pem(const char *what, const char *path, char **ret, struct err *err)
{
	struct buf bytes = {.max = PEM_MAX + 1};
	enum err_code code = text_read_file(path, PEM_MAX, &bytes, err);
	if (code != ERR_OK) {
		err_prefix(err, "%s", what);
		if (err)
			err->code = ERR_INVALID;
	} else {
		*ret = xstrndup((const char *)bytes.data, bytes.len);
	}
	if (bytes.data)
		secret_wipe(bytes.data, bytes.cap);
	buf_done(&bytes);
	return code == ERR_OK ? ERR_OK : ERR_INVALID;
}

static X509 *parse_certificate(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	return certificate;
}

/* An encrypted key must not make OpenSSL ask on the terminal. */
static int no_password(char *to, int size, int writing, void *user)
{
	(void)to, (void)size, (void)writing, (void)user;
	return -1;
}

static EVP_PKEY *parse_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
	BIO_free(bio);
	return key;
}

static enum err_code load_certificate(const char *what, const char *path, char **ret, X509 **ret_parsed,
                                      struct err *err)
{
	enum err_code code = read_pem(what, path, ret, err);
	if (code != ERR_OK)
		return code;
	X509 *parsed = parse_certificate(*ret);
	if (!parsed)
		return err_set(err, ERR_INVALID, 0, "%s: %s holds no certificate in PEM form", what, path);
	if (ret_parsed)
		*ret_parsed = parsed;
	else
		X509_free(parsed);
	return ERR_OK;
}

static enum err_code load_key(const struct rpc_tls *tls, X509 *certificate, char **ret, struct err *err)
{
	enum err_code code = read_pem("TLS key", tls->key, ret, err);
	if (code != ERR_OK)
		return code;
	EVP_PKEY *key = parse_key(*ret);
	if (!key)
		code = err_set(err, ERR_INVALID, 0, "TLS key: %s holds no unencrypted private key in PEM form", tls->key);
	else if (X509_check_private_key(certificate, key) != 1)
		code = err_set(err, ERR_INVALID, 0, "TLS key: %s does not belong to the certificate %s", tls->key,
		               tls->certificate);
	EVP_PKEY_free(key);
	return code;
}

static enum err_code check_token_key(const struct rpc_tls *tls, X509 *certificate, struct err *err)
{
	const unsigned char *at = tls->token_key->spki.ptr;
	EVP_PKEY *public = d2i_PUBKEY(NULL, &at, (long)tls->token_key->spki.len);
	bool same = public && EVP_PKEY_eq(public, X509_get0_pubkey(certificate)) == 1;
	EVP_PKEY_free(public);
	return same ? ERR_OK
	            : err_set(err, ERR_INVALID, 0, "TLS key: the key in the token does not belong to the certificate %s",
	                      tls->certificate);
}

enum err_code rpc_pem_load(const struct rpc_tls *tls, struct rpc_pem *ret, struct err *err)
{
	if (!tls->certificate != (!tls->key && !tls->token_key) || (tls->key && tls->token_key))
		return err_set(err, ERR_INVALID, 0, "TLS: a certificate and its key go together");
	struct rpc_pem pem = {0};
	X509 *certificate = NULL;
	enum err_code code = ERR_OK;
	if (tls->certificate)
		code = load_certificate("TLS certificate", tls->certificate, &pem.certificate, &certificate, err);
	if (code == ERR_OK && tls->key)
		code = load_key(tls, certificate, &pem.key, err);
	if (code == ERR_OK && tls->token_key)
		code = check_token_key(tls, certificate, err);
	if (code == ERR_OK && tls->client_ca)
		code = load_certificate("TLS authority", tls->client_ca, &pem.ca, NULL, err);
	X509_free(certificate);
	ERR_clear_error();
	if (code == ERR_OK)
		*ret = pem;
	else
		rpc_pem_done(&pem);
	return code;
}

void rpc_pem_done(struct rpc_pem *pem)
{
	if (pem->key)
		secret_wipe(pem->key, strlen(pem->key));
	free(pem->certificate);
	free(pem->key);
	free(pem->ca);
	*pem = (struct rpc_pem){0};
}
