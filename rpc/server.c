/* A server from its options to its end. */
#include <stdlib.h>
#include <time.h>

#include <grpc/grpc_security.h>

#include "common/clock.h"
#include "common/log.h"
#include "rpc/accept_guard.h"
#include "rpc/bind.h"
#include "rpc/cq.h"
#include "rpc/health.h"
#include "rpc/internal.h"
#include "rpc/reflection.h"
#include "rpc/tls.h"
#include "rpc/web.h"

#define OWN_MESSAGE_MAX     4096
#define BUFFERED_MAX        ((size_t)256 << 20)
#define PORT_TRIES          50
#define STREAM_WINDOW_BYTES (1 << 20)
#define REFUSAL_THREADS     2
#define URGENT_THREADS      8
#define REFUSAL_BACKLOG     128
#define OR_DEFAULT(a, b)    ((a) ? (a) : (b))

/* ---- methods ---- */

static int compare_methods(const void *a, const void *b)
{
	return strcmp(((const struct rpc_method *)a)->path, ((const struct rpc_method *)b)->path);
}

static void method_add(struct rpc_server *server, struct rpc_method method)
{
	method.path = xstrdup(method.path);
	server->methods[server->n_methods++] = method;
}

static void own_methods_add(struct rpc_server *server)
{
	const struct rpc_method health[] = {
	    {"/" RPC_HEALTH_SERVICE "/Check", rpc_health_check, server->health, OWN_MESSAGE_MAX, false, false, NULL},
	    {"/" RPC_HEALTH_SERVICE "/Watch", rpc_health_watch, server->health, OWN_MESSAGE_MAX, true, false, NULL},
	};
	const struct rpc_method reflection[] = {
	    {"/" RPC_REFLECTION_V1 "/ServerReflectionInfo", rpc_reflection_info, server->reflection, OWN_MESSAGE_MAX, true,
	     false, NULL},
	    {"/" RPC_REFLECTION_V1ALPHA "/ServerReflectionInfo", rpc_reflection_info, server->reflection, OWN_MESSAGE_MAX,
	     true, false, NULL},
	};
	for (size_t i = 0; i < 2; i++)
		method_add(server, health[i]);
	for (size_t i = 0; server->reflection && i < 2; i++)
		method_add(server, reflection[i]);
}

static enum err_code methods_make(struct rpc_server *server, const struct rpc_method *table, struct err *err)
{
	size_t n = 0;
	while (table && table[n].path)
		n++;
	server->methods = xcalloc(n + 4, sizeof(server->methods[0]));
	own_methods_add(server);
	for (size_t i = 0; i < n; i++) {
		if (table[i].path[0] != '/' || !table[i].handler || table[i].max_message_bytes > INT32_MAX)
			return err_set(err, ERR_INVALID, 0, "method table: %s is not usable", table[i].path);
		method_add(server, table[i]);
	}
	qsort(server->methods, server->n_methods, sizeof(server->methods[0]), compare_methods);
	for (size_t i = 1; i < server->n_methods; i++)
		if (compare_methods(&server->methods[i - 1], &server->methods[i]) == 0)
			return err_set(err, ERR_INVALID, 0, "method table: %s is there twice", server->methods[i].path);
	return ERR_OK;
}

/* ---- services ---- */

static enum err_code services_make(struct rpc_server *server, const struct rpc_server_options *options, struct err *err)
{
	size_t n = 0;
	while (options->services && options->services[n])
		n++;
	autofree const char **all = xcalloc(n + 4, sizeof(all[0]));
	for (size_t i = 0; i < n; i++)
		all[i] = options->services[i];
	all[n++] = RPC_HEALTH_SERVICE;
	if (options->descriptors.len > 0) {
		all[n++] = RPC_REFLECTION_V1;
		all[n++] = RPC_REFLECTION_V1ALPHA;
	}
	server->health = rpc_health_new(all);
	if (options->descriptors.len == 0)
		return ERR_OK;
	return rpc_reflection_new(options->descriptors, all, &server->reflection, err);
}

/* ---- the core's server ---- */

static grpc_arg int_arg(const char *key, unsigned value)
{
	grpc_arg arg = {.type = GRPC_ARG_INTEGER, .key = (char *)key};
	arg.value.integer = (int)(value > INT32_MAX ? INT32_MAX : value);
	return arg;
}

static unsigned largest_message(const struct rpc_server *server)
{
	size_t largest = 0;
	for (size_t i = 0; i < server->n_methods; i++)
		if (server->methods[i].max_message_bytes > largest)
			largest = server->methods[i].max_message_bytes;
	return (unsigned)largest;
}

/* The core checks a message's size only when it has received all of it, up to 4 GiB: this is what bounds the memory
 * that strangers can fill. Over it, the core cuts off streams. */
