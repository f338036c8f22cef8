/* Requests as MHD tells of them: once when the headers are there, again for each part of the body, again when all has
 * come or when a suspended connection goes on. */
#include <stdlib.h>

#include "common/clock.h"
#include "rpc/web.h"

/* A refused body is read and dropped up to so much, so that the browser, which reads no answer while it sends, learns
 * why. */
#define DROPPED_MAX ((uint64_t)64 << 20)

/* In MHD's context of a request. */
struct web_request {
	struct web_call *call; /* NULL: answered without a handler */
	bool in_body;          /* what MHD tells next is of the body, or its end */
	bool preflight;
	const struct rpc_asset *asset;
	unsigned status;
	const char *text;
	char *origin; /* allowed */
	uint64_t dropped;
};

static const char *header_of(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* ---- who is there ---- */

static struct web_connection *socket_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info ? info->socket_context : NULL;
}

static struct web_person *person_of(struct web_connection *socket, struct MHD_Connection *connection)
{
	if (!socket->person) {
		socket->person = xcalloc(1, sizeof(*socket->person));
		socket->person->holders = 1;
		if (socket->web->tls)
			socket->person->identity = rpc_web_tls_identity(socket->web->tls, connection);
	}
	return socket->person;
}

/* Our own pages say so too. The certificate makes sure that the host they name is this one. */
static bool origin_is_own(const struct rpc_web *web, struct MHD_Connection *connection, const char *origin)
{
	const char *host = header_of(connection, MHD_HTTP_HEADER_HOST);
	const size_t scheme = strlen(web->own_scheme);
	return host && strncmp(origin, web->own_scheme, scheme) == 0 && strcmp(origin + scheme, host) == 0;
}

enum origin { ORIGIN_NONE, ORIGIN_ALLOWED, ORIGIN_REFUSED };

static enum MHD_Result count_origins(void *user, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void)kind, (void)value;
	*(unsigned *)user += strcasecmp(name, MHD_HTTP_HEADER_ORIGIN) == 0;
	return MHD_YES;
}

static enum origin origin_check(const struct rpc_web *web, struct MHD_Connection *connection)
{
	unsigned n = 0;
	MHD_get_connection_values(connection, MHD_HEADER_KIND, count_origins, &n);
	const char *origin = header_of(connection, MHD_HTTP_HEADER_ORIGIN);
	if (n == 0)
		return ORIGIN_NONE;
	return n == 1 && origin &&
	               (rpc_web_origin_allowed(web->options.origins, origin) || origin_is_own(web, connection, origin))
	           ? ORIGIN_ALLOWED
	           : ORIGIN_REFUSED;
}

/* ---- what is asked ---- */

static void answer_with(struct web_request *request, unsigned status, const char *text)
{
	request->status = status;
	request->text = text;
}

static void call_begin(struct web_request *request, struct rpc_web *web, struct MHD_Connection *connection,
                       const char *path)
{
	struct web_connection *socket = socket_of(connection);
	struct web_call *call = request->call = rpc_web_call_new(web, connection, socket, path);
	call->person = person_of(socket, connection);
	atomic_fetch_add(&call->person->holders, 1);
	call->origin = request->origin;
	request->origin = NULL;
	(void)rpc_serve_find(&call->call);
}

static void call_post(struct web_request *request, struct rpc_web *web, struct MHD_Connection *connection,
                      const char *path)
{
	const enum rpc_web_format format = rpc_web_format(header_of(connection, MHD_HTTP_HEADER_CONTENT_TYPE));
	const char *timeout = header_of(connection, "grpc-timeout");
	int64_t ms = 0;
	if (format == RPC_WEB_NONE) {
		answer_with(request, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "POST takes application/grpc-web and grpc-web-text");
		return;
	}
	if (timeout && !rpc_web_timeout(timeout, &ms)) {
		answer_with(request, MHD_HTTP_BAD_REQUEST, "grpc-timeout is not well formed");
		return;
	}
	call_begin(request, web, connection, path);
	struct web_call *call = request->call;
	call->kind = format == RPC_WEB_TEXT ? WEB_CALL_TEXT : WEB_CALL_BINARY;
	if (timeout)
		call->deadline_ms = clock_now_ms(NULL) + ms;
}

