/* The rule, over the records of one name: a settled change began at some record; whatever ended before that record is
 * gone. So the object that may stand there is one that a later record names: of the settled change itself, or of a
 * Store that overlapped it, runs now, failed without saying how, or was cut off by a crash. Nothing has to be
 * remembered between two questions. */
#include "audit/changes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "audit/record.h"

enum {
	ID_BYTES = 16,
	RECENT_MAX = 1 << 16, /* changes in memory while the index is behind; older ones are left to the ledger */
	WAIT_MS = 300,        /* for an index that is being opened or filled; then the ledger is read */
};

struct recent {
	TAILQ_ENTRY(recent) entry;
	struct audit_change change;
	uint8_t object_id[ID_BYTES];
	char *bucket, *object;
};

struct audit_changes {
	struct audit_ledger *ledger;
	struct audit_index *index;
	pthread_mutex_t lock, scanning;
	TAILQ_HEAD(, recent) recent; /* oldest first */
	size_t n;
	uint64_t from; /* every change at or behind this record that is not in the index is in memory */
};

struct question {
	const struct audit_object *asked;
	bool settled;
	uint64_t began; /* of what settled last */
	bool named;
	uint64_t last_named; /* the last record that names the object id */
};

bool audit_change_of(const Twokey__V1__Record *record, struct audit_change *ret)
{
	bool puts = record->operation == TWOKEY__V1__OPERATION__OPERATION_PUT && record->object_id.len == ID_BYTES;
	/* Removing one version by its name does not say which object is the newest then. */
	bool removes = record->operation == TWOKEY__V1__OPERATION__OPERATION_DELETE && !record->version_id[0];
	bool grants =
	    record->event == TWOKEY__V1__EVENT__EVENT_STORE && record->decision == TWOKEY__V1__DECISION__DECISION_GRANTED;
	bool ends = record->event == TWOKEY__V1__EVENT__EVENT_COMPLETION;
	bool settled = ends && strcmp(record->outcome, "complete") == 0;
	if (!(puts && (grants || ends)) && !(removes && settled))
		return false;
	*ret = (struct audit_change){.index = record->index,
	                             .settled = settled,
	                             .began = settled ? record->decision_index : 0,
	                             .object_id = puts ? record->object_id.data : NULL};
	return true;
}

/* Changes may come in any order, and more than once. */
static void take(struct question *question, const struct audit_change *change)
{
	if (change->settled && (!question->settled || change->began > question->began)) {
		question->settled = true;
		question->began = change->began;
	}
	if (change->object_id && memcmp(change->object_id, question->asked->id, ID_BYTES) == 0 &&
	    (!question->named || change->index > question->last_named)) {
		question->named = true;
		question->last_named = change->index;
	}
}

static bool is_fresh(const struct question *question)
{
	return !question->settled || (question->named && question->last_named > question->began);
}

/* ---- in memory ---- */

struct audit_changes *audit_changes_new(struct audit_ledger *ledger, struct audit_index *index)
{
	struct audit_changes *changes = xcalloc(1, sizeof *changes);
	changes->ledger = ledger;
	changes->index = index;
	changes->from = audit_ledger_committed(ledger);
	pthread_mutex_init(&changes->lock, NULL);
	pthread_mutex_init(&changes->scanning, NULL);
	TAILQ_INIT(&changes->recent);
	return changes;
}

static void drop_oldest_locked(struct audit_changes *changes)
{
	struct recent *oldest = TAILQ_FIRST(&changes->recent);
	TAILQ_REMOVE(&changes->recent, oldest, entry);
	changes->n--;
	if (oldest->change.index >= changes->from)
		changes->from = oldest->change.index + 1;
	free(oldest->bucket);
	free(oldest->object);
	free(oldest);
}

void audit_changes_free(struct audit_changes *changes)
{
	if (!changes)
		return;
	while (changes->n > 0)
		drop_oldest_locked(changes);
	pthread_mutex_destroy(&changes->lock);
	pthread_mutex_destroy(&changes->scanning);
	free(changes);
}

void audit_changes_add(struct audit_changes *changes, const Twokey__V1__Record *record, uint64_t index)
{
	struct audit_change change;
	if (!audit_change_of(record, &change))
		return;
	struct recent *recent = xcalloc(1, sizeof *recent);
	recent->change = change;
	recent->change.index = index;
	if (change.object_id) {
		memcpy(recent->object_id, change.object_id, ID_BYTES);
		recent->change.object_id = recent->object_id;
	}
	recent->bucket = xstrdup(record->bucket);
	recent->object = xstrdup(record->object);
	uint64_t indexed = audit_index_count(changes->index);
	pthread_mutex_lock(&changes->lock);
	while (changes->n > 0 && (TAILQ_FIRST(&changes->recent)->change.index < indexed || changes->n >= RECENT_MAX))
		drop_oldest_locked(changes);
	TAILQ_INSERT_TAIL(&changes->recent, recent, entry);
	changes->n++;
	pthread_mutex_unlock(&changes->lock);
}

