/* Searching: a request becomes one SQL statement over the index; the records themselves are read from the log. */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/index.h"
#include "audit/record.h"
#include "common/clock.h"

enum {
	LIMIT_DEFAULT = 100,
	TEXT_MAX = 1024,
	WORDS_MAX = 32,
	BYTES_MAX = 64,
	BUDGET_MS = 10000,    /* of a search without a timeout */
	PROGRESS_STEPS = 4096 /* SQLite instructions between looks at the clock */
};

/* What the statement binds, in order. */
enum { BINDS_MAX = 24 };
struct bind {
	enum { BIND_NUMBER, BIND_TEXT, BIND_BLOB } kind;
	int64_t number;
	struct span bytes;
};

struct query {
	const Twokey__V1__SearchRequest *request;
	struct buf sql, words, prefix_end;
	struct bind binds[BINDS_MAX];
	int n_binds;
	uint64_t limit;
	int64_t deadline_us;
};

/* The fields that are compared for equality. */
static const struct field {
	const char *column;
	const char *index; /* NULL: none */
	enum { FIELD_TEXT, FIELD_ENUM, FIELD_BYTES } kind;
	size_t offset;
} fields[] = {
#define FIELD(column, index, kind)                                                                                     \
	{                                                                                                                  \
#column, index, kind, offsetof(Twokey__V1__SearchRequest, column)                                              \
	}
    /* The most selective come first: the first that is given and has an index leads the search. */
    FIELD(transaction_id, "by_transaction", FIELD_BYTES),
    FIELD(object, "by_object", FIELD_TEXT),
    FIELD(subject, "by_subject", FIELD_TEXT),
    FIELD(address, "by_address", FIELD_TEXT),
    FIELD(account, "by_account", FIELD_TEXT),
    FIELD(reason, "by_reason", FIELD_TEXT),
    FIELD(decision, "by_decision", FIELD_ENUM),
    FIELD(event, "by_event", FIELD_ENUM),
    FIELD(bucket, "by_bucket", FIELD_TEXT),
    FIELD(operation, NULL, FIELD_ENUM),
    FIELD(rule, NULL, FIELD_TEXT),
#undef FIELD
};
enum { N_FIELDS = sizeof(fields) / sizeof(*fields) };

static void bind_number(struct query *query, int64_t number)
{
	query->binds[query->n_binds++] = (struct bind){.kind = BIND_NUMBER, .number = number};
}

static void bind_bytes(struct query *query, bool text, struct span bytes)
{
	query->binds[query->n_binds++] = (struct bind){.kind = text ? BIND_TEXT : BIND_BLOB, .bytes = bytes};
}

