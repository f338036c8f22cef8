#include "audit/query.h"

#include <stddef.h>

#include "audit/index.h"

enum {
	LIMIT_DEFAULT = 100,
	TEXT_MAX = 1024,
	WORDS_MAX = 32,
	BYTES_MAX = 64,
};

/* The fields that are compared for equality. The most selective come first: the first that is given and has an index
 * leads the search, ranges behind those that are marked. */
static const struct field {
	const char *column;
	const char *index; /* NULL: none */
	enum { FIELD_TEXT, FIELD_ENUM, FIELD_BYTES } kind;
	size_t offset;
	bool before_ranges;
} fields[] = {
#define FIELD(column, index, kind, ...)                                                                                \
	{                                                                                                                  \
#column, index, kind, offsetof(Twokey__V1__SearchRequest, column), __VA_ARGS__                                 \
	}
    FIELD(transaction_id, "by_transaction", FIELD_BYTES, true),
    FIELD(object, "by_object", FIELD_TEXT, true),
    FIELD(subject, "by_subject", FIELD_TEXT, false),
    FIELD(identity, "by_identity", FIELD_TEXT, false),
    FIELD(account, "by_account", FIELD_TEXT, false),
    FIELD(reason, "by_reason", FIELD_TEXT, false),
    FIELD(country, "by_country", FIELD_TEXT, false),
    FIELD(decision, "by_decision", FIELD_ENUM, false),
    FIELD(event, "by_event", FIELD_ENUM, false),
    FIELD(bucket, "by_bucket", FIELD_TEXT, false),
    FIELD(operation, NULL, FIELD_ENUM, false),
    FIELD(rule, NULL, FIELD_TEXT, false),
#undef FIELD
};
enum { N_FIELDS = sizeof(fields) / sizeof(*fields) };

/* ---- reading the request ---- */

static struct audit_bind bind_blob(struct span bytes)
{
	return (struct audit_bind){.kind = AUDIT_BIND_BLOB, .bytes = bytes};
}

static struct audit_bind bind_text(struct span bytes)
{
	return (struct audit_bind){.kind = AUDIT_BIND_TEXT, .bytes = bytes};
}

