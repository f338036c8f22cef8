/* TLS of the HTTP front: GnuTLS inside of MHD, with the very keys that the core's listener uses. GnuTLS asks for a
 * signature, OpenSSL or the token's signer (signer.h) makes it: so no second PKCS#11 stack comes into the process. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <gnutls/abstract.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "common/log.h"
#include "rpc/certificate.h"
#include "rpc/signer.h"
#include "rpc/tls.h"
#include "rpc/web.h"
#include "rpc/web_tls.h"

#define CHAIN_MAX 16

const char rpc_web_tls_priorities[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:"
                                      "-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305";

struct rpc_web_tls {
	struct rpc_tls files; /* our copies */
	pthread_mutex_t lock;
	struct rpc_tls_stamp stamps[RPC_TLS_FILES];
	struct rpc_pem pem; /* what is in use */
	EVP_PKEY *key;      /* of the PEM, or only the public half of the token's */
	struct rpc_token_key token_key;
	struct rpc_signer *signer; /* of a key in a token, else NULL */
};

/* ---- loading ---- */

static EVP_PKEY *key_load(const struct rpc_web_tls *tls, const char *pem)
{
	if (tls->signer) {
		const struct span spki = rpc_signer_spki(tls->signer);
		const unsigned char *at = spki.ptr;
		return d2i_PUBKEY(NULL, &at, (long)spki.len);
	}
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *loaded = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	return loaded;
}

/* Files that do not fit together (one is replaced before the other) leave the old ones in use. */
static enum err_code reload_locked(struct rpc_web_tls *tls, struct err *err)
{
	struct rpc_tls_stamp now[RPC_TLS_FILES];
	rpc_tls_stamps_take(&tls->files, now);
	if (tls->key && memcmp(now, tls->stamps, sizeof(now)) == 0)
		return ERR_OK;
	struct rpc_pem pem;
	enum err_code code = rpc_pem_load(&tls->files, &pem, err);
	if (code != ERR_OK)
		return code;
	EVP_PKEY *key = key_load(tls, pem.key);
	ERR_clear_error();
	if (!key) {
		rpc_pem_done(&pem);
		return err_set(err, ERR_INVALID, 0, "TLS key: it cannot be used");
	}
	memcpy(tls->stamps, now, sizeof(now));
	EVP_PKEY_free(tls->key);
	rpc_pem_done(&tls->pem);
	tls->key = key;
	tls->pem = pem;
	return ERR_OK;
}

