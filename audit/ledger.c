/* What both kinds of ledger have in common. */
#include "audit/ledger.h"

#include <inttypes.h>

#include "audit/record.h"
#include "audit/uses.h"

void audit_ledger_stop(struct audit_ledger *ledger)
{
	ledger->kind->stop(ledger);
}

void audit_ledger_free(struct audit_ledger *ledger)
{
	if (ledger)
		ledger->kind->free(ledger);
}

enum err_code audit_ledger_append(struct audit_ledger *ledger, const struct audit_append *append,
                                  struct audit_verdict *ret, struct err *err)
{
	return ledger->kind->append(ledger, append, ret, err);
}

int64_t audit_moment_time(const struct audit_moment *moment)
{
	return moment->now_ms > moment->last_ms ? moment->now_ms : moment->last_ms;
}

enum err_code audit_decide(const struct audit_asked *asked, const struct audit_moment *moment, struct audit_uses *uses,
                           struct audit_verdict *ret, struct err *err)
{
	int64_t time_ms = audit_moment_time(moment);
	*ret = (struct audit_verdict){0};
	if (asked->use && asked->use->expires_at_ms > time_ms + AUDIT_LIFETIME_MAX_MS + AUDIT_SKEW_MS)
		return err_set(err, ERR_INVALID, 0, "the transaction lives longer than the record can remember it");
	ret->stale = asked->known < moment->changed;
	if (ret->stale)
		return ERR_OK;
	if (asked->grants && moment->now_ms < moment->last_ms - AUDIT_SKEW_MS)
		ret->commit.refusal = REASON_CLOCK_IN_DOUBT;
	else if (asked->use)
		ret->commit.refusal = audit_uses_apply(uses, asked->use, time_ms, moment->index);
	return ERR_OK;
}

enum reason audit_ledger_use_state(struct audit_ledger *ledger, const struct audit_use *use)
{
	return ledger->kind->use_state(ledger, use);
}

enum err_code audit_ledger_check(struct audit_ledger *ledger, struct err *err)
{
	return ledger->kind->check(ledger, err);
}

void audit_ledger_state(struct audit_ledger *ledger, struct audit_state *ret)
{
	*ret = (struct audit_state){0};
	ledger->kind->state(ledger, ret);
}

void audit_ledger_position(struct audit_ledger *ledger, struct audit_position *ret)
{
	struct audit_state state;
	audit_ledger_state(ledger, &state);
	*ret = state.end;
}

uint64_t audit_ledger_committed(struct audit_ledger *ledger)
{
	struct audit_position end;
	audit_ledger_position(ledger, &end);
	return end.next;
}

enum err_code audit_ledger_position_at(struct audit_ledger *ledger, int64_t time_ms, struct audit_position *ret,
                                       struct err *err)
{
	return ledger->kind->position_at(ledger, time_ms, ret, err);
}

enum err_code audit_ledger_position_of(struct audit_ledger *ledger, uint64_t next, struct audit_position *ret,
                                       struct err *err)
{
	*ret = (struct audit_position){0};
	if (next == 0)
		return ERR_OK;
	if (next > audit_ledger_committed(ledger))
		return err_set(err, ERR_NOT_FOUND, 0, "the log ends before index %" PRIu64, next);
	return ledger->kind->position_of(ledger, next, ret, err);
}

bool audit_ledger_follow(struct audit_ledger *ledger, uint64_t count, unsigned timeout_ms)
{
	return ledger->kind->follow(ledger, count, timeout_ms);
}

enum err_code audit_ledger_read(struct audit_ledger *ledger, struct audit_reader **reader, uint64_t index,
                                struct audit_place place, struct buf *out, struct err *err)
{
	return ledger->kind->read(ledger, reader, index, place, out, err);
}

void audit_reader_free(struct audit_ledger *ledger, struct audit_reader *reader)
{
	if (reader)
		ledger->kind->reader_free(reader);
}

enum err_code audit_stream_open(struct audit_ledger *ledger, const struct audit_position *from,
                                struct audit_stream **ret, struct err *err)
{
	struct audit_position end;
	audit_ledger_position(ledger, &end);
	if (from->next > end.next)
		return err_set(err, ERR_PRECONDITION, 0, "the log ends before index %" PRIu64, from->next);
	if (from->next == end.next && memcmp(from->chain, end.chain, sizeof end.chain) != 0)
		return audit_another_log(from->next, err);
	return ledger->kind->stream_open(ledger, from, ret, err);
}

enum audit_step audit_stream_next(struct audit_stream *stream, struct audit_entry *ret, struct err *err)
{
	return stream->ledger->kind->stream_next(stream, ret, err);
}

void audit_stream_close(struct audit_stream *stream)
{
	if (stream)
		stream->ledger->kind->stream_close(stream);
}

enum err_code audit_ledger_replay(struct audit_ledger *ledger, Twokey__V1__Event event, struct audit_position *position,
                                  bool (*each)(uint64_t index, struct span record, void *user), void *user,
                                  struct err *err)
{
	struct audit_stream *stream = NULL;
	struct audit_entry entry;
	struct audit_position end;
	struct err bad = {0};
	bool go_on = true;
	audit_ledger_position(ledger, &end);
	enum err_code code = audit_stream_open(ledger, position, &stream, err);
	if (code != ERR_OK)
		return code;
	while (go_on && code == ERR_OK && position->next < end.next) {
		enum audit_step step = audit_stream_next(stream, &entry, &bad);
		if (step == AUDIT_STEP_BAD)
			code = err_set(err, bad.code, bad.native, "%s", bad.text);
		if (step != AUDIT_STEP_RECORD)
			break;
		*position = entry.after;
		if (!event || audit_record_event(entry.record) == event)
			go_on = each(entry.index, entry.record, user);
	}
	audit_stream_close(stream);
	return code;
}

enum err_code audit_ledger_published(struct audit_ledger *ledger, struct audit_published *ret, struct err *err)
{
	return ledger->kind->published(ledger, ret, err);
}

enum err_code audit_ledger_publish(struct audit_ledger *ledger, const struct audit_published *last,
                                   const struct audit_published *next, struct err *err)
{
	if (next->size < last->size || (next->size == last->size && memcmp(next->root, last->root, sizeof next->root) != 0))
		return err_set(err, ERR_INVALID, 0, "a checkpoint of %" PRIu64 " records cannot follow one of %" PRIu64,
		               next->size, last->size);
	if (next->size > audit_ledger_committed(ledger))
		return err_set(err, ERR_INVALID, 0, "a checkpoint of %" PRIu64 " records, which are not there", next->size);
	return ledger->kind->publish(ledger, last, next, err);
}

enum err_code audit_another_log(uint64_t next, struct err *err)
{
	return err_set(err, ERR_PRECONDITION, 0, "the log is another one before index %" PRIu64, next);
}

struct timespec audit_deadline(unsigned ms)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += (long)(ms % 1000) * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_nsec -= 1000000000;
		at.tv_sec++;
	}
	return at;
}

void audit_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
}
