/* A call over HTTP: the handler's side (rpc_recv, rpc_send, rpc_finish wait here), and what passes between it and MHD's
 * thread. */
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include <netinet/in.h>

#include "common/clock.h"
#include "common/text.h"
#include "rpc/status.h"
#include "rpc/web.h"

#define WATCH_MS    200
#define PUT_PIECE   ((size_t)256 << 10) /* of a body, at most so much is kept for the handler */
#define HEADERS_MAX 200

enum { STEP_HEAD, STEP_BODY, STEP_END, STEP_OVER };

static struct web_call *web_call(const struct rpc_call *call)
{
	return (struct web_call *)call;
}

/* ---- life ---- */

static enum MHD_Result header_add(void *user, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void)kind;
	struct web_call *call = user;
	if (call->n_headers == HEADERS_MAX || !value)
		return MHD_YES;
	struct web_header *header = &call->headers[call->n_headers++];
	header->name = xstrdup(name);
	header->value = xstrdup(value);
	for (char *p = header->name; *p; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p);
	return MHD_YES;
}

static bool peer_find(struct MHD_Connection *connection, struct ip_addr *ret)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	if (!info || !info->client_addr)
		return false;
	if (info->client_addr->sa_family == AF_INET6) {
		memcpy(ret->bytes, &((const struct sockaddr_in6 *)(const void *)info->client_addr)->sin6_addr, 16);
		return true;
	}
	if (info->client_addr->sa_family != AF_INET)
		return false;
	*ret = (struct ip_addr){.bytes = {[10] = 0xff, [11] = 0xff}};
	memcpy(ret->bytes + 12, &((const struct sockaddr_in *)(const void *)info->client_addr)->sin_addr, 4);
	return true;
}

static void announced_find(struct web_call *call)
{
	const char *text = rpc_web_call_header(call, "content-length");
	call->announced = text ? strtoull(text, NULL, 10) : UINT64_MAX;
	const char *expect = rpc_web_call_header(call, "expect");
	call->expects_continue = expect && strcasecmp(expect, "100-continue") == 0;
}

