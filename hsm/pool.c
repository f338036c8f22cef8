/* The sessions: one per operation in flight, never more than the limit, closed after any error. */
#include <errno.h>
#include <stdlib.h>

#include "hsm/internal.h"

void hsm_pool_init(struct hsm_pool *pool, unsigned limit)
{
	hsm_cond_init(&pool->freed);
	pthread_mutex_init(&pool->lock, NULL);
	pool->limit = limit;
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

/* An idle session, or leave to open one (*ret = NULL). False when the deadline passed. `full`: the token has no more
 * sessions to give, so only one of ours that becomes idle will do. */
static bool reserve(struct hsm_pool *pool, bool full, int64_t deadline_us, struct hsm_session **ret)
{
	const struct timespec deadline = hsm_timespec(deadline_us);
	pthread_mutex_lock(&pool->lock);
	int rc = 0;
	while (!pool->idle && (pool->open >= pool->limit || (full && pool->open > 0)) && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&pool->freed, &pool->lock, &deadline);
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

static enum err_code open_one(struct hsm *hsm, struct hsm_session **ret, struct err *err)
{
	enum err_code code = hsm_keeper_admit(hsm, err);
	if (code == ERR_OK)
		code = hsm_session_new(hsm, ret, err);
	if (code != ERR_OK)
		release(&hsm->pool);
	return code;
}

enum err_code hsm_pool_take(struct hsm *hsm, int64_t deadline_us, struct hsm_session **ret, struct err *err)
{
	for (bool full = false;; full = true) {
		enum err_code code = hsm_keeper_admit(hsm, err);
		if (code != ERR_OK)
			return code;
		struct hsm_session *session = NULL;
		if (!reserve(&hsm->pool, full, deadline_us, &session))
			return err_set(err, ERR_UNAVAILABLE, 0, "no session became free within %u ms", hsm->timeout_ms);
		if (session) {
			*ret = session;
			return ERR_OK;
		}
		struct err detail = {0};
		code = open_one(hsm, ret, &detail);
		if (code == ERR_OK)
			return ERR_OK;
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
