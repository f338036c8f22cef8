/* The committer of a process: takes what is queued, and makes one transaction of it. */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/pg.h"
#include "audit/record.h"

enum { PAUSE_MS = 20 }; /* between attempts at a batch that may yet succeed */

static enum err_code unavailable_locked(const struct audit_pg *pg, struct err *err)
{
	const struct err *failure = pg->lost ? &pg->loss : pg->commit_failed ? &pg->commit_failure : &pg->watch_failure;
	return err_set(err, ERR_UNAVAILABLE, failure->native, "the ledger cannot be written: %s", failure->text);
}

/* ---- who waits ---- */

static struct audit_pg_entry *entry_new(const struct audit_append *append)
{
	struct audit_pg_entry *entry = xcalloc(1, sizeof(*entry));
	entry->rest.max = AUDIT_RECORD_MAX;
	entry->asked.grants = audit_record_grants(append->record);
	entry->asked.known = append->known;
	if (append->use) {
		entry->use = *append->use;
		entry->asked.use = &entry->use;
	}
	entry->changes_state = audit_record_changes_state(append->record);
	entry->begun_us = clock_monotonic_us();
	entry->refs = 1;
	audit_cond_init(&entry->done);
	return entry;
}

static void entry_unref_locked(struct audit_pg_entry *entry)
{
	if (--entry->refs)
		return;
	pthread_cond_destroy(&entry->done);
	buf_done(&entry->rest);
	free(entry);
}

static enum err_code enqueue_locked(struct audit_pg *pg, struct audit_pg_entry *entry, struct err *err)
{
	if (pg->lost || pg->commit_failed || pg->watch_failed)
		return unavailable_locked(pg, err);
	if (pg->stopping)
		return err_set(err, ERR_UNAVAILABLE, 0, "the record is being closed");
	if (pg->queued_bytes + entry->rest.len > AUDIT_QUEUE_MAX)
		return err_set(err, ERR_UNAVAILABLE, 0, "the database is too slow: too much is waiting to be written");
	entry->refs++;
	if (pg->last)
		pg->last->next = entry;
	else
		pg->first = entry;
	pg->last = entry;
	pg->queued_bytes += entry->rest.len;
	pthread_cond_signal(&pg->work);
	return ERR_OK;
}

static enum err_code await_locked(struct audit_pg *pg, struct audit_pg_entry *entry, struct audit_verdict *ret,
                                  struct err *err)
{
	struct timespec deadline = audit_deadline(pg->commit_timeout_ms);
	while (!entry->settled)
		if (pthread_cond_timedwait(&entry->done, &pg->lock, &deadline) != 0)
			break;
	if (!entry->settled)
		return err_set(err, ERR_UNAVAILABLE, 0, "the record was not durable within %u ms; it may still become so",
		               pg->commit_timeout_ms);
	if (entry->code != ERR_OK)
		return err_set(err, entry->code, entry->err.native, "%s", entry->err.text);
	*ret = entry->verdict;
	return ERR_OK;
}

enum err_code audit_pg_append(struct audit_ledger *ledger, const struct audit_append *append, struct audit_verdict *ret,
                              struct err *err)
{
	struct audit_pg *pg = audit_pg_of(ledger);
	struct audit_pg_entry *entry = entry_new(append);
	enum err_code code = audit_record_encode(append->record, append->use, &entry->rest, err);
	pthread_mutex_lock(&pg->lock);
	if (code == ERR_OK)
		code = enqueue_locked(pg, entry, err);
	if (code == ERR_OK)
		code = await_locked(pg, entry, ret, err);
	entry_unref_locked(entry);
	pthread_mutex_unlock(&pg->lock);
	return code;
}

/* ---- who writes ---- */

/* What nobody waits for any more is left out. */
static void take_locked(struct audit_pg *pg, struct audit_pg_batch *batch)
{
	size_t bytes = 0;
	while (pg->first && batch->n < AUDIT_PG_BATCH_MAX && bytes < AUDIT_BATCH_MAX) {
		struct audit_pg_entry *entry = pg->first;
		pg->first = entry->next;
		if (!pg->first)
			pg->last = NULL;
		pg->queued_bytes -= entry->rest.len;
		bytes += entry->rest.len;
		if (entry->refs > 1)
			batch->entries[batch->n++] = entry;
		else
			entry_unref_locked(entry);
	}
}

