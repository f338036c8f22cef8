/* Client certificates where no core verifies them. Thread-safe. */
#ifndef TWOKEY_RPC_CERTIFICATE_H
#define TWOKEY_RPC_CERTIFICATE_H

#include "rpc/internal.h"

/* Verifies a chain of DER certificates, leaf first, for a TLS client, against the authorities in a PEM text, and tells
 * whom the leaf names. NULL when it does not hold; rpc_identity_free. */
struct rpc_identity *rpc_certificate_identity(const struct span *chain, size_t n, const char *authorities);

#endif
