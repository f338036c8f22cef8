/* A TLS key in a PKCS#11 token, through OpenSSL's pkcs11 engine, which is the only way that the core offers. */
#ifndef TWOKEY_RPC_TOKEN_KEY_H
#define TWOKEY_RPC_TOKEN_KEY_H

#include "rpc/rpc.h"

bool rpc_token_key_is(const char *key); /* "pkcs11:..." */
/* The core's name of the key, and the module made known to the engine. ERR_INVALID: no module or PIN source, or a PIN
 * in the URI (the engine would print it). */
must_check enum err_code rpc_token_key_name(const struct rpc_tls *tls, char **ret, struct err *err);
/* When the core loads such a key, it makes the engine OpenSSL's default for everything, after which making EC keys
 * fails in the whole process. This takes the engine out again; connections go on using the key. */
void rpc_token_key_tidy(void);

#endif
