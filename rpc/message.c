#include "rpc/message.h"

#include <stdlib.h>

#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>

grpc_byte_buffer *rpc_message_new(struct span head, struct buf *body)
{
	grpc_slice slices[2];
	size_t n = 0;
	if (head.len > 0)
		slices[n++] = grpc_slice_from_copied_buffer((const char *)head.ptr, head.len);
	if (body && body->len > 0) {
		slices[n++] = grpc_slice_new_with_user_data(body->data, body->len, free, body->data);
		*body = (struct buf){.max = body->max};
	}
	grpc_byte_buffer *message = grpc_raw_byte_buffer_create(slices, n);
	for (size_t i = 0; i < n; i++)
		grpc_slice_unref(slices[i]);
	return message;
}

enum err_code rpc_message_read(grpc_byte_buffer *message, size_t max, struct buf *out, struct err *err)
{
	buf_clear(out);
	/* Decompression is off; a message that claims to be compressed never reaches a handler. */
	if (message->data.raw.compression != GRPC_COMPRESS_NONE)
		return err_set(err, ERR_UNIMPLEMENTED, 0, "compressed messages are not accepted");
	size_t len = grpc_byte_buffer_length(message);
	if (len > max)
		return err_set(err, ERR_EXHAUSTED, 0, "a message of %zu bytes; the limit is %zu", len, max);
	if (len == 0)
		return ERR_OK;
	uint8_t *at = buf_reserve(out, len);
	if (!at)
		return err_set(err, ERR_EXHAUSTED, 0, "a message of %zu bytes; the buffer takes fewer", len);
	grpc_byte_buffer_reader reader;
	if (!grpc_byte_buffer_reader_init(&reader, message))
		return err_set(err, ERR_INTERNAL, 0, "a received message cannot be read");
	grpc_slice *slice;
	while (grpc_byte_buffer_reader_peek(&reader, &slice)) {
		struct span part = rpc_slice_span(slice);
		if (part.len > 0)
			memcpy(at + out->len, part.ptr, part.len);
		out->len += part.len;
	}
	grpc_byte_buffer_reader_destroy(&reader);
	return ERR_OK;
}

struct span rpc_slice_span(const grpc_slice *slice)
{
	return span_of(GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
}
