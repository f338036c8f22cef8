#include "s3client/http.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#include "s3client/http_pool.h"

#define HEAD_BYTES_MAX     ((size_t)64 << 10)
#define RECEIVE_BYTES      (32L << 10)
#define SEND_BYTES         (256L << 10)
#define EXPECT_CONTINUE_AT ((size_t)1 << 20)

struct http_exchange {
	struct http_pool *pool;
	struct http_handle *handle;
	struct curl_slist *header_list;
	struct wait wait;
	struct span body; /* what of the request's body is still to be sent is body[sent..] */
	size_t sent;

	long status;
	bool head_done, done;
	CURLcode result; /* once done */
	struct buf head; /* "name\0value\0" ... */
	uint8_t *out;    /* where the reader wants bytes; NULL: nobody reads now */
	size_t out_len, out_max;
	struct buf spill; /* what came with the last bytes that fitted: at most CURL_MAX_WRITE_SIZE */
	size_t spill_taken;

	curl_off_t moved; /* bytes both ways when last looked at */
	int64_t moved_us; /* and when that changed */
	char detail[CURL_ERROR_SIZE];
};

/* ---- what libcurl calls ---- */

static size_t on_send(char *to, size_t size, size_t n, void *user)
{
	struct http_exchange *exchange = user;
	size_t left = exchange->body.len - exchange->sent;
	size_t take = size * n < left ? size * n : left;
	if (take > 0)
		memcpy(to, exchange->body.ptr + exchange->sent, take);
	exchange->sent += take;
	return take;
}

/* libcurl goes back to the start when a kept connection turned out to be dead. */
static int on_seek(void *user, curl_off_t offset, int origin)
{
	struct http_exchange *exchange = user;
	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > exchange->body.len)
		return CURL_SEEKFUNC_FAIL;
	exchange->sent = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

static struct span trimmed(struct span text)
{
	while (text.len > 0 && isspace(text.ptr[text.len - 1]))
		text.len--;
	while (text.len > 0 && isspace(text.ptr[0]))
		text = span_of(text.ptr + 1, text.len - 1);
	return text;
}

static void keep_header(struct http_exchange *exchange, struct span line)
{
	const uint8_t *colon = memchr(line.ptr, ':', line.len);
	if (!colon || memchr(line.ptr, 0, line.len))
		return;
	size_t name_len = (size_t)(colon - line.ptr);
	for (size_t i = 0; i < name_len; i++)
		buf_append_byte(&exchange->head, (uint8_t)tolower(line.ptr[i]));
	buf_append_byte(&exchange->head, 0);
	buf_append(&exchange->head, trimmed(span_of(colon + 1, line.len - name_len - 1)));
	buf_append_byte(&exchange->head, 0);
}

static size_t on_header(char *text, size_t size, size_t n, void *user)
{
	struct http_exchange *exchange = user;
	struct span line = trimmed(span_of(text, size * n));
	if (exchange->head_done) /* a trailer */
		return size * n;
	if (line.len >= 5 && strncasecmp(text, "HTTP/", 5) == 0) {
		buf_clear(&exchange->head); /* what came before was an interim answer */
		curl_easy_getinfo(exchange->handle->easy, CURLINFO_RESPONSE_CODE, &exchange->status);
	} else if (line.len == 0) {
		exchange->head_done = exchange->status >= 200;
	} else {
		keep_header(exchange, line);
	}
	return exchange->head.failed ? 0 : size * n;
}

static size_t on_receive(char *bytes, size_t size, size_t n, void *user)
{
	struct http_exchange *exchange = user;
	size_t len = size * n, room = exchange->out ? exchange->out_max - exchange->out_len : 0;
	if (len > 0 && room == 0)
		return CURL_WRITEFUNC_PAUSE;
	size_t take = len < room ? len : room;
	if (take > 0)
		memcpy(exchange->out + exchange->out_len, bytes, take);
	exchange->out_len += take;
	buf_append(&exchange->spill, span_of(bytes + take, len - take));
	return exchange->spill.failed ? 0 : len;
}

/* ---- setting one up ---- */

static void set_method(struct http_exchange *exchange, const struct http_request *request)
{
	CURL *easy = exchange->handle->easy;
	if (strcmp(request->method, "HEAD") == 0) {
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
		return;
	}
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
	if (strcmp(request->method, "PUT") != 0 && strcmp(request->method, "POST") != 0)
		return;
	curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body.len);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
	curl_easy_setopt(easy, CURLOPT_READDATA, exchange);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
	curl_easy_setopt(easy, CURLOPT_SEEKDATA, exchange);
	curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BYTES);
}

