#include "audit/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "audit/record.h"
#include "audit/snapshot.h"

static enum err_code start_thread(pthread_t *thread, void *(*body)(void *), void *user, bool *ret_runs, struct err *err)
{
	int rc = pthread_create(thread, NULL, body, user);
	if (rc != 0)
		return err_set(err, ERR_UNAVAILABLE, rc, "starting a thread: %s", strerror(rc));
	*ret_runs = true;
	return ERR_OK;
}

enum err_code audit_log_start(struct audit_log *log, struct err *err)
{
	enum err_code code = start_thread(&log->preparer, audit_log_preparer, log, &log->preparer_runs, err);
	if (code == ERR_OK)
		code = start_thread(&log->committer, audit_log_committer, log, &log->committer_runs, err);
	return code;
}

/* The committer goes first: what is queued may still need the preparer. */
static void log_stop(struct audit_ledger *ledger)
{
	struct audit_log *log = audit_log_of(ledger);
	pthread_mutex_lock(&log->lock);
	log->stopping = true;
	pthread_cond_broadcast(&log->work);
	pthread_mutex_unlock(&log->lock);
	if (log->committer_runs)
		pthread_join(log->committer, NULL);
	pthread_mutex_lock(&log->lock);
	log->preparer_stop = log->following_stop = true;
	pthread_cond_broadcast(&log->preparing);
	pthread_cond_broadcast(&log->progress);
	pthread_mutex_unlock(&log->lock);
	if (log->preparer_runs)
		pthread_join(log->preparer, NULL);
	log->committer_runs = log->preparer_runs = false;
}

void audit_log_free(struct audit_ledger *ledger)
{
	struct audit_log *log = audit_log_of(ledger);
	for (struct audit_batch *batch = log->head, *next; batch; batch = next) {
		next = batch->next;
		audit_batch_unref(batch);
	}
	if (log->fd >= 0)
		close(log->fd);
	if (log->lock_fd >= 0)
		close(log->lock_fd);
	pthread_cond_destroy(&log->progress);
	pthread_cond_destroy(&log->preparing);
	pthread_cond_destroy(&log->work);
	pthread_mutex_destroy(&log->lock);
	pthread_mutex_destroy(&log->publishing);
	audit_segments_done(&log->segments);
	audit_uses_free(log->uses);
	audit_transfers_free(log->transfers);
	audit_hasher_free(log->hasher);
	free(log->path);
	free(log->directory);
	free(log);
}

static enum err_code unavailable_locked(const struct audit_log *log, struct err *err)
{
	return err_set(err, ERR_UNAVAILABLE, log->failure.native, "the log cannot be written: %s", log->failure.text);
}

/* The batch that a record of that size goes to. */
static struct audit_batch *open_batch_locked(struct audit_log *log, size_t frame_bytes)
{
	bool fits = log->tail && atomic_load(&log->tail->state) == AUDIT_BATCH_OPEN &&
	            log->tail->frames.len + frame_bytes <= log->batch_max;
	if (!fits) {
		struct audit_batch *batch = audit_batch_new();
		if (log->tail)
			log->tail->next = batch;
		else
			log->head = batch;
		log->tail = batch;
	}
	return log->tail;
}

static enum err_code check_room_locked(struct audit_log *log, size_t frame_bytes, struct err *err)
{
	if (log->failed)
		return unavailable_locked(log, err);
	if (log->stopping)
		return err_set(err, ERR_UNAVAILABLE, 0, "the record is being closed");
	if (log->queued_bytes + frame_bytes > AUDIT_QUEUE_MAX)
		return err_set(err, ERR_UNAVAILABLE, 0, "the disk is too slow: too much is waiting to be written");
	return ERR_OK;
}

/* Decides, and gives the record its place in the order of all: one step under the lock. */
static enum err_code enqueue_locked(struct audit_log *log, const struct audit_append *append, struct span rest,
                                    struct audit_verdict *ret, struct audit_batch **ret_batch, struct err *err)
{
	const struct audit_moment moment = {
	    .now_ms = clock_now_ms(log->clock), .last_ms = log->last_ms, .changed = log->changed, .index = log->next_index};
	const struct audit_asked asked = {
	    .grants = audit_record_grants(append->record), .use = append->use, .known = append->known};
	int64_t time_ms = audit_moment_time(&moment);
	uint8_t prefix[AUDIT_PREFIX_MAX];
	size_t prefix_len = audit_record_prefix(log->next_index, time_ms, prefix);
	size_t frame_bytes = audit_frame_bytes((uint32_t)(prefix_len + rest.len));
	enum err_code code = check_room_locked(log, frame_bytes, err);
	if (code == ERR_OK)
		code = audit_decide(&asked, &moment, log->uses, ret, err);
	if (code != ERR_OK || ret->stale || ret->commit.refusal != REASON_NONE)
		return code;
	struct audit_batch *batch = open_batch_locked(log, frame_bytes);
	audit_batch_add(batch, span_of(prefix, prefix_len), rest);
	batch->last_ms = time_ms;
	log->queued_bytes += frame_bytes;
	log->last_ms = time_ms;
	audit_transfers_see(log->transfers, log->next_index, append->record, rest);
	ret->commit.index = log->next_index++;
	ret->commit.time_ms = time_ms;
	if (audit_record_changes_state(append->record))
		log->changed = log->next_index;
	*ret_batch = audit_batch_ref(batch);
	pthread_cond_signal(&log->work);
	return ERR_OK;
}

