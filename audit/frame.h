/* The bytes of a segment file (docs/AUDIT.md, "Segment files"): header, frames, checksums, chain. No I/O. Numbers are
 * big-endian. */
#ifndef TWOKEY_AUDIT_FRAME_H
#define TWOKEY_AUDIT_FRAME_H

#include "audit/internal.h"

enum {
	AUDIT_HEADER_BYTES = 4096,
	AUDIT_FRAME_HEAD = 48,    /* before the record */
	AUDIT_FRAME_EXTRA = 49,   /* before and after it */
	AUDIT_FRAME_CHECKED = 16, /* of the head: what is needed to find the frame's end and to trust it */
	AUDIT_FRAME_MARK = 0xa5,
};

struct audit_header {
	uint64_t segment;
	uint64_t first_index;
	uint8_t chain[AUDIT_CHAIN_BYTES]; /* of the record before; zeros in segment 0 */
	int64_t created_ms;
	int64_t last_ms; /* time of the record before */
	uint64_t bytes;  /* size of the file */
	uint8_t salt[8]; /* random; begins every checksum, so that no frame of elsewhere is taken for one of here */
};

/* `out` has AUDIT_HEADER_BYTES bytes. */
void audit_header_encode(const struct audit_header *header, uint8_t *out);
/* False when it is no header of this version or its checksum does not hold. */
bool audit_header_decode(const uint8_t *bytes, struct audit_header *ret);

struct audit_frame {
	uint32_t length;       /* of the record */
	uint32_t batch_offset; /* bytes from the first frame of the batch to this one */
	const uint8_t *chain;
	struct span record;
};

enum audit_frame_state {
	AUDIT_FRAME_OK,
	AUDIT_FRAME_NONE,     /* the head is zero */
	AUDIT_FRAME_BAD_HEAD, /* the length cannot be trusted */
	AUDIT_FRAME_BAD_BODY, /* the length can, the rest is wrong or cut off */
};

static inline uint64_t audit_frame_bytes(uint32_t record_length)
{
	return (uint64_t)record_length + AUDIT_FRAME_EXTRA;
}

/* Fills head and end mark around a record that already stands at frame + AUDIT_FRAME_HEAD. `position`: of the frame in
 * the file. */
void audit_frame_seal(uint8_t *frame, uint32_t length, uint32_t batch_offset, uint64_t position,
                      const struct audit_header *header, const uint8_t *chain);
/* Checks the frame at the start of `bytes`. *ret has the length in every state but NONE and BAD_HEAD. */
enum audit_frame_state audit_frame_check(struct span bytes, uint64_t position, const struct audit_header *header,
                                         struct audit_frame *ret);

/* SHA-256 with a context that is kept. One thread at a time. */
struct audit_hasher;
struct audit_hasher *audit_hasher_new(void);
void audit_hasher_free(struct audit_hasher *hasher);
/* SHA-256 of bytes. */
void audit_hash_bytes(struct audit_hasher *hasher, struct span bytes, uint8_t *out);
/* RFC 6962 section 2.1: SHA-256(0x00 || record). */
void audit_hash_leaf(struct audit_hasher *hasher, struct span record, uint8_t *out);
/* chain = SHA-256(chain || leaf), in place. */
void audit_hash_chain(struct audit_hasher *hasher, const uint8_t *leaf, uint8_t *chain);

#endif
