/* Responses of the HTTP front. */
#include <stdlib.h>

#include <jansson.h>

#include "rpc/web.h"

#define BLOCK_BYTES       ((size_t)64 << 10)
#define PREFLIGHT_SECONDS "7200" /* what browsers keep at most */
#define EXPOSED           "grpc-status, grpc-message, grpc-status-details-bin"

/* No external request, nothing inline, no frame around it. */
#define PAGE_POLICY                                                                                                    \
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "              \
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

static const char *const everywhere[][2] = {
    {MHD_HTTP_HEADER_X_CONTENT_TYPE_OPTIONS, "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    {MHD_HTTP_HEADER_VARY, "Origin"},
    {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
};
static const char *const of_pages[][2] = {
    {"Content-Security-Policy", PAGE_POLICY},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"X-Frame-Options", "DENY"},
};

static void headers_add(struct MHD_Response *response, const char *const headers[][2], size_t n)
{
	for (size_t i = 0; i < n; i++)
		MHD_add_response_header(response, headers[i][0], headers[i][1]);
}

static void origin_add(struct MHD_Response *response, const char *origin)
{
	if (!origin)
		return;
	MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, origin);
	MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

static enum MHD_Result queue(struct MHD_Connection *connection, unsigned status, struct MHD_Response *response,
                             const char *type, const char *origin)
{
	if (!response)
		return MHD_NO;
	headers_add(response, everywhere, sizeof(everywhere) / sizeof(everywhere[0]));
	if (type)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	origin_add(response, origin);
	enum MHD_Result result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static struct MHD_Response *copied(struct span bytes)
{
	return MHD_create_response_from_buffer(bytes.len, (void *)bytes.ptr, MHD_RESPMEM_MUST_COPY);
}

/* ---- without a handler ---- */

enum MHD_Result rpc_web_answer_plain(const struct rpc_web *web, struct MHD_Connection *connection, unsigned status,
                                     const char *text, const char *origin)
{
	(void)web;
	autofree char *line = xasprintf("%s\n", text);
	struct MHD_Response *response = copied(span_str(line));
	if (response && status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "POST, PUT, OPTIONS");
	return queue(connection, status, response, "text/plain; charset=utf-8", origin);
}

enum MHD_Result rpc_web_answer_preflight(const struct rpc_web *web, struct MHD_Connection *connection,
                                         const char *origin)
{
	struct MHD_Response *response = copied((struct span){0});
	if (response) {
		MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_METHODS, "POST, PUT");
		MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_HEADERS, web->allowed_headers);
		MHD_add_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
	}
	return queue(connection, MHD_HTTP_NO_CONTENT, response, NULL, origin);
}

enum MHD_Result rpc_web_answer_asset(struct MHD_Connection *connection, const struct rpc_asset *asset)
{
	struct MHD_Response *response =
	    MHD_create_response_from_buffer(asset->bytes.len, (void *)asset->bytes.ptr, MHD_RESPMEM_PERSISTENT);
	if (response)
		headers_add(response, of_pages, sizeof(of_pages) / sizeof(of_pages[0]));
	return queue(connection, MHD_HTTP_OK, response, asset->type, NULL);
}

/* ---- of a call ---- */

static size_t read_some_locked(struct web_call *call, char *to, size_t max)
{
	size_t n = 0;
	while (n < max && call->out_at < sizeof(call->out) / sizeof(call->out[0])) {
		const struct buf *part = &call->out[call->out_at];
		size_t step = part->len - call->out_sent;
		step = step < max - n ? step : max - n;
		if (step > 0)
			memcpy(to + n, part->data + call->out_sent, step);
		n += step;
		call->out_sent += step;
		if (call->out_sent < part->len)
			break;
		call->out_at++;
		call->out_sent = 0;
	}
	if (rpc_web_call_sent_locked(call))
		pthread_cond_broadcast(&call->changed);
	return n;
}

