/* The append-only log: queue, committer, health, single-use state. Thread-safe, except where a field or function says
 * whose it is. */
#ifndef TWOKEY_AUDIT_LOG_H
#define TWOKEY_AUDIT_LOG_H

#include <pthread.h>
#include <time.h>

#include "audit/batch.h"
#include "audit/ledger.h"
#include "audit/segment.h"
#include "audit/transfers.h"
#include "audit/uses.h"
#include "audit/walk.h"

enum audit_next {
	AUDIT_NEXT_WANTED, /* the preparer shall make log/next */
	AUDIT_NEXT_READY,
	AUDIT_NEXT_FAILED, /* and will try again */
};

struct audit_log {
	struct audit_ledger ledger;

	/* Set at open, then only read. */
	char *directory;
	uint64_t segment_bytes;
	size_t batch_max;
	unsigned commit_timeout_ms;
	unsigned retry_ms;
	const struct clock *clock;
	const struct audit_io *io;
	int lock_fd;

	struct audit_voucher voucher;
	struct audit_last last; /* the record that was last at the start */

	/* Of the thread that calls audit_tend. */
	uint64_t snapshot_due;  /* records behind the last that make another one due */
	uint64_t snapshot_next; /* records before the last snapshot */
	int64_t snapshot_us;    /* when, monotonic */

	pthread_mutex_t publishing; /* the file `checkpoint` */
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
	int64_t last_ms;  /* time of the last record that was given an index */
	uint64_t changed; /* no record from this index on changes what decisions are made on */
	struct audit_uses *uses;
	struct audit_transfers *transfers;
	struct audit_segments segments;
	bool stopping, preparer_stop, following_stop;
	bool failed; /* nothing is taken until the log has been verified */
	struct err failure;
	enum audit_next next;
	struct err next_failure;

	uint64_t follow_at; /* `progress` is signalled when this count is reached: the least that anybody waits for */

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
/* log.c: what the log does as a ledger (audit/ledger.h). */
extern const struct audit_ledger_kind audit_log_kind;
static inline struct audit_log *audit_log_of(struct audit_ledger *ledger)
{
	return (struct audit_log *)(void *)ledger;
}
void audit_log_free(struct audit_ledger *ledger);
/* The segment that has a durable record; false beyond the end. */
bool audit_log_segment_of(struct audit_log *log, uint64_t index, uint64_t *ret_segment);
/* log_read.c */
enum err_code audit_log_read(struct audit_ledger *ledger, struct audit_reader **reader, uint64_t index,
                             struct audit_place place, struct buf *out, struct err *err);
void audit_log_reader_free(struct audit_reader *reader);
/* log_stream.c */
enum err_code audit_log_position_at(struct audit_ledger *ledger, int64_t time_ms, struct audit_position *ret,
                                    struct err *err);
enum err_code audit_log_position_of(struct audit_ledger *ledger, uint64_t next, struct audit_position *ret,
                                    struct err *err);
enum err_code audit_log_stream_open(struct audit_ledger *ledger, const struct audit_position *from,
                                    struct audit_stream **ret, struct err *err);
enum audit_step audit_log_stream_next(struct audit_stream *stream, struct audit_entry *ret, struct err *err);
void audit_log_stream_close(struct audit_stream *stream);
/* log_published.c: the note is the file `checkpoint`. */
enum err_code audit_log_published(struct audit_ledger *ledger, struct audit_published *ret, struct err *err);
enum err_code audit_log_publish(struct audit_ledger *ledger, const struct audit_published *last,
                                const struct audit_published *next, struct err *err);

/* log_commit.c: the threads. */
void *audit_log_committer(void *log);
void *audit_log_preparer(void *log);
/* log_verify.c: reads the segment being written from the disk again, up to the last durable record, erases what is
 * behind, and goes on with a fresh descriptor. Called by the committer. */
must_check enum err_code audit_log_verify_tail(struct audit_log *log, struct err *err);

#endif
