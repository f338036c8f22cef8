/* TLS: PEM files, checked before the core sees them, and the server's credentials, which follow changed files. */
#ifndef TWOKEY_RPC_TLS_H
#define TWOKEY_RPC_TLS_H

#include <sys/stat.h>
#include <time.h>

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

/* Tells replaced files from those that were loaded; a zeroed array fits none. */
#define RPC_TLS_FILES 3
struct rpc_tls_stamp {
	struct timespec changed;
	ino_t inode;
	off_t size;
};
void rpc_tls_stamps_take(const struct rpc_tls *files, struct rpc_tls_stamp stamps[RPC_TLS_FILES]);

struct rpc_tls_server;
/* Loads everything once, so that mistakes show before the port is bound. */
must_check enum err_code rpc_tls_server_new(const struct rpc_tls *tls, struct rpc_tls_server **ret, struct err *err);
/* Credentials for one listener; the caller releases them. Must not outlive the struct. */
grpc_server_credentials *rpc_tls_server_credentials(struct rpc_tls_server *tls);
void rpc_tls_server_free(struct rpc_tls_server *tls); /* accepts NULL */

#endif
