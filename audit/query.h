/* A search request as one SQL statement over the index. Nothing of a request becomes SQL: values are bound. One thread
 * at a time. */
#ifndef TWOKEY_AUDIT_QUERY_H
#define TWOKEY_AUDIT_QUERY_H

#include <sqlite3.h>

#include "audit/internal.h"
#include "common/ip.h"

enum { AUDIT_QUERY_BINDS = 28 };

/* What a statement binds. */
struct audit_bind {
	enum { AUDIT_BIND_NUMBER, AUDIT_BIND_TEXT, AUDIT_BIND_BLOB } kind;
	int64_t number;
	struct span bytes;
};

/* A condition that is a range of a column: a prefix, a network. */
struct audit_range {
	const char *index;     /* NULL: not asked for */
	const char *condition; /* SQL with two values to bind */
	struct audit_bind low, high;
	bool wide; /* matches so much that another way is better; see audit_query_probe */
};
enum { AUDIT_RANGE_PREFIX, AUDIT_RANGE_NETWORK, AUDIT_RANGES };

struct audit_query {
	const Twokey__V1__SearchRequest *request; /* borrowed */
	uint64_t limit;
	int64_t low, high; /* records low .. high-1 */
	struct audit_range ranges[AUDIT_RANGES];
	/* The last statement. */
	struct buf sql;
	struct audit_bind binds[AUDIT_QUERY_BINDS];
	int n_binds;

	struct buf words, prefix_end;
	struct ip_addr address, first, last;
};

/* ERR_INVALID: what is wrong with the request. audit_query_done is called in any case. */
must_check enum err_code audit_query_init(struct audit_query *query, const Twokey__V1__SearchRequest *request,
                                          struct err *err);
void audit_query_done(struct audit_query *query);

/* Writes a statement, to be prepared from `sql` and bound by audit_query_bind. */
void audit_query_hits(struct audit_query *query);  /* rows idx, segment, offset: in order, one more than the limit */
void audit_query_count(struct audit_query *query); /* one row: how many match, whatever the page */
/* One row: at least as many as would make this range wide, or fewer? */
void audit_query_probe(struct audit_query *query, const struct audit_range *range);
enum { AUDIT_QUERY_WIDE = 1000 };
/* Returns a SQLite result. */
int audit_query_bind(const struct audit_query *query, sqlite3_stmt *statement);

#endif
