/* A ledger: the commit point and the truth. Two kinds stand behind this interface: the embedded log (audit/log.h) and
 * PostgreSQL, which several processes share (audit/pg.h). Everything else of this room (index, search, tree) knows
 * only this. Thread-safe, except that a stream and a reader are one thread's at a time. */
#ifndef TWOKEY_AUDIT_LEDGER_H
#define TWOKEY_AUDIT_LEDGER_H

#include <pthread.h>
#include <time.h>

#include "audit/internal.h"
#include "audit/transfers.h"

struct audit_ledger {
	const struct audit_ledger_kind *kind;
};

/* A record as it stands in the ledger. */
struct audit_entry {
	uint64_t index;
	struct span record; /* exact bytes; valid until the next step */
	struct audit_place place;
	struct audit_position after;
};

enum audit_step {
	AUDIT_STEP_RECORD,
	AUDIT_STEP_END, /* of what is durable now; later there may be more */
	AUDIT_STEP_BAD, /* does not verify (ERR_CORRUPT), or cannot be read; err says which */
};

/* What is to be appended. */
struct audit_append {
	const Twokey__V1__Record *record;
	const struct audit_use *use; /* NULL: none */
	uint64_t known;              /* records that the decision knew; UINT64_MAX: it does not depend on the state */
};

struct audit_verdict {
	bool stale; /* nothing appended: a record from `known` on changes the state */
	struct audit_commit commit;
};

/* The moment of a decision: in the order of all. */
struct audit_moment {
	int64_t now_ms, last_ms; /* the clock's, the last record's */
	uint64_t changed;        /* as in struct audit_state */
	uint64_t index;          /* of what is appended then */
};
struct audit_uses;
/* The time of what is appended then: it never runs backwards. */
int64_t audit_moment_time(const struct audit_moment *moment);
/* Both kinds decide alike: stale, refused, or to be appended, and then the use is spent in `uses`. ERR_INVALID: the
 * transaction lives too long. */
struct audit_asked {
	bool grants;
	const struct audit_use *use; /* NULL: none */
	uint64_t known;
};
must_check enum err_code audit_decide(const struct audit_asked *asked, const struct audit_moment *moment,
                                      struct audit_uses *uses, struct audit_verdict *ret, struct err *err);

/* Records in order, from a position on. Begins each kind's own struct. */
struct audit_stream {
	struct audit_ledger *ledger;
};

/* Keeps between reads what makes the next one cheaper; NULL to begin with. */
struct audit_reader;

/* The last checkpoint that was published: what no later one may contradict. */
struct audit_published {
	uint64_t size; /* of the tree; 0: none yet */
	uint8_t root[32];
	struct buf note; /* the signed note, as published; owned */
};

struct audit_ledger_kind {
	bool shared; /* other processes append too */
	/* Each as the function of that name below. */
	void (*stop)(struct audit_ledger *ledger);
	void (*free)(struct audit_ledger *ledger);
	enum err_code (*append)(struct audit_ledger *ledger, const struct audit_append *append, struct audit_verdict *ret,
	                        struct err *err);
	enum reason (*use_state)(struct audit_ledger *ledger, const struct audit_use *use);
	enum err_code (*check)(struct audit_ledger *ledger, struct err *err);
	void (*state)(struct audit_ledger *ledger, struct audit_state *ret);
	enum err_code (*position_at)(struct audit_ledger *ledger, int64_t time_ms, struct audit_position *ret,
	                             struct err *err);
	enum err_code (*position_of)(struct audit_ledger *ledger, uint64_t next, struct audit_position *ret,
	                             struct err *err);
	bool (*follow)(struct audit_ledger *ledger, uint64_t count, unsigned timeout_ms);
	enum err_code (*read)(struct audit_ledger *ledger, struct audit_reader **reader, uint64_t index,
	                      struct audit_place place, struct buf *out, struct err *err);
	void (*reader_free)(struct audit_reader *reader);
	enum err_code (*stream_open)(struct audit_ledger *ledger, const struct audit_position *from,
	                             struct audit_stream **ret, struct err *err);
	enum audit_step (*stream_next)(struct audit_stream *stream, struct audit_entry *ret, struct err *err);
	void (*stream_close)(struct audit_stream *stream);
	enum err_code (*published)(struct audit_ledger *ledger, struct audit_published *ret, struct err *err);
	/* Derived state that one process has alone; NULL in a ledger that is shared. */
	struct audit_transfer *(*transfers)(struct audit_ledger *ledger, size_t *ret_n);
	enum err_code (*tend)(struct audit_ledger *ledger, struct err *err);
	void (*last)(struct audit_ledger *ledger, struct audit_last *ret);
	enum err_code (*publish)(struct audit_ledger *ledger, const struct audit_published *last,
	                         const struct audit_published *next, struct err *err);
};