static const char *copy(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static enum err_code signer_start(struct rpc_web_tls *tls, const struct rpc_token_key *key, struct err *err)
{
	enum err_code code = rpc_signer_new(key, &tls->signer, err);
	if (code != ERR_OK)
		return code;
	tls->token_key = *key;
	tls->token_key.spki = rpc_signer_spki(tls->signer);
	tls->files.token_key = &tls->token_key;
	return ERR_OK;
}

enum err_code rpc_web_tls_new(const struct rpc_tls *files, struct rpc_web_tls **ret, struct err *err)
{
	struct rpc_web_tls *tls = xcalloc(1, sizeof(*tls));
	pthread_mutex_init(&tls->lock, NULL);
	tls->files = (struct rpc_tls){
	    .certificate = copy(files->certificate), .key = copy(files->key), .client_ca = copy(files->client_ca)};
	enum err_code code =
	    files->certificate ? ERR_OK : err_set(err, ERR_INVALID, 0, "web: TLS needs a certificate and its key");
	if (code == ERR_OK && files->token_key)
		code = signer_start(tls, files->token_key, err);
	if (code == ERR_OK)
		code = reload_locked(tls, err);
	if (code != ERR_OK) {
		rpc_web_tls_free(tls);
		return code;
	}
	*ret = tls;
	return ERR_OK;
}

void rpc_web_tls_free(struct rpc_web_tls *tls)
{
	if (!tls)
		return;
	free((char *)tls->files.certificate);
	free((char *)tls->files.key);
	free((char *)tls->files.client_ca);
	if (tls->signer)
		rpc_signer_close(tls->signer);
	rpc_signer_unref(tls->signer);
	rpc_pem_done(&tls->pem);
	EVP_PKEY_free(tls->key);
	pthread_mutex_destroy(&tls->lock);
	free(tls);
}

const char *rpc_web_tls_authorities(const struct rpc_web_tls *tls)
{
	return tls->pem.ca;
}

/* ---- signing ---- */

static const EVP_MD *digest_of(gnutls_sign_algorithm_t algorithm)
{
	switch (gnutls_sign_get_hash_algorithm(algorithm)) {
	case GNUTLS_DIG_SHA256:
		return EVP_sha256();
	case GNUTLS_DIG_SHA384:
		return EVP_sha384();
	case GNUTLS_DIG_SHA512:
		return EVP_sha512();
	default:
		return NULL;
	}
}

static bool is_pss(gnutls_sign_algorithm_t algorithm)
{
	const gnutls_pk_algorithm_t pk = gnutls_sign_get_pk_algorithm(algorithm);
	return pk == GNUTLS_PK_RSA_PSS || algorithm == GNUTLS_SIGN_RSA_PSS_RSAE_SHA256 ||
	       algorithm == GNUTLS_SIGN_RSA_PSS_RSAE_SHA384 || algorithm == GNUTLS_SIGN_RSA_PSS_RSAE_SHA512;
}

static bool sign(EVP_PKEY *key, gnutls_sign_algorithm_t algorithm, const gnutls_datum_t *hash, gnutls_datum_t *ret)
{
	const EVP_MD *digest = digest_of(algorithm);
	EVP_PKEY_CTX *context = digest ? EVP_PKEY_CTX_new(key, NULL) : NULL;
	bool ok = context && EVP_PKEY_sign_init(context) == 1;
	if (ok && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA)
		ok = EVP_PKEY_CTX_set_rsa_padding(context, is_pss(algorithm) ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) == 1;
	ok = ok && EVP_PKEY_CTX_set_signature_md(context, digest) == 1;
	if (ok && is_pss(algorithm))
		ok = EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
	uint8_t bytes[1024];
	size_t len = sizeof(bytes);
	ok = ok && EVP_PKEY_sign(context, bytes, &len, hash->data, hash->size) == 1;
	EVP_PKEY_CTX_free(context);
	ERR_clear_error();
	ret->data = ok ? gnutls_malloc(len) : NULL;
	if (!ret->data)
		return false;
	memcpy(ret->data, bytes, len);
	ret->size = (unsigned)len;
	return true;
}

/* One handshake's key: our references. */
struct handshake_key {
	EVP_PKEY *key;
	struct rpc_signer *signer; /* NULL: the key is here */
};

static bool sign_in_token(struct rpc_signer *signer, gnutls_sign_algorithm_t algorithm, const gnutls_datum_t *hash,
                          gnutls_datum_t *ret)
{
	autobuf struct buf sig = {0};
	if (gnutls_sign_get_hash_algorithm(algorithm) != GNUTLS_DIG_SHA256 || hash->size != 32 ||
	    !rpc_signer_sign(signer, hash->data, &sig))
		return false;
	ret->data = gnutls_malloc(sig.len);
	if (!ret->data)
		return false;
	memcpy(ret->data, sig.data, sig.len);
	ret->size = (unsigned)sig.len;
	return true;
}

static int on_sign(gnutls_privkey_t key, gnutls_sign_algorithm_t algorithm, void *user, unsigned flags,
                   const gnutls_datum_t *hash, gnutls_datum_t *signature)
{
	(void)key, (void)flags;
	struct handshake_key *mine = user;
	const bool ok = mine->signer ? sign_in_token(mine->signer, algorithm, hash, signature)
	                             : sign(mine->key, algorithm, hash, signature);
	return ok ? 0 : GNUTLS_E_PK_SIGN_FAILED;
}

static int on_info(gnutls_privkey_t key, unsigned flags, void *user)
{
	(void)key;
	const struct handshake_key *mine = user;
	const bool rsa = EVP_PKEY_get_base_id(mine->key) == EVP_PKEY_RSA;
	if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO)
		return rsa ? GNUTLS_PK_RSA : GNUTLS_PK_EC;
	if (flags & GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS)
		return EVP_PKEY_get_bits(mine->key);
	if (flags & GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO) {
		const gnutls_sign_algorithm_t algorithm = GNUTLS_FLAGS_TO_SIGN_ALGO(flags);
		const gnutls_pk_algorithm_t pk = gnutls_sign_get_pk_algorithm(algorithm);
		if (mine->signer)
			return algorithm == GNUTLS_SIGN_ECDSA_SHA256 || algorithm == GNUTLS_SIGN_ECDSA_SECP256R1_SHA256;
		return digest_of(algorithm) && (rsa ? pk == GNUTLS_PK_RSA || is_pss(algorithm) : pk == GNUTLS_PK_EC);
	}
	return -1;
}

