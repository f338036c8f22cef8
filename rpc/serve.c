/* Serving: the core holds a number of armed slots; a poller that sees one filled arms the next, finds the method and
 * hands the call to a pool's thread. Pollers never run handlers and never wait for a client. */
#include <stdlib.h>

#include <grpc/slice.h>

#include "common/clock.h"
#include "rpc/cq.h"
#include "rpc/internal.h"
#include "rpc/message.h"

#define SLOTS        64
#define SPARE_QUEUES 512
/* How often calls that a poller has answered are looked at, and how long a poller sleeps otherwise. */
#define LINGER_MS 5
#define TICK_MS   1000

/* ---- queues of calls, reused ---- */

static grpc_completion_queue *queue_take_locked(struct rpc_server *server)
{
	return server->n_spare > 0 ? server->spare_queues[--server->n_spare] : rpc_cq_new_call();
}

static void queue_give_back(struct rpc_server *server, grpc_completion_queue *queue)
{
	pthread_mutex_lock(&server->lock);
	if (server->n_spare < SPARE_QUEUES) {
		server->spare_queues[server->n_spare++] = queue;
		queue = NULL;
	}
	pthread_mutex_unlock(&server->lock);
	rpc_cq_free(queue);
}

/* ---- slots ---- */

void rpc_serve_free(struct rpc_call *call)
{
	if (call->core)
		grpc_call_unref(call->core);
	rpc_call_info_done(call);
	if (call->incoming)
		grpc_byte_buffer_destroy(call->incoming);
	if (call->corked)
		grpc_byte_buffer_destroy(call->corked);
	grpc_slice_unref(call->trailer.key);
	grpc_slice_unref(call->trailer.value);
	grpc_call_details_destroy(&call->details);
	grpc_metadata_array_destroy(&call->metadata);
	queue_give_back(call->server, call->queue);
	free(call);
}

static bool slot_arm(struct rpc_server *server)
{
	struct rpc_call *call = xcalloc(1, sizeof(*call));
	call->back = &rpc_core_back_end;
	call->server = server;
	call->verdict = ERR_INTERNAL;
	call->trailer.key = call->trailer.value = grpc_empty_slice();
	grpc_call_details_init(&call->details);
	grpc_metadata_array_init(&call->metadata);
	/* Under the lock: nothing may be asked of the core once the server has been declared down. */
	pthread_mutex_lock(&server->lock);
	call->queue = queue_take_locked(server);
	struct rpc_cq_request request = {&call->core, &call->details, &call->metadata, call->queue};
	bool armed = !server->stopping && rpc_cq_request(server->core, server->queue, &request, call);
	server->armed += armed;
	pthread_mutex_unlock(&server->lock);
	if (!armed)
		rpc_serve_free(call);
	return armed;
}