static enum err_code await(struct audit_log *log, struct audit_batch *batch, struct err *err)
{
	enum audit_batch_state state = audit_batch_wait(batch, log->commit_timeout_ms);
	audit_batch_unref(batch);
	if (state == AUDIT_BATCH_DURABLE)
		return ERR_OK;
	if (state == AUDIT_BATCH_OPEN)
		return err_set(err, ERR_UNAVAILABLE, 0, "the record was not durable within %u ms; it may still become so",
		               log->commit_timeout_ms);
	pthread_mutex_lock(&log->lock);
	unavailable_locked(log, err);
	pthread_mutex_unlock(&log->lock);
	return ERR_UNAVAILABLE;
}

static enum reason log_use_state(struct audit_ledger *ledger, const struct audit_use *use)
{
	struct audit_log *log = audit_log_of(ledger);
	int64_t now_ms = clock_now_ms(log->clock);
	pthread_mutex_lock(&log->lock);
	enum reason reason = audit_uses_judge(log->uses, use, now_ms > log->last_ms ? now_ms : log->last_ms);
	pthread_mutex_unlock(&log->lock);
	return reason;
}

static enum err_code log_append(struct audit_ledger *ledger, const struct audit_append *append,
                                struct audit_verdict *ret, struct err *err)
{
	struct audit_log *log = audit_log_of(ledger);
	autobuf struct buf rest = {.max = AUDIT_RECORD_MAX};
	struct audit_batch *batch = NULL;
	struct audit_verdict verdict = {0};
	enum err_code code = audit_record_encode(append->record, append->use, &rest, err);
	if (code != ERR_OK)
		return code;
	pthread_mutex_lock(&log->lock);
	code = enqueue_locked(log, append, buf_span(&rest), &verdict, &batch, err);
	pthread_mutex_unlock(&log->lock);
	if (batch)
		code = await(log, batch, err);
	if (code == ERR_OK)
		*ret = verdict;
	return code;
}

static enum err_code log_check(struct audit_ledger *ledger, struct err *err)
{
	struct audit_log *log = audit_log_of(ledger);
	enum err_code code = ERR_OK;
	pthread_mutex_lock(&log->lock);
	const struct audit_batch *oldest = log->writing ? log->writing : log->head;
	if (log->failed)
		code = unavailable_locked(log, err);
	else if (oldest && clock_monotonic_us() - oldest->begun_us > (int64_t)log->commit_timeout_ms * 1000)
		code =
		    err_set(err, ERR_UNAVAILABLE, 0, "a write to the log has not ended within %u ms", log->commit_timeout_ms);
	pthread_mutex_unlock(&log->lock);
	return code;
}

static void log_state(struct audit_ledger *ledger, struct audit_state *ret)
{
	struct audit_log *log = audit_log_of(ledger);
	pthread_mutex_lock(&log->lock);
	ret->end.next = atomic_load(&log->committed);
	memcpy(ret->end.chain, log->committed_chain, sizeof ret->end.chain);
	ret->changed = log->changed;
	pthread_mutex_unlock(&log->lock);
	ret->looked_us = clock_monotonic_us();
}

static bool log_follow(struct audit_ledger *ledger, uint64_t count, unsigned timeout_ms)
{
	struct audit_log *log = audit_log_of(ledger);
	struct timespec deadline = audit_deadline(timeout_ms);
	pthread_mutex_lock(&log->lock);
	while (!log->following_stop && atomic_load(&log->committed) < count) {
		if (count < log->follow_at)
			log->follow_at = count;
		if (pthread_cond_timedwait(&log->progress, &log->lock, &deadline) != 0)
			break;
	}
	bool go_on = !log->following_stop;
	pthread_mutex_unlock(&log->lock);
	return go_on;
}

bool audit_log_segment_of(struct audit_log *log, uint64_t index, uint64_t *ret_segment)
{
	pthread_mutex_lock(&log->lock);
	bool found = index < atomic_load(&log->committed);
	size_t low = 0, high = log->segments.n;
	while (found && high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (log->segments.items[middle].first_index <= index)
			low = middle;
		else
			high = middle;
	}
	*ret_segment = low;
	pthread_mutex_unlock(&log->lock);
	return found;
}

static struct audit_transfer *log_transfers(struct audit_ledger *ledger, size_t *ret_n)
{
	struct audit_log *log = audit_log_of(ledger);
	pthread_mutex_lock(&log->lock);
	struct audit_transfer *list = audit_transfers_list(log->transfers, ret_n);
	pthread_mutex_unlock(&log->lock);
	return list;
}

static enum err_code log_tend(struct audit_ledger *ledger, struct err *err)
{
	return audit_snapshot_tend(audit_log_of(ledger), err);
}

static void log_last(struct audit_ledger *ledger, struct audit_last *ret)
{
	*ret = audit_log_of(ledger)->last;
}

const struct audit_ledger_kind audit_log_kind = {
    .stop = log_stop,
    .free = audit_log_free,
    .append = log_append,
    .use_state = log_use_state,
    .check = log_check,
    .state = log_state,
    .position_at = audit_log_position_at,
    .position_of = audit_log_position_of,
    .follow = log_follow,
    .read = audit_log_read,
    .reader_free = audit_log_reader_free,
    .stream_open = audit_log_stream_open,
    .stream_next = audit_log_stream_next,
    .stream_close = audit_log_stream_close,
    .published = audit_log_published,
    .publish = audit_log_publish,
    .transfers = log_transfers,
    .tend = log_tend,
    .last = log_last,
};
