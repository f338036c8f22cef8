#include "audit/pg_conn.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/secret.h"

long audit_pg_state(const char *sqlstate)
{
	long state = 0;
	for (int i = 0; i < 5 && sqlstate && sqlstate[i]; i++)
		state = state * 256 + (uint8_t)sqlstate[i];
	return state;
}

void audit_pg_close(struct audit_pg_conn *conn)
{
	PQfinish(conn->pq);
	conn->pq = NULL;
}

/* libpq's messages name statements and settings, never a parameter or a password; the first line says it. */
static enum err_code failed(struct audit_pg_conn *conn, enum err_code code, long state, const char *text,
                            struct err *err)
{
	int len = (int)strcspn(text, "\n");
	err_set(err, code, state, "%s: %.*s", conn->settings->where, len, text);
	audit_pg_close(conn);
	return code;
}

static enum err_code too_slow(struct audit_pg_conn *conn, struct err *err)
{
	err_set(err, ERR_UNAVAILABLE, 0, "%s: no answer within %u ms", conn->settings->where, conn->settings->timeout_ms);
	audit_pg_close(conn);
	return ERR_UNAVAILABLE;
}

/* False: the time is over. */
static bool await(const struct audit_pg_conn *conn, short events, int64_t end_us)
{
	struct pollfd fd = {.fd = PQsocket(conn->pq), .events = events};
	for (;;) {
		int64_t left_ms = (end_us - clock_monotonic_us() + 999) / 1000;
		if (left_ms <= 0)
			return false;
		if (poll(&fd, 1, (int)left_ms) > 0)
			return true;
	}
}

static enum err_code flush(struct audit_pg_conn *conn, int64_t end_us, struct err *err)
{
	int rc;
	while ((rc = PQflush(conn->pq)) == 1) {
		if (!await(conn, POLLIN | POLLOUT, end_us))
			return too_slow(conn, err);
		if (!PQconsumeInput(conn->pq))
			break;
	}
	return rc == 0 ? ERR_OK : failed(conn, ERR_UNAVAILABLE, 0, PQerrorMessage(conn->pq), err);
}

/* The next result; NULL ends a statement's. */
static enum err_code next_result(struct audit_pg_conn *conn, int64_t end_us, PGresult **ret, struct err *err)
{
	while (PQisBusy(conn->pq)) {
		if (!await(conn, POLLIN, end_us))
			return too_slow(conn, err);
		if (!PQconsumeInput(conn->pq))
			return failed(conn, ERR_UNAVAILABLE, 0, PQerrorMessage(conn->pq), err);
	}
	*ret = PQgetResult(conn->pq);
	return ERR_OK;
}

static enum err_code result_failed(struct audit_pg_conn *conn, const PGresult *result, struct err *err)
{
	const char *text = PQresultErrorMessage(result);
	long state = audit_pg_state(PQresultErrorField(result, PG_DIAG_SQLSTATE));
	return failed(conn, ERR_UNAVAILABLE, state, *text ? text : "the statement was not run", err);
}

/* Takes the one result of a statement, and the NULL behind it. */
static enum err_code take_result(struct audit_pg_conn *conn, int64_t end_us, ExecStatusType expected, PGresult **ret,
                                 struct err *err)
{
	PGresult *result = NULL, *end = NULL;
	enum err_code code = next_result(conn, end_us, &result, err);
	if (code != ERR_OK)
		return code;
	ExecStatusType status = result ? PQresultStatus(result) : PGRES_FATAL_ERROR;
	bool good = status == expected || (expected == PGRES_COMMAND_OK && status == PGRES_TUPLES_OK);
	if (!good)
		code =
		    result ? result_failed(conn, result, err) : failed(conn, ERR_UNAVAILABLE, 0, PQerrorMessage(conn->pq), err);
	if (code == ERR_OK && expected != PGRES_PIPELINE_SYNC)
		code = next_result(conn, end_us, &end, err);
	if (code == ERR_OK && ret) {
		*ret = result;
		return ERR_OK;
	}
	PQclear(result);
	PQclear(end);
	return code;
}

/* Types of the server's catalog (pg_type.dat). */
enum { INT8_ARRAY = 1016, BYTEA_ARRAY = 1001 };

