#include "rpc/cq.h"

#include <grpc/support/time.h>

#if defined(__SANITIZE_THREAD__)
#define RPC_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RPC_TSAN 1
#endif
#endif

#ifdef RPC_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define tag_gives(tag) __tsan_release(tag)
#define tag_takes(tag) __tsan_acquire(tag)
#else
#define tag_gives(tag) ((void)(tag))
#define tag_takes(tag) ((void)(tag))
#endif

static grpc_completion_queue *queue_new(grpc_cq_completion_type completion, grpc_cq_polling_type polling)
{
	grpc_completion_queue_attributes attributes = {
	    .version = 1,
	    .cq_completion_type = completion,
	    .cq_polling_type = polling,
	};
	return grpc_completion_queue_create(grpc_completion_queue_factory_lookup(&attributes), &attributes, NULL);
}

grpc_completion_queue *rpc_cq_new_server(void)
{
	return queue_new(GRPC_CQ_NEXT, GRPC_CQ_DEFAULT_POLLING);
}

grpc_completion_queue *rpc_cq_new_call(void)
{
	return queue_new(GRPC_CQ_PLUCK, GRPC_CQ_NON_POLLING);
}

grpc_completion_queue *rpc_cq_new_client(void)
{
	return queue_new(GRPC_CQ_PLUCK, GRPC_CQ_DEFAULT_POLLING);
}

void rpc_cq_shutdown(grpc_completion_queue *queue)
{
	grpc_completion_queue_shutdown(queue);
}

void rpc_cq_free(grpc_completion_queue *queue)
{
	if (!queue)
		return;
	grpc_completion_queue_shutdown(queue);
	grpc_completion_queue_destroy(queue);
}

static gpr_timespec deadline_in(int64_t timeout_ms)
{
	if (timeout_ms < 0)
		return gpr_inf_future(GPR_CLOCK_MONOTONIC);
	if (timeout_ms == 0)
		return gpr_time_0(GPR_CLOCK_MONOTONIC);
	return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
}

static enum rpc_cq_result result_of(const grpc_event *event)
{
	switch (event->type) {
	case GRPC_OP_COMPLETE:
		tag_takes(event->tag);
		return event->success ? RPC_CQ_DONE : RPC_CQ_FAILED;
	case GRPC_QUEUE_TIMEOUT:
		return RPC_CQ_TIMEOUT;
	case GRPC_QUEUE_SHUTDOWN:
		break;
	}
	return RPC_CQ_END;
}

bool rpc_cq_batch(grpc_call *call, const grpc_op *ops, size_t n_ops, void *tag)
{
	tag_gives(tag);
	return grpc_call_start_batch(call, ops, n_ops, tag, NULL) == GRPC_CALL_OK;
}

enum rpc_cq_result rpc_cq_wait(grpc_completion_queue *queue, void *tag, int64_t timeout_ms)
{
	grpc_event event = grpc_completion_queue_pluck(queue, tag, deadline_in(timeout_ms), NULL);
	return result_of(&event);
}

enum rpc_cq_result rpc_cq_next(grpc_completion_queue *queue, int64_t timeout_ms, void **ret_tag)
{
	grpc_event event = grpc_completion_queue_next(queue, deadline_in(timeout_ms), NULL);
	enum rpc_cq_result result = result_of(&event);
	if (event.type == GRPC_OP_COMPLETE)
		*ret_tag = event.tag;
	return result;
}

bool rpc_cq_request(grpc_server *server, grpc_completion_queue *queue, const struct rpc_cq_request *request, void *tag)
{
	tag_gives(tag);
	return grpc_server_request_call(server, request->call, request->details, request->metadata, request->call_queue,
	                                queue, tag) == GRPC_CALL_OK;
}

void rpc_cq_server_shutdown(grpc_server *server, grpc_completion_queue *queue, void *tag)
{
	tag_gives(tag);
	grpc_server_shutdown_and_notify(server, queue, tag);
}
