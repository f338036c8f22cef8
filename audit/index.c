/* The indexer thread: follows the log, and rebuilds the file when it must. */
#include "audit/index.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/record.h"

enum {
	LOOK_MS = 1000,     /* how often an idle indexer looks whether its file is still there */
	GATHER = 256,       /* records worth a transaction of their own */
	GATHER_MS = 4,      /* how long fewer of them wait for more */
	TRANSACTION = 32768 /* records of one transaction at most: the more, the fewer pages are written twice */
};

static void publish(struct audit_index *index)
{
	pthread_mutex_lock(&index->lock);
	index->count = index->cursor.next_index;
	index->broken = false;
	pthread_cond_broadcast(&index->changed);
	pthread_mutex_unlock(&index->lock);
}

/* Searching fails from here until the next publish. */
static void mark_broken(struct audit_index *index, const struct err *err)
{
	pthread_mutex_lock(&index->lock);
	index->broken = true;
	index->failure = *err;
	pthread_mutex_unlock(&index->lock);
}

static void stop_reading(struct audit_index *index)
{
	audit_stream_close(index->stream);
	index->stream = NULL;
}

/* Readers of the old file finish on what they have open, and are closed when they come back. */
static void close_db(struct audit_index *index)
{
	stop_reading(index);
	audit_index_db_close(&index->db);
	pthread_mutex_lock(&index->lock);
	index->generation++;
	while (index->n_idle)
		sqlite3_close(index->idle[--index->n_idle]);
	pthread_mutex_unlock(&index->lock);
}

static void rebuild_later(struct audit_index *index, const struct err *err)
{
	mark_broken(index, err);
	pthread_mutex_lock(&index->lock);
	index->count = 0;
	index->condemned = false;
	pthread_mutex_unlock(&index->lock);
	close_db(index);
	audit_index_db_remove(index->path);
}

/* The ledger's own damage is not the index's: it is reported, not answered with a rebuild. */
static enum err_code ledger_trouble(struct err *err)
{
	err->code = ERR_UNAVAILABLE;
	err_prefix(err, "reading the log");
	return ERR_UNAVAILABLE;
}

/* Behind the record that was indexed last, if the ledger has it. */
static enum err_code start_reading(struct audit_index *index, struct err *err)
{
	struct audit_position from = {.next = index->cursor.next_index};
	if (index->stream)
		return ERR_OK;
	memcpy(from.chain, index->cursor.chain, sizeof(from.chain));
	enum err_code code = audit_stream_open(index->ledger, &from, &index->stream, err);
	if (code == ERR_PRECONDITION)
		return err_set(err, ERR_CORRUPT, 0, "search index: it belongs to another log");
	return code == ERR_OK ? ERR_OK : ledger_trouble(err);
}

static enum err_code index_one(struct audit_index *index, struct audit_cursor *cursor, const struct audit_entry *entry,
                               struct err *err)
{
	Twokey__V1__Record *record = audit_record_decode(entry->record);
	if (!record)
		return err_set(err, ERR_UNAVAILABLE, 0, "record %" PRIu64 " does not parse", entry->index);
	enum err_code code = audit_index_db_add(&index->db, entry->index, entry->place, record, err);
	twokey__v1__record__free_unpacked(record, NULL);
	cursor->next_index = entry->after.next;
	cursor->last = entry->place;
	memcpy(cursor->chain, entry->after.chain, sizeof(cursor->chain));
	return code;
}

static enum err_code index_each(struct audit_index *index, struct audit_cursor *cursor, struct err *err)
{
	struct audit_entry entry;
	enum err_code code = ERR_OK;
	for (int n = 0; code == ERR_OK && n < TRANSACTION; n++) {
		enum audit_step step = audit_stream_next(index->stream, &entry, err);
		if (step == AUDIT_STEP_END)
			break;
		code = step == AUDIT_STEP_RECORD ? index_one(index, cursor, &entry, err) : ledger_trouble(err);
	}
	return code;
}