static void add_header(struct http_exchange *exchange, const char *line)
{
	struct curl_slist *list = curl_slist_append(exchange->header_list, line);
	if (list)
		exchange->header_list = list;
}

static void set_headers(struct http_exchange *exchange, const struct http_request *request)
{
	for (size_t i = 0; i < request->n_headers; i++) {
		const char *name = request->headers[i].name, *value = request->headers[i].value;
		/* libcurl's way to send a header without a value ends in a semicolon. */
		autofree char *line = *value ? xasprintf("%s: %s", name, value) : xasprintf("%s;", name);
		add_header(exchange, line);
	}
	/* A refusal should come before a large body is sent; for a small one the round trip costs more. */
	if (request->body.len < EXPECT_CONTINUE_AT)
		add_header(exchange, "Expect:");
	curl_easy_setopt(exchange->handle->easy, CURLOPT_HTTPHEADER, exchange->header_list);
}

static void set_transport(struct http_exchange *exchange, const struct http_options *options)
{
	CURL *easy = exchange->handle->easy;
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, options->proxy ? options->proxy : ""); /* "": not the environment's either */
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L); /* a proxy's answer to CONNECT is not S3's */
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	if (options->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, options->ca_file);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)options->connect_timeout_ms);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BYTES);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, exchange->detail);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_receive);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
}

static struct http_exchange *exchange_new(struct http_pool *pool, const struct http_request *request)
{
	struct http_exchange *exchange = xcalloc(1, sizeof *exchange);
	exchange->pool = pool;
	exchange->handle = http_pool_take(pool);
	exchange->wait = request->wait;
	exchange->body = request->body;
	exchange->head.max = HEAD_BYTES_MAX;
	exchange->moved_us = clock_monotonic_us();
	curl_easy_setopt(exchange->handle->easy, CURLOPT_URL, request->url);
	set_transport(exchange, http_pool_options(pool));
	set_method(exchange, request);
	set_headers(exchange, request);
	curl_multi_add_handle(exchange->handle->multi, exchange->handle->easy);
	return exchange;
}

/* ---- driving it ---- */

/* CURLcodes that another attempt will not change; the others are ERR_UNAVAILABLE. */
static const struct {
	CURLcode result;
	enum err_code code;
	const char *text;
} final_results[] = {
    {CURLE_PEER_FAILED_VERIFICATION, ERR_PRECONDITION, "the server's certificate is not trusted"},
    {CURLE_SSL_CACERT_BADFILE, ERR_PRECONDITION, "the file of trusted certificates cannot be used"},
    {CURLE_URL_MALFORMAT, ERR_INVALID, "the address is malformed"},
    {CURLE_OUT_OF_MEMORY, ERR_EXHAUSTED, "out of memory"},
};

static enum err_code fail_result(const struct http_exchange *exchange, struct err *err)
{
	CURLcode result = exchange->result;
	const char *detail = exchange->detail[0] ? exchange->detail : curl_easy_strerror(result);
	for (size_t i = 0; i < sizeof final_results / sizeof final_results[0]; i++) {
		if (final_results[i].result == result)
			return err_set(err, final_results[i].code, (long)result, "%s: %s", final_results[i].text, detail);
	}
	return err_set(err, ERR_UNAVAILABLE, (long)result, "%s", detail);
}

static void collect_result(struct http_exchange *exchange)
{
	int left;
	for (CURLMsg *msg; (msg = curl_multi_info_read(exchange->handle->multi, &left));) {
		if (msg->msg != CURLMSG_DONE)
			continue;
		exchange->done = true;
		exchange->result = msg->data.result;
	}
}

static enum err_code check_stall(struct http_exchange *exchange, struct err *err)
{
	CURL *easy = exchange->handle->easy;
	curl_off_t up = 0, down = 0;
	long head = 0;
	curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &up);
	curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
	curl_easy_getinfo(easy, CURLINFO_HEADER_SIZE, &head);
	curl_off_t moved = up + down + head;
	int64_t now = clock_monotonic_us();
	unsigned limit_ms = http_pool_options(exchange->pool)->stall_timeout_ms;
	if (moved != exchange->moved) {
		exchange->moved = moved;
		exchange->moved_us = now;
	} else if (now - exchange->moved_us > (int64_t)limit_ms * 1000) {
		return err_set(err, ERR_UNAVAILABLE, (long)CURLE_OPERATION_TIMEDOUT, "not a byte for %u ms", limit_ms);
	}
	return ERR_OK;
}

