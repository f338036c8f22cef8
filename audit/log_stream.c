/* Reading the durable log in order, from a place that is known to be the same as before. */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/log.h"
#include "audit/record.h"

struct log_stream {
	struct audit_stream stream;
	struct audit_position at;
	uint64_t end; /* so many were durable when last looked */
	struct audit_walk walk;
	bool walking;
};

static enum err_code walk_to(struct audit_walk *walk, uint64_t index, struct err *err)
{
	struct span record;
	while (walk->index < index) {
		struct err bad = {0};
		enum audit_walk_step step = audit_walk_next(walk, &record, &bad);
		if (step == AUDIT_WALK_BAD)
			return err_set(err, bad.code, bad.native, "%s", bad.text);
		if (step == AUDIT_WALK_END)
			return err_set(err, ERR_CORRUPT, 0, "segment %" PRIu64 " ends at index %" PRIu64, walk->header.segment,
			               walk->index);
	}
	return ERR_OK;
}

/* Straight, when the frame that the hint names continues the position. */
static bool seek_by_hint(struct audit_walk *walk, const struct audit_position *at)
{
	struct span record;
	if (!at->hint.offset || at->hint.segment != walk->header.segment)
		return false;
	audit_walk_seek(walk, at->hint.offset, at->next, at->chain);
	if (audit_walk_next(walk, &record, NULL) == AUDIT_WALK_RECORD) {
		audit_walk_seek(walk, at->hint.offset, at->next, at->chain);
		return true;
	}
	audit_walk_seek(walk, AUDIT_HEADER_BYTES, walk->header.first_index, walk->header.chain);
	return false;
}

static void note_place(const struct audit_walk *walk, struct audit_position *at)
{
	at->next = walk->index;
	memcpy(at->chain, walk->chain, sizeof at->chain);
	at->hint.segment = walk->header.segment;
	at->hint.offset = walk->offset;
}

/* Opens the segment that has the next record, which is durable. */
static enum err_code begin_walking(struct log_stream *stream, struct err *err)
{
	struct audit_log *log = audit_log_of(stream->stream.ledger);
	uint64_t segment = 0;
	if (stream->walking)
		audit_walk_done(&stream->walk);
	stream->walking = true;
	if (!audit_log_segment_of(log, stream->at.next, &segment))
		segment = 0;
	enum err_code code = audit_walk_begin(&stream->walk, log->directory, segment, err);
	if (code == ERR_OK && !seek_by_hint(&stream->walk, &stream->at)) {
		code = walk_to(&stream->walk, stream->at.next, err);
		if (code == ERR_OK && memcmp(stream->walk.chain, stream->at.chain, AUDIT_CHAIN_BYTES) != 0)
			code = audit_another_log(stream->at.next, err);
	}
	return code;
}

enum err_code audit_log_stream_open(struct audit_ledger *ledger, const struct audit_position *from,
                                    struct audit_stream **ret, struct err *err)
{
	struct log_stream *stream = xcalloc(1, sizeof(*stream));
	stream->stream.ledger = ledger;
	stream->at = *from;
	stream->end = audit_ledger_committed(ledger);
	enum err_code code = ERR_OK;
	if (from->next < stream->end)
		code = begin_walking(stream, err);
	if (code != ERR_OK) {
		audit_log_stream_close(&stream->stream);
		return code;
	}
	*ret = &stream->stream;
	return ERR_OK;
}

/* A segment may end before what is durable does: the next one goes on. */
static enum audit_walk_step walk_on(struct log_stream *stream, struct span *ret_record, struct err *err)
{
	if (!stream->walking && begin_walking(stream, err) != ERR_OK)
		return AUDIT_WALK_BAD;
	enum audit_walk_step step = audit_walk_next(&stream->walk, ret_record, err);
	if (step != AUDIT_WALK_END)
		return step;
	uint64_t before = stream->walk.header.segment;
	if (begin_walking(stream, err) != ERR_OK)
		return AUDIT_WALK_BAD;
	if (stream->walk.header.segment != before)
		step = audit_walk_next(&stream->walk, ret_record, err);
	if (step == AUDIT_WALK_END) {
		err_set(err, ERR_CORRUPT, 0, "segment %" PRIu64 " does not have index %" PRIu64, before, stream->at.next);
		step = AUDIT_WALK_BAD;
	}
	return step;
}

enum audit_step audit_log_stream_next(struct audit_stream *base, struct audit_entry *ret, struct err *err)
{
	struct log_stream *stream = (struct log_stream *)(void *)base;
	struct span record;
	if (stream->at.next >= stream->end)
		stream->end = audit_ledger_committed(base->ledger);
	if (stream->at.next >= stream->end)
		return AUDIT_STEP_END;
	if (walk_on(stream, &record, err) != AUDIT_WALK_RECORD)
		return AUDIT_STEP_BAD;
	*ret = (struct audit_entry){
	    .index = stream->at.next, .record = record, .place = {stream->walk.header.segment, stream->walk.last_offset}};
	note_place(&stream->walk, &stream->at);
	ret->after = stream->at;
	return AUDIT_STEP_RECORD;
}

void audit_log_stream_close(struct audit_stream *base)
{
	struct log_stream *stream = (struct log_stream *)(void *)base;
	if (stream->walking)
		audit_walk_done(&stream->walk);
	free(stream);
}

enum err_code audit_log_position_at(struct audit_ledger *ledger, int64_t time_ms, struct audit_position *ret,
                                    struct err *err)
{
	struct audit_log *log = audit_log_of(ledger);
	(void)err;
	pthread_mutex_lock(&log->lock);
	size_t segment = log->segments.n - 1;
	while (segment > 0 && log->segments.items[segment].last_ms >= time_ms)
		segment--;
	ret->next = log->segments.items[segment].first_index;
	memcpy(ret->chain, log->segments.items[segment].chain, sizeof ret->chain);
	pthread_mutex_unlock(&log->lock);
	return ERR_OK;
}

enum err_code audit_log_position_of(struct audit_ledger *ledger, uint64_t next, struct audit_position *ret,
                                    struct err *err)
{
	struct audit_log *log = audit_log_of(ledger);
	struct audit_walk walk;
	uint64_t segment;
	if (!audit_log_segment_of(log, next - 1, &segment))
		return err_set(err, ERR_CORRUPT, 0, "no segment has index %" PRIu64, next - 1);
	enum err_code code = audit_walk_begin(&walk, log->directory, segment, err);
	if (code == ERR_OK)
		code = walk_to(&walk, next, err);
	if (code == ERR_OK)
		note_place(&walk, ret);
	audit_walk_done(&walk);
	return code;
}