static bool offers_put(struct rpc_web *web, const char *path)
{
	struct rpc_call probe = {.server = web->server, .path = (char *)path};
	return rpc_serve_find(&probe) && probe.method.put;
}

static void asset_find(struct web_request *request, struct rpc_web *web, struct MHD_Connection *connection,
                       const char *path)
{
	const struct rpc_asset *asset = web->options.assets;
	const char *wanted = strcmp(path, "/") == 0 ? "/index.html" : path;
	while (asset && asset->path && strcmp(asset->path, wanted) != 0)
		asset++;
	if (!asset || !asset->path)
		answer_with(request, MHD_HTTP_NOT_FOUND, "there is nothing here");
	else if (!person_of(socket_of(connection), connection)->identity)
		answer_with(request, MHD_HTTP_FORBIDDEN, "this page needs a client certificate");
	else
		request->asset = asset;
}

static void route(struct web_request *request, struct rpc_web *web, struct MHD_Connection *connection, const char *path,
                  const char *method)
{
	const enum origin origin = origin_check(web, connection);
	if (origin == ORIGIN_REFUSED) {
		answer_with(request, MHD_HTTP_FORBIDDEN, "this origin is not allowed");
		return;
	}
	if (origin == ORIGIN_ALLOWED)
		request->origin = xstrdup(header_of(connection, MHD_HTTP_HEADER_ORIGIN));
	if (strcmp(method, MHD_HTTP_METHOD_OPTIONS) == 0 && request->origin) {
		request->preflight = true;
	} else if (strcmp(method, MHD_HTTP_METHOD_POST) == 0) {
		call_post(request, web, connection, path);
	} else if (strcmp(method, MHD_HTTP_METHOD_PUT) == 0 && offers_put(web, path)) {
		call_begin(request, web, connection, path);
		request->call->kind = WEB_CALL_PUT;
	} else if (strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0) {
		asset_find(request, web, connection, path);
	} else {
		answer_with(request, MHD_HTTP_METHOD_NOT_ALLOWED, "not by this method");
	}
}

/* ---- calls ---- */

static void dispatch(struct web_call *call)
{
	pthread_mutex_lock(&call->lock);
	call->dispatched = true;
	call->holders++;
	pthread_mutex_unlock(&call->lock);
	pthread_mutex_lock(&call->web->lock);
	const bool stopping = call->web->stopping;
	pthread_mutex_unlock(&call->web->lock);
	if (stopping)
		call->call.back->refuse(&call->call, ERR_UNAVAILABLE, "the server is stopping");
	else
		rpc_serve_dispatch(&call->call);
}

/* Calls that need not wait for their body: the handler asks for it, or it is known to be too long. */
static bool begins_with_headers(struct web_call *call)
{
	const size_t max = call->call.method.handler ? call->call.method.max_message_bytes : 0;
	if (call->kind == WEB_CALL_PUT)
		return true;
	if (call->announced != UINT64_MAX && call->announced > max / 3 * 4 + 4 + 2 * RPC_WEB_FRAME_BYTES)
		call->too_large = true;
	return call->too_large;
}

static bool drops_rest(const struct web_call *call)
{
	return !call->expects_continue && (call->announced == UINT64_MAX || call->announced <= DROPPED_MAX);
}

