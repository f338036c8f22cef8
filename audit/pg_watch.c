/* The watcher of a process: looks what the others have appended, and sweeps what may be forgotten. */
#include "audit/pg.h"

enum { SWEEP_MS = 30000 };

/* A kept connection may have been broken: a fresh one tells whether the server is there. */
static enum err_code ask(struct audit_pg *pg, struct audit_pg_conn *conn, struct audit_pg_call *call, struct err *err)
{
	bool kept = conn->pq != NULL;
	if (kept && audit_pg_run(conn, call, 1, err) == ERR_OK)
		return ERR_OK;
	audit_pg_calls_done(call, 1);
	enum err_code code = audit_pg_connect(&pg->settings, conn, err);
	return code == ERR_OK ? audit_pg_run(conn, call, 1, err) : code;
}

static enum err_code look(struct audit_pg *pg, struct audit_pg_conn *conn, struct err *err)
{
	struct audit_pg_head seen, head;
	pthread_mutex_lock(&pg->lock);
	seen = pg->view;
	pthread_mutex_unlock(&pg->lock);
	int64_t asked_us = clock_monotonic_us();
	struct audit_pg_call call = {.sql = AUDIT_PG_SELECT_HEAD};
	enum err_code code = ask(pg, conn, &call, err);
	if (code == ERR_OK)
		code = audit_pg_head_of(pg, call.result, &head, err);
	if (code == ERR_OK)
		code = audit_pg_adopt(pg, &seen, &head, err);
	audit_pg_calls_done(&call, 1);
	pthread_mutex_lock(&pg->lock);
	pg->watch_failed = code != ERR_OK;
	if (code == ERR_OK)
		pg->looked_us = asked_us;
	else
		pg->watch_failure = *err;
	pthread_mutex_unlock(&pg->lock);
	return code;
}

/* Uses that would be EXPIRED by now anyway, and processes of long ago. */
static void sweep(struct audit_pg_conn *conn)
{
	struct audit_pg_call calls[] = {
	    {.sql = "DELETE FROM use WHERE (id, n) IN "
	            "(SELECT id, n FROM use WHERE forget_ms < (SELECT time_ms FROM head) LIMIT 10000)"},
	    {.sql = "DELETE FROM writer WHERE seen < now() - interval '7 days'"},
	};
	if (audit_pg_run(conn, calls, 2, NULL) == ERR_OK)
		audit_pg_calls_done(calls, 2);
}

void *audit_pg_watcher(void *user)
{
	struct audit_pg *pg = user;
	struct audit_pg_conn conn = {0};
	int64_t swept_us = clock_monotonic_us();
	pthread_mutex_lock(&pg->lock);
	while (!pg->following_stop) {
		struct err err = {0};
		pthread_mutex_unlock(&pg->lock);
		enum err_code code = look(pg, &conn, &err);
		if (code == ERR_OK && clock_monotonic_us() - swept_us > (int64_t)SWEEP_MS * 1000) {
			sweep(&conn);
			swept_us = clock_monotonic_us();
		}
		pthread_mutex_lock(&pg->lock);
		struct timespec deadline = audit_deadline(code == ERR_OK ? AUDIT_PG_LOOK_MS : pg->retry_ms);
		while (!pg->following_stop && pthread_cond_timedwait(&pg->looking, &pg->lock, &deadline) == 0)
			;
	}
	pthread_mutex_unlock(&pg->lock);
	audit_pg_close(&conn);
	return NULL;
}
