/* Records in order, a page at a time; each one's chain is computed again. */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/pg.h"
#include "audit/record.h"

enum { PAGE = 512 };

struct pg_stream {
	struct audit_stream stream;
	struct audit_position at;
	struct audit_hasher *hasher;
	PGresult *page; /* NULL: none */
	int row;        /* of the next one in it */
};

enum err_code audit_pg_stream_open(struct audit_ledger *ledger, const struct audit_position *from,
                                   struct audit_stream **ret, struct err *err)
{
	struct audit_position here;
	enum err_code code = audit_ledger_position_of(ledger, from->next, &here, err);
	if (code != ERR_OK)
		return code;
	if (memcmp(here.chain, from->chain, sizeof(here.chain)) != 0)
		return audit_another_log(from->next, err);
	struct pg_stream *stream = xcalloc(1, sizeof(*stream));
	stream->stream.ledger = ledger;
	stream->at = here;
	stream->hasher = audit_hasher_new();
	*ret = &stream->stream;
	return ERR_OK;
}

static enum err_code turn_page(struct pg_stream *stream, struct err *err)
{
	struct audit_pg *pg = audit_pg_of(stream->stream.ledger);
	uint64_t end = audit_ledger_committed(stream->stream.ledger);
	struct audit_pg_int8 low, high;
	PQclear(stream->page);
	stream->page = NULL;
	stream->row = 0;
	if (stream->at.next >= end)
		return ERR_OK;
	if (end > stream->at.next + PAGE)
		end = stream->at.next + PAGE;
	struct audit_pg_call call = {
	    .sql = "SELECT bytes, chain FROM record WHERE idx >= $1 AND idx < $2 ORDER BY idx",
	    .n_params = 2,
	    .params = {audit_pg_int8(&low, (int64_t)stream->at.next), audit_pg_int8(&high, (int64_t)end)},
	};
	enum err_code code = audit_pg_query(pg, &call, 1, err);
	if (code == ERR_OK && PQntuples(call.result) == 0)
		code = err_set(err, ERR_CORRUPT, 0, "index %" PRIu64 ": the record is not there", stream->at.next);
	if (code == ERR_OK)
		stream->page = call.result;
	else
		audit_pg_calls_done(&call, 1);
	return code;
}

enum audit_step audit_pg_stream_next(struct audit_stream *base, struct audit_entry *ret, struct err *err)
{
	struct pg_stream *stream = (struct pg_stream *)(void *)base;
	uint8_t leaf[AUDIT_CHAIN_BYTES];
	uint64_t claimed;
	if (!stream->page || stream->row >= PQntuples(stream->page)) {
		if (turn_page(stream, err) != ERR_OK)
			return AUDIT_STEP_BAD;
		if (!stream->page)
			return AUDIT_STEP_END;
	}
	struct span record = audit_pg_get_bytes(stream->page, stream->row, 0);
	struct span chain = audit_pg_get_bytes(stream->page, stream->row, 1);
	audit_hash_leaf(stream->hasher, record, leaf);
	audit_hash_chain(stream->hasher, leaf, stream->at.chain);
	if (chain.len != sizeof(stream->at.chain) || memcmp(chain.ptr, stream->at.chain, chain.len) != 0 ||
	    !audit_record_index(record, &claimed) || claimed != stream->at.next) {
		err_set(err, ERR_CORRUPT, 0, "index %" PRIu64 ": the record does not follow the one before it",
		        stream->at.next);
		return AUDIT_STEP_BAD;
	}
	stream->row++;
	stream->at.next++;
	*ret = (struct audit_entry){.index = claimed, .record = record, .after = stream->at};
	return AUDIT_STEP_RECORD;
}

void audit_pg_stream_close(struct audit_stream *base)
{
	struct pg_stream *stream = (struct pg_stream *)(void *)base;
	PQclear(stream->page);
	audit_hasher_free(stream->hasher);
	free(stream);
}
