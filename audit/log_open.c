/* Opening: the lock, the segments, the torn tail, the single-use state. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit/index.h"
#include "audit/log.h"
#include "audit/record.h"
#include "audit/snapshot.h"
#include "common/clock.h"

static struct audit_log *log_new(const struct audit_options *options, const struct audit_tuning *tuning)
{
	struct audit_log *log = xcalloc(1, sizeof(*log));
	log->ledger.kind = &audit_log_kind;
	log->directory = xstrdup(options->directory);
	log->segment_bytes = options->segment_bytes ? options->segment_bytes : AUDIT_SEGMENT_DEFAULT;
	log->commit_timeout_ms = options->commit_timeout_ms ? options->commit_timeout_ms : AUDIT_COMMIT_TIMEOUT_MS;
	log->clock = options->clock;
	log->io = tuning && tuning->io ? tuning->io : &audit_io_system;
	log->retry_ms = audit_retry_ms(tuning);
	log->lock_fd = log->fd = -1;
	log->follow_at = UINT64_MAX;
	log->uses = audit_uses_new();
	log->transfers = audit_transfers_new();
	log->voucher = options->voucher;
	log->snapshot_due = tuning && tuning->snapshot_records ? tuning->snapshot_records : AUDIT_SNAPSHOT_RECORDS;
	log->snapshot_us = clock_monotonic_us();
	log->hasher = audit_hasher_new();
	pthread_mutex_init(&log->lock, NULL);
	pthread_mutex_init(&log->publishing, NULL);
	audit_cond_init(&log->work);
	audit_cond_init(&log->preparing);
	audit_cond_init(&log->progress);
	return log;
}

/* The first segment whose records can still matter, by the time at which its successor began. */
static size_t first_to_replay(const struct audit_segments *segments)
{
	size_t first = segments->n - 1;
	int64_t last_ms = segments->items[first].last_ms;
	while (first > 0 && segments->items[first].last_ms >= last_ms - AUDIT_REPLAY_MS)
		first--;
	return first;
}

/* What a replay begins from, and has found of it. */
struct start {
	const struct audit_snapshot *snapshot; /* NULL: none */
	bool begin_held, end_held;
};

static bool at_position(const struct audit_walk *walk, const struct audit_position *position)
{
	return walk->index == position->next && memcmp(walk->chain, position->chain, sizeof(walk->chain)) == 0;
}

static void look_at_place(struct start *start, const struct audit_walk *walk)
{
	if (!start->snapshot)
		return;
	start->begin_held |= at_position(walk, &start->snapshot->begin);
	start->end_held |= at_position(walk, &start->snapshot->end);
}

static enum err_code replay_record(struct audit_log *log, uint64_t index, struct span bytes, struct err *err)
{
	struct audit_use use;
	Twokey__V1__Record *record = audit_record_decode(bytes);
	if (!record)
		return err_set(err, ERR_CORRUPT, 0, "a record does not parse");
	log->last_ms = audit_record_time_ms(record);
	log->last = (struct audit_last){index, log->last_ms, record->event};
	if (audit_record_use(record, &use))
		audit_uses_restore(log->uses, &use, index);
	audit_transfers_see(log->transfers, index, record, bytes);
	twokey__v1__record__free_unpacked(record, NULL);
	return ERR_OK;
}

/* Records that a snapshot covers are checked, and no more; the last of all tells the time. */
static enum err_code replay_segment(struct audit_log *log, struct audit_walk *walk, struct start *start,
                                    struct err *err)
{
	struct span record;
	enum err_code code = ERR_OK;
	look_at_place(start, walk);
	while (code == ERR_OK && audit_walk_next(walk, &record, NULL) == AUDIT_WALK_RECORD) {
		look_at_place(start, walk);
		if (start->snapshot && walk->index <= start->snapshot->begin_read)
			continue;
		code = replay_record(log, walk->index - 1, record, err);
		if (code != ERR_OK)
			err_prefix(err, "segment %" PRIu64 " offset %" PRIu64 " index %" PRIu64, walk->header.segment,
			           walk->last_offset, walk->index - 1);
	}
	return code;
}

/* The records in it are all that the last process wrote; what a crash left half-written was acknowledged to nobody. */
static enum err_code settle_tail(struct audit_log *log, struct audit_walk *walk, uint64_t *ret_torn, struct err *err)
{
	struct audit_tail tail;
	struct audit_header header;
	enum err_code code = audit_tail_check(walk, &tail, err);
	if (code == ERR_OK)
		code = audit_segment_open(log->directory, walk->header.segment, true, &log->fd, &header, err);
	if (code != ERR_OK)
		return code;
	log->header = header;
	log->path = audit_segment_path(log->directory, header.segment);
	log->offset = log->written_end = walk->offset;
	log->written_ms = log->last_ms;
	memcpy(log->chain, walk->chain, sizeof(log->chain));
	memcpy(log->committed_chain, walk->chain, sizeof(log->committed_chain));
	atomic_store(&log->committed, walk->index);
	log->next_index = log->changed = walk->index;
	autofree uint8_t *zeros = xcalloc(1, tail.torn_bytes + 1);
	code = audit_write_all(log->io, log->fd, span_of(zeros, tail.torn_bytes), log->offset, err);
	/* Also when nothing was torn: what was read may so far be in the page cache only. */
	if (code == ERR_OK && log->io->sync(log->fd) != 0)
		code = err_set(err, ERR_UNAVAILABLE, errno, "flushing the log: %s", strerror(errno));
	*ret_torn = tail.torn_bytes;
	return code;
}

