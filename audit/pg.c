#include "audit/pg.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/random.h>

/* ---- what is known of the database ---- */

enum err_code audit_pg_head_of(const struct audit_pg *pg, const PGresult *result, struct audit_pg_head *ret,
                               struct err *err)
{
	struct span chain = audit_pg_get_bytes(result, 0, 1);
	if (PQntuples(result) != 1 || chain.len != sizeof(ret->chain))
		return err_set(err, ERR_CORRUPT, 0, "%s: table `head` is damaged", pg->settings.where);
	*ret = (struct audit_pg_head){
	    .next = (uint64_t)audit_pg_get_int8(result, 0, 0),
	    .last_ms = audit_pg_get_int8(result, 0, 2),
	    .changed = (uint64_t)audit_pg_get_int8(result, 0, 3),
	};
	memcpy(ret->chain, chain.ptr, chain.len);
	return ERR_OK;
}

enum err_code audit_pg_lose(struct audit_pg *pg, struct err *err)
{
	pthread_mutex_lock(&pg->lock);
	if (!pg->lost)
		err_set(&pg->loss, ERR_CORRUPT, 0,
		        "%s: it no longer has the records that it had committed (of %" PRIu64
		        "): restore it, or start again to accept the loss",
		        pg->settings.where, pg->view.next);
	pg->lost = true;
	err_set(err, ERR_CORRUPT, 0, "%s", pg->loss.text);
	pthread_mutex_unlock(&pg->lock);
	return ERR_CORRUPT;
}

enum err_code audit_pg_adopt(struct audit_pg *pg, const struct audit_pg_head *seen, const struct audit_pg_head *head,
                             struct err *err)
{
	if (seen && (head->next < seen->next ||
	             (head->next == seen->next && memcmp(head->chain, seen->chain, sizeof(head->chain)) != 0)))
		return audit_pg_lose(pg, err);
	pthread_mutex_lock(&pg->lock);
	if (head->next > pg->view.next) {
		pg->view = *head;
		pthread_cond_broadcast(&pg->progress);
	}
	pthread_mutex_unlock(&pg->lock);
	return ERR_OK;
}

static void pg_state(struct audit_ledger *ledger, struct audit_state *ret)
{
	struct audit_pg *pg = audit_pg_of(ledger);
	pthread_mutex_lock(&pg->lock);
	ret->end.next = pg->view.next;
	memcpy(ret->end.chain, pg->view.chain, sizeof(ret->end.chain));
	ret->changed = pg->view.changed;
	ret->looked_us = pg->looked_us;
	pthread_mutex_unlock(&pg->lock);
}

static bool pg_follow(struct audit_ledger *ledger, uint64_t count, unsigned timeout_ms)
{
	struct audit_pg *pg = audit_pg_of(ledger);
	struct timespec deadline = audit_deadline(timeout_ms);
	pthread_mutex_lock(&pg->lock);
	while (!pg->following_stop && pg->view.next < count)
		if (pthread_cond_timedwait(&pg->progress, &pg->lock, &deadline) != 0)
			break;
	bool go_on = !pg->following_stop;
	pthread_mutex_unlock(&pg->lock);
	return go_on;
}

static enum err_code pg_check(struct audit_ledger *ledger, struct err *err)
{
	struct audit_pg *pg = audit_pg_of(ledger);
	const struct err *failure = NULL;
	enum err_code code = ERR_OK;
	pthread_mutex_lock(&pg->lock);
	if (pg->lost)
		failure = &pg->loss;
	else if (pg->commit_failed)
		failure = &pg->commit_failure;
	else if (pg->watch_failed)
		failure = &pg->watch_failure;
	if (failure)
		code = err_set(err, ERR_UNAVAILABLE, failure->native, "%s", failure->text);
	else if (pg->writing_since_us &&
	         clock_monotonic_us() - pg->writing_since_us > (int64_t)pg->commit_timeout_ms * 1000)
		code = err_set(err, ERR_UNAVAILABLE, 0, "%s: a transaction has not ended within %u ms", pg->settings.where,
		               pg->commit_timeout_ms);
	pthread_mutex_unlock(&pg->lock);
	return code;
}

/* ---- life ---- */

static void pg_stop(struct audit_ledger *ledger)
{
	struct audit_pg *pg = audit_pg_of(ledger);
	pthread_mutex_lock(&pg->lock);
	pg->stopping = true;
	pthread_cond_broadcast(&pg->work);
	pthread_mutex_unlock(&pg->lock);
	if (pg->committer_runs)
		pthread_join(pg->committer, NULL);
	pthread_mutex_lock(&pg->lock);
	pg->following_stop = true;
	pthread_cond_broadcast(&pg->progress);
	pthread_cond_broadcast(&pg->looking);
	pthread_mutex_unlock(&pg->lock);
	if (pg->watcher_runs)
		pthread_join(pg->watcher, NULL);
	pg->committer_runs = pg->watcher_runs = false;
}