static void slot_disarmed(struct rpc_server *server)
{
	pthread_mutex_lock(&server->lock);
	server->armed--;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

/* ---- calls answered by a poller ---- */

void rpc_serve_linger(struct rpc_call *call)
{
	struct rpc_server *server = call->server;
	pthread_mutex_lock(&server->lock);
	call->next = server->lingering;
	server->lingering = call;
	server->n_lingering++;
	pthread_mutex_unlock(&server->lock);
}

static struct rpc_call *over_remove_locked(struct rpc_server *server)
{
	struct rpc_call *over = NULL;
	for (struct rpc_call **at = &server->lingering; *at;) {
		struct rpc_call *call = *at;
		if (!rpc_call_over(call)) {
			at = &call->next;
			continue;
		}
		*at = call->next;
		call->next = over;
		over = call;
	}
	return over;
}

static void free_lingering(struct rpc_server *server, struct rpc_call *over)
{
	unsigned n = 0;
	while (over) {
		struct rpc_call *next = over->next;
		rpc_serve_free(over);
		over = next;
		n++;
	}
	if (n == 0)
		return;
	pthread_mutex_lock(&server->lock);
	server->n_lingering -= n;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

/* Frees calls that are over; says how long the poller may sleep. */
static int64_t housekeeping(struct rpc_server *server)
{
	struct rpc_call *over = NULL;
	int64_t now = clock_monotonic_us();
	pthread_mutex_lock(&server->lock);
	if (server->lingering && now - server->lingered_us >= LINGER_MS * 1000) {
		over = over_remove_locked(server);
		server->lingered_us = now;
	}
	bool more = server->lingering;
	pthread_mutex_unlock(&server->lock);
	free_lingering(server, over);
	return more ? LINGER_MS : TICK_MS;
}

/* ---- dispatch ---- */

static int compare_path(const void *path, const void *method)
{
	return strcmp(path, ((const struct rpc_method *)method)->path);
}

bool rpc_serve_find(struct rpc_call *call)
{
	const struct rpc_server *server = call->server;
	const struct rpc_method *method =
	    bsearch(call->path, server->methods, server->n_methods, sizeof(server->methods[0]), compare_path);
	if (method)
		call->method = *method;
	return method;
}

static bool submit(struct rpc_call *call, struct rpc_pool *pool)
{
	call->pool = pool;
	if (rpc_pool_submit(pool, call))
		return true;
	call->pool = NULL;
	return false;
}

static void refuse(struct rpc_call *call, enum err_code code, const char *message)
{
	struct rpc_server *server = call->server;
	call->verdict = code;
	if (server->unknown) {
		call->method = (struct rpc_method){.handler = server->unknown, .user = server->unknown_user};
		if (submit(call, server->refusals))
			return;
	}
	call->back->refuse(call, code, message);
}

static struct rpc_pool *pool_of(const struct rpc_call *call)
{
	struct rpc_server *server = call->server;
	if (call->method.urgent)
		return server->urgent;
	return call->method.stream ? server->streams : server->calls;
}

void rpc_serve_dispatch(struct rpc_call *call)
{
	if (!rpc_serve_find(call)) {
		refuse(call, ERR_UNIMPLEMENTED, "there is no such method");
		return;
	}
	if (!submit(call, pool_of(call)))
		refuse(call, ERR_EXHAUSTED, "too many calls are running; try again later");
}

void rpc_serve_run(struct rpc_call *call)
{
	call->back->begin(call);
	call->method.handler(call, call->method.user);
	call->back->end(call);
}

/* ---- polling ---- */

static void went_down(struct rpc_server *server)
{
	pthread_mutex_lock(&server->lock);
	server->down = true;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

static void core_dispatch(struct rpc_call *call)
{
	struct span path = rpc_slice_span(&call->details.method);
	call->path = xstrndup((const char *)path.ptr, path.len);
	call->metadata_text = xcalloc(call->metadata.count, sizeof(char *));
	rpc_serve_dispatch(call);
}

/* A slot can also come back empty while the server runs, when its call was gone before it was matched. */
static void arrived(struct rpc_call *call, bool ok)
{
	struct rpc_server *server = call->server;
	slot_arm(server);
	if (ok)
		core_dispatch(call);
	else
		rpc_serve_free(call);
	slot_disarmed(server);
}

static void *poller(void *user)
{
	struct rpc_server *server = user;
	int64_t sleep_ms = TICK_MS;
	for (;;) {
		void *tag = NULL;
		enum rpc_cq_result result = rpc_cq_next(server->queue, sleep_ms, &tag);
		if (result == RPC_CQ_END)
			return NULL;
		if (tag == &server->tag_down)
			went_down(server);
		else if (tag)
			arrived(tag, result == RPC_CQ_DONE);
		sleep_ms = housekeeping(server);
	}
}

bool rpc_serve_start(struct rpc_server *server)
{
	server->spare_queues = xcalloc(SPARE_QUEUES, sizeof(server->spare_queues[0]));
	unsigned max = sizeof(server->pollers) / sizeof(server->pollers[0]);
	while (server->n_pollers < max && pthread_create(&server->pollers[server->n_pollers], NULL, poller, server) == 0)
		server->n_pollers++;
	return server->n_pollers > 0;
}

void rpc_serve_arm(struct rpc_server *server)
{
	for (unsigned i = 0; i < SLOTS; i++)
		slot_arm(server);
}

void rpc_serve_end(struct rpc_server *server)
{
	rpc_cq_shutdown(server->queue);
	for (unsigned i = 0; i < server->n_pollers; i++)
		pthread_join(server->pollers[i], NULL);
	for (size_t i = 0; i < server->n_spare; i++)
		rpc_cq_free(server->spare_queues[i]);
	free(server->spare_queues);
}