/* The headers are there, and nothing has been read of the body. MHD asks again after each wait. */
static enum MHD_Result call_headers(struct web_request *request)
{
	struct web_call *call = request->call;
	if (!call->dispatched && begins_with_headers(call))
		dispatch(call);
	pthread_mutex_lock(&call->lock);
	const bool answer = call->respond && !drops_rest(call);
	const bool gone = call->gone;
	request->in_body = !call->dispatched || call->reading || call->respond;
	if (!answer && !request->in_body)
		rpc_web_call_suspend_locked(call);
	pthread_mutex_unlock(&call->lock);
	if (gone)
		return MHD_NO;
	return answer ? rpc_web_answer_call(call) : MHD_YES;
}

/* The body has come whole. */
static enum MHD_Result call_complete(struct web_call *call)
{
	pthread_mutex_lock(&call->lock);
	call->complete = true;
	pthread_cond_broadcast(&call->changed);
	pthread_mutex_unlock(&call->lock);
	if (!call->dispatched)
		dispatch(call);
	pthread_mutex_lock(&call->lock);
	const bool answer = call->respond, gone = call->gone;
	if (!answer)
		rpc_web_call_suspend_locked(call);
	pthread_mutex_unlock(&call->lock);
	if (gone)
		return MHD_NO;
	return answer ? rpc_web_answer_call(call) : MHD_YES;
}

static enum MHD_Result call_part(struct web_request *request, const char *upload, size_t *upload_len)
{
	struct web_call *call = request->call;
	const size_t taken = rpc_web_call_feed(call, span_of(upload, *upload_len));
	pthread_mutex_lock(&call->lock);
	if (call->ended || call->too_large)
		request->dropped += taken;
	const bool gone = call->gone;
	pthread_mutex_unlock(&call->lock);
	*upload_len -= taken;
	return gone || request->dropped > DROPPED_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result call_go_on(struct web_request *request, const char *upload, size_t *upload_len)
{
	if (*upload_len > 0)
		return call_part(request, upload, upload_len);
	return request->in_body ? call_complete(request->call) : call_headers(request);
}

/* ---- MHD ---- */

static enum MHD_Result plain_go_on(const struct rpc_web *web, struct MHD_Connection *connection,
                                   struct web_request *request, size_t *upload_len)
{
	if (*upload_len > 0) {
		request->dropped += *upload_len;
		*upload_len = 0;
		return request->dropped > DROPPED_MAX ? MHD_NO : MHD_YES;
	}
	if (request->preflight)
		return rpc_web_answer_preflight(web, connection, request->origin);
	if (request->asset)
		return rpc_web_answer_asset(connection, request->asset);
	return rpc_web_answer_plain(web, connection, request->status, request->text, request->origin);
}

static void busy_set(struct web_connection *socket, bool busy)
{
	pthread_mutex_lock(&socket->web->lock);
	socket->busy = busy;
	socket->used = true;
	socket->since_us = clock_monotonic_us();
	pthread_mutex_unlock(&socket->web->lock);
}

enum MHD_Result rpc_web_answer(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_len, void **context)
{
	(void)version;
	struct rpc_web *web = user;
	struct web_request *request = *context;
	if (!request) {
		request = *context = xcalloc(1, sizeof(*request));
		busy_set(socket_of(connection), true);
		route(request, web, connection, url, method);
		return request->call ? call_headers(request) : MHD_YES;
	}
	return request->call ? call_go_on(request, upload, upload_len) : plain_go_on(web, connection, request, upload_len);
}

void rpc_web_completed(void *user, struct MHD_Connection *connection, void **context,
                       enum MHD_RequestTerminationCode how)
{
	(void)user, (void)how;
	struct web_request *request = *context;
	if (!request)
		return;
	*context = NULL;
	busy_set(socket_of(connection), false);
	if (request->call) {
		pthread_mutex_lock(&request->call->lock);
		request->call->connection = NULL;
		request->call->gone = true;
		pthread_cond_broadcast(&request->call->changed);
		pthread_mutex_unlock(&request->call->lock);
		rpc_web_call_drop(request->call);
	}
	free(request->origin);
	free(request);
}
