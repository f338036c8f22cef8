/* The two threads of the log: the committer writes, the preparer makes the next segment file ahead of need. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit/log.h"

enum { LOOK_MS = 1000 }; /* how often an idle committer looks whether its files are still there */

void *audit_log_preparer(void *user)
{
	struct audit_log *log = user;
	pthread_mutex_lock(&log->lock);
	while (!log->preparer_stop) {
		struct err err = {0};
		if (log->next == AUDIT_NEXT_READY) {
			pthread_cond_wait(&log->preparing, &log->lock);
			continue;
		}
		pthread_mutex_unlock(&log->lock);
		enum err_code code = audit_segment_prepare(log->directory, log->segment_bytes, log->io, &err);
		pthread_mutex_lock(&log->lock);
		log->next = code == ERR_OK ? AUDIT_NEXT_READY : AUDIT_NEXT_FAILED;
		log->next_failure = err;
		pthread_cond_broadcast(&log->preparing);
		struct timespec deadline = audit_deadline(log->retry_ms);
		if (code != ERR_OK && !log->preparer_stop)
			pthread_cond_timedwait(&log->preparing, &log->lock, &deadline);
	}
	pthread_mutex_unlock(&log->lock);
	return NULL;
}

static enum err_code await_next(struct audit_log *log, struct err *err)
{
	enum err_code code = ERR_OK;
	pthread_mutex_lock(&log->lock);
	while (log->next == AUDIT_NEXT_WANTED)
		pthread_cond_wait(&log->preparing, &log->lock);
	if (log->next == AUDIT_NEXT_FAILED)
		code = err_set(err, ERR_UNAVAILABLE, log->next_failure.native, "the next segment: %s", log->next_failure.text);
	pthread_mutex_unlock(&log->lock);
	return code;
}

/* Goes on in log/next; what is queued begins there. */
static enum err_code switch_segment(struct audit_log *log, struct err *err)
{
	int fd = -1;
	enum err_code code = await_next(log, err);
	if (code != ERR_OK)
		return code;
	struct audit_header header = {
	    .segment = log->header.segment + 1,
	    .first_index = atomic_load(&log->committed),
	    .created_ms = clock_now_ms(log->clock),
	    .last_ms = log->written_ms,
	};
	memcpy(header.chain, log->chain, sizeof(header.chain));
	code = audit_segment_activate(log->directory, &header, log->io, &fd, err);
	pthread_mutex_lock(&log->lock);
	log->next = AUDIT_NEXT_WANTED;
	if (code == ERR_OK)
		audit_segments_add(&log->segments, &header);
	pthread_cond_broadcast(&log->preparing);
	pthread_mutex_unlock(&log->lock);
	if (code != ERR_OK)
		return code;
	close(log->fd);
	free(log->path);
	log->fd = fd;
	log->path = audit_segment_path(log->directory, header.segment);
	log->header = header;
	log->offset = log->written_end = AUDIT_HEADER_BYTES;
	return ERR_OK;
}

static enum err_code check_files(struct audit_log *log, struct err *err)
{
	autofree char *lock = xasprintf("%s/lock", log->directory);
	enum err_code code = audit_file_check(log->path, log->fd, err);
	if (code == ERR_OK)
		code = audit_file_check(lock, log->lock_fd, err);
	return code;
}

/* One write and one flush. On success the place, the chain and the time have moved on. */
static enum err_code write_batch(struct audit_log *log, struct audit_batch *batch, struct err *err)
{
	uint8_t chain[AUDIT_CHAIN_BYTES];
	struct span bytes = buf_span(&batch->frames);
	enum err_code code = check_files(log, err);
	if (code == ERR_OK && log->offset + bytes.len > log->header.bytes)
		code = switch_segment(log, err);
	if (code != ERR_OK)
		return code;
	memcpy(chain, log->chain, sizeof(chain));
	audit_batch_seal(batch, &log->header, log->offset, log->hasher, chain);
	if (log->written_end < log->offset + bytes.len)
		log->written_end = log->offset + bytes.len;
	code = audit_write_all(log->io, log->fd, bytes, log->offset, err);
	if (code == ERR_OK && log->io->sync(log->fd) != 0)
		code = err_set(err, ERR_UNAVAILABLE, errno, "flushing the log: %s", strerror(errno));
	if (code != ERR_OK)
		return code;
	memcpy(log->chain, chain, sizeof(chain));
	log->offset += bytes.len;
	log->written_ms = batch->last_ms;
	return ERR_OK;
}