/* The field's value as something to bind; false when the request does not give it. */
static bool field_value(const Twokey__V1__SearchRequest *request, const struct field *field, struct bind *ret)
{
	const void *member = (const uint8_t *)request + field->offset;
	if (field->kind == FIELD_TEXT)
		*ret = (struct bind){.kind = BIND_TEXT, .bytes = span_str(*(char *const *)member)};
	else if (field->kind == FIELD_BYTES)
		*ret = (struct bind){
		    .kind = BIND_BLOB,
		    .bytes = span_of(((const ProtobufCBinaryData *)member)->data, ((const ProtobufCBinaryData *)member)->len)};
	else
		*ret = (struct bind){.kind = BIND_NUMBER, .number = *(const int *)member};
	return ret->number || ret->bytes.len;
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Each word as an FTS5 string, in quotes with quotes doubled: nothing in it is syntax. Strings side by side must all
 * occur. */
static enum err_code quote_words(const char *text, struct buf *out, struct err *err)
{
	int words = 0;
	if (strnlen(text, TEXT_MAX + 1) > TEXT_MAX)
		return err_set(err, ERR_INVALID, 0, "text: more than %d bytes", TEXT_MAX);
	for (const char *at = text; *at;) {
		while (is_blank(*at))
			at++;
		if (!*at)
			break;
		buf_append_str(out, words++ ? " \"" : "\"");
		for (; *at && !is_blank(*at); at++)
			buf_append_str(out, *at == '"' ? "\"\"" : (const char[]){*at, 0});
		buf_append_byte(out, '"');
	}
	if (words > WORDS_MAX)
		return err_set(err, ERR_INVALID, 0, "text: more than %d words", WORDS_MAX);
	return ERR_OK;
}

/* The least string that is greater than every string with that prefix; empty when there is none. */
static void end_of_prefix(const char *prefix, struct buf *out)
{
	buf_append_str(out, prefix);
	while (out->len && out->data[out->len - 1] == 0xff)
		out->len--;
	if (out->len)
		out->data[out->len - 1]++;
}

static enum err_code check_time(const Google__Protobuf__Timestamp *time, const char *name, struct err *err)
{
	if (time &&
	    (time->seconds < -62135596800 || time->seconds > 253402300799 || time->nanos < 0 || time->nanos > 999999999))
		return err_set(err, ERR_INVALID, 0, "%s: no valid time", name);
	return ERR_OK;
}

static enum err_code check_request(const Twokey__V1__SearchRequest *request, struct err *err)
{
	enum err_code code = check_time(request->from, "from", err);
	if (code == ERR_OK)
		code = check_time(request->until, "until", err);
	if (code == ERR_OK && request->limit > AUDIT_SEARCH_MAX)
		code = err_set(err, ERR_INVALID, 0, "limit: at most %d", AUDIT_SEARCH_MAX);
	if (code == ERR_OK && request->transaction_id.len > BYTES_MAX)
		code = err_set(err, ERR_INVALID, 0, "transaction_id: too long");
	return code;
}

static bool interrupt_wanted(const struct query *query)
{
	return clock_monotonic_us() > query->deadline_us;
}

static int on_progress(void *user)
{
	return interrupt_wanted(user);
}

static enum err_code query_error(sqlite3 *connection, int rc, struct err *err)
{
	if (rc == SQLITE_INTERRUPT)
		return err_set(err, ERR_DEADLINE, rc, "the search took too long; narrow it");
	audit_index_db_error(connection, rc, err);
	int primary = rc & 0xff;
	return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB ? ERR_CORRUPT : ERR_UNAVAILABLE;
}

/* One number; *ret stays when there is no row. */
static enum err_code one_number(sqlite3 *connection, const char *sql, int64_t bind, int64_t *ret, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(connection, sql, -1, &statement, NULL);
	if (rc == SQLITE_OK && sqlite3_bind_parameter_count(statement))
		rc = sqlite3_bind_int64(statement, 1, bind);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? ERR_OK : query_error(connection, rc, err);
}

/* Time never runs backwards in the log, so a time is a place in it: the first record at or after it. */
static enum err_code index_at(sqlite3 *connection, const Google__Protobuf__Timestamp *time, int64_t *ret,
                              struct err *err)
{
	if (!time)
		return ERR_OK;
	int64_t ms = time->seconds * 1000 + (time->nanos + 999999) / 1000000;
	*ret = INT64_MAX;
	return one_number(connection, "SELECT idx FROM record WHERE time >= ? ORDER BY time, idx LIMIT 1", ms, ret, err);
}

static enum err_code index_bounds(struct query *query, sqlite3 *connection, int64_t *ret_low, int64_t *ret_high,
                                  struct err *err)
{
	int64_t low = 0, high = INT64_MAX;
	enum err_code code = index_at(connection, query->request->from, &low, err);
	if (code == ERR_OK)
		code = index_at(connection, query->request->until, &high, err);
	if (query->request->cursor_case == TWOKEY__V1__SEARCH_REQUEST__CURSOR_BEFORE_INDEX &&
	    query->request->before_index < (uint64_t)high)
		high = (int64_t)query->request->before_index;
	*ret_low = low;
	*ret_high = high;
	return code;
}

static const char *leading_index(const Twokey__V1__SearchRequest *request)
{
	struct bind value;
	for (int i = 0; i < N_FIELDS; i++) {
		/* A prefix is narrower than what comes after the exact object. */
		if (i == 2 && request->object_prefix[0])
			return "by_object";
		if (fields[i].index && field_value(request, &fields[i], &value))
			return fields[i].index;
	}
	return NULL;
}

static void write_fields(struct query *query)
{
	const Twokey__V1__SearchRequest *request = query->request;
	struct bind value;
	for (int i = 0; i < N_FIELDS; i++)
		if (field_value(request, &fields[i], &value)) {
			buf_printf(&query->sql, " AND record.%s = ?", fields[i].column);
			query->binds[query->n_binds++] = value;
		}
	if (!request->object_prefix[0])
		return;
	buf_append_str(&query->sql, " AND record.object >= ?");
	bind_bytes(query, true, span_str(request->object_prefix));
	end_of_prefix(request->object_prefix, &query->prefix_end);
	if (query->prefix_end.len) {
		buf_append_str(&query->sql, " AND record.object < ?");
		bind_bytes(query, true, buf_span(&query->prefix_end));
	}
}

static enum err_code write_sql(struct query *query, int64_t low, int64_t high, struct err *err)
{
	const char *leader = leading_index(query->request);
	enum err_code code = quote_words(query->request->text, &query->words, err);
	if (code != ERR_OK)
		return code;
	const char *id = query->words.len ? "words.rowid" : "record.idx";
	buf_append_str(&query->sql, "SELECT record.idx, record.segment, record.offset FROM ");
	if (query->words.len) {
		buf_append_str(&query->sql, "words CROSS JOIN record ON record.idx = words.rowid WHERE words MATCH ? AND ");
		bind_bytes(query, true, buf_span(&query->words));
	} else if (leader) {
		buf_printf(&query->sql, "record INDEXED BY %s WHERE ", leader);
	} else {
		buf_append_str(&query->sql, "record WHERE ");
	}
	buf_printf(&query->sql, "%s >= ? AND %s < ?", id, id);
	bind_number(query, low);
	bind_number(query, high);
	write_fields(query);
	buf_printf(&query->sql, " ORDER BY %s DESC LIMIT ?", id);
	bind_number(query, (int64_t)query->limit + 1);
	return ERR_OK;
}

static int bind_all(sqlite3_stmt *statement, const struct query *query)
{
	int rc = SQLITE_OK;
	for (int i = 0; rc == SQLITE_OK && i < query->n_binds; i++) {
		const struct bind *bind = &query->binds[i];
		if (bind->kind == BIND_NUMBER)
			rc = sqlite3_bind_int64(statement, i + 1, bind->number);
		else if (bind->kind == BIND_TEXT)
			rc = sqlite3_bind_text64(statement, i + 1, (const char *)bind->bytes.ptr, bind->bytes.len, SQLITE_STATIC,
			                         SQLITE_UTF8);
		else
			rc = sqlite3_bind_blob64(statement, i + 1, bind->bytes.ptr, bind->bytes.len, SQLITE_STATIC);
	}
	return rc;
}

/* Where the records are that the search found. */
struct hits {
	struct hit {
		uint64_t index;
		struct audit_place place;
	} * items; /* owned; room for limit + 1 */
	uint64_t n;
	uint64_t indexed;
};

static enum err_code collect(struct query *query, sqlite3 *connection, struct hits *hits, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(connection, buf_cstr(&query->sql), -1, &statement, NULL);
	if (rc == SQLITE_OK)
		rc = bind_all(statement, query);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(statement);
		if (rc != SQLITE_ROW || hits->n > query->limit)
			break;
		hits->items[hits->n++] = (struct hit){
		    .index = (uint64_t)sqlite3_column_int64(statement, 0),
		    .place = {(uint64_t)sqlite3_column_int64(statement, 1), (uint64_t)sqlite3_column_int64(statement, 2)},
		};
	}
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? ERR_OK : query_error(connection, rc, err);
}

