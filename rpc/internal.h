/* What the files of the gRPC back end share: one server, and one call from the moment a slot for it is armed. */
#ifndef TWOKEY_RPC_INTERNAL_H
#define TWOKEY_RPC_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <grpc/grpc.h>

#include "rpc/pool.h"
#include "rpc/rpc.h"

struct rpc_tls_server;
struct rpc_health;
struct rpc_reflection;

/* A slot while it waits for a call, then the call. Its address is the tag of its arrival; the addresses of the tag_
 * members are those of its operations. */
struct rpc_call {
	struct rpc_server *server;
	struct rpc_call *next; /* in a pool's list, or among the lingering */
	struct rpc_pool *pool; /* whose thread runs it */

	grpc_call *core;
	grpc_completion_queue *queue;
	grpc_call_details details;
	grpc_metadata_array metadata;
	char tag_close, tag_receive, tag_send, tag_finish;

	char *path;
	struct rpc_method method; /* a copy; without a handler when the method is unknown */
	enum err_code verdict;    /* how it ends when the handler returns without rpc_finish */

	int close_cancelled; /* written by the core before tag_close arrives */
	bool close_started, close_seen;
	grpc_byte_buffer *incoming;
	bool receiving, received_end, gone;
	grpc_byte_buffer *corked; /* a unary reply waits for its status: one write instead of two */
	bool sent_initial, sent_message;
	bool finished, finish_started;
	grpc_metadata trailer;

	bool (*stop)(void *user, struct rpc_stop *ret); /* rpc_watch */
	void *stop_user;

	char **metadata_text; /* lazily: rpc_metadata's values as strings */
	struct rpc_identity *identity;
	bool identity_known;
};

struct rpc_server {
	grpc_server *core;
	grpc_completion_queue *queue;
	unsigned port;
	struct rpc_tls_server *tls;
	struct rpc_health *health;
	struct rpc_reflection *reflection;

	struct rpc_method *methods; /* sorted by path; paths are ours */
	size_t n_methods;
	rpc_handler unknown;
	void *unknown_user;

	struct rpc_pool *calls, *streams, *urgent, *refusals;
	pthread_t pollers[2];
	unsigned n_pollers;

	pthread_mutex_t lock; /* of everything below */
	pthread_cond_t changed;
	bool stopping, down;
	unsigned armed; /* slots that the core holds */
	grpc_completion_queue **spare_queues;
	size_t n_spare;
	struct rpc_call *lingering; /* answered by a poller, not yet over */
	unsigned n_lingering;       /* with those that are being freed */
	int64_t lingered_us, tidied_us;
	char tag_down;
};

/* serve.c: slots, pollers, dispatch. */
/* Starts the pollers; false: not one thread can be had. */
bool rpc_serve_start(struct rpc_server *server);
/* Lets calls in; the core's server has been started. */
void rpc_serve_arm(struct rpc_server *server);
/* Joins the pollers; no call is left and no slot is armed. */
void rpc_serve_end(struct rpc_server *server);
/* Runs one call to its end; for the pools. */
void rpc_serve_run(struct rpc_call *call);

/* call.c */
/* As rpc_recv; ERR_DEADLINE when nothing came in time: call again, the receive goes on. timeout_ms < 0: no limit. */
must_check enum err_code rpc_call_recv(struct rpc_call *call, int64_t timeout_ms, struct buf *out, bool *ret_end,
                                       struct err *err);
void rpc_call_begin(struct rpc_call *call);
/* Ends it by its verdict unless the handler has, and waits until the core has let go of it. */
void rpc_call_end(struct rpc_call *call);
/* Ends it without a thread of its own: starts everything, waits for nothing. rpc_call_over says when to free. */
void rpc_call_refuse(struct rpc_call *call, enum err_code code, const char *message);
bool rpc_call_over(struct rpc_call *call);

/* call_info.c: frees what the rpc_ getters have made. */
void rpc_call_info_done(struct rpc_call *call);
/* identity.c */
void rpc_identity_free(struct rpc_identity *identity);

#endif
