/* Private to common/: the look at a message's bytes that pb_unpack takes before protobuf-c may have them. Wire format:
 * https://protobuf.dev/programming-guides/encoding/ */
#ifndef TWOKEY_COMMON_PB_SCAN_H
#define TWOKEY_COMMON_PB_SCAN_H

#include "common/pb.h"

/* Message fields inside message fields; the outermost message is level 0. */
#define PB_NESTING_MAX 8

/* Walks the bytes against the descriptor. ERR_INVALID names the message and field. Allocates nothing. */
must_check enum err_code pb_scan(const ProtobufCMessageDescriptor *type, struct span bytes,
                                 enum pb_strictness strictness, struct err *err);
/* Takes a varint of at most 10 bytes and 64 bits from the front of *in. */
bool pb_take_varint(struct span *in, uint64_t *ret);

#endif
