/* The handler's side of a call: receive, send, finish, over batches of the gRPC core. */
#include <grpc/slice.h>

#include "rpc/cq.h"
#include "rpc/internal.h"
#include "rpc/message.h"
#include "rpc/status.h"

/* How long a unary call may take to bring its request or fetch its reply, and any call to take its status. Streams may
 * be as slow as their client: they are bounded by max_streams and the keepalive. */
#define PATIENCE_MS      30000
#define CLOSE_FOLLOWS_MS 20
#define WATCH_MS         200

/* Waits without a limit, but for being stopped: RPC_CQ_TIMEOUT. */
static enum rpc_cq_result wait_unless_stopped(struct rpc_call *call, void *tag, struct rpc_stop *ret)
{
	if (!call->stop)
		return rpc_cq_wait(call->queue, tag, RPC_CQ_FOREVER);
	for (;;) {
		enum rpc_cq_result result = rpc_cq_wait(call->queue, tag, WATCH_MS);
		if (result != RPC_CQ_TIMEOUT || call->stop(call->stop_user, ret))
			return result;
	}
}

/* What was sent and not taken is dropped, and the status goes out past it. */
static bool wait_for_send(struct rpc_call *call)
{
	struct rpc_stop why = {ERR_CANCELLED, ""};
	enum rpc_cq_result result = wait_unless_stopped(call, &call->tag_send, &why);
	if (result == RPC_CQ_TIMEOUT) {
		grpc_call_cancel_with_status(call->core, (grpc_status_code)why.code, why.message, NULL);
		result = rpc_cq_wait(call->queue, &call->tag_send, RPC_CQ_FOREVER);
	}
	return result == RPC_CQ_DONE;
}

/* Waits for an operation; a client that does not play along is cut off. False: the operation failed. */
static bool wait_for(struct rpc_call *call, void *tag, bool patient)
{
	enum rpc_cq_result result = rpc_cq_wait(call->queue, tag, patient ? RPC_CQ_FOREVER : PATIENCE_MS);
	if (result == RPC_CQ_TIMEOUT) {
		grpc_call_cancel(call->core, NULL);
		result = rpc_cq_wait(call->queue, tag, RPC_CQ_FOREVER);
	}
	return result == RPC_CQ_DONE;
}