static void pg_free(struct audit_ledger *ledger)
{
	struct audit_pg *pg = audit_pg_of(ledger);
	while (pg->n_idle)
		audit_pg_close(&pg->idle[--pg->n_idle]);
	audit_pg_close(&pg->conn);
	pthread_cond_destroy(&pg->looking);
	pthread_cond_destroy(&pg->returned);
	pthread_cond_destroy(&pg->progress);
	pthread_cond_destroy(&pg->work);
	pthread_mutex_destroy(&pg->lock);
	audit_hasher_free(pg->hasher);
	audit_pg_settings_done(&pg->settings);
	free(pg);
}

static const struct audit_ledger_kind pg_kind = {
    .shared = true,
    .stop = pg_stop,
    .free = pg_free,
    .append = audit_pg_append,
    .use_state = audit_pg_use_state,
    .check = pg_check,
    .state = pg_state,
    .position_at = audit_pg_position_at,
    .position_of = audit_pg_position_of,
    .follow = pg_follow,
    .read = audit_pg_read,
    .reader_free = audit_pg_reader_free,
    .stream_open = audit_pg_stream_open,
    .stream_next = audit_pg_stream_next,
    .stream_close = audit_pg_stream_close,
    .published = audit_pg_published,
    .publish = audit_pg_publish,
};

static struct audit_pg *pg_new(const struct audit_options *options, const struct audit_tuning *tuning)
{
	struct audit_pg *pg = xcalloc(1, sizeof(*pg));
	pg->ledger.kind = &pg_kind;
	pg->clock = options->clock;
	pg->commit_timeout_ms = options->commit_timeout_ms ? options->commit_timeout_ms : AUDIT_COMMIT_TIMEOUT_MS;
	pg->retry_ms = audit_retry_ms(tuning);
	pg->hasher = audit_hasher_new();
	if (getrandom(pg->writer, sizeof(pg->writer), 0) != sizeof(pg->writer))
		abort();
	pthread_mutex_init(&pg->lock, NULL);
	audit_cond_init(&pg->work);
	audit_cond_init(&pg->progress);
	audit_cond_init(&pg->returned);
	audit_cond_init(&pg->looking);
	return pg;
}

static enum err_code first_look(struct audit_pg *pg, struct err *err)
{
	struct audit_pg_call call = {.sql = AUDIT_PG_SELECT_HEAD};
	pg->looked_us = clock_monotonic_us();
	enum err_code code = audit_pg_run(&pg->conn, &call, 1, err);
	if (code == ERR_OK)
		code = audit_pg_head_of(pg, call.result, &pg->view, err);
	audit_pg_calls_done(&call, 1);
	return code;
}

static enum err_code start_thread(struct audit_pg *pg, pthread_t *thread, void *(*body)(void *), bool *ret_runs,
                                  struct err *err)
{
	int rc = pthread_create(thread, NULL, body, pg);
	*ret_runs = rc == 0;
	return rc == 0 ? ERR_OK : err_set(err, ERR_UNAVAILABLE, rc, "starting a thread: %s", strerror(rc));
}

enum err_code audit_pg_open(const struct audit_options *options, const struct audit_tuning *tuning,
                            struct audit_ledger **ret, struct err *err)
{
	struct audit_pg *pg = pg_new(options, tuning);
	/* Two round trips that hang, and the waiters of a commit are still answered in time. */
	enum err_code code = audit_pg_settings_init(&options->postgresql, pg->commit_timeout_ms / 2, &pg->settings, err);
	if (code == ERR_OK)
		code = audit_pg_connect(&pg->settings, &pg->conn, err);
	if (code == ERR_OK)
		code = audit_pg_schema_settle(&pg->conn, err);
	if (code == ERR_OK)
		code = first_look(pg, err);
	if (code == ERR_OK)
		code = start_thread(pg, &pg->committer, audit_pg_committer, &pg->committer_runs, err);
	if (code == ERR_OK)
		code = start_thread(pg, &pg->watcher, audit_pg_watcher, &pg->watcher_runs, err);
	if (code != ERR_OK) {
		pg_stop(&pg->ledger);
		pg_free(&pg->ledger);
		return code;
	}
	*ret = &pg->ledger;
	return ERR_OK;
}
