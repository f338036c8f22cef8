/* The search index: a SQLite file that a thread of its own fills from the ledger, one writing connection, and a few
 * reading ones. Rebuilt from the log whenever it is missing, damaged, of another version or of another log. Thread-safe
 * except where said. */
#ifndef TWOKEY_AUDIT_INDEX_H
#define TWOKEY_AUDIT_INDEX_H

#include <pthread.h>
#include <sqlite3.h>

#include "audit/ledger.h"
#include "common/ip.h"

/* Connections that read: searches, which may last, leave some to lookups, which wait for nobody. */
enum { AUDIT_INDEX_SEARCHES = 4, AUDIT_INDEX_LOOKUPS = AUDIT_INDEX_SEARCHES + 2 };

/* How far the index has come: the frame indexed last. */
struct audit_cursor {
	uint64_t next_index;
	struct audit_place last;
	uint8_t chain[AUDIT_CHAIN_BYTES];
};

/* index_db.c: the writing connection. One thread at a time. */
struct audit_index_db {
	sqlite3 *connection;
	sqlite3_stmt *insert_record, *insert_words, *insert_change, *set_cursor;
};
/* Opens, makes the schema in an empty file. ERR_CORRUPT: unusable, rebuild; ERR_UNAVAILABLE: try again later. */
must_check enum err_code audit_index_db_open(const char *path, struct audit_index_db *ret, struct audit_cursor *cursor,
                                             struct err *err);
void audit_index_db_close(struct audit_index_db *db);
must_check enum err_code audit_index_db_exec(struct audit_index_db *db, const char *sql, struct err *err);
must_check enum err_code audit_index_db_add(struct audit_index_db *db, uint64_t index, struct audit_place place,
                                            const Twokey__V1__Record *record, struct err *err);
must_check enum err_code audit_index_db_set_cursor(struct audit_index_db *db, const struct audit_cursor *cursor,
                                                   struct err *err);
void audit_index_db_remove(const char *path);
/* How many records the index at that path claims; 0 when it cannot say. */
uint64_t audit_index_db_claims(const char *path);
/* As it stands in the column `address`; points into *address. */
struct span audit_index_address(const struct ip_addr *address);
/* The index is only ever behind. When it is ahead, the ledger has lost its end, and uses could be spent again:
 * ERR_CORRUPT. */
must_check enum err_code audit_index_check_not_ahead(const char *directory, uint64_t committed, struct err *err);
/* The error of a connection as one of ours. */
enum err_code audit_index_db_error(sqlite3 *connection, int rc, struct err *err);

struct audit_index {
	struct audit_ledger *ledger;
	char *path;
	unsigned retry_ms;
	pthread_t thread;
	bool thread_runs;

	/* The thread's. */
	struct audit_index_db db;
	struct audit_cursor cursor;
	struct audit_stream *stream; /* NULL: not opened */
	unsigned rebuilds;           /* in a row */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* count grew, or a reader came back */
	uint64_t count;         /* records that searches find */
	bool broken;            /* no index at the moment; `failure` says why */
	struct err failure;
	bool condemned;                     /* a reader found the file damaged */
	uint64_t generation;                /* of the file; readers of an older one are closed */
	sqlite3 *idle[AUDIT_INDEX_LOOKUPS]; /* of this generation */
	unsigned n_idle, n_taken;
};

/* `directory`: where index.sqlite3 is. */
must_check enum err_code audit_index_start(struct audit_ledger *ledger, const char *directory, unsigned retry_ms,
                                           struct audit_index **ret, struct err *err);
/* After audit_ledger_stop. No search may be running. */
void audit_index_free(struct audit_index *index);
uint64_t audit_index_count(struct audit_index *index);
/* Waits until more than `index` records are searchable. */
must_check enum err_code audit_index_wait(struct audit_index *index, uint64_t record, unsigned timeout_ms,
                                          struct err *err);
/* A reading connection, to be given back, while fewer than `most` are taken (AUDIT_INDEX_SEARCHES,
 * AUDIT_INDEX_LOOKUPS). ERR_UNAVAILABLE: there is no index now; ERR_DEADLINE: too many are taken. */
must_check enum err_code audit_index_take(struct audit_index *index, unsigned most, unsigned timeout_ms, sqlite3 **ret,
                                          uint64_t *ret_generation, struct err *err);
void audit_index_give_back(struct audit_index *index, sqlite3 *connection, uint64_t generation);
/* A reader found the file damaged: it is rebuilt. */
void audit_index_condemn(struct audit_index *index, uint64_t generation);
/* Where a record's frame is; offset 0 when the index cannot say. */
struct audit_place audit_index_place(struct audit_index *index, uint64_t record);

/* search.c */
must_check enum err_code audit_index_search(struct audit_index *index, const Twokey__V1__SearchRequest *request,
                                            unsigned timeout_ms,
                                            bool (*each)(uint64_t index, struct span record, void *user), void *user,
                                            struct audit_search_result *ret, struct err *err);

#endif
