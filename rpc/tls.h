/* TLS: PEM files, checked before the core sees them, and the server's credentials, which follow changed files. */
#ifndef TWOKEY_RPC_TLS_H
#define TWOKEY_RPC_TLS_H

#include <grpc/grpc_security.h>

#include "rpc/rpc.h"

/* What TLS needs, as NUL-terminated PEM; `key` may also be the name of an engine's (engine.h). */
struct rpc_pem {
	char *certificate;
	char *key;
	char *ca;
};

/* Reads the files that are named (NULL: left out) and checks them: they parse, and the key belongs to the certificate.
 * ERR_INVALID says which file and why. */
must_check enum err_code rpc_pem_load(const struct rpc_tls *tls, struct rpc_pem *ret, struct err *err);
void rpc_pem_done(struct rpc_pem *pem); /* wipes the key */

struct rpc_tls_server;
/* Loads everything once, so that mistakes show before the port is bound. */
must_check enum err_code rpc_tls_server_new(const struct rpc_tls *tls, struct rpc_tls_server **ret, struct err *err);
/* Credentials for one listener; the caller releases them. Must not outlive the struct. */
grpc_server_credentials *rpc_tls_server_credentials(struct rpc_tls_server *tls);
void rpc_tls_server_free(struct rpc_tls_server *tls); /* accepts NULL */

#endif
