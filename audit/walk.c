#include "audit/walk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit/record.h"

enum { WINDOW = 256 << 10, WINDOW_POINT = 2 << 10 };

enum err_code audit_walk_begin(struct audit_walk *walk, const char *directory, uint64_t segment, struct err *err)
{
	*walk = (struct audit_walk){.fd = -1};
	enum err_code code = audit_segment_open(directory, segment, false, &walk->fd, &walk->header, err);
	if (code != ERR_OK)
		return code;
	walk->hasher = audit_hasher_new();
	walk->window = xcalloc(1, WINDOW);
	audit_walk_seek(walk, AUDIT_HEADER_BYTES, walk->header.first_index, walk->header.chain);
	return ERR_OK;
}

void audit_walk_seek(struct audit_walk *walk, uint64_t offset, uint64_t index, const uint8_t *chain)
{
	walk->offset = offset;
	walk->index = index;
	walk->last_offset = 0;
	memcpy(walk->chain, chain, AUDIT_CHAIN_BYTES);
}

void audit_walk_done(struct audit_walk *walk)
{
	if (walk->fd >= 0)
		close(walk->fd);
	audit_hasher_free(walk->hasher);
	free(walk->window);
	*walk = (struct audit_walk){.fd = -1};
}

/* The bytes at the offset that the window holds. */
static struct span in_window(const struct audit_walk *walk)
{
	if (walk->offset < walk->window_offset || walk->offset >= walk->window_offset + walk->window_len)
		return (struct span){0};
	size_t skip = (size_t)(walk->offset - walk->window_offset);
	return span_of(walk->window + skip, walk->window_len - skip);
}

static enum err_code fill_window(struct audit_walk *walk, size_t len, struct err *err)
{
	walk->window_offset = walk->offset;
	walk->window_len = 0;
	return audit_read_some(walk->fd, walk->window, len, walk->offset, &walk->window_len, err);
}

static enum err_code bad(const struct audit_walk *walk, const char *what, struct err *err)
{
	return err_set(err, ERR_CORRUPT, 0, "segment %" PRIu64 " offset %" PRIu64 " index %" PRIu64 ": %s",
	               walk->header.segment, walk->offset, walk->index, what);
}

/* The window may have been read before the frame was written: what does not verify is read once more. */
static enum err_code check_here(struct audit_walk *walk, struct audit_frame *frame, enum audit_frame_state *ret,
                                struct err *err)
{
	struct span bytes = in_window(walk);
	*ret = bytes.len ? audit_frame_check(bytes, walk->offset, &walk->header, frame) : AUDIT_FRAME_NONE;
	if (*ret == AUDIT_FRAME_OK)
		return ERR_OK;
	enum err_code code = fill_window(walk, walk->point ? WINDOW_POINT : WINDOW, err);
	if (code == ERR_OK)
		*ret = audit_frame_check(in_window(walk), walk->offset, &walk->header, frame);
	if (code == ERR_OK && *ret == AUDIT_FRAME_BAD_BODY && audit_frame_bytes(frame->length) > walk->window_len) {
		code = fill_window(walk, audit_frame_bytes(frame->length), err);
		if (code == ERR_OK)
			*ret = audit_frame_check(in_window(walk), walk->offset, &walk->header, frame);
	}
	return code;
}

enum err_code audit_walk_peek(struct audit_walk *walk, struct audit_frame *ret, struct err *err)
{
	enum audit_frame_state state;
	enum err_code code = check_here(walk, ret, &state, err);
	if (code == ERR_OK && state != AUDIT_FRAME_OK)
		code = bad(walk, "the frame does not verify", err);
	return code;
}

enum audit_walk_step audit_walk_next(struct audit_walk *walk, struct span *ret_record, struct err *err)
{
	struct audit_frame frame;
	enum audit_frame_state state;
	uint8_t chain[AUDIT_CHAIN_BYTES];
	uint64_t claimed;
	if (check_here(walk, &frame, &state, err) != ERR_OK)
		return AUDIT_WALK_BAD;
	if (state == AUDIT_FRAME_NONE)
		return AUDIT_WALK_END;
	if (state != AUDIT_FRAME_OK) {
		bad(walk, "the frame does not verify", err);
		return AUDIT_WALK_BAD;
	}
	memcpy(chain, walk->chain, sizeof(chain));
	audit_hash_leaf(walk->hasher, frame.record, walk->leaf);
	audit_hash_chain(walk->hasher, walk->leaf, chain);
	if (memcmp(chain, frame.chain, sizeof(chain)) != 0 || !audit_record_index(frame.record, &claimed) ||
	    claimed != walk->index) {
		bad(walk, "the record does not follow the one before it", err);
		return AUDIT_WALK_BAD;
	}
	memcpy(walk->chain, chain, sizeof(chain));
	walk->last_offset = walk->offset;
	walk->offset += audit_frame_bytes(frame.length);
	walk->index++;
	*ret_record = frame.record;
	return AUDIT_WALK_RECORD;
}
