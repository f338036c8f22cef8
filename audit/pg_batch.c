/* One transaction: the head is locked, everything is decided, uses are spent, records appended, the head moved. Two
 * round trips and one flush, for however many waiters. */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/pg.h"
#include "audit/record.h"
#include "audit/uses.h"

enum { LEADING_CALLS = 4, CLOSING_CALLS = 5 };

bool audit_pg_passing(const struct err *err)
{
	/* Classes of SQLSTATEs: connection, transaction state (a server that became a standby), rolled back, not in the
	 * right state (lock not available), operator intervention. */
	static const char *const classes[] = {"08", "25", "40", "55", "57"};
	if (err->code == ERR_UNAVAILABLE && err->native == 0)
		return true;
	for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++)
		if (err->code == ERR_UNAVAILABLE && (err->native >> 24) == audit_pg_state(classes[i]))
			return true;
	return false;
}

/* ---- first half: lock, and look ---- */

static enum err_code restore_uses(struct audit_pg *pg, const PGresult *rows, struct audit_uses *uses, struct err *err)
{
	for (int row = 0; row < PQntuples(rows); row++) {
		struct span id = audit_pg_get_bytes(rows, row, 0), sha256 = audit_pg_get_bytes(rows, row, 1);
		struct audit_use use = {.max_uses = 1, .expires_at_ms = audit_pg_get_int8(rows, row, 3) - AUDIT_KEEP_MS};
		if (id.len != sizeof(use.transaction_id) || sha256.len != sizeof(use.transaction_sha256))
			return err_set(err, ERR_CORRUPT, 0, "%s: table `use` is damaged", pg->settings.where);
		memcpy(use.transaction_id, id.ptr, id.len);
		memcpy(use.transaction_sha256, sha256.ptr, sha256.len);
		audit_uses_restore_spent(uses, &use, (uint32_t)audit_pg_get_int8(rows, row, 2));
	}
	return ERR_OK;
}

/* A server that lost its end and was written on since has another record where the view ends. */
static enum err_code check_seen(struct audit_pg *pg, const struct audit_pg_head *seen, const PGresult *row,
                                struct err *err)
{
	struct span chain = audit_pg_get_bytes(row, 0, 0);
	if (seen->next == 0 ||
	    (chain.len == sizeof(seen->chain) && memcmp(chain.ptr, seen->chain, sizeof(seen->chain)) == 0))
		return ERR_OK;
	return audit_pg_lose(pg, err);
}

static enum err_code lock_and_look(struct audit_pg *pg, const struct audit_pg_batch *batch, struct audit_uses *uses,
                                   struct audit_pg_head *head, struct err *err)
{
	struct audit_pg_head seen;
	struct audit_pg_int8 last;
	struct audit_pg_array ids;
	pthread_mutex_lock(&pg->lock);
	seen = pg->view;
	pthread_mutex_unlock(&pg->lock);
	audit_pg_array_init(&ids, AUDIT_PG_BYTEA);
	for (size_t i = 0; i < batch->n; i++)
		if (batch->entries[i]->asked.use)
			audit_pg_array_bytes(&ids, span_of(batch->entries[i]->use.transaction_id, 16));
	struct audit_pg_call calls[LEADING_CALLS] = {
	    {.sql = "BEGIN"},
	    {.sql = AUDIT_PG_SELECT_HEAD " FOR UPDATE"},
	    {.sql = "SELECT chain FROM record WHERE idx = $1",
	     .n_params = 1,
	     .params = {audit_pg_int8(&last, (int64_t)seen.next - 1)}},
	    {.sql = "SELECT id, sha256, max(n), max(forget_ms) FROM use WHERE id = ANY($1) GROUP BY id, sha256",
	     .n_params = 1,
	     .params = {audit_pg_array_param(&ids, AUDIT_PG_BYTEA)}},
	};
	enum err_code code = audit_pg_run(&pg->conn, calls, LEADING_CALLS, err);
	if (code == ERR_OK)
		code = audit_pg_head_of(pg, calls[1].result, head, err);
	if (code == ERR_OK)
		code = check_seen(pg, &seen, calls[2].result, err);
	if (code == ERR_OK)
		code = audit_pg_adopt(pg, &seen, head, err);
	if (code == ERR_OK)
		code = restore_uses(pg, calls[3].result, uses, err);
	audit_pg_calls_done(calls, LEADING_CALLS);
	buf_done(&ids.buf);
	return code;
}

/* ---- second half: what is written ---- */

