/* Searching: the index says which records match and where they stand; the records themselves are read from the log. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "audit/index.h"
#include "audit/query.h"
#include "audit/record.h"
#include "common/clock.h"

enum {
	BUDGET_MS = 10000,    /* of a search without a timeout */
	PROGRESS_STEPS = 4096 /* SQLite instructions between looks at the clock */
};

struct search {
	struct audit_query query;
	int64_t deadline_us;
};

static int on_progress(void *user)
{
	return clock_monotonic_us() > ((const struct search *)user)->deadline_us;
}

static enum err_code query_error(sqlite3 *connection, int rc, struct err *err)
{
	if (rc == SQLITE_INTERRUPT)
		return err_set(err, ERR_DEADLINE, rc, "the search took too long; narrow it");
	audit_index_db_error(connection, rc, err);
	int primary = rc & 0xff;
	return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB ? ERR_CORRUPT : ERR_UNAVAILABLE;
}

/* Rows of numbers; `each` returns false to stop. */
static enum err_code rows(sqlite3 *connection, const char *sql, const struct audit_query *binds,
                          bool (*each)(sqlite3_stmt *row, void *user), void *user, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(connection, sql, -1, &statement, NULL);
	if (rc == SQLITE_OK && binds)
		rc = audit_query_bind(binds, statement);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(statement);
		if (rc == SQLITE_ROW && !each(statement, user))
			rc = SQLITE_DONE;
	}
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? ERR_OK : query_error(connection, rc, err);
}

static bool take_number(sqlite3_stmt *row, void *user)
{
	*(int64_t *)user = sqlite3_column_int64(row, 0);
	return true;
}

/* ---- times ---- */

struct moment {
	int64_t index, ms;
};

static bool take_moment(sqlite3_stmt *row, void *user)
{
	*(struct moment *)user = (struct moment){sqlite3_column_int64(row, 0), sqlite3_column_int64(row, 1)};
	return true;
}

/* The first record at or behind `low` that the index has, and its time; INT64_MAX when there is none. */
static enum err_code moment_at(sqlite3 *connection, int64_t low, struct moment *ret, struct err *err)
{
	char sql[96];
	snprintf(sql, sizeof sql, "SELECT idx, time FROM record WHERE idx >= %" PRId64 " ORDER BY idx LIMIT 1", low);
	*ret = (struct moment){INT64_MAX, INT64_MAX};
	return rows(connection, sql, NULL, take_moment, ret, err);
}

/* Time never runs backwards in the log, so a time is a place in it: the first record at or after it, found by halving.
 */
static enum err_code index_at(sqlite3 *connection, int64_t indexed, const Google__Protobuf__Timestamp *time,
                              int64_t *ret, struct err *err)
{
	if (!time)
		return ERR_OK;
	const int64_t ms = time->seconds * 1000 + (time->nanos + 999999) / 1000000;
	int64_t low = 0, high = indexed;
	while (low < high) {
		const int64_t middle = low + (high - low) / 2;
		struct moment moment;
		enum err_code code = moment_at(connection, middle, &moment, err);
		if (code != ERR_OK)
			return code;
		if (moment.ms >= ms)
			high = middle;
		else
			low = moment.index + 1;
	}
	*ret = low;
	return ERR_OK;
}

static enum err_code set_bounds(struct audit_query *query, sqlite3 *connection, int64_t indexed, struct err *err)
{
	const Twokey__V1__SearchRequest *request = query->request;
	enum err_code code = index_at(connection, indexed, request->from, &query->low, err);
	if (code == ERR_OK)
		code = index_at(connection, indexed, request->until, &query->high, err);
	if (request->start_case == TWOKEY__V1__SEARCH_REQUEST__START_FROM_INDEX &&
	    request->from_index > (uint64_t)query->low)
		query->low = request->from_index > INT64_MAX ? INT64_MAX : (int64_t)request->from_index;
	return code;
}

/* A range that matches much is no way to begin: all of it would have to be sorted. */
static enum err_code probe_ranges(struct audit_query *query, sqlite3 *connection, struct err *err)
{
	enum err_code code = ERR_OK;
	for (int i = 0; code == ERR_OK && i < AUDIT_RANGES; i++) {
		struct audit_range *range = &query->ranges[i];
		int64_t n = 0;
		if (!range->index)
			continue;
		audit_query_probe(query, range);
		code = rows(connection, buf_cstr(&query->sql), query, take_number, &n, err);
		range->wide = n >= AUDIT_QUERY_WIDE;
	}
	return code;
}

/* ---- what is found ---- */

/* Where the records are that the search found. */
struct hits {
	struct hit {
		uint64_t index;
		struct audit_place place;
	} * items; /* owned; room for limit + 1 */
	uint64_t n, max;
	int64_t indexed, total;
};