static grpc_arg quota_arg(size_t bytes)
{
	grpc_resource_quota *quota = grpc_resource_quota_create("twokey");
	grpc_resource_quota_resize(quota, bytes);
	grpc_arg arg = {.type = GRPC_ARG_POINTER, .key = (char *)GRPC_ARG_RESOURCE_QUOTA};
	arg.value.pointer.p = quota;
	arg.value.pointer.vtable = grpc_resource_quota_arg_vtable();
	return arg;
}

static void core_create(struct rpc_server *server, const struct rpc_server_options *options)
{
	grpc_arg quota = quota_arg(OR_DEFAULT(options->max_buffered_bytes, BUFFERED_MAX));
	grpc_arg args[] = {
	    quota,
	    int_arg(GRPC_ARG_ALLOW_REUSEPORT, 0), /* two servers must not share a port unnoticed */
	    int_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, 128),
	    int_arg(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10),
	    int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, largest_message(server)),
	    int_arg(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, OR_DEFAULT(options->handshake_timeout_ms, 10000)),
	    /* Windows do not grow with the line's speed: a fast client must not fill our memory while a slow bucket takes.
	     */
	    int_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0),
	    int_arg(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, STREAM_WINDOW_BYTES),
	    int_arg(GRPC_ARG_MAX_CONNECTION_IDLE_MS, OR_DEFAULT(options->idle_timeout_ms, 300000)),
	    int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, 60000),
	    int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000),
	    int_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
	    int_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000),
	    int_arg(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2),
	    /* No compression: a small message could become a huge one before its size is checked. */
	    int_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1),
	    int_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0),
	};
	grpc_channel_args all = {sizeof(args) / sizeof(args[0]), args};
	server->core = grpc_server_create(&all, NULL);
	grpc_resource_quota_unref(quota.value.pointer.p);
	server->queue = rpc_cq_new_server();
	grpc_server_register_completion_queue(server->core, server->queue, NULL);
}

static bool port_add(struct rpc_server *server, const struct rpc_address *address)
{
	/* Credentials are made for each try: their first configuration is fetched by the listener, once. */
	grpc_server_credentials *credentials =
	    server->tls ? rpc_tls_server_credentials(server->tls) : grpc_insecure_server_credentials_create();
	autofree char *text = xasprintf("%s:%u", address->host, address->port);
	int port = grpc_server_add_http2_port(server->core, text, credentials);
	grpc_server_credentials_release(credentials);
	server->port = port > 0 ? (unsigned)port : 0;
	return port > 0;
}

static enum err_code server_bind(struct rpc_server *server, const char *listen, struct err *err)
{
	struct rpc_address address;
	enum err_code code = rpc_address_parse(listen, &address, err);
	if (code != ERR_OK)
		return code;
	bool any = address.port == 0;
	for (int tries = any ? PORT_TRIES : 1; tries > 0; tries--) {
		if (any)
			rpc_address_set_port(&address, rpc_address_random_port());
		code = rpc_address_probe(&address, err);
		if (code == ERR_OK && port_add(server, &address))
			return ERR_OK;
		if (code == ERR_OK)
			code = err_set(err, server->tls ? ERR_INVALID : ERR_UNAVAILABLE, 0, "listen: %s:%u could be bound, but %s",
			               address.host, address.port, server->tls ? "its TLS key cannot be used" : "not served");
		if (code == ERR_INVALID)
			break;
	}
	return code;
}

/* ---- start and stop ---- */

