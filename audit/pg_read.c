/* Reading, on a few connections that are kept. */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/pg.h"
#include "audit/record.h"

static enum err_code take(struct audit_pg *pg, struct audit_pg_conn *ret, struct err *err)
{
	struct timespec deadline = audit_deadline(pg->settings.timeout_ms);
	enum err_code code = ERR_OK;
	*ret = (struct audit_pg_conn){.settings = &pg->settings};
	pthread_mutex_lock(&pg->lock);
	if (pg->watch_failed) /* the watcher will find it when it is back: nobody else waits for it */
		code = err_set(err, ERR_UNAVAILABLE, pg->watch_failure.native, "%s", pg->watch_failure.text);
	while (code == ERR_OK && pg->n_taken >= AUDIT_PG_POOL)
		if (pthread_cond_timedwait(&pg->returned, &pg->lock, &deadline) != 0)
			code = err_set(err, ERR_UNAVAILABLE, 0, "%s: all connections are taken", pg->settings.where);
	if (code == ERR_OK && pg->n_idle)
		*ret = pg->idle[--pg->n_idle];
	pg->n_taken += code == ERR_OK;
	pthread_mutex_unlock(&pg->lock);
	return code;
}

static void give_back(struct audit_pg *pg, struct audit_pg_conn *conn)
{
	pthread_mutex_lock(&pg->lock);
	pg->n_taken--;
	if (conn->pq)
		pg->idle[pg->n_idle++] = *conn;
	pthread_cond_signal(&pg->returned);
	pthread_mutex_unlock(&pg->lock);
}

enum err_code audit_pg_query(struct audit_pg *pg, struct audit_pg_call *calls, size_t n, struct err *err)
{
	struct audit_pg_conn conn;
	struct err failure = {0};
	enum err_code code = take(pg, &conn, err);
	if (code != ERR_OK)
		return code;
	for (int attempt = 0; attempt < 2; attempt++) {
		bool kept = conn.pq != NULL;
		code = kept ? ERR_OK : audit_pg_connect(&pg->settings, &conn, &failure);
		if (code == ERR_OK)
			code = audit_pg_run(&conn, calls, n, &failure);
		if (code == ERR_OK || !kept)
			break;
		audit_pg_calls_done(calls, n);
	}
	give_back(pg, &conn);
	return code == ERR_OK ? ERR_OK : err_set(err, code, failure.native, "%s", failure.text);
}

enum reason audit_pg_use_state(struct audit_ledger *ledger, const struct audit_use *use)
{
	struct audit_pg *pg = audit_pg_of(ledger);
	struct audit_pg_call call = {.sql = "SELECT sha256, max(n) FROM use WHERE id = $1 GROUP BY sha256",
	                             .n_params = 1,
	                             .params = {audit_pg_bytes(span_of(use->transaction_id, 16))}};
	enum reason reason = REASON_LEDGER_UNAVAILABLE;
	if (audit_pg_query(pg, &call, 1, NULL) == ERR_OK) {
		struct span sha256 = audit_pg_get_bytes(call.result, 0, 0);
		reason = REASON_NONE;
		if (sha256.len && memcmp(sha256.ptr, use->transaction_sha256, sha256.len) != 0)
			reason = REASON_ID_REUSED;
		else if (use->spend && audit_pg_get_int8(call.result, 0, 1) >= use->max_uses)
			reason = REASON_REPLAYED;
	}
	audit_pg_calls_done(&call, 1);
	return reason;
}

/* ---- single records ---- */

struct audit_reader {
	struct audit_ledger *ledger;
};

void audit_pg_reader_free(struct audit_reader *reader)
{
	free(reader);
}

enum err_code audit_pg_read(struct audit_ledger *ledger, struct audit_reader **reader, uint64_t index,
                            struct audit_place place, struct buf *out, struct err *err)
{
	struct audit_pg *pg = audit_pg_of(ledger);
	struct audit_pg_int8 idx;
	struct audit_pg_call call = {.sql = "SELECT bytes FROM record WHERE idx = $1",
	                             .n_params = 1,
	                             .params = {audit_pg_int8(&idx, (int64_t)index)}};
	uint64_t claimed;
	(void)place, (void)reader;
	if (index >= audit_ledger_committed(ledger))
		return err_set(err, ERR_NOT_FOUND, 0, "there is no record %" PRIu64, index);
	enum err_code code = audit_pg_query(pg, &call, 1, err);
	if (code != ERR_OK)
		return code;
	struct span record = audit_pg_get_bytes(call.result, 0, 0);
	if (!audit_record_index(record, &claimed) || claimed != index)
		code = err_set(err, ERR_CORRUPT, 0, "index %" PRIu64 ": the record is not there, or another is", index);
	else
		buf_append(out, record);
	audit_pg_calls_done(&call, 1);
	return code;
}

/* ---- positions ---- */

static enum err_code time_and_chain(struct audit_pg *pg, uint64_t index, int64_t *ret_ms, uint8_t *ret_chain,
                                    struct err *err)
{
	struct audit_pg_int8 idx;
	struct audit_pg_call call = {.sql = "SELECT time_ms, chain FROM record WHERE idx = $1",
	                             .n_params = 1,
	                             .params = {audit_pg_int8(&idx, (int64_t)index)}};
	enum err_code code = audit_pg_query(pg, &call, 1, err);
	struct span chain = code == ERR_OK ? audit_pg_get_bytes(call.result, 0, 1) : (struct span){0};
	if (code == ERR_OK && chain.len != AUDIT_CHAIN_BYTES)
		code = err_set(err, ERR_CORRUPT, 0, "index %" PRIu64 ": the record is not there", index);
	if (code == ERR_OK) {
		*ret_ms = audit_pg_get_int8(call.result, 0, 0);
		memcpy(ret_chain, chain.ptr, AUDIT_CHAIN_BYTES);
	}
	audit_pg_calls_done(&call, 1);
	return code;
}

enum err_code audit_pg_position_of(struct audit_ledger *ledger, uint64_t next, struct audit_position *ret,
                                   struct err *err)
{
	int64_t time_ms;
	ret->next = next;
	return time_and_chain(audit_pg_of(ledger), next - 1, &time_ms, ret->chain, err);
}

/* Time never runs backwards: halving finds it. */
enum err_code audit_pg_position_at(struct audit_ledger *ledger, int64_t time_ms, struct audit_position *ret,
                                   struct err *err)
{
	struct audit_pg *pg = audit_pg_of(ledger);
	uint64_t low = 0, high = audit_ledger_committed(ledger);
	*ret = (struct audit_position){0};
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		uint8_t chain[AUDIT_CHAIN_BYTES];
		int64_t found_ms;
		enum err_code code = time_and_chain(pg, middle, &found_ms, chain, err);
		if (code != ERR_OK)
			return code;
		if (found_ms >= time_ms) {
			high = middle;
			continue;
		}
		low = middle + 1;
		ret->next = low;
		memcpy(ret->chain, chain, sizeof(chain));
	}
	return ERR_OK;
}