static ssize_t read_out(void *user, uint64_t position, char *to, size_t max)
{
	(void)position;
	struct web_call *call = user;
	pthread_mutex_lock(&call->lock);
	ssize_t n = call->gone ? MHD_CONTENT_READER_END_WITH_ERROR : (ssize_t)read_some_locked(call, to, max);
	if (n == 0 && call->ended)
		n = MHD_CONTENT_READER_END_OF_STREAM;
	else if (n == 0)
		rpc_web_call_suspend_locked(call);
	pthread_mutex_unlock(&call->lock);
	return n;
}

static void read_done(void *user)
{
	rpc_web_call_drop(user);
}

static size_t unsent_locked(const struct web_call *call)
{
	size_t n = 0;
	for (size_t i = 0; i < sizeof(call->out) / sizeof(call->out[0]); i++)
		n += call->out[i].len;
	return n;
}

/* Everything at once when all is there and little, else as it comes. */
static struct MHD_Response *response_of(struct web_call *call)
{
	struct MHD_Response *response = NULL;
	pthread_mutex_lock(&call->lock);
	const bool streamed = !call->ended || unsent_locked(call) > BLOCK_BYTES;
	if (streamed) {
		call->holders++;
	} else {
		autobuf struct buf all = {.max = SIZE_MAX / 4};
		for (size_t i = 0; i < sizeof(call->out) / sizeof(call->out[0]); i++)
			buf_append(&all, buf_span(&call->out[i]));
		response = copied(buf_span(&all));
	}
	pthread_mutex_unlock(&call->lock);
	if (!streamed)
		return response;
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_out, call, read_done);
	if (!response)
		rpc_web_call_drop(call);
	return response;
}

enum MHD_Result rpc_web_answer_call(struct web_call *call)
{
	static const char *const types[] = {[WEB_CALL_BINARY] = "application/grpc-web+proto",
	                                    [WEB_CALL_TEXT] = "application/grpc-web-text+proto",
	                                    [WEB_CALL_PUT] = "application/json"};
	return queue(call->connection, call->status, response_of(call), types[call->kind], call->origin);
}

/* ---- refusals as JSON ---- */

/* As google.rpc.Code documents it. */
static const struct {
	enum err_code code;
	unsigned status;
	const char *name;
} codes[] = {
    {ERR_OK, 200, "OK"},
    {ERR_CANCELLED, 499, "CANCELLED"},
    {ERR_INVALID, 400, "INVALID_ARGUMENT"},
    {ERR_DEADLINE, 504, "DEADLINE_EXCEEDED"},
    {ERR_NOT_FOUND, 404, "NOT_FOUND"},
    {ERR_EXISTS, 409, "ALREADY_EXISTS"},
    {ERR_DENIED, 403, "PERMISSION_DENIED"},
    {ERR_EXHAUSTED, 429, "RESOURCE_EXHAUSTED"},
    {ERR_PRECONDITION, 400, "FAILED_PRECONDITION"},
    {ERR_UNIMPLEMENTED, 501, "UNIMPLEMENTED"},
    {ERR_INTERNAL, 500, "INTERNAL"},
    {ERR_UNAVAILABLE, 503, "UNAVAILABLE"},
    {ERR_CORRUPT, 500, "DATA_LOSS"},
    {ERR_UNAUTHENTICATED, 401, "UNAUTHENTICATED"},
};

static size_t code_find(enum err_code code)
{
	size_t i = 0;
	while (codes[i].code != code && i + 1 < sizeof(codes) / sizeof(codes[0]))
		i++;
	return i;
}

unsigned rpc_web_http_status(enum err_code code)
{
	return codes[code_find(code)].status;
}

void rpc_web_refusal_json(enum err_code code, const char *message, const struct rpc_error_info *info, struct buf *out)
{
	json_t *json =
	    json_pack("{s:i, s:s, s:s}", "code", (int)code, "status", codes[code_find(code)].name, "message", message);
	if (info) {
		json_object_set_new(json, "reason", json_string(info->reason));
		json_object_set_new(json, "domain", json_string(info->domain));
		json_t *metadata = json_object();
		for (size_t i = 0; i < info->n_metadata; i++)
			json_object_set_new(metadata, info->metadata_key[i], json_string(info->metadata_value[i]));
		json_object_set_new(json, "metadata", metadata);
	}
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	buf_append_str(out, text ? text : "{}");
	free(text);
	json_decref(json);
}