static void server_free(struct rpc_server *server)
{
	for (size_t i = 0; i < server->n_methods; i++)
		free((char *)server->methods[i].path);
	free(server->methods);
	rpc_health_free(server->health);
	rpc_reflection_free(server->reflection);
	rpc_tls_server_free(server->tls);
	rpc_web_free(server->web);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

static struct rpc_server *server_new(const struct rpc_server_options *options)
{
	struct rpc_server *server = xcalloc(1, sizeof(*server));
	pthread_mutex_init(&server->lock, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&server->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	server->unknown = options->unknown;
	server->unknown_user = options->unknown_user;
	return server;
}

static bool has_tls(const struct rpc_tls *tls)
{
	return tls->certificate || tls->key || tls->token_key || tls->client_ca;
}

/* Everything that can be wrong with the options, before anything is bound. */
static enum err_code prepare(struct rpc_server *server, const struct rpc_server_options *options, struct err *err)
{
	enum err_code code = services_make(server, options, err);
	if (code == ERR_OK)
		code = methods_make(server, options->methods, err);
	if (code == ERR_OK && has_tls(&options->tls))
		code = rpc_tls_server_new(&options->tls, &server->tls, err);
	if (code == ERR_OK && options->web.listen)
		code = rpc_web_new(options, server, &server->web, err);
	return code;
}

/* Being down does not mean that every call has been let go of: the core waits for connections only. */
static bool quiet_locked(const struct rpc_server *server)
{
	return server->down && server->armed == 0 && server->n_lingering == 0;
}

/* Waits until the server is quiet; grace_ms < 0: as long as it takes. */
static bool wait_down_locked(struct rpc_server *server, int64_t grace_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += grace_ms / 1000;
	until.tv_nsec += grace_ms % 1000 * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	int rc = 0;
	while (rc == 0 && !quiet_locked(server))
		rc = grace_ms < 0 ? pthread_cond_wait(&server->changed, &server->lock)
		                  : pthread_cond_timedwait(&server->changed, &server->lock, &until);
	return quiet_locked(server);
}

/* Pollers work until all is quiet; handlers that are still running then are waited for by their pools. */
static void server_down(struct rpc_server *server, unsigned grace_ms)
{
	const int64_t began_us = clock_monotonic_us();
	if (server->web)
		rpc_web_quiesce(server->web);
	pthread_mutex_lock(&server->lock);
	server->stopping = true;
	pthread_mutex_unlock(&server->lock);
	rpc_cq_server_shutdown(server->core, server->queue, &server->tag_down);
	pthread_mutex_lock(&server->lock);
	bool down = wait_down_locked(server, grace_ms);
	pthread_mutex_unlock(&server->lock);
	if (!down)
		grpc_server_cancel_all_calls(server->core);
	pthread_mutex_lock(&server->lock);
	wait_down_locked(server, -1);
	pthread_mutex_unlock(&server->lock);
	if (server->web)
		rpc_web_stop(server->web, grace_ms - (clock_monotonic_us() - began_us) / 1000);
}

static void server_end(struct rpc_server *server)
{
	rpc_pool_free(server->calls);
	rpc_pool_free(server->streams);
	rpc_pool_free(server->urgent);
	rpc_pool_free(server->refusals);
	grpc_server_destroy(server->core);
	rpc_serve_end(server);
	rpc_cq_free(server->queue);
	if (server->port)
		rpc_accept_guard_remove(server->port);
	server_free(server);
}

static enum err_code server_open(struct rpc_server *server, const struct rpc_server_options *options, struct err *err)
{
	enum err_code code = server_bind(server, options->listen, err);
	if (code == ERR_OK)
		code = rpc_accept_guard_add(server->port, OR_DEFAULT(options->max_connections, 1000),
		                            OR_DEFAULT(options->max_connections_per_address, 250), err);
	return code;
}

static enum err_code server_run(struct rpc_server *server, const struct rpc_server_options *options, struct err *err)
{
	enum err_code code = server_open(server, options, err);
	/* Even when the port could not be had: the core shuts down only what was started. */
	grpc_server_start(server->core);
	if (code == ERR_OK && server->web)
		code = rpc_web_start(server->web, options, err);
	if (code == ERR_OK)
		rpc_serve_arm(server);
	else
		server_down(server, 0);
	return code;
}

enum err_code rpc_server_start(const struct rpc_server_options *options, struct rpc_server **ret, struct err *err)
{
	struct rpc_server *server = server_new(options);
	enum err_code code = prepare(server, options, err);
	if (code != ERR_OK) {
		server_free(server);
		return code;
	}
	core_create(server, options);
	server->calls = rpc_pool_new(OR_DEFAULT(options->max_calls, 64), 0, rpc_serve_run);
	server->streams = rpc_pool_new(OR_DEFAULT(options->max_streams, 256), 0, rpc_serve_run);
	server->urgent = rpc_pool_new(URGENT_THREADS, 0, rpc_serve_run);
	server->refusals = rpc_pool_new(REFUSAL_THREADS, REFUSAL_BACKLOG, rpc_serve_run);
	if (rpc_serve_start(server))
		code = server_run(server, options, err);
	else
		code = err_set(err, ERR_UNAVAILABLE, 0, "no thread can be started");
	if (code != ERR_OK) {
		server_end(server);
		return code;
	}
	*ret = server;
	return ERR_OK;
}

enum err_code rpc_server_check(const struct rpc_server_options *options, struct err *err)
{
	struct rpc_address address;
	enum err_code code = rpc_address_parse(options->listen, &address, err);
	if (code != ERR_OK)
		return code;
	struct rpc_server *server = server_new(options);
	code = prepare(server, options, err);
	server_free(server);
	return code;
}

unsigned rpc_server_port(const struct rpc_server *server)
{
	return server->port;
}

unsigned rpc_server_web_port(const struct rpc_server *server)
{
	return server->web ? server->web->port : 0;
}

void rpc_server_set_serving(struct rpc_server *server, bool serving)
{
	rpc_health_set(server->health, serving);
}

void rpc_server_stop(struct rpc_server *server, unsigned grace_ms)
{
	rpc_health_stop(server->health);
	if (server->reflection)
		rpc_reflection_stop(server->reflection);
	server_down(server, grace_ms);
	server_end(server);
}