static bool head_came(const struct http_exchange *exchange)
{
	return exchange->head_done;
}

static bool bytes_came(const struct http_exchange *exchange)
{
	return exchange->out_len > 0;
}

/* Until there is enough, or the exchange is done. */
static enum err_code drive(struct http_exchange *exchange, bool (*enough)(const struct http_exchange *),
                           struct err *err)
{
	for (;;) {
		enum err_code code = wait_check(&exchange->wait, err);
		if (code != ERR_OK)
			return code;
		int running = 0;
		CURLMcode result = curl_multi_perform(exchange->handle->multi, &running);
		if (result != CURLM_OK)
			return err_set(err, ERR_UNAVAILABLE, (long)result, "%s", curl_multi_strerror(result));
		collect_result(exchange);
		if (exchange->done || enough(exchange))
			return ERR_OK;
		code = check_stall(exchange, err);
		if (code != ERR_OK)
			return code;
		curl_multi_poll(exchange->handle->multi, NULL, 0, WAIT_POLL_MS, NULL);
	}
}

enum err_code http_begin(struct http_pool *pool, const struct http_request *request, struct http_exchange **ret,
                         struct err *err)
{
	struct http_exchange *exchange = exchange_new(pool, request);
	enum err_code code = drive(exchange, head_came, err);
	if (code == ERR_OK && !exchange->head_done)
		code = fail_result(exchange, err);
	if (code != ERR_OK) {
		http_end(exchange);
		return code;
	}
	*ret = exchange;
	return ERR_OK;
}

long http_status(const struct http_exchange *exchange)
{
	return exchange->status;
}

bool http_header_next(const struct http_exchange *exchange, size_t *cursor, const char **ret_name,
                      const char **ret_value)
{
	if (*cursor >= exchange->head.len)
		return false;
	*ret_name = (const char *)exchange->head.data + *cursor;
	*ret_value = *ret_name + strlen(*ret_name) + 1;
	*cursor += strlen(*ret_name) + strlen(*ret_value) + 2;
	return true;
}

const char *http_header(const struct http_exchange *exchange, const char *name)
{
	const char *each, *value;
	for (size_t cursor = 0; http_header_next(exchange, &cursor, &each, &value);) {
		if (strcmp(each, name) == 0)
			return value;
	}
	return NULL;
}

static size_t take_spill(struct http_exchange *exchange, uint8_t *out, size_t len)
{
	size_t left = exchange->spill.len - exchange->spill_taken;
	size_t take = left < len ? left : len;
	if (take > 0)
		memcpy(out, exchange->spill.data + exchange->spill_taken, take);
	exchange->spill_taken += take;
	if (exchange->spill_taken == exchange->spill.len) {
		buf_clear(&exchange->spill);
		exchange->spill_taken = 0;
	}
	return take;
}

enum err_code http_read(struct http_exchange *exchange, uint8_t *out, size_t len, size_t *ret_len, struct err *err)
{
	*ret_len = 0;
	if (len == 0)
		return ERR_OK;
	exchange->out_len = take_spill(exchange, out, len);
	enum err_code code = ERR_OK;
	if (exchange->out_len < len && !exchange->done) {
		exchange->out = out;
		exchange->out_max = len;
		exchange->moved_us = clock_monotonic_us(); /* the time in which nobody read is no stall */
		curl_easy_pause(exchange->handle->easy, CURLPAUSE_CONT);
		code = drive(exchange, bytes_came, err);
		exchange->out = NULL;
	}
	if (code == ERR_OK && exchange->out_len == 0 && exchange->result != CURLE_OK)
		code = fail_result(exchange, err);
	if (code == ERR_OK)
		*ret_len = exchange->out_len;
	return code;
}

enum err_code http_read_all(struct http_exchange *exchange, struct buf *out, struct err *err)
{
	uint8_t chunk[16384];
	for (size_t len = 1; len > 0;) {
		enum err_code code = http_read(exchange, chunk, sizeof chunk, &len, err);
		if (code != ERR_OK)
			return code;
		buf_append(out, span_of(chunk, len));
		if (out->failed)
			return err_set(err, ERR_CORRUPT, 0, "the answer is longer than %zu bytes", out->max);
	}
	return ERR_OK;
}

void http_end(struct http_exchange *exchange)
{
	if (!exchange)
		return;
	curl_multi_remove_handle(exchange->handle->multi, exchange->handle->easy);
	http_pool_give_back(exchange->pool, exchange->handle);
	curl_slist_free_all(exchange->header_list);
	buf_done(&exchange->head);
	buf_done(&exchange->spill);
	free(exchange);
}
