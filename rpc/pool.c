#include "rpc/pool.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/span.h"
#include "rpc/internal.h"

/* Handlers call into PKCS#11 modules and crypto libraries; memory is only used where the stack is touched. */
#define STACK_BYTES ((size_t)1 << 20)

struct rpc_pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	void (*run)(struct rpc_call *call);
	struct rpc_call *first, **last;
	unsigned waiting; /* calls in the list */
	unsigned idle;    /* threads that wait for one, or have just been started */
	unsigned ending;  /* threads whose call has ended but for the clean-up */
	unsigned backlog;
	unsigned n_threads, max_threads;
	bool stopping;
	pthread_t threads[];
};

struct rpc_pool *rpc_pool_new(unsigned threads, unsigned backlog, void (*run)(struct rpc_call *call))
{
	struct rpc_pool *pool = xcalloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	pool->run = run;
	pool->last = &pool->first;
	pool->backlog = backlog;
	pool->max_threads = threads;
	return pool;
}

static struct rpc_call *take_locked(struct rpc_pool *pool)
{
	while (!pool->first && !pool->stopping) {
		pool->idle++;
		pthread_cond_wait(&pool->wake, &pool->lock);
		pool->idle--;
	}
	struct rpc_call *call = pool->first;
	if (!call)
		return NULL;
	pool->first = call->next;
	if (!pool->first)
		pool->last = &pool->first;
	pool->waiting--;
	call->next = NULL;
	return call;
}

static void *worker(void *user)
{
	struct rpc_pool *pool = user;
	pthread_mutex_lock(&pool->lock);
	pool->idle--;
	for (;;) {
		struct rpc_call *call = take_locked(pool);
		if (!call)
			break;
		pthread_mutex_unlock(&pool->lock);
		pool->run(call);
		pthread_mutex_lock(&pool->lock);
		pool->ending--;
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static bool spawn_locked(struct rpc_pool *pool)
{
	if (pool->n_threads == pool->max_threads)
		return false;
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	bool ok = pthread_create(&pool->threads[pool->n_threads], &attributes, worker, pool) == 0;
	pthread_attr_destroy(&attributes);
	if (ok) {
		pool->n_threads++;
		pool->idle++;
	}
	return ok;
}

bool rpc_pool_submit(struct rpc_pool *pool, struct rpc_call *call)
{
	pthread_mutex_lock(&pool->lock);
	unsigned soon = pool->idle + pool->ending + (pool->n_threads > 0 ? pool->backlog : 0);
	bool room = pool->waiting < pool->idle || spawn_locked(pool) || pool->waiting < soon;
	if (room) {
		call->next = NULL;
		*pool->last = call;
		pool->last = &call->next;
		pool->waiting++;
		pthread_cond_signal(&pool->wake);
	}
	pthread_mutex_unlock(&pool->lock);
	return room;
}

void rpc_pool_ending(struct rpc_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->ending++;
	pthread_mutex_unlock(&pool->lock);
}

void rpc_pool_free(struct rpc_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->n_threads; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