/* Returns from where on nothing is missing. */
static uint64_t ask_memory(struct audit_changes *changes, struct question *question)
{
	const struct recent *recent;
	pthread_mutex_lock(&changes->lock);
	uint64_t from = changes->from;
	TAILQ_FOREACH(recent, &changes->recent, entry)
	if (strcmp(recent->object, question->asked->object) == 0 && strcmp(recent->bucket, question->asked->bucket) == 0)
		take(question, &recent->change);
	pthread_mutex_unlock(&changes->lock);
	return from;
}

/* ---- in the index ---- */

/* Newest first, as far as it matters. */
static enum err_code read_rows(sqlite3 *connection, struct question *question)
{
	static const char sql[] =
	    "SELECT idx, began, object_id FROM change WHERE bucket = ? AND object = ? ORDER BY idx DESC";
	sqlite3_stmt *statement = NULL;
	int rc = sqlite3_prepare_v2(connection, sql, -1, &statement, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_bind_text(statement, 1, question->asked->bucket, -1, SQLITE_STATIC);
		sqlite3_bind_text(statement, 2, question->asked->object, -1, SQLITE_STATIC);
		rc = sqlite3_step(statement);
	}
	for (; rc == SQLITE_ROW; rc = sqlite3_step(statement)) {
		struct audit_change change = {.index = (uint64_t)sqlite3_column_int64(statement, 0),
		                              .settled = sqlite3_column_type(statement, 1) != SQLITE_NULL,
		                              .began = (uint64_t)sqlite3_column_int64(statement, 1)};
		if (question->settled && change.index <= question->began)
			break;
		if (sqlite3_column_bytes(statement, 2) == ID_BYTES)
			change.object_id = sqlite3_column_blob(statement, 2);
		take(question, &change);
	}
	enum err_code code = rc == SQLITE_ROW || rc == SQLITE_DONE ? ERR_OK : audit_index_db_error(connection, rc, NULL);
	sqlite3_finalize(statement);
	return code;
}

/* False: the index cannot say. */
static bool ask_index(struct audit_changes *changes, uint64_t from, struct question *question)
{
	sqlite3 *connection;
	uint64_t generation;
	if (from > 0 && audit_index_wait(changes->index, from - 1, WAIT_MS, NULL) != ERR_OK)
		return false;
	if (audit_index_take(changes->index, AUDIT_INDEX_LOOKUPS, WAIT_MS, &connection, &generation, NULL) != ERR_OK)
		return false;
	enum err_code code = read_rows(connection, question);
	audit_index_give_back(changes->index, connection, generation);
	if (code == ERR_CORRUPT)
		audit_index_condemn(changes->index, generation);
	/* Had it begun anew in between, the rows could have been missing. */
	return code == ERR_OK && audit_index_count(changes->index) >= from;
}

/* ---- in the ledger ---- */

static bool take_record(uint64_t index, struct span bytes, void *user)
{
	struct question *question = user;
	struct audit_change change;
	Twokey__V1__Event event = audit_record_event(bytes);
	if (event != TWOKEY__V1__EVENT__EVENT_STORE && event != TWOKEY__V1__EVENT__EVENT_COMPLETION)
		return true;
	Twokey__V1__Record *record = audit_record_decode(bytes);
	if (record && audit_change_of(record, &change) && strcmp(record->object, question->asked->object) == 0 &&
	    strcmp(record->bucket, question->asked->bucket) == 0) {
		change.index = index;
		take(question, &change);
	}
	if (record)
		twokey__v1__record__free_unpacked(record, NULL);
	return true;
}

/* All of it, one question at a time: slow, and right. */
static enum err_code ask_ledger(struct audit_changes *changes, struct question *question, struct err *err)
{
	struct audit_position position = {0};
	pthread_mutex_lock(&changes->scanning);
	enum err_code code = audit_ledger_replay(changes->ledger, TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &position,
	                                         take_record, question, err);
	pthread_mutex_unlock(&changes->scanning);
	return code;
}

enum err_code audit_changes_ask(struct audit_changes *changes, const struct audit_object *object, bool *ret_fresh,
                                struct err *err)
{
	struct question question = {.asked = object};
	uint64_t from = ask_memory(changes, &question);
	if (changes->ledger->kind->shared && from < object->before)
		from = object->before; /* memory has only what this process has appended */
	enum err_code code = ERR_OK;
	bool decided = question.settled && question.began >= from;
	if (!decided && !ask_index(changes, from, &question))
		code = ask_ledger(changes, &question, err);
	if (code == ERR_OK)
		*ret_fresh = is_fresh(&question);
	return code;
}
