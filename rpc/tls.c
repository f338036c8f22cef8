#include "rpc/tls.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/log.h"
#include "rpc/engine.h"

struct rpc_tls_server {
	struct rpc_tls files; /* our copies */
	struct rpc_token_key token_key;
	struct rpc_signer *signer; /* of a key in a token, else NULL */
	char *engine_key;          /* its name for the core */
	pthread_mutex_t lock;
	bool given; /* the listener has its first configuration */
	struct rpc_tls_stamp stamps[RPC_TLS_FILES];
};

void rpc_tls_stamps_take(const struct rpc_tls *files, struct rpc_tls_stamp stamps[RPC_TLS_FILES])
{
	const char *const paths[RPC_TLS_FILES] = {files->certificate, files->key, files->client_ca};
	memset(stamps, 0, RPC_TLS_FILES * sizeof(stamps[0]));
	for (int i = 0; i < RPC_TLS_FILES; i++) {
		struct stat st;
		if (!paths[i] || stat(paths[i], &st) != 0)
			continue;
		stamps[i].changed = st.st_ctim;
		stamps[i].inode = st.st_ino;
		stamps[i].size = st.st_size;
	}
}

static grpc_ssl_server_certificate_config *load(const struct rpc_tls_server *tls)
{
	struct rpc_pem pem;
	struct err err = {0};
	if (rpc_pem_load(&tls->files, &pem, &err) != ERR_OK) {
		log_event(LOG_DEBUG, "the changed TLS files are not used", "error", err.text, NULL);
		return NULL;
	}
	grpc_ssl_pem_key_cert_pair pair = {.private_key = tls->signer ? tls->engine_key : pem.key,
	                                   .cert_chain = pem.certificate};
	/* Without roots the core aborts the process; nobody is asked for a certificate when these are the server's own. */
	grpc_ssl_server_certificate_config *config =
	    grpc_ssl_server_certificate_config_create(pem.ca ? pem.ca : pem.certificate, &pair, 1);
	rpc_pem_done(&pem);
	return config;
}

/* The core asks at every new connection, so this is a few stat calls as a rule. Files that do not fit together (one is
 * replaced before the other) leave the old ones in use until they change again. */
static grpc_ssl_certificate_config_reload_status fetch(void *user, grpc_ssl_server_certificate_config **config)
{
	struct rpc_tls_server *tls = user;
	struct rpc_tls_stamp now[RPC_TLS_FILES];
	pthread_mutex_lock(&tls->lock);
	rpc_tls_stamps_take(&tls->files, now);
	grpc_ssl_server_certificate_config *fresh = NULL;
	if (!tls->given || memcmp(now, tls->stamps, sizeof(now)) != 0) {
		memcpy(tls->stamps, now, sizeof(now));
		fresh = load(tls);
	}
	bool given = tls->given;
	tls->given = given || fresh;
	pthread_mutex_unlock(&tls->lock);
	if (fresh) {
		*config = fresh;
		return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
	}
	return given ? GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED : GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
}

static const char *copy(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static enum err_code signer_start(struct rpc_tls_server *tls, const struct rpc_token_key *key, struct err *err)
{
	enum err_code code = rpc_signer_new(key, &tls->signer, err);
	if (code == ERR_OK)
		code = rpc_engine_add(tls->signer, &tls->engine_key, err);
	if (code != ERR_OK)
		return code;
	tls->token_key = *key;
	tls->token_key.spki = rpc_signer_spki(tls->signer);
	tls->files.token_key = &tls->token_key;
	return ERR_OK;
}

enum err_code rpc_tls_server_new(const struct rpc_tls *files, struct rpc_tls_server **ret, struct err *err)
{
	if (!files->certificate)
		return err_set(err, ERR_INVALID, 0, "TLS: no certificate");
	struct rpc_pem pem;
	enum err_code code = rpc_pem_load(files, &pem, err);
	if (code != ERR_OK)
		return code;
	rpc_pem_done(&pem);
	struct rpc_tls_server *tls = xcalloc(1, sizeof(*tls));
	pthread_mutex_init(&tls->lock, NULL);
	tls->files = (struct rpc_tls){
	    .certificate = copy(files->certificate), .key = copy(files->key), .client_ca = copy(files->client_ca)};
	if (files->token_key)
		code = signer_start(tls, files->token_key, err);
	if (code != ERR_OK) {
		rpc_tls_server_free(tls);
		return code;
	}
	*ret = tls;
	return ERR_OK;
}

grpc_server_credentials *rpc_tls_server_credentials(struct rpc_tls_server *tls)
{
	tls->given = false;
	grpc_ssl_client_certificate_request_type request = tls->files.client_ca
	                                                       ? GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY
	                                                       : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE;
	return grpc_ssl_server_credentials_create_with_options(
	    grpc_ssl_server_credentials_create_options_using_config_fetcher(request, fetch, tls));
}

void rpc_tls_server_free(struct rpc_tls_server *tls)
{
	if (!tls)
		return;
	free((char *)tls->files.certificate);
	free((char *)tls->files.key);
	free((char *)tls->files.client_ca);
	if (tls->signer)
		rpc_signer_close(tls->signer);
	rpc_engine_remove(tls->engine_key);
	rpc_signer_unref(tls->signer);
	pthread_mutex_destroy(&tls->lock);
	free(tls);
}