static void settle_locked(struct audit_pg_batch *batch, const struct err *failure)
{
	for (size_t i = 0; i < batch->n; i++) {
		struct audit_pg_entry *entry = batch->entries[i];
		if (failure) {
			entry->code = ERR_UNAVAILABLE;
			entry->err = *failure;
		}
		entry->settled = true;
		pthread_cond_signal(&entry->done);
		entry_unref_locked(entry);
	}
	batch->n = 0;
}

/* All who wait are answered; nothing is taken until a transaction has gone through. */
static void fail_locked(struct audit_pg *pg, struct audit_pg_batch *batch, const struct err *err)
{
	struct err answer;
	pg->commit_failed = true;
	pg->commit_failure = *err;
	unavailable_locked(pg, &answer);
	settle_locked(batch, &answer);
	while (pg->first) {
		take_locked(pg, batch);
		settle_locked(batch, &answer);
	}
}

static void pause_locked(struct audit_pg *pg, unsigned ms)
{
	struct timespec deadline = audit_deadline(ms);
	while (!pg->stopping && pthread_cond_timedwait(&pg->work, &pg->lock, &deadline) == 0)
		;
}

static int64_t give_up_us(const struct audit_pg *pg, const struct audit_pg_batch *batch)
{
	return batch->entries[0]->begun_us + (int64_t)pg->commit_timeout_ms * 1000;
}

/* As long as somebody waits, and the server can be reached: a rollback, a failover, a broken connection pass. */
static enum err_code write_batch_locked(struct audit_pg *pg, struct audit_pg_batch *batch, struct err *err)
{
	enum err_code code;
	pg->batch++;
	for (;;) {
		bool connected = pg->conn.pq != NULL;
		pthread_mutex_unlock(&pg->lock);
		code = audit_pg_batch_try(pg, batch, err);
		pthread_mutex_lock(&pg->lock);
		/* A kept connection may have died long ago; a fresh one that fails says that the server is not there. */
		bool fresh_failed = code != ERR_OK && !connected && !batch->in_doubt && err->native == 0;
		if (code == ERR_OK || !audit_pg_passing(err) || fresh_failed || clock_monotonic_us() >= give_up_us(pg, batch))
			return code;
		pause_locked(pg, PAUSE_MS);
	}
}

static void commit_locked(struct audit_pg *pg, struct audit_pg_batch *batch)
{
	struct err err = {0};
	batch->n = 0;
	batch->in_doubt = false;
	take_locked(pg, batch);
	if (!batch->n)
		return;
	pg->writing_since_us = batch->entries[0]->begun_us;
	enum err_code code = write_batch_locked(pg, batch, &err);
	pg->writing_since_us = 0;
	if (code == ERR_OK)
		settle_locked(batch, NULL);
	else
		fail_locked(pg, batch, &err);
}

/* A transaction of nothing: can it be written again? */
static void recover_locked(struct audit_pg *pg, struct audit_pg_batch *batch)
{
	struct err err = {0};
	pause_locked(pg, pg->retry_ms);
	if (pg->stopping)
		return;
	batch->n = 0;
	batch->in_doubt = false;
	pg->batch++;
	pthread_mutex_unlock(&pg->lock);
	enum err_code code = audit_pg_batch_try(pg, batch, &err);
	pthread_mutex_lock(&pg->lock);
	pg->commit_failed = code != ERR_OK;
	if (code != ERR_OK)
		pg->commit_failure = err;
}

void *audit_pg_committer(void *user)
{
	struct audit_pg *pg = user;
	struct audit_pg_batch *batch = xcalloc(1, sizeof(*batch));
	pthread_mutex_lock(&pg->lock);
	while (!pg->stopping || (pg->first && !pg->commit_failed)) {
		if (pg->commit_failed)
			recover_locked(pg, batch);
		else if (pg->first)
			commit_locked(pg, batch);
		else
			pthread_cond_wait(&pg->work, &pg->lock);
	}
	pthread_mutex_unlock(&pg->lock);
	audit_pg_close(&pg->conn);
	free(batch);
	return NULL;
}