/* All of it sees one state of the index. */
static enum err_code run(struct query *query, sqlite3 *connection, struct hits *hits, struct err *err)
{
	int64_t low = 0, high = 0, indexed = 0;
	int rc = sqlite3_exec(connection, "BEGIN", NULL, NULL, NULL);
	enum err_code code = rc == SQLITE_OK ? ERR_OK : query_error(connection, rc, err);
	if (code == ERR_OK)
		code = one_number(connection, "SELECT next_index FROM cursor", 0, &indexed, err);
	if (code == ERR_OK)
		code = index_bounds(query, connection, &low, &high, err);
	if (code == ERR_OK)
		code = write_sql(query, low, high, err);
	if (code == ERR_OK)
		code = collect(query, connection, hits, err);
	sqlite3_progress_handler(connection, 0, NULL, NULL);
	rc = sqlite3_exec(connection, "ROLLBACK", NULL, NULL, NULL);
	if (code == ERR_OK && rc != SQLITE_OK)
		code = query_error(connection, rc, err);
	hits->indexed = (uint64_t)indexed;
	return code;
}

static unsigned left_ms(const struct query *query)
{
	int64_t left_us = query->deadline_us - clock_monotonic_us();
	return left_us > 0 ? (unsigned)(left_us / 1000) : 0;
}

static enum err_code find(struct audit_index *index, struct query *query, struct hits *hits, struct err *err)
{
	sqlite3 *connection;
	uint64_t generation;
	enum err_code code = audit_index_take(index, left_ms(query), &connection, &generation, err);
	if (code != ERR_OK)
		return code;
	sqlite3_progress_handler(connection, PROGRESS_STEPS, on_progress, query);
	code = run(query, connection, hits, err);
	audit_index_give_back(index, connection, generation);
	if (code == ERR_CORRUPT) {
		audit_index_condemn(index, generation);
		return err_set(err, ERR_UNAVAILABLE, 0, "the search index is damaged and is being rebuilt");
	}
	return code;
}

static enum err_code deliver(struct audit_index *index, const struct query *query, const struct hits *hits,
                             bool (*each)(uint64_t index, struct span record, void *user), void *user,
                             struct audit_search_result *ret, struct err *err)
{
	autobuf struct buf record = {.max = AUDIT_RECORD_MAX};
	uint64_t n = hits->n < query->limit ? hits->n : query->limit;
	struct audit_search_result result = {.indexed = hits->indexed};
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
	struct query query = {
	    .request = request,
	    .limit = request->limit ? request->limit : LIMIT_DEFAULT,
	    .deadline_us = clock_monotonic_us() + (int64_t)(timeout_ms ? timeout_ms : BUDGET_MS) * 1000,
	};
	enum err_code code = check_request(request, err);
	if (code == ERR_OK && request->freshness_case == TWOKEY__V1__SEARCH_REQUEST__FRESHNESS_WAIT_FOR_INDEX)
		code = audit_index_wait(index, request->wait_for_index, timeout_ms, err);
	if (code == ERR_OK) {
		hits.items = xcalloc(query.limit + 1, sizeof(*hits.items));
		code = find(index, &query, &hits, err);
	}
	if (code == ERR_OK)
		code = deliver(index, &query, &hits, each, user, ret, err);
	free(hits.items);
	buf_done(&query.sql);
	buf_done(&query.words);
	buf_done(&query.prefix_end);
	return code;
}
