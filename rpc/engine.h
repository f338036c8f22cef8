/* A TLS key that this process does not have. The core knows one way to use such a key: an OpenSSL ENGINE, which it is
 * told by name. This is one of our own, which does nothing but hand each handshake's digest to a signer; unlike the
 * pkcs11 engine it takes over nothing else in the process. Thread-safe. */
#ifndef TWOKEY_RPC_ENGINE_H
#define TWOKEY_RPC_ENGINE_H

#include "rpc/signer.h"

/* What to give the core in place of a PEM key ("engine:twokey:1"); takes a reference until rpc_engine_remove, which
 * also frees the name. ERR_UNAVAILABLE: OpenSSL has no ENGINEs here. */
must_check enum err_code rpc_engine_add(struct rpc_signer *signer, char **ret_name, struct err *err);
void rpc_engine_remove(char *name); /* accepts NULL */

#endif
