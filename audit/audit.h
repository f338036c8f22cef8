/* The record. An append-only log is the commit point and the truth; single-use state is derived from it, a SQLite
 * database is its searchable index. docs/AUDIT.md describes the files byte for byte.
 *
 * Thread-safe. Many waiters share one fdatasync. Fail closed: when the log cannot be written or verified, every commit
 * answers ERR_UNAVAILABLE until it can. */
#ifndef TWOKEY_AUDIT_AUDIT_H
#define TWOKEY_AUDIT_AUDIT_H

#include "audit/proof.h"
#include "audit/tree.h"
#include "audit/verify.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/reason.h"
#include "common/span.h"
#include "twokey/v1/audit.pb-c.h"

struct audit;

/* Vouches for files that are derived from the log: signs a SHA-256, and says whether a signature is one of ours. Called
 * on the thread of audit_open and audit_tend. */
struct audit_voucher {
	enum err_code (*sign)(void *user, const uint8_t sha256[32], struct buf *out, struct err *err);
	bool (*verify)(void *user, const uint8_t sha256[32], struct span signature);
	void *user;
};

/* A database that several gatekeepers share as their ledger (docs/LEDGER.md). */
struct audit_postgresql {
	const char *connection;    /* as libpq takes it, without a password; NULL: the embedded log */
	const char *password_file; /* NULL: ~/.pgpass, or none */
	const char *ca_file;       /* whom to believe the server's certificate; NULL: the system's roots */
	const char *schema;        /* NULL: "twokey" */
};

/* Can it be understood? Connects to nothing. ERR_INVALID says what is wrong. */
must_check enum err_code audit_postgresql_check(const struct audit_postgresql *postgresql, struct err *err);

struct audit_options {
	const char *directory; /* made (0700) when missing; locked against a second process */
	struct audit_postgresql postgresql;
	uint64_t segment_bytes;       /* preallocated size of a segment file; 0: 16 MiB */
	unsigned commit_timeout_ms;   /* longest wait for durability; 0: 10000 */
	const struct clock *clock;    /* NULL: the system's */
	struct audit_voucher voucher; /* zeros: no snapshots, a start reads the last hour */
};

/* Opens or makes the ledger: verifies the tail, repairs a torn last write (never acknowledged to anybody) and records
 * that as EVENT_RECOVERY, rebuilds the single-use state, starts the committer and the indexer. ERR_CORRUPT: the log
 * does not verify, and says where; ERR_PRECONDITION: another process has it. */
must_check enum err_code audit_open(const struct audit_options *options, struct audit **ret, struct err *err);
/* Commits what is queued, stops both threads, closes. */
void audit_close(struct audit *audit);

/* The single-use side of a decision. */
struct audit_use {
	uint8_t transaction_id[16];
	uint8_t transaction_sha256[32];
	uint32_t max_uses;     /* >= 1 */
	int64_t expires_at_ms; /* the state is kept until then plus the clock skew */
	bool spend;            /* true: spends one use (FETCH, STORE, LIST, REMOVE); false: only notes the id (COSIGN) */
};

/* Appends one record and waits until it is durable. Index and time are assigned here, in log order, and returned;
 * what the record itself says in those two fields is ignored. Time never runs backwards.
 *
 * `use` comes with a GRANTED COSIGN, FETCH, STORE, LIST or REMOVE, and with nothing else (ERR_INVALID otherwise); the
 * record's transaction_id, transaction_sha256, expires_at and uses are taken from it. The state is checked and changed
 * in the same step: ret->refusal becomes REASON_REPLAYED, REASON_ID_REUSED or REASON_EXPIRED (so long ago that the
 * state may be forgotten) and nothing is appended: the caller then commits the denial. A granted decision is refused
 * with REASON_CLOCK_IN_DOUBT when the clock is more than a minute behind the log's last record.
 *
 * Text longer than its field's limit (docs/AUDIT.md) is cut and ends in "...", what is not UTF-8 becomes '?'. ERR_OK:
 * durable, or refused (see ret->refusal). ERR_UNAVAILABLE: not known to be durable; grant nothing. ERR_INVALID: also
 * when a bytes field is longer than 64, or the transaction lives longer than 3600 s. */
struct audit_commit {
	uint64_t index;
	int64_t time_ms;
	enum reason refusal; /* REASON_NONE: appended; otherwise index and time mean nothing */
};
must_check enum err_code audit_commit(struct audit *audit, const Twokey__V1__Record *record,
                                      const struct audit_use *use, struct audit_commit *ret, struct err *err);

/* What audit_commit would say of this use right now (NONE, REPLAYED or ID_REUSED; LEDGER_UNAVAILABLE when the ledger
 * cannot be asked), changing nothing: a look before the checks that follow it. Only audit_commit decides. */
enum reason audit_use_state(struct audit *audit, const struct audit_use *use);

/* May the object with this id be what stands under the name now? False when the record knows a later one: a Store that
 * is complete and had begun after every record that names this id, or a Remove. True when it knows nothing of the name,
 * and of Stores whose end it does not know (they run, failed half-way, or were cut off by a crash). Answered from the
 * index; while that is broken or far behind, from the log, which is slower. ERR_CORRUPT, ERR_UNAVAILABLE: not known. */
struct audit_object {
	const char *bucket, *object;
	const uint8_t *id; /* 16 bytes */
	uint64_t before;   /* every record before this one counts; later ones may */
};
must_check enum err_code audit_object_fresh(struct audit *audit, const struct audit_object *object, bool *ret_fresh,
                                            struct err *err);