static enum err_code replay_from(struct audit_log *log, size_t first, struct start *start, uint64_t *ret_torn,
                                 struct err *err)
{
	enum err_code code = ERR_OK;
	for (size_t i = first; code == ERR_OK && i < log->segments.n; i++) {
		struct audit_walk walk;
		if (log->last_ms < log->segments.items[i].last_ms)
			log->last_ms = log->segments.items[i].last_ms;
		code = audit_walk_begin(&walk, log->directory, i, err);
		/* An earlier process may have left pages whose flush failed: what counts is on the disk. */
		if (code == ERR_OK && i + 1 == log->segments.n)
			posix_fadvise(walk.fd, 0, 0, POSIX_FADV_DONTNEED);
		if (code == ERR_OK)
			code = replay_segment(log, &walk, start, err);
		if (code == ERR_OK && i + 1 < log->segments.n)
			code = audit_seam_check(&walk, &log->segments.items[i + 1], err);
		else if (code == ERR_OK && start->snapshot && !(start->begin_held && start->end_held))
			code = err_set(err, ERR_PRECONDITION, 0, "the snapshot is of another log");
		else if (code == ERR_OK)
			code = settle_tail(log, &walk, ret_torn, err);
		audit_walk_done(&walk);
	}
	return code;
}

static void forget_state(struct audit_log *log)
{
	audit_uses_free(log->uses);
	audit_transfers_free(log->transfers);
	log->uses = audit_uses_new();
	log->transfers = audit_transfers_new();
	log->last_ms = 0;
}

/* The segment whose records include the last one that the snapshot covers: it tells the time, and what it was. */
static size_t first_behind(const struct audit_segments *segments, uint64_t next)
{
	size_t first = segments->n - 1;
	while (first > 0 && segments->items[first].first_index >= next)
		first--;
	return first;
}

/* From the snapshot, when there is one that counts; else from the last records that can still matter. */
static enum err_code replay(struct audit_log *log, uint64_t *ret_torn, struct err *err)
{
	struct audit_snapshot snapshot;
	struct start start = {.snapshot = &snapshot};
	enum err_code code = audit_snapshot_read(log, &snapshot, NULL);
	if (code == ERR_OK) {
		/* One record before it is read too: if nothing is behind, it is the last. */
		snapshot.begin_read = snapshot.begin.next ? snapshot.begin.next - 1 : 0;
		log->last_ms = snapshot.last_ms;
		code = replay_from(log, first_behind(&log->segments, snapshot.begin.next), &start, ret_torn, err);
		log->snapshot_next = snapshot.begin.next;
		if (code != ERR_PRECONDITION)
			return code;
	}
	forget_state(log);
	log->snapshot_next = 0;
	start = (struct start){0};
	return replay_from(log, first_to_replay(&log->segments), &start, ret_torn, err);
}

static enum err_code begin_first(struct audit_log *log, struct err *err)
{
	struct audit_header header = {.created_ms = clock_now_ms(log->clock)};
	enum err_code code = audit_segment_prepare(log->directory, log->segment_bytes, log->io, err);
	if (code == ERR_OK)
		code = audit_segment_activate(log->directory, &header, log->io, &log->fd, err);
	if (code != ERR_OK)
		return code;
	audit_segments_add(&log->segments, &header);
	log->header = header;
	log->path = audit_segment_path(log->directory, 0);
	log->offset = log->written_end = AUDIT_HEADER_BYTES;
	return ERR_OK;
}

static enum err_code check_options(const struct audit_log *log, struct err *err)
{
	if (log->segment_bytes < AUDIT_SEGMENT_MIN || log->segment_bytes > AUDIT_SEGMENT_MAX)
		return err_set(err, ERR_INVALID, 0, "segment_bytes must be between 64 KiB and 1 GiB");
	return ERR_OK;
}

enum err_code audit_log_open(const struct audit_options *options, const struct audit_tuning *tuning,
                             struct audit_log **ret, uint64_t *ret_torn, struct err *err)
{
	struct audit_log *log = log_new(options, tuning);
	*ret_torn = 0;
	enum err_code code = check_options(log, err);
	if (code == ERR_OK)
		code = audit_directory_make(log->directory, err);
	if (code == ERR_OK)
		code = audit_directory_lock(log->directory, &log->lock_fd, err);
	if (code == ERR_OK)
		code = audit_segment_list(log->directory, &log->segments, err);
	if (code == ERR_OK)
		audit_segment_discard_next(log->directory);
	if (code == ERR_OK)
		code = log->segments.n ? replay(log, ret_torn, err) : ERR_OK;
	if (code == ERR_OK)
		code = audit_index_check_not_ahead(log->directory, atomic_load(&log->committed), err);
	if (code == ERR_OK && !log->segments.n)
		code = begin_first(log, err);
	if (code != ERR_OK) {
		audit_log_free(&log->ledger);
		return code;
	}
	log->batch_max = log->segment_bytes - AUDIT_HEADER_BYTES;
	if (log->batch_max > AUDIT_BATCH_MAX)
		log->batch_max = AUDIT_BATCH_MAX;
	*ret = log;
	return ERR_OK;
}