struct rows {
	struct audit_pg_array idx, time_ms, chain, bytes;            /* of `record` */
	struct audit_pg_array use_id, use_n, use_sha256, use_forget; /* of `use` */
};

static void rows_init(struct rows *rows)
{
	audit_pg_array_init(&rows->idx, AUDIT_PG_INT8);
	audit_pg_array_init(&rows->time_ms, AUDIT_PG_INT8);
	audit_pg_array_init(&rows->chain, AUDIT_PG_BYTEA);
	audit_pg_array_init(&rows->bytes, AUDIT_PG_BYTEA);
	audit_pg_array_init(&rows->use_id, AUDIT_PG_BYTEA);
	audit_pg_array_init(&rows->use_n, AUDIT_PG_INT8);
	audit_pg_array_init(&rows->use_sha256, AUDIT_PG_BYTEA);
	audit_pg_array_init(&rows->use_forget, AUDIT_PG_INT8);
}

static void rows_done(struct rows *rows)
{
	struct audit_pg_array *const all[] = {&rows->idx,    &rows->time_ms, &rows->chain,      &rows->bytes,
	                                      &rows->use_id, &rows->use_n,   &rows->use_sha256, &rows->use_forget};
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		buf_done(&all[i]->buf);
}

/* Row n says that n uses are spent; row 0, that the transaction was seen. */
static void add_use(struct rows *rows, const struct audit_use *use, uint32_t n)
{
	audit_pg_array_bytes(&rows->use_id, span_of(use->transaction_id, sizeof(use->transaction_id)));
	audit_pg_array_int8(&rows->use_n, n);
	audit_pg_array_bytes(&rows->use_sha256, span_of(use->transaction_sha256, sizeof(use->transaction_sha256)));
	audit_pg_array_int8(&rows->use_forget, use->expires_at_ms + AUDIT_KEEP_MS);
}

static void add_record(struct audit_pg *pg, struct rows *rows, struct audit_pg_entry *entry, int64_t time_ms,
                       struct audit_pg_head *head)
{
	uint8_t prefix[AUDIT_PREFIX_MAX], leaf[AUDIT_CHAIN_BYTES];
	autobuf struct buf record = {.max = AUDIT_RECORD_MAX};
	buf_append(&record, span_of(prefix, audit_record_prefix(head->next, time_ms, prefix)));
	buf_append(&record, buf_span(&entry->rest));
	audit_hash_leaf(pg->hasher, buf_span(&record), leaf);
	audit_hash_chain(pg->hasher, leaf, head->chain);
	audit_pg_array_int8(&rows->idx, (int64_t)head->next);
	audit_pg_array_int8(&rows->time_ms, time_ms);
	audit_pg_array_bytes(&rows->chain, span_of(head->chain, sizeof(head->chain)));
	audit_pg_array_bytes(&rows->bytes, buf_span(&record));
	entry->verdict.commit.index = head->next++;
	entry->verdict.commit.time_ms = head->last_ms = time_ms;
	if (entry->changes_state)
		head->changed = head->next;
}

static void decide_one(struct audit_pg *pg, struct audit_pg_entry *entry, struct audit_uses *uses, struct rows *rows,
                       struct audit_pg_head *head)
{
	const struct audit_moment moment = {
	    .now_ms = clock_now_ms(pg->clock), .last_ms = head->last_ms, .changed = head->changed};
	uint32_t spent = 0;
	bool known = entry->asked.use && audit_uses_known(uses, entry->use.transaction_id, &spent);
	entry->code = audit_decide(&entry->asked, &moment, uses, &entry->verdict, &entry->err);
	if (entry->code != ERR_OK || entry->verdict.stale || entry->verdict.commit.refusal != REASON_NONE)
		return;
	if (entry->asked.use && (entry->use.spend || !known))
		add_use(rows, &entry->use, spent + entry->use.spend);
	add_record(pg, rows, entry, audit_moment_time(&moment), head);
}

