/* What may stand behind the last valid frame of a segment (docs/AUDIT.md, "Torn or damaged"). A write that a crash cut
 * short leaves sectors of zeros where the file was zero before; and nothing is ever written behind an unfinished write.
 * Whatever cannot be explained that way is damage. */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/walk.h"

enum { SECTOR = 512, CHUNK = 1 << 20 };

static size_t nonzero_len(const uint8_t *bytes, size_t len)
{
	while (len && bytes[len - 1] == 0)
		len--;
	return len;
}

/* Where the last byte that is not zero ends, counted from `from`; 0: all are zero. */
static enum err_code remains_len(struct audit_walk *walk, uint64_t from, uint64_t *ret, struct err *err)
{
	autofree uint8_t *chunk = xcalloc(1, CHUNK);
	uint64_t end = 0;
	for (uint64_t at = from;; at += CHUNK) {
		size_t len = 0;
		enum err_code code = audit_read_some(walk->fd, chunk, CHUNK, at, &len, err);
		if (code != ERR_OK)
			return code;
		if (len == 0)
			break;
		size_t used = nonzero_len(chunk, len);
		if (used)
			end = at - from + used;
	}
	*ret = end;
	return ERR_OK;
}

/* A batch is only begun when the one before it is durable: a valid frame of a later batch behind the bad place proves
 * that the bad place was whole once. */
static bool later_batch_follows(const struct audit_walk *walk, struct span remains)
{
	for (size_t at = 1; at + AUDIT_FRAME_CHECKED <= remains.len; at++) {
		struct audit_frame frame;
		if (remains.ptr[at] != AUDIT_FRAME_MARK)
			continue;
		struct span rest = span_of(remains.ptr + at, remains.len - at);
		if (audit_frame_check(rest, walk->offset + at, &walk->header, &frame) == AUDIT_FRAME_OK &&
		    frame.batch_offset < at)
			return true;
	}
	return false;
}

/* Is a sector between two offsets of the file, as far as it lies between them, all zero? */
static bool sector_lost(const struct audit_walk *walk, struct span remains, uint64_t len)
{
	uint64_t end = walk->offset + (len < remains.len ? len : remains.len);
	for (uint64_t at = walk->offset; at < end;) {
		uint64_t next = (at / SECTOR + 1) * SECTOR;
		next = next < end ? next : end;
		if (nonzero_len(remains.ptr + (at - walk->offset), (size_t)(next - at)) == 0)
			return true;
		at = next;
	}
	return false;
}

/* Does the first frame lack something that was never written, rather than hold something wrong? */
static bool write_was_cut(const struct audit_walk *walk, struct span remains)
{
	struct audit_frame frame;
	enum audit_frame_state state = audit_frame_check(remains, walk->offset, &walk->header, &frame);
	if (state == AUDIT_FRAME_NONE || state == AUDIT_FRAME_BAD_HEAD) {
		uint64_t head_end = walk->offset + AUDIT_FRAME_CHECKED;
		uint64_t sectors_end = (head_end + SECTOR - 1) / SECTOR * SECTOR;
		return remains.len < AUDIT_FRAME_CHECKED || sector_lost(walk, remains, sectors_end - walk->offset);
	}
	return state == AUDIT_FRAME_BAD_BODY && (audit_frame_bytes(frame.length) > remains.len ||
	                                         sector_lost(walk, remains, audit_frame_bytes(frame.length)));
}

enum err_code audit_tail_check(struct audit_walk *walk, struct audit_tail *ret, struct err *err)
{
	uint64_t len = 0;
	size_t read = 0;
	enum err_code code = remains_len(walk, walk->offset, &len, err);
	if (code != ERR_OK)
		return code;
	if (len > AUDIT_BATCH_MAX)
		return err_set(err, ERR_CORRUPT, 0,
		               "segment %" PRIu64 " offset %" PRIu64 " index %" PRIu64 ": damaged, with %" PRIu64
		               " bytes behind it",
		               walk->header.segment, walk->offset, walk->index, len);
	autofree uint8_t *bytes = xcalloc(1, len + 1);
	code = audit_read_some(walk->fd, bytes, len, walk->offset, &read, err);
	if (code != ERR_OK)
		return code;
	struct span remains = span_of(bytes, read);
	if (len && (later_batch_follows(walk, remains) || !write_was_cut(walk, remains)))
		return err_set(err, ERR_CORRUPT, 0, "segment %" PRIu64 " offset %" PRIu64 " index %" PRIu64 ": damaged",
		               walk->header.segment, walk->offset, walk->index);
	*ret = (struct audit_tail){.torn_bytes = len};
	return ERR_OK;
}

enum err_code audit_seam_check(struct audit_walk *walk, const struct audit_header *successor, struct err *err)
{
	uint64_t len = 0;
	enum err_code code = remains_len(walk, walk->offset, &len, err);
	if (code != ERR_OK)
		return code;
	if (len)
		return err_set(err, ERR_CORRUPT, 0, "segment %" PRIu64 " offset %" PRIu64 " index %" PRIu64 ": damaged",
		               walk->header.segment, walk->offset, walk->index);
	if (walk->index != successor->first_index || memcmp(walk->chain, successor->chain, AUDIT_CHAIN_BYTES) != 0)
		return err_set(err, ERR_CORRUPT, 0,
		               "segment %" PRIu64 " offset %" PRIu64 " index %" PRIu64 ": segment %" PRIu64
		               " does not continue here",
		               walk->header.segment, walk->offset, walk->index, successor->segment);
	return ERR_OK;
}