static grpc_op initial_op(struct rpc_call *call)
{
	call->sent_initial = true;
	return (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
}

/* ---- begin and cancelled ---- */

static void core_begin(struct rpc_call *call)
{
	grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
	op.data.recv_close_on_server.cancelled = &call->close_cancelled;
	call->close_started = rpc_cq_batch(call->core, &op, 1, &call->tag_close);
}

static bool core_cancelled(struct rpc_call *call)
{
	if (call->close_started && !call->close_seen)
		call->close_seen = rpc_cq_wait(call->queue, &call->tag_close, 0) != RPC_CQ_TIMEOUT;
	return call->gone || (call->close_seen && call->close_cancelled);
}

/* ---- receive ---- */

static enum err_code gone(struct rpc_call *call, struct err *err)
{
	call->gone = true;
	return err_set(err, ERR_CANCELLED, 0, "the client went away or its deadline passed");
}

/* The core reports "no more messages" for a half-close and for a broken call alike, and only a moment later that the
 * call was cancelled: taking the one for the other would turn a broken upload into a complete one. The stream's
 * writing side tells them apart for certain: it is closed before the end of messages is reported, and sending on it
 * fails. */
static bool half_closed(struct rpc_call *call)
{
	if (core_cancelled(call))
		return false;
	if (call->sent_initial) {
		/* The answer has begun, so the proof is spent; the cancellation is at most a few instructions away. */
		call->close_seen = rpc_cq_wait(call->queue, &call->tag_close, CLOSE_FOLLOWS_MS) != RPC_CQ_TIMEOUT;
		return !call->close_seen;
	}
	grpc_op op = initial_op(call);
	return rpc_cq_batch(call->core, &op, 1, &call->tag_send) && wait_for(call, &call->tag_send, call->method.stream);
}

static enum err_code end_of_messages(struct rpc_call *call, bool *ret_end, struct err *err)
{
	if (!half_closed(call))
		return gone(call, err);
	call->received_end = true;
	*ret_end = true;
	return ERR_OK;
}

static enum err_code take_message(struct rpc_call *call, struct buf *out, struct err *err)
{
	enum err_code code = rpc_message_read(call->incoming, call->method.max_message_bytes, out, err);
	grpc_byte_buffer_destroy(call->incoming);
	call->incoming = NULL;
	if (code != ERR_OK)
		call->verdict = code;
	return code;
}

static bool start_receive(struct rpc_call *call)
{
	if (!call->receiving) {
		grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
		op.data.recv_message.recv_message = &call->incoming;
		call->receiving = rpc_cq_batch(call->core, &op, 1, &call->tag_receive);
	}
	return call->receiving;
}

enum err_code rpc_call_recv(struct rpc_call *call, int64_t timeout_ms, struct buf *out, bool *ret_end, struct err *err)
{
	buf_clear(out);
	*ret_end = call->received_end;
	if (call->received_end)
		return ERR_OK;
	if (call->finished)
		return err_set(err, ERR_PRECONDITION, 0, "receive after finish");
	if (call->gone || !start_receive(call))
		return gone(call, err);
	bool ok;
	if (timeout_ms < 0 && call->method.stream) {
		struct rpc_stop why;
		enum rpc_cq_result result = wait_unless_stopped(call, &call->tag_receive, &why);
		if (result == RPC_CQ_TIMEOUT)
			return err_set(err, ERR_CANCELLED, 0, "stopped");
		ok = result == RPC_CQ_DONE;
	} else if (timeout_ms < 0) {
		ok = wait_for(call, &call->tag_receive, false);
	} else {
		enum rpc_cq_result result = rpc_cq_wait(call->queue, &call->tag_receive, timeout_ms);
		if (result == RPC_CQ_TIMEOUT)
			return err_set(err, ERR_DEADLINE, 0, "nothing received yet");
		ok = result == RPC_CQ_DONE;
	}
	call->receiving = false;
	if (call->incoming)
		return take_message(call, out, err);
	if (ok)
		return end_of_messages(call, ret_end, err);
	/* Only the core's own size limit fails a receive; it has ended the call with RESOURCE_EXHAUSTED. */
	call->gone = true;
	call->verdict = ERR_EXHAUSTED;
	return err_set(err, ERR_EXHAUSTED, 0, "a message larger than any method takes");
}

static enum err_code core_recv(struct rpc_call *call, struct buf *out, bool *ret_end, struct err *err)
{
	return rpc_call_recv(call, -1, out, ret_end, err);
}

/* ---- send ---- */

static bool send_now(struct rpc_call *call, grpc_byte_buffer *message)
{
	grpc_op ops[2];
	size_t n = 0;
	if (!call->sent_initial)
		ops[n++] = initial_op(call);
	ops[n] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
	ops[n++].data.send_message.send_message = message;
	bool ok = rpc_cq_batch(call->core, ops, n, &call->tag_send) &&
	          (call->method.stream ? wait_for_send(call) : wait_for(call, &call->tag_send, false));
	grpc_byte_buffer_destroy(message);
	return ok;
}

static bool send_corked(struct rpc_call *call)
{
	grpc_byte_buffer *message = call->corked;
	call->corked = NULL;
	return !message || send_now(call, message);
}

static enum err_code core_send(struct rpc_call *call, struct span head, struct buf *body, struct err *err)
{
	if (call->finished)
		return err_set(err, ERR_PRECONDITION, 0, "send after finish");
	if (head.len + (body ? body->len : 0) > UINT32_MAX)
		return err_set(err, ERR_EXHAUSTED, 0, "a message of more than 4 GiB");
	if (core_cancelled(call))
		return gone(call, err);
	grpc_byte_buffer *message = rpc_message_new(head, body);
	if (!call->method.stream && !call->sent_message) {
		call->sent_message = true;
		call->corked = message;
		return ERR_OK;
	}
	call->sent_message = true;
	if (!send_corked(call)) {
		grpc_byte_buffer_destroy(message);
		return gone(call, err);
	}
	return send_now(call, message) ? ERR_OK : gone(call, err);
}

/* ---- finish ---- */

static void trailer_set(struct rpc_call *call, enum err_code code, const char *message,
                        const struct rpc_error_info *info)
{
	autobuf struct buf packed = {0};
	rpc_status_pack(code, message, info, &packed);
	call->trailer.key = grpc_slice_from_static_string(RPC_STATUS_DETAILS_KEY);
	call->trailer.value = grpc_slice_from_copied_buffer((const char *)packed.data, packed.len);
}

static size_t finish_ops(struct rpc_call *call, enum err_code code, grpc_slice *text, grpc_op *ops)
{
	size_t n = 0;
	if (!call->sent_initial)
		ops[n++] = initial_op(call);
	if (call->corked && code == ERR_OK) {
		ops[n] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
		ops[n++].data.send_message.send_message = call->corked;
	}
	ops[n] = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
	struct grpc_op_send_status_from_server *status = &ops[n++].data.send_status_from_server;
	status->status = (grpc_status_code)code;
	status->status_details = GRPC_SLICE_LENGTH(*text) > 0 ? text : NULL;
	if (call->trailer.value.refcount || GRPC_SLICE_LENGTH(call->trailer.value) > 0) {
		status->trailing_metadata_count = 1;
		status->trailing_metadata = &call->trailer;
	}
	return n;
}

static void core_finish(struct rpc_call *call, enum err_code code, const char *message,
                        const struct rpc_error_info *info)
{
	if (info && code != ERR_OK)
		trailer_set(call, code, message, info);
	grpc_slice text = grpc_slice_from_copied_string(message);
	grpc_op ops[3];
	size_t n = finish_ops(call, code, &text, ops);
	call->finish_started = rpc_cq_batch(call->core, ops, n, &call->tag_finish);
	grpc_slice_unref(text);
	/* Without a status the core would keep the call open. */
	if (!call->finish_started)
		grpc_call_cancel(call->core, NULL);
}

/* Waits until the core has let go of it. */
static void core_end(struct rpc_call *call)
{
	rpc_call_finish_by_verdict(call);
	if (call->finish_started)
		wait_for(call, &call->tag_finish, false);
	if (call->receiving)
		wait_for(call, &call->tag_receive, false);
	if (call->close_started && !call->close_seen)
		wait_for(call, &call->tag_close, false);
	call->finish_started = call->receiving = call->close_started = false;
	rpc_serve_free(call);
}

static void core_refuse(struct rpc_call *call, enum err_code code, const char *message)
{
	core_begin(call);
	rpc_finish(call, code, message, NULL);
	rpc_serve_linger(call);
}

/* Takes one event of an ending call if it has come. */
static bool settled(struct rpc_call *call, bool *started, void *tag)
{
	if (*started && rpc_cq_wait(call->queue, tag, 0) != RPC_CQ_TIMEOUT)
		*started = false;
	return !*started;
}

bool rpc_call_over(struct rpc_call *call)
{
	return settled(call, &call->finish_started, &call->tag_finish) &&
	       settled(call, &call->close_started, &call->tag_close);
}

const struct rpc_back_end rpc_core_back_end = {
    .recv = core_recv,
    .send = core_send,
    .finish = core_finish,
    .cancelled = core_cancelled,
    .deadline_ms = rpc_core_deadline_ms,
    .peer = rpc_core_peer,
    .metadata = rpc_core_metadata,
    .metadata_all = rpc_core_metadata_all,
    .identity = rpc_core_identity,
    .begin = core_begin,
    .end = core_end,
    .refuse = core_refuse,
};
