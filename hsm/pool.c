/* The sessions: one per operation in flight, never more than the limit, closed after any error. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "hsm/internal.h"

void hsm_pool_init(struct hsm_pool *pool, unsigned limit, unsigned timeout_ms)
{
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->freed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&pool->lock, NULL);
	pool->limit = limit;
	pool->timeout_ms = timeout_ms;
}

void hsm_pool_done(struct hsm_pool *pool)
{
	pthread_cond_destroy(&pool->freed);
	pthread_mutex_destroy(&pool->lock);
}

enum err_code hsm_session_new(struct hsm *hsm, struct hsm_session **ret, struct err *err)
{
	struct hsm_session *session = xcalloc(1, sizeof *session);
	session->hsm = hsm;
	if (hsm_call_open_session(session) != CKR_OK) {
		enum err_code code = hsm_session_fail(session, err);
		free(session);
		return code;
	}
	*ret = session;
	return ERR_OK;
}

void hsm_session_free(struct hsm_session *session)
{
	if (session)
		hsm_call_close_session(session);
	free(session);
}

static struct timespec deadline_after(unsigned ms)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/* An idle session, or leave to open one (*ret = NULL). False when the deadline passed. `full`: the token has no more
 * sessions to give, so only one of ours that becomes idle will do. */
static bool reserve(struct hsm_pool *pool, bool full, const struct timespec *deadline, struct hsm_session **ret)
{
	pthread_mutex_lock(&pool->lock);
	int rc = 0;
	while (!pool->idle && (pool->open >= pool->limit || (full && pool->open > 0)) && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&pool->freed, &pool->lock, deadline);
	*ret = pool->idle;
	bool ok = true;
	if (pool->idle)
		pool->idle = pool->idle->next;
	else if (rc == ETIMEDOUT)
		ok = false;
	else
		pool->open++;
	pthread_mutex_unlock(&pool->lock);
	return ok;
}

static void release(struct hsm_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->open--;
	pthread_cond_signal(&pool->freed);
	pthread_mutex_unlock(&pool->lock);
}

static bool others_open(struct hsm_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	bool others = pool->open > 0;
	pthread_mutex_unlock(&pool->lock);
	return others;
}

enum err_code hsm_pool_take(struct hsm *hsm, struct hsm_session **ret, struct err *err)
{
	struct timespec deadline = deadline_after(hsm->pool.timeout_ms);
	for (bool full = false;; full = true) {
		struct hsm_session *session = NULL;
		if (!reserve(&hsm->pool, full, &deadline, &session))
			return err_set(err, ERR_UNAVAILABLE, 0, "no session became free within %u ms", hsm->pool.timeout_ms);
		if (session) {
			*ret = session;
			return ERR_OK;
		}
		struct err detail = {0};
		enum err_code code = hsm_session_new(hsm, ret, &detail);
		if (code == ERR_OK)
			return ERR_OK;
		release(&hsm->pool);
		if (detail.native != (long)CKR_SESSION_COUNT || full || !others_open(&hsm->pool))
			return err_set(err, code, detail.native, "%s", detail.text);
	}
}

void hsm_pool_give_back(struct hsm_session *session)
{
	struct hsm_pool *pool = &session->hsm->pool;
	if (session->rv != CKR_OK) {
		hsm_session_free(session);
		release(pool);
		return;
	}
	pthread_mutex_lock(&pool->lock);
	session->next = pool->idle;
	pool->idle = session;
	pthread_cond_signal(&pool->freed);
	pthread_mutex_unlock(&pool->lock);
}

void hsm_pool_drop_idle(struct hsm *hsm)
{
	struct hsm_pool *pool = &hsm->pool;
	pthread_mutex_lock(&pool->lock);
	struct hsm_session *session = pool->idle;
	pool->idle = NULL;
	pthread_mutex_unlock(&pool->lock);
	while (session) {
		struct hsm_session *next = session->next;
		hsm_session_free(session);
		release(pool);
		session = next;
	}
}

unsigned hsm_sessions_open(struct hsm *hsm)
{
	pthread_mutex_lock(&hsm->pool.lock);
	unsigned open = hsm->pool.open + 1; /* and the one that holds the login */
	pthread_mutex_unlock(&hsm->pool.lock);
	return open;
}
