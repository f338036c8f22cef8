/* Schema and writing (docs/AUDIT.md, "The search index"). */
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit/changes.h"
#include "audit/record.h"

enum { SCHEMA_VERSION = 3, APPLICATION_ID = 0x324b4149 /* "2KAI" */ };

/* Absent text is NULL, and no index holds it. Every index ends in the rowid, so that equality yields records in order
 * of their index. Text is compared byte by byte (BINARY, the default). An address is a blob of 4 or 16 bytes, so that a
 * network is a range. Time needs no index: it never runs backwards, so the rowid is one. */
static const char schema[] =
    "BEGIN;"
    "CREATE TABLE record(idx INTEGER PRIMARY KEY, segment INTEGER NOT NULL, offset INTEGER NOT NULL,"
    " time INTEGER NOT NULL, event INTEGER NOT NULL, decision INTEGER NOT NULL, operation INTEGER NOT NULL,"
    " object TEXT, bucket TEXT, subject TEXT, account TEXT, reason TEXT, rule TEXT, country TEXT, identity TEXT,"
    " address BLOB, transaction_id BLOB);"
    "CREATE INDEX by_event ON record(event);"
    "CREATE INDEX by_decision ON record(decision);"
    "CREATE INDEX by_denied_subject ON record(subject) WHERE decision = 2 AND subject IS NOT NULL;"
    "CREATE INDEX by_object ON record(object) WHERE object IS NOT NULL;"
    "CREATE INDEX by_bucket ON record(bucket) WHERE bucket IS NOT NULL;"
    "CREATE INDEX by_subject ON record(subject) WHERE subject IS NOT NULL;"
    "CREATE INDEX by_account ON record(account) WHERE account IS NOT NULL;"
    "CREATE INDEX by_reason ON record(reason) WHERE reason IS NOT NULL;"
    "CREATE INDEX by_country ON record(country) WHERE country IS NOT NULL;"
    "CREATE INDEX by_identity ON record(identity) WHERE identity IS NOT NULL;"
    "CREATE INDEX by_address ON record(address) WHERE address IS NOT NULL;"
    "CREATE INDEX by_transaction ON record(transaction_id) WHERE transaction_id IS NOT NULL;"
    "CREATE VIRTUAL TABLE words USING fts5(object, purpose, user_agent, reason, detail, why,"
    " content='', columnsize=0, tokenize='unicode61');"
    "CREATE TABLE change(bucket TEXT NOT NULL, object TEXT NOT NULL, idx INTEGER NOT NULL, began INTEGER,"
    " object_id BLOB, PRIMARY KEY(bucket, object, idx)) WITHOUT ROWID;"
    "CREATE TABLE cursor(id INTEGER PRIMARY KEY CHECK(id = 1), next_index INTEGER NOT NULL,"
    " segment INTEGER NOT NULL, offset INTEGER NOT NULL, chain BLOB NOT NULL);"
    "INSERT INTO cursor VALUES(1, 0, 0, 0, zeroblob(32));"
    "PRAGMA application_id=843792713;"
    "PRAGMA user_version=3;"
    "COMMIT;";
_Static_assert(APPLICATION_ID == 843792713 && SCHEMA_VERSION == 3, "the numbers in the text above");

static const char sql_insert_record[] = "INSERT INTO record VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
static const char sql_insert_words[] =
    "INSERT INTO words(rowid, object, purpose, user_agent, reason, detail, why) VALUES(?,?,?,?,?,?,?)";
static const char sql_insert_change[] = "INSERT INTO change VALUES(?,?,?,?,?)";
static const char sql_set_cursor[] = "UPDATE cursor SET next_index=?, segment=?, offset=?, chain=?";
static const char sql_get_cursor[] = "SELECT next_index, segment, offset, chain FROM cursor WHERE id = 1";

enum err_code audit_index_db_error(sqlite3 *connection, int rc, struct err *err)
{
	int primary = rc & 0xff;
	bool damaged = primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_ERROR ||
	               primary == SQLITE_MISMATCH || primary == SQLITE_CONSTRAINT || primary == SQLITE_FORMAT;
	return err_set(err, damaged ? ERR_CORRUPT : ERR_UNAVAILABLE, rc, "search index: %s",
	               connection ? sqlite3_errmsg(connection) : sqlite3_errstr(rc));
}

enum err_code audit_index_db_exec(struct audit_index_db *db, const char *sql, struct err *err)
{
	int rc = sqlite3_exec(db->connection, sql, NULL, NULL, NULL);
	return rc == SQLITE_OK ? ERR_OK : audit_index_db_error(db->connection, rc, err);
}