static enum err_code index_some(struct audit_index *index, struct err *err)
{
	struct audit_cursor cursor = index->cursor;
	enum err_code code = audit_index_db_exec(&index->db, "BEGIN IMMEDIATE", err);
	if (code != ERR_OK)
		return code;
	code = index_each(index, &cursor, err);
	if (code == ERR_OK)
		code = audit_index_db_set_cursor(&index->db, &cursor, err);
	if (code == ERR_OK)
		code = audit_index_db_exec(&index->db, "COMMIT", err);
	if (code == ERR_OK)
		index->cursor = cursor;
	else if (audit_index_db_exec(&index->db, "ROLLBACK", NULL) != ERR_OK)
		code = code == ERR_UNAVAILABLE ? code : ERR_CORRUPT;
	return code;
}

/* The file that is open is still the one that readers would open, and no reader found it damaged. */
static enum err_code check_file(struct audit_index *index, struct err *err)
{
	struct stat named;
	int moved = 0;
	pthread_mutex_lock(&index->lock);
	bool condemned = index->condemned;
	pthread_mutex_unlock(&index->lock);
	if (stat(index->path, &named) != 0 ||
	    sqlite3_file_control(index->db.connection, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK || moved)
		return err_set(err, ERR_CORRUPT, 0, "search index: the file was removed or replaced");
	if (condemned)
		return err_set(err, ERR_CORRUPT, 0, "search index: a search found it damaged");
	return ERR_OK;
}

/* One step. Damage leads to a new file, anything else to another attempt later. */
static enum err_code step(struct audit_index *index, struct err *err)
{
	enum err_code code = index->db.connection ? check_file(index, err)
	                                          : audit_index_db_open(index->path, &index->db, &index->cursor, err);
	if (code == ERR_OK)
		code = start_reading(index, err);
	if (code == ERR_OK && index->cursor.next_index < audit_ledger_committed(index->ledger))
		code = index_some(index, err);
	if (code == ERR_OK)
		publish(index);
	return code;
}

static void be_nice(void)
{
	/* Deciding comes first. The number is this thread's, on Linux. */
	setpriority(PRIO_PROCESS, (id_t)gettid(), 10);
}

static void *indexer(void *user)
{
	struct audit_index *index = user;
	bool go_on = true;
	be_nice();
	while (go_on) {
		struct err err = {0};
		enum err_code code = step(index, &err);
		if (code == ERR_OK) {
			index->rebuilds = 0;
			go_on = audit_ledger_follow(index->ledger, index->cursor.next_index + 1, LOOK_MS) &&
			        audit_ledger_follow(index->ledger, index->cursor.next_index + GATHER, GATHER_MS);
			continue;
		}
		stop_reading(index);
		if (code == ERR_CORRUPT)
			rebuild_later(index, &err);
		else if (!index->db.connection)
			mark_broken(index, &err);
		bool at_once = code == ERR_CORRUPT && index->rebuilds++ == 0;
		go_on = audit_ledger_follow(index->ledger, UINT64_MAX, at_once ? 0 : index->retry_ms);
	}
	return NULL;
}

enum err_code audit_index_start(struct audit_ledger *ledger, const char *directory, unsigned retry_ms,
                                struct audit_index **ret, struct err *err)
{
	struct audit_index *index = xcalloc(1, sizeof(*index));
	index->ledger = ledger;
	index->path = xasprintf("%s/index.sqlite3", directory);
	index->retry_ms = retry_ms;
	index->broken = true;
	err_set(&index->failure, ERR_UNAVAILABLE, 0, "the search index is being opened");
	pthread_mutex_init(&index->lock, NULL);
	audit_cond_init(&index->changed);
	int rc = pthread_create(&index->thread, NULL, indexer, index);
	index->thread_runs = rc == 0;
	if (rc != 0) {
		audit_index_free(index);
		return err_set(err, ERR_UNAVAILABLE, rc, "starting a thread: %s", strerror(rc));
	}
	*ret = index;
	return ERR_OK;
}

void audit_index_free(struct audit_index *index)
{
	if (!index)
		return;
	if (index->thread_runs)
		pthread_join(index->thread, NULL);
	close_db(index);
	pthread_cond_destroy(&index->changed);
	pthread_mutex_destroy(&index->lock);
	free(index->path);
	free(index);
}