static bool send_call(struct audit_pg_conn *conn, const struct audit_pg_call *call)
{
	Oid types[AUDIT_PG_PARAMS];
	const char *values[AUDIT_PG_PARAMS];
	int lengths[AUDIT_PG_PARAMS], formats[AUDIT_PG_PARAMS];
	for (int i = 0; i < call->n_params; i++) {
		const struct audit_pg_param *param = &call->params[i];
		types[i] = (Oid)param->type;
		if (param->array)
			types[i] = param->type == AUDIT_PG_BYTEA ? BYTEA_ARRAY : INT8_ARRAY;
		values[i] = param->bytes.ptr ? (const char *)param->bytes.ptr : "";
		lengths[i] = (int)param->bytes.len;
		formats[i] = 1;
	}
	return PQsendQueryParams(conn->pq, call->sql, call->n_params, types, values, lengths, formats, 1);
}

enum err_code audit_pg_run(struct audit_pg_conn *conn, struct audit_pg_call *calls, size_t n, struct err *err)
{
	int64_t end_us = clock_monotonic_us() + (int64_t)conn->settings->timeout_ms * 1000;
	for (size_t i = 0; i < n; i++)
		if (!send_call(conn, &calls[i]))
			return failed(conn, ERR_UNAVAILABLE, 0, PQerrorMessage(conn->pq), err);
	if (!PQpipelineSync(conn->pq))
		return failed(conn, ERR_UNAVAILABLE, 0, PQerrorMessage(conn->pq), err);
	enum err_code code = flush(conn, end_us, err);
	for (size_t i = 0; code == ERR_OK && i < n; i++)
		code = take_result(conn, end_us, PGRES_COMMAND_OK, &calls[i].result, err);
	if (code == ERR_OK)
		code = take_result(conn, end_us, PGRES_PIPELINE_SYNC, NULL, err);
	return code;
}

void audit_pg_calls_done(struct audit_pg_call *calls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		PQclear(calls[i].result);
		calls[i].result = NULL;
	}
}

/* ---- connecting ---- */

static enum err_code poll_connect(struct audit_pg_conn *conn, int64_t end_us, struct err *err)
{
	short events = POLLOUT;
	for (;;) {
		if (!await(conn, events, end_us))
			return too_slow(conn, err);
		PostgresPollingStatusType status = PQconnectPoll(conn->pq);
		if (status == PGRES_POLLING_OK)
			return ERR_OK;
		if (status == PGRES_POLLING_FAILED)
			return failed(conn, ERR_UNAVAILABLE, 0, PQerrorMessage(conn->pq), err);
		events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
	}
}

/* "on" at least, and a server that flushes. */
static enum err_code check_durable(struct audit_pg_conn *conn, struct err *err)
{
	struct audit_pg_call calls[] = {
	    {.sql = "SELECT current_setting('synchronous_commit'), current_setting('fsync'), "
	            "current_setting('full_page_writes'), current_setting('transaction_read_only')"}};
	enum err_code code = audit_pg_run(conn, calls, 1, err);
	const PGresult *row = calls[0].result;
	if (code == ERR_OK && PQntuples(row) == 1) {
		static const struct {
			const char *name, *lossy;
		} checks[] = {{"synchronous_commit", "off"}, {"fsync", "off"}, {"full_page_writes", "off"}};
		for (int i = 0; code == ERR_OK && i < 3; i++)
			if (strcmp(PQgetvalue(row, 0, i), checks[i].lossy) == 0)
				code = err_set(err, ERR_PRECONDITION, 0, "%s: %s is off: the server may lose what it has committed",
				               conn->settings->where, checks[i].name);
		if (code == ERR_OK && strcmp(PQgetvalue(row, 0, 3), "on") == 0)
			code = err_set(err, ERR_UNAVAILABLE, 0, "%s: the server is read-only", conn->settings->where);
	}
	audit_pg_calls_done(calls, 1);
	if (code != ERR_OK)
		audit_pg_close(conn);
	return code;
}

/* A session that loses its client must not hold the head's lock for long; search_path is ours alone. */
static enum err_code set_session(struct audit_pg_conn *conn, struct err *err)
{
	autofree char *timeouts = xasprintf("SELECT set_config('statement_timeout', '%u', false), "
	                                    "set_config('lock_timeout', '%u', false), "
	                                    "set_config('idle_in_transaction_session_timeout', '%d', false), "
	                                    "set_config('default_transaction_isolation', 'read committed', false)",
	                                    conn->settings->timeout_ms, conn->settings->timeout_ms, AUDIT_PG_IDLE_MS);
	autofree char *path = xasprintf("SELECT set_config('search_path', '%s', false)", conn->settings->schema);
	struct audit_pg_call calls[] = {
	    {.sql = timeouts},
	    {.sql = path},
	    {.sql = "SELECT set_config('synchronous_commit', 'on', false) WHERE "
	            "current_setting('synchronous_commit') IN ('off', 'local')"},
	};
	enum err_code code = audit_pg_run(conn, calls, 3, err);
	audit_pg_calls_done(calls, 3);
	return code == ERR_OK ? check_durable(conn, err) : code;
}

