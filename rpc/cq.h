/* Completion queues of the gRPC core. Every call that starts or waits for an operation goes through here, so that
 * ThreadSanitizer can be told in one place what hands what to whom (the core's own locks are invisible to it).
 *
 * A tag is an address; it must be unique among the operations in flight on one queue. */
#ifndef TWOKEY_RPC_CQ_H
#define TWOKEY_RPC_CQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <grpc/grpc.h>

enum rpc_cq_result {
	RPC_CQ_DONE,    /* the operation succeeded */
	RPC_CQ_FAILED,  /* it did not: the call is over, or the server stops */
	RPC_CQ_TIMEOUT, /* it is still in flight */
	RPC_CQ_END,     /* the queue was shut down and is empty (rpc_cq_next only) */
};

#define RPC_CQ_FOREVER (-1)

/* For rpc_cq_next; whoever waits on it also does the socket work of the server it belongs to. */
grpc_completion_queue *rpc_cq_new_server(void);
/* For rpc_cq_wait on a call of a server; does no socket work itself. One call after another may use it. */
grpc_completion_queue *rpc_cq_new_call(void);
/* For rpc_cq_wait on the client side; the waiting thread does the socket work. */
grpc_completion_queue *rpc_cq_new_client(void);
/* The queue has nothing in flight (call, client), or has ended (server). Accepts NULL. */
void rpc_cq_free(grpc_completion_queue *queue);
void rpc_cq_shutdown(grpc_completion_queue *queue);

/* Starts a batch. False when the core refuses it (the call has ended): then no event follows. */
bool rpc_cq_batch(grpc_call *call, const grpc_op *ops, size_t n_ops, void *tag);
/* Waits for one operation of a call. timeout_ms: 0 only looks. */
enum rpc_cq_result rpc_cq_wait(grpc_completion_queue *queue, void *tag, int64_t timeout_ms);
/* Waits for anything on a server's queue; *ret_tag is set with RPC_CQ_DONE and RPC_CQ_FAILED. */
enum rpc_cq_result rpc_cq_next(grpc_completion_queue *queue, int64_t timeout_ms, void **ret_tag);

struct rpc_cq_request {
	grpc_call **call;
	grpc_call_details *details;
	grpc_metadata_array *metadata;
	grpc_completion_queue *call_queue;
};
/* Asks the server for one more call. False: no event follows. */
bool rpc_cq_request(grpc_server *server, grpc_completion_queue *queue, const struct rpc_cq_request *request, void *tag);
void rpc_cq_server_shutdown(grpc_server *server, grpc_completion_queue *queue, void *tag);

#endif