static bool take_hit(sqlite3_stmt *row, void *user)
{
	struct hits *hits = user;
	hits->items[hits->n++] = (struct hit){
	    .index = (uint64_t)sqlite3_column_int64(row, 0),
	    .place = {(uint64_t)sqlite3_column_int64(row, 1), (uint64_t)sqlite3_column_int64(row, 2)},
	};
	return hits->n < hits->max;
}

static enum err_code ask(struct audit_query *query, sqlite3 *connection, struct hits *hits, struct err *err)
{
	enum err_code code = rows(connection, "SELECT next_index FROM cursor", NULL, take_number, &hits->indexed, err);
	if (code == ERR_OK)
		code = set_bounds(query, connection, hits->indexed, err);
	if (code == ERR_OK)
		code = probe_ranges(query, connection, err);
	if (code == ERR_OK) {
		audit_query_hits(query);
		code = rows(connection, buf_cstr(&query->sql), query, take_hit, hits, err);
	}
	if (code == ERR_OK && query->request->count) {
		audit_query_count(query);
		code = rows(connection, buf_cstr(&query->sql), query, take_number, &hits->total, err);
	}
	return code;
}

/* All of it sees one state of the index. */
static enum err_code run(struct audit_query *query, sqlite3 *connection, struct hits *hits, struct err *err)
{
	int rc = sqlite3_exec(connection, "BEGIN", NULL, NULL, NULL);
	enum err_code code = rc == SQLITE_OK ? ask(query, connection, hits, err) : query_error(connection, rc, err);
	sqlite3_progress_handler(connection, 0, NULL, NULL);
	rc = sqlite3_exec(connection, "ROLLBACK", NULL, NULL, NULL);
	if (code == ERR_OK && rc != SQLITE_OK)
		code = query_error(connection, rc, err);
	return code;
}

static unsigned left_ms(const struct search *search)
{
	int64_t left_us = search->deadline_us - clock_monotonic_us();
	return left_us > 0 ? (unsigned)(left_us / 1000) : 0;
}

static enum err_code find(struct audit_index *index, struct search *search, struct hits *hits, struct err *err)
{
	sqlite3 *connection;
	uint64_t generation;
	enum err_code code = audit_index_take(index, AUDIT_INDEX_SEARCHES, left_ms(search), &connection, &generation, err);
	if (code != ERR_OK)
		return code;
	sqlite3_progress_handler(connection, PROGRESS_STEPS, on_progress, search);
	code = run(&search->query, connection, hits, err);
	audit_index_give_back(index, connection, generation);
	if (code == ERR_CORRUPT) {
		audit_index_condemn(index, generation);
		return err_set(err, ERR_UNAVAILABLE, 0, "the search index is damaged and is being rebuilt");
	}
	return code;
}

static enum err_code deliver(struct audit_index *index, const struct audit_query *query, const struct hits *hits,
                             bool (*each)(uint64_t index, struct span record, void *user), void *user,
                             struct audit_search_result *ret, struct err *err)
{
	autobuf struct buf record = {.max = AUDIT_RECORD_MAX};
	uint64_t n = hits->n < query->limit ? hits->n : query->limit;
	struct audit_search_result result = {.indexed = (uint64_t)hits->indexed, .total = (uint64_t)hits->total};
	struct audit_reader *reader = NULL;
	enum err_code code = ERR_OK;
	bool go_on = true;
	while (go_on && result.returned < n) {
		const struct hit *hit = &hits->items[result.returned];
		buf_clear(&record);
		code = audit_ledger_read(index->ledger, &reader, hit->index, hit->place, &record, err);
		if (code != ERR_OK)
			break;
		go_on = each(hit->index, buf_span(&record), user);
		result.returned++;
	}
	audit_reader_free(index->ledger, reader);
	result.more = hits->n > result.returned;
	result.committed = audit_ledger_committed(index->ledger);
	if (code == ERR_OK)
		*ret = result;
	return code;
}

enum err_code audit_index_search(struct audit_index *index, const Twokey__V1__SearchRequest *request,
                                 unsigned timeout_ms, bool (*each)(uint64_t index, struct span record, void *user),
                                 void *user, struct audit_search_result *ret, struct err *err)
{
	struct hits hits = {0};
	struct search search = {
	    .deadline_us = clock_monotonic_us() + (int64_t)(timeout_ms ? timeout_ms : BUDGET_MS) * 1000,
	};
	enum err_code code = audit_query_init(&search.query, request, err);
	if (code == ERR_OK && request->freshness_case == TWOKEY__V1__SEARCH_REQUEST__FRESHNESS_WAIT_FOR_INDEX)
		code = audit_index_wait(index, request->wait_for_index, timeout_ms, err);
	if (code == ERR_OK) {
		hits.max = search.query.limit + 1;
		hits.items = xcalloc(hits.max, sizeof(*hits.items));
		code = find(index, &search, &hits, err);
	}
	if (code == ERR_OK)
		code = deliver(index, &search.query, &hits, each, user, ret, err);
	free(hits.items);
	audit_query_done(&search.query);
	return code;
}
