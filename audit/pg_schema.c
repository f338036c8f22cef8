/* The tables (docs/LEDGER.md). */
#include <inttypes.h>

#include "audit/pg.h"

enum { SCHEMA_VERSION = 1 };

/* Any number that nobody else takes: "twokeydb". */
#define ADVISORY_LOCK "8391736712917451874"

static const char *const tables[] = {
    "CREATE TABLE record(idx bigint PRIMARY KEY, time_ms bigint NOT NULL,"
    " chain bytea NOT NULL CHECK(octet_length(chain) = 32), bytes bytea NOT NULL)",
    "CREATE TABLE use(id bytea NOT NULL CHECK(octet_length(id) = 16), n bigint NOT NULL CHECK(n >= 0),"
    " sha256 bytea NOT NULL CHECK(octet_length(sha256) = 32), forget_ms bigint NOT NULL, PRIMARY KEY(id, n))",
    "CREATE INDEX use_forget ON use(forget_ms)",
    "CREATE TABLE writer(id bytea PRIMARY KEY, batch bigint NOT NULL, seen timestamptz NOT NULL)",
    "CREATE TABLE checkpoint(one boolean PRIMARY KEY CHECK(one), size bigint NOT NULL, root bytea NOT NULL,"
    " note bytea NOT NULL)",
    "INSERT INTO checkpoint VALUES(true, 0, decode(repeat('00', 32), 'hex'), '')",
    "CREATE TABLE head(one boolean PRIMARY KEY CHECK(one), version bigint NOT NULL, next bigint NOT NULL,"
    " chain bytea NOT NULL CHECK(octet_length(chain) = 32), time_ms bigint NOT NULL, changed bigint NOT NULL)",
    "INSERT INTO head VALUES(true, 1, 0, decode(repeat('00', 32), 'hex'), 0, 0)",
};
enum { N_TABLES = sizeof(tables) / sizeof(*tables) };
_Static_assert(SCHEMA_VERSION == 1, "the number in the text above");

static enum err_code run_one(struct audit_pg_conn *conn, const char *sql, PGresult **ret, struct err *err)
{
	struct audit_pg_call call = {.sql = sql};
	enum err_code code = audit_pg_run(conn, &call, 1, err);
	if (code == ERR_OK && ret) {
		*ret = call.result;
		return ERR_OK;
	}
	audit_pg_calls_done(&call, 1);
	return code;
}

static enum err_code has_tables(struct audit_pg_conn *conn, bool *ret, struct err *err)
{
	PGresult *result = NULL;
	enum err_code code = run_one(conn, "SELECT to_regclass('head') IS NOT NULL", &result, err);
	if (code == ERR_OK)
		*ret = PQntuples(result) == 1 && PQgetlength(result, 0, 0) == 1 && *PQgetvalue(result, 0, 0);
	PQclear(result);
	return code;
}

/* One at a time: whoever comes second finds them made. */
static enum err_code make_tables(struct audit_pg_conn *conn, struct err *err)
{
	autofree char *schema = xasprintf("CREATE SCHEMA IF NOT EXISTS %s", conn->settings->schema);
	bool there = false;
	enum err_code code = run_one(conn, "BEGIN", NULL, err);
	if (code == ERR_OK)
		code = run_one(conn, "SELECT pg_advisory_xact_lock(" ADVISORY_LOCK ")", NULL, err);
	if (code == ERR_OK)
		code = has_tables(conn, &there, err);
	if (code == ERR_OK && !there)
		code = run_one(conn, schema, NULL, err);
	for (int i = 0; code == ERR_OK && !there && i < N_TABLES; i++)
		code = run_one(conn, tables[i], NULL, err);
	if (code == ERR_OK)
		code = run_one(conn, "COMMIT", NULL, err);
	return code;
}

enum err_code audit_pg_schema_settle(struct audit_pg_conn *conn, struct err *err)
{
	bool there = false;
	PGresult *result = NULL;
	enum err_code code = has_tables(conn, &there, err);
	if (code == ERR_OK && !there)
		code = make_tables(conn, err);
	if (code == ERR_OK)
		code = run_one(conn, "SELECT version FROM head", &result, err);
	if (code != ERR_OK)
		return code;
	int64_t version = audit_pg_get_int8(result, 0, 0);
	PQclear(result);
	if (version != SCHEMA_VERSION)
		return err_set(err, ERR_PRECONDITION, 0, "%s: schema %s is of version %" PRId64 ", and this twokey knows %d",
		               conn->settings->where, conn->settings->schema, version, SCHEMA_VERSION);
	return ERR_OK;
}
