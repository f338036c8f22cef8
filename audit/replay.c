/* Reading the durable log in order, from a place that is known to be the same as before. */
#include <inttypes.h>

#include "audit/internal.h"
#include "audit/log.h"
#include "audit/record.h"
#include "audit/walk.h"

struct replay {
	Twokey__V1__Event event;
	uint64_t until; /* records before it are durable */
	bool (*each)(uint64_t index, struct span record, void *user);
	void *user;
	bool stopped;
};

static enum err_code another_log(const struct audit_position *position, struct err *err)
{
	return err_set(err, ERR_PRECONDITION, 0, "the log is another one before index %" PRIu64, position->next);
}

static enum err_code walk_to(struct audit_walk *walk, uint64_t index, struct err *err)
{
	struct span record;
	while (walk->index < index) {
		enum audit_walk_step step = audit_walk_next(walk, &record, err);
		if (step == AUDIT_WALK_BAD)
			return ERR_CORRUPT;
		if (step == AUDIT_WALK_END)
			return err_set(err, ERR_CORRUPT, 0, "segment %" PRIu64 " ends at index %" PRIu64, walk->header.segment,
			               walk->index);
	}
	return ERR_OK;
}

/* To the position: straight, when the frame that the hint names continues it. */
static enum err_code walk_to_position(struct audit_walk *walk, const struct audit_position *position, struct err *err)
{
	struct span record;
	if (position->hint.offset && position->hint.segment == walk->header.segment) {
		audit_walk_seek(walk, position->hint.offset, position->next, position->chain);
		if (audit_walk_next(walk, &record, NULL) == AUDIT_WALK_RECORD) {
			audit_walk_seek(walk, position->hint.offset, position->next, position->chain);
			return ERR_OK;
		}
		audit_walk_seek(walk, AUDIT_HEADER_BYTES, walk->header.first_index, walk->header.chain);
	}
	return walk_to(walk, position->next, err);
}

static void note_place(const struct audit_walk *walk, struct audit_position *position)
{
	position->next = walk->index;
	memcpy(position->chain, walk->chain, sizeof position->chain);
	position->hint.segment = walk->header.segment;
	position->hint.offset = walk->offset;
}

/* The records of one segment, from the position on. A segment may end before `until`: the next one goes on. */
static enum err_code replay_segment(struct replay *replay, struct audit_walk *walk, struct audit_position *position,
                                    struct err *err)
{
	enum err_code code = walk_to_position(walk, position, err);
	if (code != ERR_OK)
		return code;
	if (memcmp(walk->chain, position->chain, sizeof walk->chain) != 0)
		return another_log(position, err);
	while (walk->index < replay->until && !replay->stopped) {
		struct span record;
		enum audit_walk_step step = audit_walk_next(walk, &record, err);
		if (step == AUDIT_WALK_BAD)
			return ERR_CORRUPT;
		if (step == AUDIT_WALK_END)
			break;
		note_place(walk, position);
		if (!replay->event || audit_record_event(record) == replay->event)
			replay->stopped = !replay->each(walk->index - 1, record, replay->user);
	}
	return ERR_OK;
}

enum err_code audit_log_replay(struct audit_log *log, Twokey__V1__Event event, struct audit_position *position,
                               bool (*each)(uint64_t index, struct span record, void *user), void *user,
                               struct err *err)
{
	struct audit_position end;
	audit_log_position(log, &end);
	struct replay replay = {.event = event, .until = end.next, .each = each, .user = user};
	enum err_code code = ERR_OK;
	if (position->next > end.next)
		return err_set(err, ERR_PRECONDITION, 0, "the log ends before index %" PRIu64, position->next);
	if (position->next == end.next && memcmp(position->chain, end.chain, sizeof end.chain) != 0)
		return another_log(position, err);
	while (code == ERR_OK && position->next < replay.until && !replay.stopped) {
		uint64_t segment, before = position->next;
		if (!audit_log_segment_of(log, position->next, &segment))
			return err_set(err, ERR_CORRUPT, 0, "no segment has index %" PRIu64, position->next);
		struct audit_walk walk;
		code = audit_walk_begin(&walk, log->directory, segment, err);
		if (code == ERR_OK)
			code = replay_segment(&replay, &walk, position, err);
		audit_walk_done(&walk);
		if (code == ERR_OK && position->next == before)
			code = err_set(err, ERR_CORRUPT, 0, "segment %" PRIu64 " does not have index %" PRIu64, segment, before);
	}
	return code;
}

void audit_log_position(struct audit_log *log, struct audit_position *ret)
{
	*ret = (struct audit_position){0};
	pthread_mutex_lock(&log->lock);
	ret->next = atomic_load(&log->committed);
	memcpy(ret->chain, log->committed_chain, sizeof ret->chain);
	pthread_mutex_unlock(&log->lock);
}

enum err_code audit_log_position_of(struct audit_log *log, uint64_t next, struct audit_position *ret, struct err *err)
{
	struct audit_walk walk;
	uint64_t segment;
	if (next == 0 || next > audit_log_committed(log)) {
		*ret = (struct audit_position){0};
		return next == 0 ? ERR_OK : err_set(err, ERR_NOT_FOUND, 0, "the log ends before index %" PRIu64, next);
	}
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

void audit_log_position_at(struct audit_log *log, int64_t time_ms, struct audit_position *ret)
{
	*ret = (struct audit_position){0};
	pthread_mutex_lock(&log->lock);
	size_t segment = log->segments.n - 1;
	while (segment > 0 && log->segments.items[segment].last_ms >= time_ms)
		segment--;
	ret->next = log->segments.items[segment].first_index;
	memcpy(ret->chain, log->segments.items[segment].chain, sizeof ret->chain);
	pthread_mutex_unlock(&log->lock);
}
