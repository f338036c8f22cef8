/* The append-only log: queue, committer, health, single-use state. Thread-safe, except where a field or function says
 * whose it is. */
#ifndef TWOKEY_AUDIT_LOG_H
#define TWOKEY_AUDIT_LOG_H

#include <pthread.h>
#include <time.h>

#include "audit/batch.h"
#include "audit/segment.h"
#include "audit/uses.h"
#include "audit/walk.h"

enum audit_next {
	AUDIT_NEXT_WANTED, /* the preparer shall make log/next */
	AUDIT_NEXT_READY,
	AUDIT_NEXT_FAILED, /* and will try again */
};

struct audit_log {
	/* Set at open, then only read. */
	char *directory;
	uint64_t segment_bytes;
	size_t batch_max;
	unsigned commit_timeout_ms;
	unsigned retry_ms;
	const struct clock *clock;
	const struct audit_io *io;
	int lock_fd;

	pthread_mutex_t lock;
	pthread_cond_t work;      /* something for the committer */
	pthread_cond_t preparing; /* something for the preparer, or its answer */
	pthread_cond_t progress;  /* `committed` grew, or stopping */
	pthread_t committer, preparer;
	bool committer_runs, preparer_runs;

	/* Under the lock. */
	struct audit_batch *head, *tail; /* the queue */
	struct audit_batch *writing;     /* taken off the queue by the committer */
	size_t queued_bytes;
	uint64_t next_index;
	int64_t last_ms; /* time of the last record that was given an index */
	struct audit_uses *uses;
	struct audit_segments segments;
	bool stopping, preparer_stop, following_stop;
	bool failed; /* nothing is taken until the log has been verified */
	struct err failure;
	enum audit_next next;
	struct err next_failure;

	uint64_t follow_at; /* `progress` is signalled from this count on */

	_Atomic(uint64_t) committed;                /* records that are durable; grows under the lock */
	uint8_t committed_chain[AUDIT_CHAIN_BYTES]; /* after them; under the lock */

	/* The committer's, after open. */
	int fd;
	char *path;
	struct audit_header header; /* of the segment being written */
	uint64_t offset;            /* where the next frame goes */
	uint64_t written_end;       /* up to where anything may have been written */
	uint8_t chain[AUDIT_CHAIN_BYTES];
	int64_t written_ms; /* time of the last durable record */
	struct audit_hasher *hasher;
};

/* Takes the directory's lock, verifies and repairs, rebuilds the single-use state; no thread runs yet. *ret_torn: bytes
 * of a torn write that were erased. */
must_check enum err_code audit_log_open(const struct audit_options *options, const struct audit_tuning *tuning,
                                        struct audit_log **ret, uint64_t *ret_torn, struct err *err);
/* Starts committer and preparer. */
must_check enum err_code audit_log_start(struct audit_log *log, struct err *err);
/* Commits what is queued and stops the threads; whoever follows is woken and told to stop. */
void audit_log_stop(struct audit_log *log);
void audit_log_free(struct audit_log *log);

must_check enum err_code audit_log_append(struct audit_log *log, const Twokey__V1__Record *record,
                                          const struct audit_use *use, struct audit_commit *ret, struct err *err);
enum reason audit_log_use_state(struct audit_log *log, const struct audit_use *use);
must_check enum err_code audit_log_check(struct audit_log *log, struct err *err);
uint64_t audit_log_committed(struct audit_log *log);
/* Waits until at least `count` records are durable, or `timeout_ms` passed. False: stop following. One thread only. */
bool audit_log_follow(struct audit_log *log, uint64_t count, unsigned timeout_ms);
/* The segment that has a durable record; false beyond the end. */
bool audit_log_segment_of(struct audit_log *log, uint64_t index, uint64_t *ret_segment);
/* Keeps the segment open between reads; zeroed to begin with. One thread at a time. */
struct audit_reader {
	struct audit_walk walk;
	bool open;
};
/* Appends one record, found by its place when that is known (offset not 0) and right, else by reading its segment from
 * the start. */
must_check enum err_code audit_log_read(struct audit_log *log, struct audit_reader *reader, uint64_t index,
                                        struct audit_place place, struct buf *out, struct err *err);
void audit_reader_done(struct audit_reader *reader);

/* replay.c: see audit_replay and audit_position, _at, _of. */
must_check enum err_code audit_log_replay(struct audit_log *log, Twokey__V1__Event event,
                                          struct audit_position *position,
                                          bool (*each)(uint64_t index, struct span record, void *user), void *user,
                                          struct err *err);
void audit_log_position(struct audit_log *log, struct audit_position *ret);
void audit_log_position_at(struct audit_log *log, int64_t time_ms, struct audit_position *ret);
must_check enum err_code audit_log_position_of(struct audit_log *log, uint64_t next, struct audit_position *ret,
                                               struct err *err);

/* A moment from now, on the clock of the log's conditions. */
struct timespec audit_log_deadline(unsigned ms);
/* log_commit.c: the threads. */
void *audit_log_committer(void *log);
void *audit_log_preparer(void *log);
/* log_verify.c: reads the segment being written from the disk again, up to the last durable record, erases what is
 * behind, and goes on with a fresh descriptor. Called by the committer. */
must_check enum err_code audit_log_verify_tail(struct audit_log *log, struct err *err);

#endif
