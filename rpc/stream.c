/* One call of a client, over batches of the gRPC core. */
#include "rpc/stream.h"

#include <stdlib.h>

#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include "rpc/cq.h"
#include "rpc/message.h"
#include "rpc/status.h"

#define MESSAGE_MAX ((size_t)4 << 20)

struct rpc_stream {
	grpc_call *call;
	grpc_completion_queue *queue;
	/* In flight from the beginning; what they fill: */
	char tag_start, tag_initial, tag_status, tag_send, tag_receive;
	bool start_open, initial_open, status_open;
	grpc_metadata_array initial, trailing;
	grpc_status_code status;
	grpc_slice details;
	bool half_closed, ended;
};

/* ---- opening ---- */

static bool batch_start(struct rpc_stream *stream)
{
	grpc_op op = {.op = GRPC_OP_SEND_INITIAL_METADATA};
	stream->start_open = rpc_cq_batch(stream->call, &op, 1, &stream->tag_start);
	return stream->start_open;
}

static bool batch_initial(struct rpc_stream *stream)
{
	grpc_op op = {.op = GRPC_OP_RECV_INITIAL_METADATA};
	op.data.recv_initial_metadata.recv_initial_metadata = &stream->initial;
	stream->initial_open = rpc_cq_batch(stream->call, &op, 1, &stream->tag_initial);
	return stream->initial_open;
}

static bool batch_status(struct rpc_stream *stream)
{
	grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
	op.data.recv_status_on_client.trailing_metadata = &stream->trailing;
	op.data.recv_status_on_client.status = &stream->status;
	op.data.recv_status_on_client.status_details = &stream->details;
	stream->status_open = rpc_cq_batch(stream->call, &op, 1, &stream->tag_status);
	return stream->status_open;
}

static gpr_timespec deadline_of(int64_t deadline_ms)
{
	if (deadline_ms == 0)
		return gpr_inf_future(GPR_CLOCK_REALTIME);
	return gpr_time_from_millis(deadline_ms, GPR_CLOCK_REALTIME);
}

enum err_code rpc_stream_open(struct rpc_client *client, const char *path, int64_t deadline_ms, struct rpc_stream **ret,
                              struct err *err)
{
	struct rpc_stream *stream = xcalloc(1, sizeof(*stream));
	grpc_metadata_array_init(&stream->initial);
	grpc_metadata_array_init(&stream->trailing);
	stream->details = grpc_empty_slice();
	stream->queue = rpc_cq_new_client();
	grpc_slice method = grpc_slice_from_copied_string(path);
	stream->call = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, stream->queue, method, NULL,
	                                        deadline_of(deadline_ms), NULL);
	grpc_slice_unref(method);
	if (!batch_start(stream) || !batch_initial(stream) || !batch_status(stream)) {
		rpc_stream_free(stream);
		return err_set(err, ERR_INTERNAL, 0, "the call cannot be started");
	}
	*ret = stream;
	return ERR_OK;
}

/* ---- messages ---- */

static bool run(struct rpc_stream *stream, const grpc_op *op, void *tag)
{
	return rpc_cq_batch(stream->call, op, 1, tag) && rpc_cq_wait(stream->queue, tag, RPC_CQ_FOREVER) == RPC_CQ_DONE;
}

static enum err_code over(struct err *err)
{
	return err_set(err, ERR_UNAVAILABLE, 0, "the call has ended");
}

enum err_code rpc_stream_send(struct rpc_stream *stream, struct span head, struct buf *body, struct err *err)
{
	if (stream->half_closed)
		return err_set(err, ERR_PRECONDITION, 0, "send after half-close");
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
	op.data.send_message.send_message = rpc_message_new(head, body);
	bool ok = run(stream, &op, &stream->tag_send);
	grpc_byte_buffer_destroy(op.data.send_message.send_message);
	return ok ? ERR_OK : over(err);
}

enum err_code rpc_stream_half_close(struct rpc_stream *stream, struct err *err)
{
	if (stream->half_closed)
		return ERR_OK;
	stream->half_closed = true;
	grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
	return run(stream, &op, &stream->tag_send) ? ERR_OK : over(err);
}

/* NULL: the server sends no more. */
static grpc_byte_buffer *receive(struct rpc_stream *stream)
{
	if (stream->ended)
		return NULL;
	grpc_byte_buffer *message = NULL;
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
	op.data.recv_message.recv_message = &message;
	run(stream, &op, &stream->tag_receive);
	stream->ended = !message;
	return message;
}

enum err_code rpc_stream_recv(struct rpc_stream *stream, struct buf *out, bool *ret_end, struct err *err)
{
	buf_clear(out);
	*ret_end = false;
	grpc_byte_buffer *message = receive(stream);
	if (!message) {
		*ret_end = true;
		return ERR_OK;
	}
	enum err_code code = rpc_message_read(message, MESSAGE_MAX, out, err);
	grpc_byte_buffer_destroy(message);
	return code;
}

/* ---- the end ---- */

static void settle(struct rpc_stream *stream, bool *open, void *tag)
{
	if (*open)
		rpc_cq_wait(stream->queue, tag, RPC_CQ_FOREVER);
	*open = false;
}

/* The status comes after all messages; those that nobody wants are dropped. */
static void drain(struct rpc_stream *stream)
{
	(void)!rpc_stream_half_close(stream, NULL);
	for (grpc_byte_buffer *message; (message = receive(stream));)
		grpc_byte_buffer_destroy(message);
	settle(stream, &stream->start_open, &stream->tag_start);
	settle(stream, &stream->initial_open, &stream->tag_initial);
	settle(stream, &stream->status_open, &stream->tag_status);
}

static struct span trailing_find(const struct rpc_stream *stream, const char *key)
{
	for (size_t i = 0; i < stream->trailing.count; i++)
		if (span_eq(rpc_slice_span(&stream->trailing.metadata[i].key), span_str(key)))
			return rpc_slice_span(&stream->trailing.metadata[i].value);
	return (struct span){0};
}

void rpc_stream_finish(struct rpc_stream *stream, struct rpc_status *ret)
{
	drain(stream);
	struct span text = rpc_slice_span(&stream->details);
	*ret = (struct rpc_status){
	    .code = rpc_status_code(stream->status),
	    .message = xstrndup((const char *)text.ptr, text.len),
	    .reason = xstrdup(""),
	    .record = xstrdup(""),
	};
	struct span details = trailing_find(stream, RPC_STATUS_DETAILS_KEY);
	if (details.len > 0)
		rpc_status_unpack(details, ret);
}

void rpc_stream_cancel(struct rpc_stream *stream)
{
	grpc_call_cancel(stream->call, NULL);
}

void rpc_stream_free(struct rpc_stream *stream)
{
	if (!stream)
		return;
	if (stream->start_open || stream->initial_open || stream->status_open) {
		rpc_stream_cancel(stream);
		drain(stream);
	}
	grpc_call_unref(stream->call);
	grpc_slice_unref(stream->details);
	grpc_metadata_array_destroy(&stream->initial);
	grpc_metadata_array_destroy(&stream->trailing);
	rpc_cq_free(stream->queue);
	free(stream);
}
