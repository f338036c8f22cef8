/* Messages between our buffers and the core's slices. */
#ifndef TWOKEY_RPC_MESSAGE_H
#define TWOKEY_RPC_MESSAGE_H

#include <grpc/byte_buffer.h>

#include "common/err.h"
#include "common/span.h"

/* head is copied; the bytes of body (may be NULL) are taken over without a copy and body is left empty. Freed with
 * grpc_byte_buffer_destroy; the core frees the bytes when they have been written. */
grpc_byte_buffer *rpc_message_new(struct span head, struct buf *body);
/* Copies a received message into out (cleared first). ERR_EXHAUSTED: more than max bytes, or than out may hold. */
must_check enum err_code rpc_message_read(grpc_byte_buffer *message, size_t max, struct buf *out, struct err *err);
struct span rpc_slice_span(const grpc_slice *slice);

#endif
