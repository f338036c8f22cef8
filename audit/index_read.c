/* Reading connections: opened when needed, kept a few, closed when the file was rebuilt. They never write and never
 * checkpoint: SQLite before 3.51.3 can damage a WAL database that two connections checkpoint. */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/index.h"

uint64_t audit_index_count(struct audit_index *index)
{
	pthread_mutex_lock(&index->lock);
	uint64_t count = index->count;
	pthread_mutex_unlock(&index->lock);
	return count;
}

enum err_code audit_index_wait(struct audit_index *index, uint64_t record, unsigned timeout_ms, struct err *err)
{
	struct timespec deadline = audit_deadline(timeout_ms);
	pthread_mutex_lock(&index->lock);
	while (index->count <= record)
		if (pthread_cond_timedwait(&index->changed, &index->lock, &deadline) != 0)
			break;
	bool there = index->count > record;
	pthread_mutex_unlock(&index->lock);
	if (!there)
		return err_set(err, ERR_DEADLINE, 0, "record %" PRIu64 " did not become searchable in time", record);
	return ERR_OK;
}

static enum err_code open_reader(struct audit_index *index, sqlite3 **ret, struct err *err)
{
	sqlite3 *connection = NULL;
	int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
	int rc = sqlite3_open_v2(index->path, &connection, flags, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(connection, "PRAGMA wal_autocheckpoint=0; PRAGMA mmap_size=0; PRAGMA query_only=1;", NULL,
		                  NULL, NULL);
	if (rc != SQLITE_OK) {
		audit_index_db_error(connection, rc, err);
		sqlite3_close(connection);
		return ERR_UNAVAILABLE;
	}
	*ret = connection;
	return ERR_OK;
}

enum err_code audit_index_take(struct audit_index *index, unsigned most, unsigned timeout_ms, sqlite3 **ret,
                               uint64_t *ret_generation, struct err *err)
{
	struct timespec deadline = audit_deadline(timeout_ms);
	enum err_code code = ERR_OK;
	sqlite3 *connection = NULL;
	pthread_mutex_lock(&index->lock);
	while (code == ERR_OK && index->n_taken >= most)
		if (pthread_cond_timedwait(&index->changed, &index->lock, &deadline) != 0)
			code = err_set(err, ERR_DEADLINE, 0, "too many searches are running");
	if (code == ERR_OK && index->broken)
		code = err_set(err, ERR_UNAVAILABLE, index->failure.native, "cannot search now: %s", index->failure.text);
	*ret_generation = index->generation;
	if (code == ERR_OK && index->n_idle)
		connection = index->idle[--index->n_idle];
	else if (code == ERR_OK)
		code = open_reader(index, &connection, err);
	index->n_taken += code == ERR_OK;
	pthread_mutex_unlock(&index->lock);
	if (code == ERR_OK)
		*ret = connection;
	return code;
}

void audit_index_give_back(struct audit_index *index, sqlite3 *connection, uint64_t generation)
{
	pthread_mutex_lock(&index->lock);
	index->n_taken--;
	bool keep = generation == index->generation && index->n_idle < AUDIT_INDEX_LOOKUPS;
	if (keep)
		index->idle[index->n_idle++] = connection;
	pthread_cond_broadcast(&index->changed);
	pthread_mutex_unlock(&index->lock);
	if (!keep)
		sqlite3_close(connection);
}

void audit_index_condemn(struct audit_index *index, uint64_t generation)
{
	pthread_mutex_lock(&index->lock);
	if (generation == index->generation) {
		index->broken = index->condemned = true;
		err_set(&index->failure, ERR_UNAVAILABLE, 0, "the search index is damaged and is being rebuilt");
	}
	pthread_mutex_unlock(&index->lock);
}

struct audit_place audit_index_place(struct audit_index *index, uint64_t record)
{
	struct audit_place place = {0};
	sqlite3 *connection;
	sqlite3_stmt *statement = NULL;
	uint64_t generation;
	if (record >= audit_index_count(index) ||
	    audit_index_take(index, AUDIT_INDEX_LOOKUPS, 0, &connection, &generation, NULL) != ERR_OK)
		return place;
	int rc = sqlite3_prepare_v2(connection, "SELECT segment, offset FROM record WHERE idx = ?", -1, &statement, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(statement, 1, (int64_t)record);
	if (rc == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
		place.segment = (uint64_t)sqlite3_column_int64(statement, 0);
		place.offset = (uint64_t)sqlite3_column_int64(statement, 1);
	}
	sqlite3_finalize(statement);
	audit_index_give_back(index, connection, generation);
	return place;
}