static enum err_code get_number(sqlite3 *connection, const char *sql, int64_t *ret, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(connection, sql, -1, &statement, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return rc == SQLITE_ROW ? ERR_OK : audit_index_db_error(connection, rc, err);
}

static enum err_code get_cursor(sqlite3 *connection, struct audit_cursor *ret, struct err *err)
{
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(connection, sql_get_cursor, -1, &statement, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(statement);
	bool whole = rc == SQLITE_ROW && sqlite3_column_bytes(statement, 3) == AUDIT_CHAIN_BYTES;
	if (whole) {
		ret->next_index = (uint64_t)sqlite3_column_int64(statement, 0);
		ret->last.segment = (uint64_t)sqlite3_column_int64(statement, 1);
		ret->last.offset = (uint64_t)sqlite3_column_int64(statement, 2);
		memcpy(ret->chain, sqlite3_column_blob(statement, 3), AUDIT_CHAIN_BYTES);
	}
	sqlite3_finalize(statement);
	if (!whole && (rc == SQLITE_ROW || rc == SQLITE_DONE))
		return err_set(err, ERR_CORRUPT, 0, "search index: it does not say how far it came");
	return whole ? ERR_OK : audit_index_db_error(connection, rc, err);
}

/* An empty file gets the schema; another version is as good as damage. */
static enum err_code settle_schema(struct audit_index_db *db, struct err *err)
{
	int64_t tables = 0, version = 0;
	enum err_code code = get_number(db->connection, "SELECT count(*) FROM sqlite_schema", &tables, err);
	if (code == ERR_OK && tables == 0)
		code = audit_index_db_exec(db, schema, err);
	if (code == ERR_OK)
		code = get_number(db->connection, "PRAGMA user_version", &version, err);
	if (code == ERR_OK && version != SCHEMA_VERSION)
		code = err_set(err, ERR_CORRUPT, 0, "search index: schema version %" PRId64, version);
	return code;
}

/* The last rows are there exactly as far as the cursor says. */
static enum err_code check_rows(sqlite3 *connection, const struct audit_cursor *cursor, struct err *err)
{
	int64_t next = 0;
	enum err_code code =
	    get_number(connection, "SELECT ifnull((SELECT idx + 1 FROM record ORDER BY idx DESC LIMIT 1), 0)", &next, err);
	if (code == ERR_OK && (uint64_t)next != cursor->next_index)
		code = err_set(err, ERR_CORRUPT, 0, "search index: rows and cursor differ");
	return code;
}

static enum err_code prepare(struct audit_index_db *db, const char *sql, sqlite3_stmt **ret, struct err *err)
{
	int rc = sqlite3_prepare_v3(db->connection, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
	return rc == SQLITE_OK ? ERR_OK : audit_index_db_error(db->connection, rc, err);
}

enum err_code audit_index_db_open(const char *path, struct audit_index_db *ret, struct audit_cursor *cursor,
                                  struct err *err)
{
	struct audit_index_db db = {0};
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
	int rc = sqlite3_open_v2(path, &db.connection, flags, NULL);
	enum err_code code = rc == SQLITE_OK ? ERR_OK : audit_index_db_error(db.connection, rc, err);
	/* NORMAL: a power cut may lose the latest rows, which are then indexed again. */
	if (code == ERR_OK)
		code = audit_index_db_exec(&db,
		                           "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA mmap_size=0;"
		                           "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-65536;",
		                           err);
	if (code == ERR_OK)
		code = settle_schema(&db, err);
	if (code == ERR_OK)
		code = get_cursor(db.connection, cursor, err);
	if (code == ERR_OK)
		code = check_rows(db.connection, cursor, err);
	if (code == ERR_OK)
		code = prepare(&db, sql_insert_record, &db.insert_record, err);
	if (code == ERR_OK)
		code = prepare(&db, sql_insert_words, &db.insert_words, err);
	if (code == ERR_OK)
		code = prepare(&db, sql_insert_change, &db.insert_change, err);
	if (code == ERR_OK)
		code = prepare(&db, sql_set_cursor, &db.set_cursor, err);
	if (code != ERR_OK)
		audit_index_db_close(&db);
	else
		*ret = db;
	return code;
}

void audit_index_db_close(struct audit_index_db *db)
{
	sqlite3_finalize(db->insert_record);
	sqlite3_finalize(db->insert_words);
	sqlite3_finalize(db->insert_change);
	sqlite3_finalize(db->set_cursor);
	sqlite3_close(db->connection);
	*db = (struct audit_index_db){0};
}

void audit_index_db_remove(const char *path)
{
	static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
		autofree char *name = xasprintf("%s%s", path, suffixes[i]);
		unlink(name);
	}
}

uint64_t audit_index_db_claims(const char *path)
{
	sqlite3 *connection = NULL;
	struct audit_cursor cursor = {0};
	int64_t version = 0;
	int rc = access(path, F_OK) == 0 ? sqlite3_open_v2(path, &connection, SQLITE_OPEN_READWRITE, NULL) : SQLITE_ERROR;
	if (rc == SQLITE_OK && (get_number(connection, "PRAGMA user_version", &version, NULL) != ERR_OK ||
	                        version != SCHEMA_VERSION || get_cursor(connection, &cursor, NULL) != ERR_OK))
		cursor.next_index = 0;
	sqlite3_close(connection);
	return cursor.next_index;
}

enum err_code audit_index_check_not_ahead(const char *directory, uint64_t committed, struct err *err)
{
	autofree char *path = xasprintf("%s/index.sqlite3", directory);
	uint64_t claims = audit_index_db_claims(path);
	if (claims > committed)
		return err_set(err, ERR_CORRUPT, 0,
		               "the log ends after %" PRIu64 " records, but the search index has seen %" PRIu64
		               ": restore the log, or remove %s to accept the loss",
		               committed, claims, path);
	return ERR_OK;
}

static enum err_code run(struct audit_index_db *db, sqlite3_stmt *statement, struct err *err)
{
	int rc = sqlite3_step(statement);
	enum err_code code = rc == SQLITE_DONE ? ERR_OK : audit_index_db_error(db->connection, rc, err);
	sqlite3_reset(statement);
	return code;
}

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
	if (text[0])
		sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(statement, at);
}

static void bind_blob(sqlite3_stmt *statement, int at, struct span bytes)
{
	if (bytes.len)
		sqlite3_bind_blob(statement, at, bytes.ptr, (int)bytes.len, SQLITE_STATIC);
	else
		sqlite3_bind_null(statement, at);
}

struct span audit_index_address(const struct ip_addr *address)
{
	const size_t mapped = 12; /* bytes before an IPv4 address that is held mapped */
	return ip_is_v4(address) ? span_of(address->bytes + mapped, 4) : span_of(address->bytes, 16);
}

static enum err_code add_row(struct audit_index_db *db, uint64_t index, struct audit_place place,
                             const Twokey__V1__Record *record, struct err *err)
{
	const int64_t numbers[] = {
	    (int64_t)index, (int64_t)place.segment, (int64_t)place.offset, audit_record_time_ms(record),
	    record->event,  record->decision,       record->operation};
	const char *const texts[] = {record->object, record->bucket, record->subject, record->account,
	                             record->reason, record->rule,   record->country, record->identity};
	enum { NUMBERS = sizeof(numbers) / sizeof(*numbers), TEXTS = sizeof(texts) / sizeof(*texts) };
	struct ip_addr address;
	for (int i = 0; i < NUMBERS; i++)
		sqlite3_bind_int64(db->insert_record, i + 1, numbers[i]);
	for (int i = 0; i < TEXTS; i++)
		bind_text(db->insert_record, NUMBERS + i + 1, texts[i]);
	bind_blob(db->insert_record, NUMBERS + TEXTS + 1,
	          ip_parse(record->address, &address) ? audit_index_address(&address) : (struct span){0});
	bind_blob(db->insert_record, NUMBERS + TEXTS + 2, span_of(record->transaction_id.data, record->transaction_id.len));
	return run(db, db->insert_record, err);
}

/* audit/changes.c reads it. */
static enum err_code add_change(struct audit_index_db *db, uint64_t index, const Twokey__V1__Record *record,
                                struct err *err)
{
	struct audit_change change;
	if (!audit_change_of(record, &change))
		return ERR_OK;
	sqlite3_bind_text(db->insert_change, 1, record->bucket, -1, SQLITE_STATIC);
	sqlite3_bind_text(db->insert_change, 2, record->object, -1, SQLITE_STATIC);
	sqlite3_bind_int64(db->insert_change, 3, (int64_t)index);
	if (change.settled)
		sqlite3_bind_int64(db->insert_change, 4, (int64_t)change.began);
	else
		sqlite3_bind_null(db->insert_change, 4);
	if (change.object_id)
		sqlite3_bind_blob(db->insert_change, 5, change.object_id, 16, SQLITE_STATIC);
	else
		sqlite3_bind_null(db->insert_change, 5);
	return run(db, db->insert_change, err);
}

enum err_code audit_index_db_add(struct audit_index_db *db, uint64_t index, struct audit_place place,
                                 const Twokey__V1__Record *record, struct err *err)
{
	const char *const words[] = {record->object, record->purpose, record->user_agent,
	                             record->reason, record->detail,  record->why};
	enum err_code code = add_row(db, index, place, record, err);
	if (code == ERR_OK)
		code = add_change(db, index, record, err);
	if (code != ERR_OK)
		return code;
	bool any = false;
	sqlite3_bind_int64(db->insert_words, 1, (int64_t)index);
	for (int i = 0; i < (int)(sizeof(words) / sizeof(*words)); i++) {
		bind_text(db->insert_words, i + 2, words[i]);
		any |= words[i][0] != 0;
	}
	return any ? run(db, db->insert_words, err) : ERR_OK;
}

enum err_code audit_index_db_set_cursor(struct audit_index_db *db, const struct audit_cursor *cursor, struct err *err)
{
	sqlite3_bind_int64(db->set_cursor, 1, (int64_t)cursor->next_index);
	sqlite3_bind_int64(db->set_cursor, 2, (int64_t)cursor->last.segment);
	sqlite3_bind_int64(db->set_cursor, 3, (int64_t)cursor->last.offset);
	sqlite3_bind_blob(db->set_cursor, 4, cursor->chain, AUDIT_CHAIN_BYTES, SQLITE_STATIC);
	return run(db, db->set_cursor, err);
}