enum err_code audit_pg_connect(const struct audit_pg_settings *settings, struct audit_pg_conn *conn, struct err *err)
{
	int64_t end_us = clock_monotonic_us() + (int64_t)settings->timeout_ms * 1000;
	*conn = (struct audit_pg_conn){.settings = settings};
	autosecret struct secret *password = NULL;
	const char *keywords[AUDIT_PG_KEYWORDS + 1], *values[AUDIT_PG_KEYWORDS + 1];
	enum err_code code = audit_pg_password(settings, &password, err);
	if (code != ERR_OK)
		return code;
	memcpy(keywords, settings->keywords, sizeof(settings->keywords));
	memcpy(values, settings->values, sizeof(settings->values));
	keywords[settings->n] = "password";
	values[settings->n] = password ? (const char *)secret_bytes(password) : NULL;
	keywords[settings->n + 1] = NULL;
	conn->pq = PQconnectStartParams(keywords, values, 0);
	if (!conn->pq || PQstatus(conn->pq) == CONNECTION_BAD)
		code = failed(conn, ERR_UNAVAILABLE, 0, conn->pq ? PQerrorMessage(conn->pq) : "out of memory", err);
	if (code == ERR_OK)
		code = poll_connect(conn, end_us, err);
	if (code == ERR_OK && (PQsetnonblocking(conn->pq, 1) != 0 || !PQenterPipelineMode(conn->pq)))
		code = failed(conn, ERR_UNAVAILABLE, 0, PQerrorMessage(conn->pq), err);
	return code == ERR_OK ? set_session(conn, err) : code;
}

/* ---- values ---- */

static void put_u64be(uint8_t *out, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(v >> (56 - 8 * i));
}

struct audit_pg_param audit_pg_int8(struct audit_pg_int8 *storage, int64_t value)
{
	put_u64be(storage->bytes, (uint64_t)value);
	return (struct audit_pg_param){.bytes = span_of(storage->bytes, 8), .type = AUDIT_PG_INT8};
}

struct audit_pg_param audit_pg_bytes(struct span bytes)
{
	return (struct audit_pg_param){.bytes = bytes, .type = AUDIT_PG_BYTEA};
}

/* One dimension, no NULLs; the count is filled in at the end. */
enum { ARRAY_COUNT_AT = 12 };

void audit_pg_array_init(struct audit_pg_array *array, int type)
{
	*array = (struct audit_pg_array){0};
	buf_append_u32be(&array->buf, 1);
	buf_append_u32be(&array->buf, 0);
	buf_append_u32be(&array->buf, (uint32_t)type);
	buf_append_u32be(&array->buf, 0);
	buf_append_u32be(&array->buf, 1);
}

void audit_pg_array_int8(struct audit_pg_array *array, int64_t value)
{
	uint8_t bytes[8];
	put_u64be(bytes, (uint64_t)value);
	audit_pg_array_bytes(array, span_of(bytes, sizeof(bytes)));
}

void audit_pg_array_bytes(struct audit_pg_array *array, struct span bytes)
{
	buf_append_u32be(&array->buf, (uint32_t)bytes.len);
	buf_append(&array->buf, bytes);
	array->n++;
}

struct audit_pg_param audit_pg_array_param(struct audit_pg_array *array, int type)
{
	for (int i = 0; i < 4; i++)
		array->buf.data[ARRAY_COUNT_AT + i] = (uint8_t)(array->n >> (24 - 8 * i));
	return (struct audit_pg_param){.bytes = buf_span(&array->buf), .array = true, .type = type};
}

int64_t audit_pg_get_int8(const PGresult *result, int row, int column)
{
	struct span bytes = audit_pg_get_bytes(result, row, column);
	uint64_t v = 0;
	for (size_t i = 0; bytes.len == 8 && i < 8; i++)
		v = v << 8 | bytes.ptr[i];
	return (int64_t)v;
}

struct span audit_pg_get_bytes(const PGresult *result, int row, int column)
{
	if (row >= PQntuples(result) || column >= PQnfields(result))
		return (struct span){0};
	return span_of((const uint8_t *)PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
}