/* What the last process had granted and not ended when it died is recorded as ended: a completion with the outcome
 * "interrupted" for each, exactly once, whatever happens meanwhile. Called before anything is served. */
must_check enum err_code audit_end_interrupted(struct audit *audit, uint64_t *ret_n, struct err *err);
/* To be called about once a second, on one thread: writes a snapshot of the state when one is due. An error only means
 * that the next start takes longer. */
must_check enum err_code audit_tend(struct audit *audit, struct err *err);
/* The last record that was there at the start; event UNSPECIFIED: there was none. */
struct audit_last {
	uint64_t index;
	int64_t time_ms;
	Twokey__V1__Event event;
};
void audit_last(struct audit *audit, struct audit_last *ret);

/* Can records be written? For health. */
must_check enum err_code audit_check(struct audit *audit, struct err *err);
/* How many records are durable, and how many of them the index has. */
void audit_progress(struct audit *audit, uint64_t *ret_committed, uint64_t *ret_indexed);

/* One record's exact bytes (a serialised Record). ERR_NOT_FOUND beyond the end; ERR_CORRUPT when it does not verify. */
must_check enum err_code audit_read(struct audit *audit, uint64_t index, struct buf *out, struct err *err);

/* The event of a serialised record, without unpacking it. */
Twokey__V1__Event audit_event(struct span record);

/* A place in the log: how many records stand before it, and the chain over them (docs/AUDIT.md). All zero: the
 * beginning. */
struct audit_position {
	uint64_t next;
	uint8_t chain[32];
	struct {
		uint64_t segment, offset; /* where the record `next` would stand; offset 0: not known */
	} hint;                       /* saves reading a segment from its beginning; nothing depends on it */
};
/* The end of what is durable. */
void audit_position(struct audit *audit, struct audit_position *ret);
/* A place before which every record is older than that time; not the last such place. */
must_check enum err_code audit_position_at(struct audit *audit, int64_t time_ms, struct audit_position *ret,
                                           struct err *err);
/* The place behind the first `next` records. ERR_NOT_FOUND: there are fewer; ERR_CORRUPT: they do not verify. */
must_check enum err_code audit_position_of(struct audit *audit, uint64_t next, struct audit_position *ret,
                                           struct err *err);
/* Reads on from a position, to the end of what is durable now, in order: verifies checksum and chain of every record,
 * calls back with those of one event (EVENT_UNSPECIFIED: all), and moves the position along; the callback returns false
 * to stop. ERR_PRECONDITION: this log does not have that position; ERR_CORRUPT: it does not verify, and says where. */
must_check enum err_code audit_replay(struct audit *audit, Twokey__V1__Event event, struct audit_position *position,
                                      bool (*each)(uint64_t index, struct span record, void *user), void *user,
                                      struct err *err);

/* Records with the decision GRANTED and the event RESTRICTION or KEY (with an action) change the state that decisions
 * are made on. */
struct audit_state {
	struct audit_position end; /* of what is known to be durable */
	uint64_t changed;          /* no record from this index on, and before `end`, changes the state */
	int64_t looked_us;         /* when that was so, on the monotonic clock; now, unless others write too */
};
void audit_state(struct audit *audit, struct audit_state *ret);

/* As audit_commit, for what was decided on the state that the first `known` records make up. When a record behind them
 * changes the state, nothing is appended and *ret_stale is true: read on (audit_replay), and decide again. That is
 * exact, also with several processes: no decision's record stands behind a change that it did not know. */
must_check enum err_code audit_commit_known(struct audit *audit, const Twokey__V1__Record *record,
                                            const struct audit_use *use, uint64_t known, bool *ret_stale,
                                            struct audit_commit *ret, struct err *err);
/* Do other processes write to this ledger, too? */
bool audit_shared(const struct audit *audit);

/* Newest first. Calls back with each record's exact bytes; the callback returns false to stop. `request` as in
 * audit.proto. ERR_INVALID: request; ERR_UNAVAILABLE: the index is broken (deciding goes on); ERR_DEADLINE:
 * wait_for_index did not become searchable within timeout_ms, or the search took longer (0: a wait that only looks,
 * and 10 s for the search). */
struct audit_search_result {
	uint64_t returned;
	bool more;
	uint64_t indexed;
	uint64_t committed;
	uint64_t total; /* all that match, when request->count */
};
must_check enum err_code audit_search(struct audit *audit, const Twokey__V1__SearchRequest *request,
                                      unsigned timeout_ms, bool (*each)(uint64_t index, struct span record, void *user),
                                      void *user, struct audit_search_result *ret, struct err *err);

/* Makes the search index of an embedded ledger anew; calls back now and then until it has all records. *ret_running:
 * another process has the ledger open; the index was removed, and that process makes a new one. ERR_NOT_FOUND: no
 * ledger is there. */
must_check enum err_code audit_reindex(const char *directory,
                                       void (*progress)(uint64_t indexed, uint64_t committed, void *user), void *user,
                                       bool *ret_running, struct err *err);

/* Reads a ledger directory that may be in use by a server, without the lock, and verifies every record's checksum and
 * chain from the first. Calls back with each. ERR_CORRUPT names the first bad record. For `twokey audit` offline and
 * tests. */
must_check enum err_code audit_scan(const char *directory, bool (*each)(uint64_t index, struct span record, void *user),
                                    void *user, struct err *err);

#endif