struct web_call *rpc_web_call_new(struct rpc_web *web, struct MHD_Connection *connection, struct web_connection *socket,
                                  const char *path)
{
	struct web_call *call = xcalloc(1, sizeof(*call));
	call->call.back = &rpc_web_back_end;
	call->call.server = web->server;
	call->call.verdict = ERR_INTERNAL;
	call->call.path = xstrdup(path);
	call->web = web;
	call->socket = socket;
	call->connection = connection;
	call->holders = 1;
	call->status = MHD_HTTP_OK;
	call->moved_us = clock_monotonic_us();
	pthread_mutex_init(&call->lock, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&call->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	call->headers = xcalloc(HEADERS_MAX, sizeof(call->headers[0]));
	MHD_get_connection_values(connection, MHD_HEADER_KIND, header_add, call);
	call->has_peer = peer_find(connection, &call->peer);
	announced_find(call);
	pthread_mutex_lock(&web->lock);
	call->next = web->calls;
	call->at = &web->calls;
	if (call->next)
		call->next->at = &call->next;
	web->calls = call;
	pthread_mutex_unlock(&web->lock);
	return call;
}

void rpc_web_person_drop(struct web_person *person)
{
	if (!person || atomic_fetch_sub(&person->holders, 1) > 1)
		return;
	rpc_identity_free(person->identity);
	free(person);
}

static void web_call_free(struct web_call *call)
{
	for (size_t i = 0; i < call->n_headers; i++) {
		free(call->headers[i].name);
		free(call->headers[i].value);
	}
	free(call->headers);
	free(call->origin);
	free(call->call.path);
	rpc_web_person_drop(call->person);
	atomic_fetch_sub(&call->web->buffered, call->body.len);
	buf_done(&call->body);
	for (size_t i = 0; i < sizeof(call->out) / sizeof(call->out[0]); i++)
		buf_done(&call->out[i]);
	pthread_cond_destroy(&call->changed);
	pthread_mutex_destroy(&call->lock);
	free(call);
}

void rpc_web_call_drop(struct web_call *call)
{
	struct rpc_web *web = call->web;
	pthread_mutex_lock(&web->lock);
	pthread_mutex_lock(&call->lock);
	const bool last = --call->holders == 0;
	pthread_mutex_unlock(&call->lock);
	if (last) {
		*call->at = call->next;
		if (call->next)
			call->next->at = call->at;
		pthread_cond_broadcast(&web->changed);
	}
	pthread_mutex_unlock(&web->lock);
	if (last)
		web_call_free(call);
}

/* ---- MHD's thread ---- */

void rpc_web_call_suspend_locked(struct web_call *call)
{
	if (call->gone)
		return;
	call->suspended = true;
	MHD_suspend_connection(call->connection);
}

void rpc_web_call_wake_locked(struct web_call *call)
{
	if (call->suspended && call->connection) {
		call->suspended = false;
		MHD_resume_connection(call->connection);
	}
}

void rpc_web_call_abandon_locked(struct web_call *call)
{
	call->gone = true;
	pthread_cond_broadcast(&call->changed);
	if (!call->connection)
		return;
	if (call->suspended)
		rpc_web_call_wake_locked(call);
	else
		shutdown(call->socket->fd, SHUT_RDWR);
}

/* How much of a body may be in memory: a whole message, or a piece of what is PUT. */
static size_t room_locked(const struct web_call *call)
{
	size_t most = call->call.method.handler ? call->call.method.max_message_bytes + RPC_WEB_FRAME_BYTES : 0;
	if (call->kind == WEB_CALL_PUT)
		most = PUT_PIECE;
	else if (call->kind == WEB_CALL_TEXT)
		most = most / 3 * 4 + 8;
	return most > call->body.len ? most - call->body.len : 0;
}

static bool reserve(struct rpc_web *web, size_t len)
{
	if (atomic_fetch_add(&web->buffered, len) + len <= web->max_buffered)
		return true;
	atomic_fetch_sub(&web->buffered, len);
	return false;
}

size_t rpc_web_call_feed(struct web_call *call, struct span part)
{
	pthread_mutex_lock(&call->lock);
	const size_t room = room_locked(call);
	size_t taken = part.len;
	if (call->ended || call->too_large || call->gone) {
		/* Nobody wants the rest. */
	} else if (call->kind == WEB_CALL_PUT && room < part.len) {
		taken = room;
	} else if (room < part.len || !reserve(call->web, part.len)) {
		call->too_large = true;
	}
	if (!call->ended && !call->too_large && !call->gone && taken > 0) {
		call->body.max = PUT_PIECE > call->body.len + taken ? PUT_PIECE : call->body.len + taken;
		buf_append(&call->body, span_of(part.ptr, taken));
		if (call->kind == WEB_CALL_PUT)
			atomic_fetch_add(&call->web->buffered, taken);
		pthread_cond_broadcast(&call->changed);
	}
	call->received += taken;
	if (taken < part.len)
		rpc_web_call_suspend_locked(call);
	pthread_mutex_unlock(&call->lock);
	return taken;
}

/* ---- waiting ---- */

static int64_t wait_ms(const struct web_call *call)
{
	int64_t ms = call->call.stop ? WATCH_MS : 60000;
	if (call->deadline_ms) {
		const int64_t left = call->deadline_ms - clock_now_ms(NULL);
		ms = left < ms ? left : ms;
	}
	return ms > 0 ? ms : 1;
}

static bool over_locked(const struct web_call *call)
{
	return call->gone || (call->deadline_ms && clock_now_ms(NULL) >= call->deadline_ms);
}

/* Waits for news. False: the call has been stopped (rpc_watch). */
static bool wait_locked(struct web_call *call, struct rpc_stop *ret)
{
	const int64_t ms = wait_ms(call);
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	const bool news = pthread_cond_timedwait(&call->changed, &call->lock, &until) == 0;
	if (news || !call->call.stop)
		return true;
	/* Without the lock: the question is the handler's own. */
	pthread_mutex_unlock(&call->lock);
	const bool stop = call->call.stop(call->call.stop_user, ret);
	pthread_mutex_lock(&call->lock);
	return !stop;
}

static enum err_code gone(struct err *err)
{
	return err_set(err, ERR_CANCELLED, 0, "the client went away or its deadline passed");
}

static bool web_cancelled(struct rpc_call *call)
{
	struct web_call *web = web_call(call);
	pthread_mutex_lock(&web->lock);
	const bool over = over_locked(web);
	pthread_mutex_unlock(&web->lock);
	return over;
}

/* ---- receive ---- */

static void body_taken_locked(struct web_call *call)
{
	atomic_fetch_sub(&call->web->buffered, call->body.len);
	buf_done(&call->body);
}

static enum err_code recv_frame(struct web_call *call, struct buf *out, struct err *err)
{
	const size_t max = call->call.method.max_message_bytes;
	if (call->too_large) {
		call->call.verdict = ERR_EXHAUSTED;
		return err_set(err, ERR_EXHAUSTED, 0, "a message larger than the method takes, or too many at once");
	}
	autobuf struct buf decoded = {0};
	if (call->kind == WEB_CALL_TEXT && !text_unbase64(buf_span(&call->body), &decoded))
		return err_set(err, ERR_INVALID, 0, "the body is no base64");
	struct span message;
	enum err_code code =
	    rpc_web_unframe(buf_span(call->kind == WEB_CALL_TEXT ? &decoded : &call->body), max, &message, err);
	if (code == ERR_OK)
		buf_append(out, message);
	else
		call->call.verdict = code;
	if (code == ERR_OK && out->failed)
		return err_set(err, ERR_EXHAUSTED, 0, "a message of %zu bytes; the buffer takes fewer", message.len);
	return code;
}

/* The next piece of what is PUT, when it has come. */
static enum err_code recv_piece_locked(struct web_call *call, struct buf *out, struct err *err)
{
	struct rpc_stop why;
	while (call->body.len == 0 && !call->complete) {
		if (over_locked(call))
			return gone(err);
		call->reading = true;
		rpc_web_call_wake_locked(call);
		if (!wait_locked(call, &why))
			return err_set(err, ERR_CANCELLED, 0, "stopped");
	}
	if (over_locked(call))
		return gone(err);
	if (call->body.len == 0) {
		call->received_step = STEP_OVER;
		call->call.method.put->tail(call->received, out);
		return ERR_OK;
	}
	call->call.method.put->chunk(buf_span(&call->body), out);
	body_taken_locked(call);
	rpc_web_call_wake_locked(call);
	return ERR_OK;
}

static enum err_code recv_put(struct web_call *call, struct buf *out, bool *ret_end, struct err *err)
{
	if (call->received_step == STEP_HEAD) {
		call->received_step = STEP_BODY;
		return call->call.method.put->head(&call->call, out, err);
	}
	if (call->received_step == STEP_BODY) {
		pthread_mutex_lock(&call->lock);
		enum err_code code = recv_piece_locked(call, out, err);
		pthread_mutex_unlock(&call->lock);
		return code;
	}
	*ret_end = true;
	return ERR_OK;
}

static enum err_code web_recv(struct rpc_call *base, struct buf *out, bool *ret_end, struct err *err)
{
	struct web_call *call = web_call(base);
	buf_clear(out);
	*ret_end = false;
	if (web_cancelled(base))
		return gone(err);
	if (call->kind == WEB_CALL_PUT)
		return recv_put(call, out, ret_end, err);
	if (call->received_step == STEP_OVER) {
		*ret_end = true;
		return ERR_OK;
	}
	call->received_step = STEP_OVER;
	enum err_code code = recv_frame(call, out, err);
	pthread_mutex_lock(&call->lock);
	body_taken_locked(call);
	pthread_mutex_unlock(&call->lock);
	return code;
}

/* ---- send ---- */

static void out_append(struct web_call *call, size_t part, struct span bytes)
{
	if (call->kind == WEB_CALL_TEXT)
		text_base64(bytes, &call->out[part]);
	else
		buf_append(&call->out[part], bytes);
}

bool rpc_web_call_sent_locked(const struct web_call *call)
{
	return call->out_at == sizeof(call->out) / sizeof(call->out[0]) ||
	       (call->out[0].len == 0 && call->out[1].len == 0 && call->out[2].len == 0);
}

static void out_reset(struct web_call *call)
{
	for (size_t i = 0; i < sizeof(call->out) / sizeof(call->out[0]); i++)
		buf_done(&call->out[i]);
	call->out_at = call->out_sent = 0;
}

static void message_put_locked(struct web_call *call, struct span head, struct buf *body)
{
	const size_t len = head.len + (body ? body->len : 0);
	uint8_t frame[RPC_WEB_FRAME_BYTES];
	rpc_web_frame(0, len, frame);
	out_reset(call);
	for (size_t i = 0; i < sizeof(call->out) / sizeof(call->out[0]); i++)
		call->out[i].max = SIZE_MAX / 4;
	if (call->kind == WEB_CALL_BINARY) {
		buf_append(&call->out[0], span_of(frame, sizeof(frame)));
		buf_append(&call->out[0], head);
		if (body) {
			call->out[1] = *body;
			*body = (struct buf){.max = body->max};
		}
	} else {
		autobuf struct buf whole = {.max = SIZE_MAX / 4};
		if (call->kind == WEB_CALL_TEXT)
			buf_append(&whole, span_of(frame, sizeof(frame)));
		buf_append(&whole, head);
		if (body) {
			buf_append(&whole, buf_span(body));
			buf_done(body);
		}
		out_append(call, 0, buf_span(&whole));
	}
}

static bool is_streaming(const struct web_call *call)
{
	return call->call.method.stream && call->kind != WEB_CALL_PUT;
}

/* Waits until what was sent before has left. */
static enum err_code wait_sent_locked(struct web_call *call, struct err *err)
{
	struct rpc_stop why = {ERR_CANCELLED, ""};
	while (!rpc_web_call_sent_locked(call)) {
		if (over_locked(call))
			return gone(err);
		if (!wait_locked(call, &why))
			return gone(err);
	}
	return over_locked(call) ? gone(err) : ERR_OK;
}

static enum err_code web_send(struct rpc_call *base, struct span head, struct buf *body, struct err *err)
{
	struct web_call *call = web_call(base);
	if (base->finished)
		return err_set(err, ERR_PRECONDITION, 0, "send after finish");
	if (head.len + (body ? body->len : 0) > UINT32_MAX)
		return err_set(err, ERR_EXHAUSTED, 0, "a message of more than 4 GiB");
	pthread_mutex_lock(&call->lock);
	enum err_code code = is_streaming(call) ? wait_sent_locked(call, err) : over_locked(call) ? gone(err) : ERR_OK;
	if (code == ERR_OK && !call->ended) {
		message_put_locked(call, head, body);
		if (is_streaming(call)) {
			call->respond = true;
			rpc_web_call_wake_locked(call);
		}
	}
	pthread_mutex_unlock(&call->lock);
	return code;
}

/* ---- finish ---- */

static bool put_answer(const struct web_call *call, struct buf *json)
{
	const struct rpc_put *put = call->call.method.put;
	struct err err;
	return put && put->answer(buf_span(&call->out[0]), json, &err) == ERR_OK;
}

static void finish_put_locked(struct web_call *call, enum err_code code, const char *message,
                              const struct rpc_error_info *info)
{
	autobuf struct buf json = {0};
	if (code == ERR_OK && !put_answer(call, &json)) {
		code = ERR_INTERNAL;
		message = "the answer cannot be written";
	}
	out_reset(call);
	call->status = rpc_web_http_status(code);
	if (code != ERR_OK)
		rpc_web_refusal_json(code, message, info, &json);
	buf_append(&call->out[0], buf_span(&json));
}

static void finish_frame_locked(struct web_call *call, enum err_code code, const char *message,
                                const struct rpc_error_info *info)
{
	autobuf struct buf details = {0}, trailers = {0};
	/* Of a call that failed, what the browser has not begun to take is not for it any more. */
	if (code != ERR_OK && (!is_streaming(call) || (call->out_at == 0 && call->out_sent == 0)))
		out_reset(call);
	call->cut = code != ERR_OK && !rpc_web_call_sent_locked(call);
	if (info && code != ERR_OK)
		rpc_status_pack(code, message, info, &details);
	rpc_web_trailers(code, message, buf_span(&details), &trailers);
	if (rpc_web_call_sent_locked(call))
		out_reset(call);
	out_append(call, 2, buf_span(&trailers));
}

static void web_finish(struct rpc_call *base, enum err_code code, const char *message,
                       const struct rpc_error_info *info)
{
	struct web_call *call = web_call(base);
	pthread_mutex_lock(&call->lock);
	if (call->kind == WEB_CALL_PUT)
		finish_put_locked(call, code, message, info);
	else
		finish_frame_locked(call, code, message, info);
	call->ended = call->respond = true;
	call->ended_us = clock_monotonic_us();
	body_taken_locked(call);
	rpc_web_call_wake_locked(call);
	pthread_mutex_unlock(&call->lock);
}

/* ---- the rest ---- */

static int64_t web_deadline_ms(const struct rpc_call *call)
{
	return web_call(call)->deadline_ms;
}

static bool web_peer(const struct rpc_call *call, struct ip_addr *ret)
{
	*ret = web_call(call)->peer;
	return web_call(call)->has_peer;
}

const char *rpc_web_call_header(const struct web_call *call, const char *name)
{
	for (size_t i = 0; i < call->n_headers; i++)
		if (strcmp(call->headers[i].name, name) == 0)
			return call->headers[i].value;
	return NULL;
}

static const char *web_metadata(const struct rpc_call *call, const char *key)
{
	const size_t len = strlen(key);
	if (len >= 4 && strcmp(key + len - 4, "-bin") == 0)
		return NULL;
	return rpc_web_call_header(web_call(call), key);
}

static bool web_metadata_all(const struct rpc_call *call, const char *key, struct buf *out)
{
	const struct web_call *web = web_call(call);
	bool found = false;
	for (size_t i = 0; i < web->n_headers; i++) {
		if (strcmp(web->headers[i].name, key) != 0)
			continue;
		buf_append_str(out, found ? ", " : "");
		buf_append_str(out, web->headers[i].value);
		found = true;
	}
	return found;
}

static struct rpc_identity *web_identity(struct rpc_call *call)
{
	return web_call(call)->person->identity;
}

static void web_begin(struct rpc_call *call)
{
	(void)call;
}

static void web_end(struct rpc_call *call)
{
	rpc_call_finish_by_verdict(call);
	rpc_web_call_drop(web_call(call));
}

static void web_refuse(struct rpc_call *call, enum err_code code, const char *message)
{
	rpc_finish(call, code, message, NULL);
	rpc_web_call_drop(web_call(call));
}

const struct rpc_back_end rpc_web_back_end = {
    .recv = web_recv,
    .send = web_send,
    .finish = web_finish,
    .cancelled = web_cancelled,
    .deadline_ms = web_deadline_ms,
    .peer = web_peer,
    .metadata = web_metadata,
    .metadata_all = web_metadata_all,
    .identity = web_identity,
    .begin = web_begin,
    .end = web_end,
    .refuse = web_refuse,
};
