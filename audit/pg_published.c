/* The last checkpoint: one row, changed by compare and swap. */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/pg.h"

enum err_code audit_pg_published(struct audit_ledger *ledger, struct audit_published *ret, struct err *err)
{
	struct audit_pg *pg = audit_pg_of(ledger);
	struct audit_pg_call call = {.sql = "SELECT size, root, note FROM checkpoint"};
	enum err_code code = audit_pg_query(pg, &call, 1, err);
	if (code != ERR_OK)
		return code;
	struct span root = audit_pg_get_bytes(call.result, 0, 1);
	if (root.len == sizeof(ret->root)) {
		*ret = (struct audit_published){.size = (uint64_t)audit_pg_get_int8(call.result, 0, 0)};
		memcpy(ret->root, root.ptr, root.len);
		buf_append(&ret->note, audit_pg_get_bytes(call.result, 0, 2));
	} else {
		code = err_set(err, ERR_CORRUPT, 0, "%s: table `checkpoint` is damaged", pg->settings.where);
	}
	audit_pg_calls_done(&call, 1);
	return code;
}

/* Run twice, because the first answer was lost, it says ERR_PRECONDITION, and whoever looks again finds his own. */
enum err_code audit_pg_publish(struct audit_ledger *ledger, const struct audit_published *last,
                               const struct audit_published *next, struct err *err)
{
	struct audit_pg *pg = audit_pg_of(ledger);
	struct audit_pg_int8 last_size, next_size;
	struct audit_pg_call call = {
	    .sql = "UPDATE checkpoint SET size = $3, root = $4, note = $5 WHERE size = $1 AND root = $2 RETURNING 1",
	    .n_params = 5,
	    .params = {audit_pg_int8(&last_size, (int64_t)last->size),
	               audit_pg_bytes(span_of(last->root, sizeof(last->root))),
	               audit_pg_int8(&next_size, (int64_t)next->size),
	               audit_pg_bytes(span_of(next->root, sizeof(next->root))), audit_pg_bytes(buf_span(&next->note))},
	};
	enum err_code code = audit_pg_query(pg, &call, 1, err);
	if (code == ERR_OK && PQntuples(call.result) != 1)
		code = err_set(err, ERR_PRECONDITION, 0, "another checkpoint has been published");
	audit_pg_calls_done(&call, 1);
	return code;
}