static void on_deinit(gnutls_privkey_t key, void *user)
{
	(void)key;
	struct handshake_key *mine = user;
	EVP_PKEY_free(mine->key);
	rpc_signer_unref(mine->signer);
	free(mine);
}

static gnutls_privkey_t privkey_new(const struct rpc_web_tls *tls)
{
	gnutls_privkey_t made;
	if (gnutls_privkey_init(&made) != 0)
		return NULL;
	struct handshake_key *mine = xcalloc(1, sizeof(*mine));
	*mine = (struct handshake_key){tls->key, tls->signer ? rpc_signer_ref(tls->signer) : NULL};
	EVP_PKEY_up_ref(tls->key);
	if (gnutls_privkey_import_ext4(made, mine, NULL, on_sign, NULL, on_deinit, on_info, 0) == 0)
		return made;
	on_deinit(NULL, mine);
	gnutls_privkey_deinit(made);
	return NULL;
}

/* ---- GnuTLS' callback ---- */

static int chain_new(const char *pem, gnutls_pcert_st **ret, unsigned *ret_n)
{
	gnutls_datum_t text = {.data = (unsigned char *)pem, .size = (unsigned)strlen(pem)};
	unsigned n = CHAIN_MAX;
	gnutls_pcert_st *chain = gnutls_calloc(CHAIN_MAX, sizeof(*chain));
	int rc =
	    chain ? gnutls_pcert_list_import_x509_raw(chain, &n, &text, GNUTLS_X509_FMT_PEM, 0) : GNUTLS_E_MEMORY_ERROR;
	if (rc != 0) {
		gnutls_free(chain);
		return rc;
	}
	*ret = chain;
	*ret_n = n;
	return 0;
}

int rpc_web_tls_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **certs,
                         unsigned *n_certs, gnutls_ocsp_data_st **ocsp, unsigned *n_ocsp, gnutls_privkey_t *privkey,
                         unsigned *flags)
{
	(void)info;
	struct MHD_Connection *connection = gnutls_session_get_ptr(session); /* MHD sets it */
	const union MHD_ConnectionInfo *context =
	    connection ? MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT) : NULL;
	const struct web_connection *socket = context ? context->socket_context : NULL;
	if (!socket)
		return -1;
	struct rpc_web_tls *tls = socket->web->tls;
	struct err err = {0};
	pthread_mutex_lock(&tls->lock);
	if (reload_locked(tls, &err) != ERR_OK)
		log_event(LOG_DEBUG, "the changed TLS files are not used", "error", err.text, NULL);
	*ocsp = NULL;
	*n_ocsp = 0;
	*privkey = tls->key ? privkey_new(tls) : NULL;
	int rc = *privkey ? chain_new(tls->pem.certificate, certs, n_certs) : -1;
	pthread_mutex_unlock(&tls->lock);
	if (rc != 0 && *privkey)
		gnutls_privkey_deinit(*privkey);
	*flags = GNUTLS_CERT_RETR_DEINIT_ALL;
	return rc;
}

/* ---- who is there ---- */

struct rpc_identity *rpc_web_tls_identity(struct rpc_web_tls *tls, struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	unsigned n = 0;
	const gnutls_datum_t *peers = info ? gnutls_certificate_get_peers(info->tls_session, &n) : NULL;
	if (!peers || n == 0 || n > CHAIN_MAX)
		return NULL;
	struct span chain[CHAIN_MAX];
	for (unsigned i = 0; i < n; i++)
		chain[i] = span_of(peers[i].data, peers[i].size);
	pthread_mutex_lock(&tls->lock);
	struct rpc_identity *identity = tls->pem.ca ? rpc_certificate_identity(chain, n, tls->pem.ca) : NULL;
	pthread_mutex_unlock(&tls->lock);
	return identity;
}
