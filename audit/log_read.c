/* Reading single records of the log. */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/log.h"
#include "audit/record.h"

static enum err_code read_at(struct audit_walk *walk, uint64_t index, uint64_t offset, struct buf *out, struct err *err)
{
	struct audit_frame frame;
	uint64_t claimed = 0;
	audit_walk_seek(walk, offset, index, walk->chain);
	enum err_code code = audit_walk_peek(walk, &frame, err);
	if (code != ERR_OK)
		return code;
	if (!audit_record_index(frame.record, &claimed) || claimed != index)
		return err_set(err, ERR_CORRUPT, 0, "index %" PRIu64 ": another record stands in its place", index);
	buf_append(out, frame.record);
	return ERR_OK;
}

static enum err_code read_by_walking(struct audit_walk *walk, uint64_t index, struct buf *out, struct err *err)
{
	struct span record = {0};
	while (walk->index <= index) {
		enum audit_walk_step step = audit_walk_next(walk, &record, err);
		if (step == AUDIT_WALK_END)
			return err_set(err, ERR_CORRUPT, 0, "segment %" PRIu64 " ends at index %" PRIu64, walk->header.segment,
			               walk->index);
		if (step == AUDIT_WALK_BAD)
			return ERR_CORRUPT;
	}
	buf_append(out, record);
	return ERR_OK;
}

struct audit_reader {
	struct audit_walk walk;
	bool open;
};

static void reader_close(struct audit_reader *reader)
{
	if (reader->open)
		audit_walk_done(&reader->walk);
	reader->open = false;
}

void audit_log_reader_free(struct audit_reader *reader)
{
	reader_close(reader);
	free(reader);
}

static enum err_code reader_open(struct audit_log *log, struct audit_reader *reader, uint64_t segment, struct err *err)
{
	if (reader->open && reader->walk.header.segment == segment)
		return ERR_OK;
	reader_close(reader);
	reader->open = true;
	return audit_walk_begin(&reader->walk, log->directory, segment, err);
}

/* Found by its place when that is known (offset not 0) and right, else by reading its segment from the start. */
enum err_code audit_log_read(struct audit_ledger *ledger, struct audit_reader **reader, uint64_t index,
                             struct audit_place place, struct buf *out, struct err *err)
{
	struct audit_log *log = audit_log_of(ledger);
	uint64_t segment;
	if (!*reader)
		*reader = xcalloc(1, sizeof(**reader));
	struct audit_walk *walk = &(*reader)->walk;
	if (!audit_log_segment_of(log, index, &segment))
		return err_set(err, ERR_NOT_FOUND, 0, "there is no record %" PRIu64, index);
	enum err_code code = reader_open(log, *reader, segment, err);
	if (code != ERR_OK) {
		reader_close(*reader);
		return code;
	}
	walk->point = true;
	if (place.offset && place.segment == segment && read_at(walk, index, place.offset, out, NULL) == ERR_OK)
		return ERR_OK;
	/* The place was a hint, and wrong. */
	walk->point = false;
	audit_walk_seek(walk, AUDIT_HEADER_BYTES, walk->header.first_index, walk->header.chain);
	return read_by_walking(walk, index, out, err);
}