/* The field's value as something to bind; false when the request does not give it. */
static bool field_value(const Twokey__V1__SearchRequest *request, const struct field *field, struct audit_bind *ret)
{
	const void *member = (const uint8_t *)request + field->offset;
	if (field->kind == FIELD_TEXT)
		*ret = bind_text(span_str(*(char *const *)member));
	else if (field->kind == FIELD_BYTES)
		*ret =
		    bind_blob(span_of(((const ProtobufCBinaryData *)member)->data, ((const ProtobufCBinaryData *)member)->len));
	else
		*ret = (struct audit_bind){.kind = AUDIT_BIND_NUMBER, .number = *(const int *)member};
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

static enum err_code read_prefix(struct audit_query *query)
{
	const char *prefix = query->request->object_prefix;
	if (!prefix[0])
		return ERR_OK;
	end_of_prefix(prefix, &query->prefix_end);
	query->ranges[AUDIT_RANGE_PREFIX] = (struct audit_range){
	    .index = "by_object",
	    .condition = query->prefix_end.len ? "record.object >= ? AND record.object < ?"
	                                       : "record.object >= ? AND record.object >= ?",
	    .low = bind_text(span_str(prefix)),
	    .high = bind_text(query->prefix_end.len ? buf_span(&query->prefix_end) : span_str(prefix)),
	};
	return ERR_OK;
}

static enum err_code read_address(struct audit_query *query, struct err *err)
{
	const char *text = query->request->address;
	if (text[0] && !ip_parse(text, &query->address))
		return err_set(err, ERR_INVALID, 0, "address: no network address");
	return ERR_OK;
}

/* The addresses of a network are a range of blobs of one length; ::/0 is everybody, as elsewhere. */
static enum err_code read_network(struct audit_query *query, struct err *err)
{
	const char *text = query->request->network;
	struct ip_net net;
	if (!text[0])
		return ERR_OK;
	if (!ip_net_parse(text, &net))
		return err_set(err, ERR_INVALID, 0, "network: no network such as 192.0.2.0/24 or 2001:db8::/32");
	query->first = query->last = net.base;
	for (unsigned bit = net.prefix; bit < 128; bit++)
		query->last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	struct audit_range *range = &query->ranges[AUDIT_RANGE_NETWORK];
	bool v4 = ip_is_v4(&query->first) && net.prefix >= 96;
	range->index = "by_address";
	range->condition = v4 ? "record.address >= ? AND record.address <= ? AND length(record.address) = 4"
	                      : "record.address >= ? AND record.address <= ? AND length(record.address) = 16";
	if (net.prefix == 0)
		range->condition = "record.address >= ? AND record.address NOT NULL AND ? NOT NULL";
	range->low = bind_blob(v4 ? audit_index_address(&query->first) : span_of(query->first.bytes, 16));
	range->high = bind_blob(v4 ? audit_index_address(&query->last) : span_of(query->last.bytes, 16));
	if (net.prefix == 0)
		range->low = bind_blob(span_of("", 0));
	return ERR_OK;
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

enum err_code audit_query_init(struct audit_query *query, const Twokey__V1__SearchRequest *request, struct err *err)
{
	*query = (struct audit_query){
	    .request = request,
	    .limit = request->limit ? request->limit : LIMIT_DEFAULT,
	    .high = INT64_MAX,
	};
	enum err_code code = check_request(request, err);
	if (code == ERR_OK)
		code = quote_words(request->text, &query->words, err);
	if (code == ERR_OK)
		code = read_prefix(query);
	if (code == ERR_OK)
		code = read_address(query, err);
	if (code == ERR_OK)
		code = read_network(query, err);
	return code;
}

void audit_query_done(struct audit_query *query)
{
	buf_done(&query->sql);
	buf_done(&query->words);
	buf_done(&query->prefix_end);
}

/* ---- writing a statement ---- */

static void begin(struct audit_query *query)
{
	buf_clear(&query->sql);
	query->n_binds = 0;
}

static void bind(struct audit_query *query, struct audit_bind value)
{
	query->binds[query->n_binds++] = value;
}

static void bind_number(struct audit_query *query, int64_t number)
{
	bind(query, (struct audit_bind){.kind = AUDIT_BIND_NUMBER, .number = number});
}

static const struct audit_range *narrow_range(const struct audit_query *query)
{
	for (int i = 0; i < AUDIT_RANGES; i++)
		if (query->ranges[i].index && !query->ranges[i].wide)
			return &query->ranges[i];
	return NULL;
}

/* A subject's few denials among many grants have an index of their own. */
static const char *index_of(const struct audit_query *query, const struct field *field)
{
	bool denied = query->request->decision == TWOKEY__V1__DECISION__DECISION_DENIED;
	return denied && field->offset == offsetof(Twokey__V1__SearchRequest, subject) ? "by_denied_subject" : field->index;
}

static const char *leading_index(const struct audit_query *query)
{
	const struct audit_range *range = narrow_range(query);
	struct audit_bind value;
	for (int i = 0; i < N_FIELDS; i++) {
		if (range && !fields[i].before_ranges)
			return range->index;
		if (query->request->address[0] && fields[i].offset == offsetof(Twokey__V1__SearchRequest, identity))
			return "by_address";
		if (fields[i].index && field_value(query->request, &fields[i], &value))
			return index_of(query, &fields[i]);
	}
	return NULL;
}

static void write_fields(struct audit_query *query)
{
	struct audit_bind value;
	for (int i = 0; i < N_FIELDS; i++) {
		if (!field_value(query->request, &fields[i], &value))
			continue;
		/* A literal number lets SQLite see that an index with that condition fits. */
		if (fields[i].kind == FIELD_ENUM) {
			buf_printf(&query->sql, " AND record.%s = %d", fields[i].column, (int)value.number);
			continue;
		}
		buf_printf(&query->sql, " AND record.%s = ?", fields[i].column);
		bind(query, value);
	}
	if (query->request->address[0]) {
		buf_append_str(&query->sql, " AND record.address = ?");
		bind(query, bind_blob(audit_index_address(&query->address)));
	}
	for (int i = 0; i < AUDIT_RANGES; i++)
		if (query->ranges[i].index) {
			buf_printf(&query->sql, " AND %s", query->ranges[i].condition);
			bind(query, query->ranges[i].low);
			bind(query, query->ranges[i].high);
		}
}

static bool has_fields(const struct audit_query *query)
{
	struct audit_bind value;
	bool has = query->request->address[0] || query->ranges[0].index || query->ranges[1].index;
	for (int i = 0; i < N_FIELDS; i++)
		has |= field_value(query->request, &fields[i], &value);
	return has;
}

/* "FROM ... WHERE ..."; returns the column that is the record's index. */
static const char *write_source(struct audit_query *query, bool rows, int64_t low, int64_t high)
{
	const char *leader = leading_index(query), *id = "record.idx";
	if (query->words.len) {
		id = "words.rowid";
		buf_printf(&query->sql, "words%s WHERE words MATCH ? AND ",
		           rows || has_fields(query) ? " CROSS JOIN record ON record.idx = words.rowid" : "");
		bind(query, bind_text(buf_span(&query->words)));
	} else if (leader) {
		buf_printf(&query->sql, "record INDEXED BY %s WHERE ", leader);
	} else {
		buf_append_str(&query->sql, "record NOT INDEXED WHERE ");
	}
	buf_printf(&query->sql, "%s >= ? AND %s < ?", id, id);
	bind_number(query, low);
	bind_number(query, high);
	write_fields(query);
	return id;
}

void audit_query_hits(struct audit_query *query)
{
	const Twokey__V1__SearchRequest *request = query->request;
	int64_t low = query->low, high = query->high;
	const char *order = request->oldest_first ? "" : " DESC";
	if (request->cursor_case == TWOKEY__V1__SEARCH_REQUEST__CURSOR_BEFORE_INDEX &&
	    request->before_index < (uint64_t)high)
		high = (int64_t)request->before_index;
	begin(query);
	/* Of what a range finds, and has to be sorted, only the first rows are looked up. */
	bool sorted = !query->words.len && narrow_range(query) != NULL;
	buf_append_str(&query->sql, sorted ? "SELECT record.idx, record.segment, record.offset FROM (SELECT idx FROM "
	                                   : "SELECT record.idx, record.segment, record.offset FROM ");
	const char *id = write_source(query, true, low, high);
	buf_printf(&query->sql, " ORDER BY %s%s LIMIT ?", id, order);
	bind_number(query, (int64_t)query->limit + 1);
	if (sorted)
		buf_printf(&query->sql, ") AS hit CROSS JOIN record ON record.idx = hit.idx ORDER BY hit.idx%s", order);
}

void audit_query_count(struct audit_query *query)
{
	begin(query);
	buf_append_str(&query->sql, "SELECT count(*) FROM ");
	write_source(query, false, query->low, query->high);
}

void audit_query_probe(struct audit_query *query, const struct audit_range *range)
{
	begin(query);
	buf_printf(&query->sql, "SELECT count(*) FROM (SELECT 1 FROM record INDEXED BY %s WHERE %s LIMIT %d)", range->index,
	           range->condition, AUDIT_QUERY_WIDE);
	bind(query, range->low);
	bind(query, range->high);
}

int audit_query_bind(const struct audit_query *query, sqlite3_stmt *statement)
{
	int rc = SQLITE_OK;
	for (int i = 0; rc == SQLITE_OK && i < query->n_binds; i++) {
		const struct audit_bind *bind = &query->binds[i];
		if (bind->kind == AUDIT_BIND_NUMBER)
			rc = sqlite3_bind_int64(statement, i + 1, bind->number);
		else if (bind->kind == AUDIT_BIND_TEXT)
			rc = sqlite3_bind_text64(statement, i + 1, (const char *)bind->bytes.ptr, bind->bytes.len, SQLITE_STATIC,
			                         SQLITE_UTF8);
		else if (bind->bytes.len)
			rc = sqlite3_bind_blob64(statement, i + 1, bind->bytes.ptr, bind->bytes.len, SQLITE_STATIC);
		else
			rc = sqlite3_bind_zeroblob(statement, i + 1, 0);
	}
	return rc;
}
