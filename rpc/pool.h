/* Threads for handlers: as many as are busy at once, up to a cap, kept for the next call. Thread-safe. */
#ifndef TWOKEY_RPC_POOL_H
#define TWOKEY_RPC_POOL_H

#include <stdbool.h>

struct rpc_pool;
struct rpc_call;

/* At most `threads` calls run at once and `backlog` more wait; `run` is given one call after another. */
struct rpc_pool *rpc_pool_new(unsigned threads, unsigned backlog, void (*run)(struct rpc_call *call));
/* Never blocks for long. False when the pool is full: the call is still the caller's. */
bool rpc_pool_submit(struct rpc_pool *pool, struct rpc_call *call);
/* Once per call, from its thread, before the client can learn that the call has ended: its thread is as good as free.
 * Otherwise a client that never has more than the cap outstanding would be refused now and then. */
void rpc_pool_ending(struct rpc_pool *pool);
/* Runs what waits, joins all threads, frees. Accepts NULL. */
void rpc_pool_free(struct rpc_pool *pool);

#endif
