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
struct rpc_web;

/* What a transport does behind the functions on calls (rpc.h has their contracts): the gRPC core's is in call.c and
 * call_info.c, that of HTTP in web_call.c. */
struct rpc_back_end {
	enum err_code (*recv)(struct rpc_call *call, struct buf *out, bool *ret_end, struct err *err);
	enum err_code (*send)(struct rpc_call *call, struct span head, struct buf *body, struct err *err);
	void (*finish)(struct rpc_call *call, enum err_code code, const char *message, const struct rpc_error_info *info);
	bool (*cancelled)(struct rpc_call *call);
	int64_t (*deadline_ms)(const struct rpc_call *call);
	bool (*peer)(const struct rpc_call *call, struct ip_addr *ret);
	const char *(*metadata)(const struct rpc_call *call, const char *key);
	bool (*metadata_all)(const struct rpc_call *call, const char *key, struct buf *out);
	struct rpc_identity *(*identity)(struct rpc_call *call); /* owned by the call; NULL: none */
	void (*begin)(struct rpc_call *call);                    /* on the handler's thread, before it */
	void (*end)(struct rpc_call *call);                      /* after it: ends the call if need be, and frees it */
	/* Ends a call that no thread can be had for; waits for nothing. */
	void (*refuse)(struct rpc_call *call, enum err_code code, const char *message);
};

/* A slot while it waits for a call, then the call. Its address is the tag of its arrival; the addresses of the tag_
 * members are those of its operations. */
struct rpc_call {
	const struct rpc_back_end *back;
	struct rpc_server *server;
	struct rpc_call *next; /* in a pool's list, or among the lingering */
	struct rpc_pool *pool; /* whose thread runs it */

	/* The gRPC core's. */
	grpc_call *core;
	grpc_completion_queue *queue;
	grpc_call_details details;
	grpc_metadata_array metadata;
	char tag_close, tag_receive, tag_send, tag_finish;

	/* Every transport's. */
	char *path;
	struct rpc_method method; /* a copy; without a handler when the method is unknown */
	enum err_code verdict;    /* how it ends when the handler returns without rpc_finish */
	bool finished;
	bool (*stop)(void *user, struct rpc_stop *ret); /* rpc_watch */
	void *stop_user;
	struct rpc_identity *identity;
	bool identity_known;

	/* The gRPC core's. */
	int close_cancelled; /* written by the core before tag_close arrives */
	bool close_started, close_seen;
	grpc_byte_buffer *incoming;
	bool receiving, received_end, gone;
	grpc_byte_buffer *corked; /* a unary reply waits for its status: one write instead of two */
	bool sent_initial, sent_message;
	bool finish_started;
	grpc_metadata trailer;
	char **metadata_text; /* lazily: rpc_metadata's values as strings */
};

struct rpc_server {
	grpc_server *core;
	grpc_completion_queue *queue;
	unsigned port;
	struct rpc_tls_server *tls;
	struct rpc_health *health;
	struct rpc_reflection *reflection;
	struct rpc_web *web; /* NULL: none */

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
	int64_t lingered_us;
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
/* Sets call->method by call->path; false: there is none. */
bool rpc_serve_find(struct rpc_call *call);
/* Hands a call to a thread: its method's, or one that refuses it. */
void rpc_serve_dispatch(struct rpc_call *call);

/* back_end.c */
/* How the call ends when nobody has said so. */
void rpc_call_finish_by_verdict(struct rpc_call *call);

/* call.c */
extern const struct rpc_back_end rpc_core_back_end;
/* As rpc_recv; ERR_DEADLINE when nothing came in time: call again, the receive goes on. timeout_ms < 0: no limit. */
must_check enum err_code rpc_call_recv(struct rpc_call *call, int64_t timeout_ms, struct buf *out, bool *ret_end,
                                       struct err *err);
/* May a lingering call be freed? */
bool rpc_call_over(struct rpc_call *call);

/* serve.c: a core's call back to its server. */
void rpc_serve_free(struct rpc_call *call);
/* Keeps a call that was ended without a thread until it is over. */
void rpc_serve_linger(struct rpc_call *call);

/* call_info.c: the core's side of the getters, and what frees what they have made. */
int64_t rpc_core_deadline_ms(const struct rpc_call *call);
bool rpc_core_peer(const struct rpc_call *call, struct ip_addr *ret);
const char *rpc_core_metadata(const struct rpc_call *call, const char *key);
bool rpc_core_metadata_all(const struct rpc_call *call, const char *key, struct buf *out);
void rpc_call_info_done(struct rpc_call *call);
/* identity.c */
struct rpc_identity *rpc_core_identity(struct rpc_call *call);
/* Fills in subject and fingerprint from the certificate's PEM. */
bool rpc_identity_look_into(const char *pem, struct rpc_identity *identity);
void rpc_identity_free(struct rpc_identity *identity); /* accepts NULL */

#endif
