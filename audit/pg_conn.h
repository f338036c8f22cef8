/* One connection to PostgreSQL. Nothing waits without a bound: a call that does not end in time closes the connection.
 * Statements go out together and come back together (libpq's pipeline mode): one round trip for many. One thread at a
 * time. */
#ifndef TWOKEY_AUDIT_PG_CONN_H
#define TWOKEY_AUDIT_PG_CONN_H

#include <libpq-fe.h>

#include "audit/internal.h"
#include "common/secret.h"

enum {
	AUDIT_PG_KEYWORDS = 64,
	AUDIT_PG_IDLE_MS = 3000, /* after which the server ends a transaction whose client says nothing */
};

struct audit_pg_settings {
	const char *keywords[AUDIT_PG_KEYWORDS]; /* for libpq; static */
	char *values[AUDIT_PG_KEYWORDS];         /* owned */
	int n;
	char *password_file; /* NULL: none; owned */
	char *schema;        /* owned */
	char *where;         /* for messages: host, port, database; owned */
	unsigned timeout_ms; /* of a connect, and of a round trip */
};

/* pg_settings.c: reads the connection string and fills in what is safe. ERR_INVALID says what is wrong with it. */
must_check enum err_code audit_pg_settings_init(const struct audit_postgresql *options, unsigned timeout_ms,
                                                struct audit_pg_settings *ret, struct err *err);
void audit_pg_settings_done(struct audit_pg_settings *settings);
/* Reads the password's file, which nobody else may read; *ret is a NUL-terminated text, or NULL when there is none. */
must_check enum err_code audit_pg_password(const struct audit_pg_settings *settings, struct secret **ret,
                                           struct err *err);

struct audit_pg_conn {
	PGconn *pq; /* NULL: closed */
	const struct audit_pg_settings *settings;
};

enum { AUDIT_PG_PARAMS = 6 };
struct audit_pg_param {
	struct span bytes; /* binary */
	bool array;        /* of its type */
	enum { AUDIT_PG_INT8 = 20, AUDIT_PG_BYTEA = 17 } type;
};

/* One statement, and what came of it. */
struct audit_pg_call {
	const char *sql;
	int n_params;
	struct audit_pg_param params[AUDIT_PG_PARAMS];
	PGresult *result; /* binary; owned, audit_pg_calls_done */
};

/* Connects, sets limits for the session, and checks that a commit means durable. ERR_UNAVAILABLE: try again later;
 * ERR_PRECONDITION: the server's settings lose commits; ERR_UNAUTHENTICATED. */
must_check enum err_code audit_pg_connect(const struct audit_pg_settings *settings, struct audit_pg_conn *conn,
                                          struct err *err);
void audit_pg_close(struct audit_pg_conn *conn);

/* Runs all of them; the first that fails ends it and closes the connection, so that nothing is left half done in the
 * session. What is not inside BEGIN and COMMIT is one transaction of its own. err->native is the SQLSTATE
 * (audit_pg_state), 0 when the connection broke or was too slow. */
must_check enum err_code audit_pg_run(struct audit_pg_conn *conn, struct audit_pg_call *calls, size_t n,
                                      struct err *err);
void audit_pg_calls_done(struct audit_pg_call *calls, size_t n);

/* "40001" as a number. */
long audit_pg_state(const char *sqlstate);

/* Parameters. The struct that holds the bytes must live until the run. */
struct audit_pg_int8 {
	uint8_t bytes[8];
};
struct audit_pg_param audit_pg_int8(struct audit_pg_int8 *storage, int64_t value);
struct audit_pg_param audit_pg_bytes(struct span bytes);
/* An array, element by element. */
struct audit_pg_array {
	struct buf buf;
	uint32_t n;
};
void audit_pg_array_init(struct audit_pg_array *array, int type);
void audit_pg_array_int8(struct audit_pg_array *array, int64_t value);
void audit_pg_array_bytes(struct audit_pg_array *array, struct span bytes);
struct audit_pg_param audit_pg_array_param(struct audit_pg_array *array, int type);

/* Results. A column that is NULL or of another size reads as 0 and empty. */
int64_t audit_pg_get_int8(const PGresult *result, int row, int column);
struct span audit_pg_get_bytes(const PGresult *result, int row, int column);

#endif
