/* PostgreSQL as the ledger of several processes at once (docs/LEDGER.md). One transaction per batch: it locks the
 * head's row, decides, spends uses, appends, and moves the head. Thread-safe, except where a field says whose it is. */
#ifndef TWOKEY_AUDIT_PG_H
#define TWOKEY_AUDIT_PG_H

#include "audit/frame.h"
#include "audit/ledger.h"
#include "audit/pg_conn.h"
#include "common/clock.h"

enum {
	AUDIT_PG_POOL = 8,       /* connections for reading */
	AUDIT_PG_LOOK_MS = 100,  /* how often a process looks what the others have appended */
	AUDIT_PG_BATCH_MAX = 512 /* records of one transaction */
};

/* One append on its way. Owned by the queue and by who waits; the last to let go frees. */
struct audit_pg_entry {
	struct audit_pg_entry *next;
	struct buf rest; /* the record behind index and time */
	struct audit_asked asked;
	struct audit_use use; /* what asked.use points to */
	bool changes_state;
	int64_t begun_us;

	/* Under the ledger's lock. */
	unsigned refs;
	bool settled;
	enum err_code code;
	struct err err;
	struct audit_verdict verdict;
	pthread_cond_t done;
};

struct audit_pg_head {
	uint64_t next, changed;
	int64_t last_ms;
	uint8_t chain[AUDIT_CHAIN_BYTES];
};

struct audit_pg {
	struct audit_ledger ledger;

	/* Set at open, then only read. */
	struct audit_pg_settings settings;
	const struct clock *clock;
	unsigned commit_timeout_ms, retry_ms;
	uint8_t writer[16]; /* this process, at random */
	pthread_t committer, watcher;
	bool committer_runs, watcher_runs;

	pthread_mutex_t lock;
	pthread_cond_t work;     /* something for the committer */
	pthread_cond_t progress; /* the view moved, or stopping */
	pthread_cond_t looking;  /* the watcher waits for its next look, or the end */
	pthread_cond_t returned; /* a connection came back to the pool */

	/* Under the lock. */
	struct audit_pg_entry *first, *last; /* the queue */
	size_t queued_bytes;
	int64_t writing_since_us; /* 0: nothing is being written */
	bool stopping, following_stop;
	struct audit_pg_head view; /* the head as last seen */
	int64_t looked_us;
	bool commit_failed, watch_failed, lost; /* lost: for good, the database has gone back */
	struct err commit_failure, watch_failure, loss;
	struct audit_pg_conn idle[AUDIT_PG_POOL];
	unsigned n_idle, n_taken;

	/* The committer's. */
	struct audit_pg_conn conn;
	struct audit_hasher *hasher;
	uint64_t batch; /* number of the one being written, from 1 */
};

static inline struct audit_pg *audit_pg_of(struct audit_ledger *ledger)
{
	return (struct audit_pg *)(void *)ledger;
}

/* pg.c: connects, makes or checks the schema, reads the head, starts the threads. */
must_check enum err_code audit_pg_open(const struct audit_options *options, const struct audit_tuning *tuning,
                                       struct audit_ledger **ret, struct err *err);
/* Takes a head as read from the database, unless a later one was taken meanwhile. `seen`: the view before it was asked
 * for (NULL: not to be compared); a database never goes behind it: ERR_CORRUPT, and nothing is granted any more. */
must_check enum err_code audit_pg_adopt(struct audit_pg *pg, const struct audit_pg_head *seen,
                                        const struct audit_pg_head *head, struct err *err);
/* The database is not the one that it was: ERR_CORRUPT, and nothing is granted any more. */
enum err_code audit_pg_lose(struct audit_pg *pg, struct err *err);
/* Row 0: next, chain, time_ms, changed. */
must_check enum err_code audit_pg_head_of(const struct audit_pg *pg, const PGresult *result, struct audit_pg_head *ret,
                                          struct err *err);
#define AUDIT_PG_SELECT_HEAD "SELECT next, chain, time_ms, changed FROM head"

/* pg_schema.c: makes the tables when they are not there, and checks their version. */
must_check enum err_code audit_pg_schema_settle(struct audit_pg_conn *conn, struct err *err);

/* pg_commit.c, pg_watch.c: the threads. */
void *audit_pg_committer(void *pg);
void *audit_pg_watcher(void *pg);
enum err_code audit_pg_append(struct audit_ledger *ledger, const struct audit_append *append, struct audit_verdict *ret,
                              struct err *err);
/* pg_batch.c: one attempt at a batch. ERR_OK: the entries have their verdicts, and what is to be appended is durable.
 */
struct audit_pg_batch {
	struct audit_pg_entry *entries[AUDIT_PG_BATCH_MAX];
	size_t n;
	bool in_doubt; /* it may have been committed, with the verdicts that the entries have: found out first */
	struct audit_pg_head head; /* after it */
};
must_check enum err_code audit_pg_batch_try(struct audit_pg *pg, struct audit_pg_batch *batch, struct err *err);
/* Worth another attempt at once? */
bool audit_pg_passing(const struct err *err);

/* pg_read.c: runs statements that only read, or stand alone, on a connection of the pool; tried again once when a
 * connection that was kept has died. */
must_check enum err_code audit_pg_query(struct audit_pg *pg, struct audit_pg_call *calls, size_t n, struct err *err);
enum reason audit_pg_use_state(struct audit_ledger *ledger, const struct audit_use *use);
enum err_code audit_pg_read(struct audit_ledger *ledger, struct audit_reader **reader, uint64_t index,
                            struct audit_place place, struct buf *out, struct err *err);
void audit_pg_reader_free(struct audit_reader *reader);
enum err_code audit_pg_position_at(struct audit_ledger *ledger, int64_t time_ms, struct audit_position *ret,
                                   struct err *err);
enum err_code audit_pg_position_of(struct audit_ledger *ledger, uint64_t next, struct audit_position *ret,
                                   struct err *err);
/* pg_stream.c */
enum err_code audit_pg_stream_open(struct audit_ledger *ledger, const struct audit_position *from,
                                   struct audit_stream **ret, struct err *err);
enum audit_step audit_pg_stream_next(struct audit_stream *stream, struct audit_entry *ret, struct err *err);
void audit_pg_stream_close(struct audit_stream *stream);
/* pg_published.c */
enum err_code audit_pg_published(struct audit_ledger *ledger, struct audit_published *ret, struct err *err);
enum err_code audit_pg_publish(struct audit_ledger *ledger, const struct audit_published *last,
                               const struct audit_published *next, struct err *err);

#endif
