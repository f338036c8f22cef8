/* Reads a segment frame by frame, checking checksums, chain and index of each. One thread at a time. */
#ifndef TWOKEY_AUDIT_WALK_H
#define TWOKEY_AUDIT_WALK_H

#include "audit/segment.h"

struct audit_walk {
	int fd; /* owned once begun */
	struct audit_header header;
	uint64_t offset;                  /* of the next frame */
	uint64_t index;                   /* of the next record */
	uint64_t last_offset;             /* of the frame last read; 0: none yet */
	uint8_t chain[AUDIT_CHAIN_BYTES]; /* after the frame last read */
	uint8_t leaf[AUDIT_CHAIN_BYTES];  /* of the record last read */
	struct audit_hasher *hasher;      /* owned */
	bool point;                       /* single frames are wanted: read little at a time */
	uint8_t *window;                  /* owned: bytes of the file from window_offset */
	uint64_t window_offset;
	size_t window_len;
};

enum audit_walk_step {
	AUDIT_WALK_RECORD,
	AUDIT_WALK_END, /* no frame begins here */
	AUDIT_WALK_BAD, /* a frame that does not verify, or cannot be read; err says why */
};

/* Begins at the first frame. audit_walk_done is called in any case. */
must_check enum err_code audit_walk_begin(struct audit_walk *walk, const char *directory, uint64_t segment,
                                          struct err *err);
/* Continues behind a frame that is known: sets the place, index and chain. */
void audit_walk_seek(struct audit_walk *walk, uint64_t offset, uint64_t index, const uint8_t *chain);
/* The record is valid until the next call. */
enum audit_walk_step audit_walk_next(struct audit_walk *walk, struct span *ret_record, struct err *err);
void audit_walk_done(struct audit_walk *walk);
/* Reads and checks the one frame at walk->offset without its chain (what came before it need not be known). */
must_check enum err_code audit_walk_peek(struct audit_walk *walk, struct audit_frame *ret, struct err *err);

/* What stands behind the last valid frame of the last segment. */
struct audit_tail {
	uint64_t torn_bytes; /* remains of one write that never finished; 0: none */
};
/* ERR_CORRUPT: it is no torn write (docs/AUDIT.md, "Torn or damaged"). */
must_check enum err_code audit_tail_check(struct audit_walk *walk, struct audit_tail *ret, struct err *err);
/* ERR_CORRUPT unless the segment ends where its successor begins, and nothing is behind. */
must_check enum err_code audit_seam_check(struct audit_walk *walk, const struct audit_header *successor,
                                          struct err *err);

#endif