/* Commits what is queued and stops the ledger's threads; whoever follows is woken and told to stop. */
void audit_ledger_stop(struct audit_ledger *ledger);
void audit_ledger_free(struct audit_ledger *ledger); /* accepts NULL */

/* As audit_commit_known. */
must_check enum err_code audit_ledger_append(struct audit_ledger *ledger, const struct audit_append *append,
                                             struct audit_verdict *ret, struct err *err);
/* As audit_use_state; REASON_LEDGER_UNAVAILABLE when it cannot be asked. */
enum reason audit_ledger_use_state(struct audit_ledger *ledger, const struct audit_use *use);
must_check enum err_code audit_ledger_check(struct audit_ledger *ledger, struct err *err);

/* As audit_state; costs nothing. */
void audit_ledger_state(struct audit_ledger *ledger, struct audit_state *ret);
/* The end of what is known to be durable. */
void audit_ledger_position(struct audit_ledger *ledger, struct audit_position *ret);
uint64_t audit_ledger_committed(struct audit_ledger *ledger);
/* A position before which every record is older than that time; not the last such. */
must_check enum err_code audit_ledger_position_at(struct audit_ledger *ledger, int64_t time_ms,
                                                  struct audit_position *ret, struct err *err);
/* As audit_position_of. */
must_check enum err_code audit_ledger_position_of(struct audit_ledger *ledger, uint64_t next,
                                                  struct audit_position *ret, struct err *err);
/* Waits until at least `count` records are durable, or `timeout_ms` passed. False: stop following, the ledger is being
 * closed. Any number of threads. */
bool audit_ledger_follow(struct audit_ledger *ledger, uint64_t count, unsigned timeout_ms);

/* Appends one record's exact bytes to `out`. `place`: a hint from an entry of this index (zeros: none). ERR_NOT_FOUND
 * beyond the end; ERR_CORRUPT. The reader is freed with audit_reader_free. */
must_check enum err_code audit_ledger_read(struct audit_ledger *ledger, struct audit_reader **reader, uint64_t index,
                                           struct audit_place place, struct buf *out, struct err *err);
void audit_reader_free(struct audit_ledger *ledger, struct audit_reader *reader); /* accepts NULL */

/* Goes on behind `from`. ERR_PRECONDITION: this ledger does not have that position. */
must_check enum err_code audit_stream_open(struct audit_ledger *ledger, const struct audit_position *from,
                                           struct audit_stream **ret, struct err *err);
/* Checks the chain and the index of what it returns. After AUDIT_STEP_END it may be called again; after AUDIT_STEP_BAD
 * only audit_stream_close. */
enum audit_step audit_stream_next(struct audit_stream *stream, struct audit_entry *ret, struct err *err);
void audit_stream_close(struct audit_stream *stream); /* accepts NULL */

/* As audit_replay. */
must_check enum err_code audit_ledger_replay(struct audit_ledger *ledger, Twokey__V1__Event event,
                                             struct audit_position *position,
                                             bool (*each)(uint64_t index, struct span record, void *user), void *user,
                                             struct err *err);

/* The last published checkpoint; the caller frees ret->note. */
must_check enum err_code audit_ledger_published(struct audit_ledger *ledger, struct audit_published *ret,
                                                struct err *err);
/* Publishes `next`, durably, if `last` (size and root) is still what was published last: compare and swap. The caller
 * has checked that `next` extends `last`, as only larger trees do (ERR_INVALID otherwise). ERR_PRECONDITION: somebody
 * else has published meanwhile; look again. ERR_UNAVAILABLE: not known to be published; look again. */
must_check enum err_code audit_ledger_publish(struct audit_ledger *ledger, const struct audit_published *last,
                                              const struct audit_published *next, struct err *err);

/* The error of a position that is another ledger's: ERR_PRECONDITION. */
enum err_code audit_another_log(uint64_t next, struct err *err);
/* Conditions of this room wait on the monotonic clock. */
void audit_cond_init(pthread_cond_t *cond);
struct timespec audit_deadline(unsigned ms);

#endif
