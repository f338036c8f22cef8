/* Signatures by a key outside this process, in bounded time. Those who ask are the core's pollers, which everything
 * else needs as well: they must not be kept by a token that hangs. Thread-safe. */
#ifndef TWOKEY_RPC_SIGNER_H
#define TWOKEY_RPC_SIGNER_H

#include "rpc/rpc.h"

struct rpc_signer;
/* ERR_INVALID: the key is not EC P-256. Copies what it is given but for what `user` points to. The caller's is the
 * first reference. */
must_check enum err_code rpc_signer_new(const struct rpc_token_key *key, struct rpc_signer **ret, struct err *err);
/* No more signatures; waits for those that run. The struct lives on for those who have a reference. */
void rpc_signer_close(struct rpc_signer *signer);
struct rpc_signer *rpc_signer_ref(struct rpc_signer *signer);
void rpc_signer_unref(struct rpc_signer *signer); /* accepts NULL */

/* Waits for at most 3 s, and not at all while another signature takes longer than that. False: no signature. */
bool rpc_signer_sign(struct rpc_signer *signer, const uint8_t digest[32], struct buf *sig);
/* SubjectPublicKeyInfo (DER); borrowed. */
struct span rpc_signer_spki(const struct rpc_signer *signer);

#endif