/* Nobody is told of a success any more; new commits are refused until the log is verified. */
static void fail_locked(struct audit_log *log, const struct err *err)
{
	log->failed = true;
	log->failure = *err;
	for (struct audit_batch *batch = log->head; batch; batch = batch->next)
		audit_batch_settle(batch, AUDIT_BATCH_FAILED);
}

static void take_locked(struct audit_log *log)
{
	log->writing = log->head;
	log->head = log->writing->next;
	if (!log->head)
		log->tail = NULL;
}

static void put_back_locked(struct audit_log *log)
{
	log->writing->next = log->head;
	log->head = log->writing;
	if (!log->tail)
		log->tail = log->writing;
	log->writing = NULL;
}

/* Writes the first batch of the queue; the lock is dropped meanwhile. On failure the batch is first in the queue again:
 * its records have their indexes, so they are written as soon as the log can be. */
static enum err_code commit_one_locked(struct audit_log *log, struct err *err)
{
	take_locked(log);
	struct audit_batch *batch = log->writing;
	pthread_mutex_unlock(&log->lock);
	enum err_code code = write_batch(log, batch, err);
	pthread_mutex_lock(&log->lock);
	if (code != ERR_OK) {
		put_back_locked(log);
		return code;
	}
	log->writing = NULL;
	log->queued_bytes -= batch->frames.len;
	memcpy(log->committed_chain, log->chain, sizeof(log->committed_chain));
	if (atomic_fetch_add(&log->committed, batch->n) + batch->n >= log->follow_at) {
		log->follow_at = UINT64_MAX;
		pthread_cond_broadcast(&log->progress);
	}
	pthread_mutex_unlock(&log->lock);
	if (atomic_load(&batch->state) == AUDIT_BATCH_OPEN)
		audit_batch_settle(batch, AUDIT_BATCH_DURABLE);
	audit_batch_unref(batch);
	pthread_mutex_lock(&log->lock);
	return ERR_OK;
}

static void commit(struct audit_log *log)
{
	struct err err = {0};
	if (commit_one_locked(log, &err) != ERR_OK)
		fail_locked(log, &err);
}

/* A moment later: are the files there, does the log verify, can what was queued be written? Only then is anything new
 * taken. */
static void recover(struct audit_log *log)
{
	struct err err = {0};
	struct timespec deadline = audit_deadline(log->retry_ms);
	while (!log->stopping && pthread_cond_timedwait(&log->work, &log->lock, &deadline) == 0)
		;
	if (log->stopping)
		return;
	pthread_mutex_unlock(&log->lock);
	enum err_code code = check_files(log, &err);
	if (code == ERR_OK)
		code = audit_log_verify_tail(log, &err);
	pthread_mutex_lock(&log->lock);
	while (code == ERR_OK && log->head)
		code = commit_one_locked(log, &err);
	log->failed = code != ERR_OK;
	if (code != ERR_OK)
		log->failure = err;
}

static void look(struct audit_log *log)
{
	struct err err = {0};
	struct timespec deadline = audit_deadline(LOOK_MS);
	if (pthread_cond_timedwait(&log->work, &log->lock, &deadline) != ETIMEDOUT)
		return;
	pthread_mutex_unlock(&log->lock);
	enum err_code code = check_files(log, &err);
	pthread_mutex_lock(&log->lock);
	if (code != ERR_OK)
		fail_locked(log, &err);
}

void *audit_log_committer(void *user)
{
	struct audit_log *log = user;
	pthread_mutex_lock(&log->lock);
	while (!log->stopping || (log->head && !log->failed)) {
		if (log->failed)
			recover(log);
		else if (log->head)
			commit(log);
		else
			look(log);
	}
	pthread_mutex_unlock(&log->lock);
	return NULL;
}
