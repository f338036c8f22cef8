/* Protobuf messages from strangers. protobuf-c checks neither UTF-8 nor repetition, keeps unknown fields, and can be
 * made to allocate many times a message's size: pb_unpack looks at the bytes first and unpacks within a budget.
 * Thread-safe. */
#ifndef TWOKEY_COMMON_PB_H
#define TWOKEY_COMMON_PB_H

#include <protobuf-c/protobuf-c.h>

#include "common/err.h"
#include "common/span.h"

enum pb_strictness {
	PB_LENIENT, /* requests: unknown fields are ignored (a newer client) */
	PB_STRICT,  /* signed things: unknown fields, unknown enum values and repeated singular fields are refused */
};

/* Checks the wire form against the descriptor (field types, UTF-8 without NUL in strings, nesting at most 8, members of
 * a oneof at most once), then unpacks with at most `budget` bytes of memory. ERR_INVALID or ERR_EXHAUSTED otherwise.
 * The message is freed with pb_free. */
must_check enum err_code pb_unpack(const ProtobufCMessageDescriptor *type, struct span bytes,
                                   enum pb_strictness strictness, size_t budget, ProtobufCMessage **ret,
                                   struct err *err);
void pb_free(ProtobufCMessage *message); /* accepts NULL */
/* Appends the serialised message. */
void pb_pack(const ProtobufCMessage *message, struct buf *out);
/* True when the bytes are exactly one length-delimited field of that number; *ret views its content. A cheap look at a
 * chunk that needs no copy. */
bool pb_single_bytes_field(struct span bytes, uint32_t field, struct span *ret);
/* Appends the tag and length that precede len bytes of a length-delimited field. */
void pb_append_bytes_header(struct buf *out, uint32_t field, size_t len);

#endif
