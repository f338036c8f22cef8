/* Holder proofs that have been taken: each counts once, for as long as its time would let it count again. Memory of a
 * fixed size; when it is full nothing is taken, since what is forgotten could be replayed. In memory of this process,
 * so that a proof made before the process started counts as taken. Thread-safe. */
#ifndef TWOKEY_SERVER_PROOF_CACHE_H
#define TWOKEY_SERVER_PROOF_CACHE_H

#include "common/reason.h"
#include "common/span.h"
#include "transaction/transaction.h"

struct proof_cache;

/* Room for so many proofs in two minutes. now_ms: the start. */
struct proof_cache *proof_cache_new(size_t capacity, int64_t now_ms);
void proof_cache_free(struct proof_cache *cache); /* accepts NULL */

/* Takes a proof that holds. `address`: the bytes of the client's network, whose proofs are counted together.
 * HOLDER_PROOF_INVALID: taken before, or older than can be known; FLOOD_LIMIT: half of the room is used, and this
 * address has had its share (a sixteenth); OVERLOADED: there is no room. */
must_check enum reason proof_cache_take(struct proof_cache *cache, const struct transaction_proof *proof,
                                        struct span address, int64_t now_ms, struct err *detail);

#endif