static enum err_code write_rows(struct audit_pg *pg, struct audit_pg_batch *batch, struct rows *rows, struct err *err)
{
	struct audit_pg_int8 next, time_ms, changed, number;
	const struct audit_pg_head *head = &batch->head;
	struct audit_pg_call calls[CLOSING_CALLS] = {
	    {.sql = "INSERT INTO record(idx, time_ms, chain, bytes) "
	            "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[])",
	     .n_params = 4,
	     .params = {audit_pg_array_param(&rows->idx, AUDIT_PG_INT8),
	                audit_pg_array_param(&rows->time_ms, AUDIT_PG_INT8),
	                audit_pg_array_param(&rows->chain, AUDIT_PG_BYTEA),
	                audit_pg_array_param(&rows->bytes, AUDIT_PG_BYTEA)}},
	    {.sql = "INSERT INTO use(id, n, sha256, forget_ms) "
	            "SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bigint[])",
	     .n_params = 4,
	     .params = {audit_pg_array_param(&rows->use_id, AUDIT_PG_BYTEA),
	                audit_pg_array_param(&rows->use_n, AUDIT_PG_INT8),
	                audit_pg_array_param(&rows->use_sha256, AUDIT_PG_BYTEA),
	                audit_pg_array_param(&rows->use_forget, AUDIT_PG_INT8)}},
	    {.sql = "UPDATE head SET next = $1, chain = $2, time_ms = $3, changed = $4",
	     .n_params = 4,
	     .params = {audit_pg_int8(&next, (int64_t)head->next), audit_pg_bytes(span_of(head->chain, AUDIT_CHAIN_BYTES)),
	                audit_pg_int8(&time_ms, head->last_ms), audit_pg_int8(&changed, (int64_t)head->changed)}},
	    {.sql = "INSERT INTO writer(id, batch, seen) VALUES($1, $2, now()) "
	            "ON CONFLICT(id) DO UPDATE SET batch = excluded.batch, seen = excluded.seen",
	     .n_params = 2,
	     .params = {audit_pg_bytes(span_of(pg->writer, sizeof(pg->writer))),
	                audit_pg_int8(&number, (int64_t)pg->batch)}},
	    {.sql = "COMMIT"},
	};
	/* From here on it may be committed, whatever comes back. */
	enum err_code code = audit_pg_run(&pg->conn, calls, CLOSING_CALLS, err);
	batch->in_doubt = code != ERR_OK;
	audit_pg_calls_done(calls, CLOSING_CALLS);
	return code;
}

static enum err_code roll_back(struct audit_pg *pg, struct err *err)
{
	struct audit_pg_call call = {.sql = "ROLLBACK"};
	enum err_code code = audit_pg_run(&pg->conn, &call, 1, err);
	audit_pg_calls_done(&call, 1);
	return code;
}

/* The lock waits for whatever became of the old session: after it, what is there is all there will be. */
static enum err_code find_out(struct audit_pg *pg, struct audit_pg_batch *batch, bool *ret_committed, struct err *err)
{
	struct audit_pg_call calls[] = {
	    {.sql = "BEGIN"},
	    {.sql = AUDIT_PG_SELECT_HEAD " FOR UPDATE"},
	    {.sql = "SELECT batch FROM writer WHERE id = $1",
	     .n_params = 1,
	     .params = {audit_pg_bytes(span_of(pg->writer, sizeof(pg->writer)))}},
	    {.sql = "ROLLBACK"},
	};
	enum err_code code = audit_pg_run(&pg->conn, calls, 4, err);
	if (code == ERR_OK) {
		*ret_committed = audit_pg_get_int8(calls[2].result, 0, 0) == (int64_t)pg->batch;
		batch->in_doubt = false;
	}
	audit_pg_calls_done(calls, 4);
	return code;
}

enum err_code audit_pg_batch_try(struct audit_pg *pg, struct audit_pg_batch *batch, struct err *err)
{
	bool committed = false;
	enum err_code code = ERR_OK;
	if (!pg->conn.pq)
		code = audit_pg_connect(&pg->settings, &pg->conn, err);
	if (code == ERR_OK && batch->in_doubt)
		code = find_out(pg, batch, &committed, err);
	if (code != ERR_OK || committed)
		return code == ERR_OK ? audit_pg_adopt(pg, NULL, &batch->head, err) : code;
	struct audit_uses *uses = audit_uses_new();
	struct rows rows;
	rows_init(&rows);
	code = lock_and_look(pg, batch, uses, &batch->head, err);
	for (size_t i = 0; code == ERR_OK && i < batch->n; i++)
		decide_one(pg, batch->entries[i], uses, &rows, &batch->head);
	if (code == ERR_OK)
		code = rows.idx.n || !batch->n ? write_rows(pg, batch, &rows, err) : roll_back(pg, err);
	if (code == ERR_OK)
		code = audit_pg_adopt(pg, NULL, &batch->head, err);
	else
		audit_pg_close(&pg->conn);
	rows_done(&rows);
	audit_uses_free(uses);
	return code;
}
