#include <curl/curl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "common/text.h"
#include "s3client/s3.h"
#include "s3client/xml.h"

#define BACKOFF_MS      100U
#define BACKOFF_SLOW_MS 400U /* after SlowDown */
#define ERROR_BODY_MAX  ((size_t)64 << 10)
#define SKEW_MIN_MS     ((int64_t)60 * 1000)           /* a smaller difference is no reason for a refusal */
#define SKEW_MAX_MS     ((int64_t)24 * 60 * 60 * 1000) /* nobody makes us sign for any day it likes */

/* One operation under way. */
struct operation {
	struct s3_store *store;
	const struct s3_call *call;
	struct s3_reply *reply;
	char payload_hash[65];
	const struct s3_place *place; /* that the last attempt was made for */
	bool moved;                   /* S3 has named another region once */
	struct s3_verdict verdict;    /* of the last attempt */
};

/* ---- signing ---- */

struct signed_request {
	struct session *session; /* its token stands in a header */
	struct buf url, authorization;
	char timestamp[17];
	struct sigv4_pair headers[SIGV4_PAIRS_MAX];
	size_t n_headers;
};

static void signed_request_done(struct signed_request *request)
{
	buf_done(&request->url);
	buf_done(&request->authorization);
	session_give_back(request->session);
}

static void add_header(struct signed_request *request, const char *name, const char *value)
{
	if (request->n_headers < SIGV4_PAIRS_MAX)
		request->headers[request->n_headers++] = (struct sigv4_pair){name, value};
}

static void collect_headers(const struct operation *op, struct signed_request *request)
{
	add_header(request, "host", op->place->host);
	add_header(request, "x-amz-content-sha256", op->payload_hash);
	add_header(request, "x-amz-date", request->timestamp);
	if (request->session->token)
		add_header(request, "x-amz-security-token", (const char *)secret_span(request->session->token).ptr);
	for (size_t i = 0; i < op->call->n_headers; i++)
		add_header(request, op->call->headers[i].name, op->call->headers[i].value);
}

static void build_url(const struct operation *op, struct span path, struct buf *url)
{
	buf_append_str(url, op->place->origin);
	sigv4_encode(path, true, url);
	if (op->call->n_query == 0)
		return;
	buf_append_byte(url, '?');
	sigv4_canonical_query(op->call->query, op->call->n_query, url);
}

static enum err_code authorize(const struct operation *op, struct signed_request *request, struct span path,
                               struct err *err)
{
	struct sigv4_request canonical = {.method = op->call->method,
	                                  .path = path,
	                                  .query = op->call->query,
	                                  .n_query = op->call->n_query,
	                                  .headers = request->headers,
	                                  .n_headers = request->n_headers,
	                                  .payload_hash = op->payload_hash};
	struct sigv4_scope scope = {request->timestamp, op->place->region, "s3", NULL};
	autobuf struct buf text = {0}, to_sign = {0}, names = {0};
	sigv4_canonical_request(&canonical, &text);
	sigv4_string_to_sign(&scope, buf_span(&text), &to_sign);
	sigv4_signed_headers(&canonical, &names);
	char signature[65];
	struct session *session = request->session;
	enum err_code code = day_key_sign(&session->day_key, &scope, buf_span(&to_sign), signature, err);
	if (code == ERR_OK)
		sigv4_authorization(&scope, session->access_key_id, buf_cstr(&names), signature, &request->authorization);
	else
		err_prefix(err, "signing for S3");
	return code;
}

static enum err_code sign(const struct operation *op, struct signed_request *request, struct err *err)
{
	const struct wait wait = {op->call->cancel, op->store->clock};
	enum err_code code = credentials_take(op->store->credentials, &wait, &request->session, err);
	if (code != ERR_OK)
		return code;
	int64_t now_ms = clock_now_ms(op->store->clock) + atomic_load(&op->store->clock_offset_ms);
	sigv4_timestamp(now_ms, request->timestamp);
	autobuf struct buf path = {0};
	buf_append_str(&path, op->call->key ? op->store->object_path : op->store->bucket_path);
	if (op->call->key)
		buf_append_str(&path, op->call->key);
	collect_headers(op, request);
	build_url(op, buf_span(&path), &request->url);
	code = authorize(op, request, buf_span(&path), err);
	if (code == ERR_OK)
		add_header(request, "authorization", buf_cstr(&request->authorization));
	return code;
}

/* ---- one attempt ---- */

/* S3 judges a request by its own clock. True when ours was corrected, so that another attempt may help. */
static bool learn_clock(struct s3_store *store, const struct http_exchange *exchange)
{
	const char *date = http_header(exchange, "date");
	time_t seconds = date ? curl_getdate(date, NULL) : -1;
	if (seconds < 0)
		return false;
	int64_t offset = (int64_t)seconds * 1000 - clock_now_ms(store->clock);
	int64_t change = offset - atomic_load(&store->clock_offset_ms);
	if (offset > SKEW_MAX_MS || offset < -SKEW_MAX_MS || (change < SKEW_MIN_MS && change > -SKEW_MIN_MS))
		return false;
	atomic_store(&store->clock_offset_ms, offset);
	return true;
}

/* Temporary credentials that S3 no longer takes, though their end has not come. */
static bool ended(const char *error_code)
{
	return strcmp(error_code, "ExpiredToken") == 0 || strcmp(error_code, "InvalidToken") == 0 ||
	       strcmp(error_code, "TokenRefreshRequired") == 0;
}

static void explain(const struct operation *op, const struct http_exchange *exchange, struct buf *text)
{
	const struct s3_reply *reply = op->reply;
	buf_printf(text, "%s: S3 answered %ld", op->call->operation, reply->status);
	if (reply->error.code[0])
		buf_printf(text, " %s", reply->error.code);
	buf_printf(text, ": %s", op->verdict.hint);
	if (reply->error.region[0])
		buf_printf(text, " (region %s)", reply->error.region);
	char id[64] = "";
	const char *id_header = http_header(exchange, "x-amz-request-id");
	if (id_header && s3_copy_word(id_header, id, sizeof id))
		buf_printf(text, "; request %s", id);
}

static enum err_code fail_answer(struct operation *op, const struct http_exchange *exchange, struct session *session,
                                 struct err *err)
{
	struct s3_reply *reply = op->reply;
	op->verdict = s3_judge(reply->status, reply->error.code);
	const char *region = http_header(exchange, "x-amz-bucket-region");
	if (op->verdict.code == ERR_PRECONDITION && region)
		s3_copy_word(region, reply->error.region, sizeof reply->error.region);
	if (op->verdict.code == ERR_PRECONDITION && reply->error.region[0] && !op->moved) {
		/* Signed anew for that region; the address that a redirect names is never gone to. */
		op->moved = s3_places_move(&op->store->places, op->place, reply->error.region);
		op->verdict.retry = op->moved;
	}
	if (op->verdict.code == ERR_DENIED) {
		bool skewed = strcmp(reply->error.code, "RequestTimeTooSkewed") == 0 || !reply->error.code[0];
		if (skewed && learn_clock(op->store, exchange))
			op->verdict.retry = true;
		bool about_us = strcmp(reply->error.code, "AccessDenied") != 0;
		bool fresh = about_us && credentials_doubt(op->store->credentials, session);
		if (fresh && ended(reply->error.code))
			op->verdict.retry = true;
	}
	autobuf struct buf text = {0};
	explain(op, exchange, &text);
	return err_set(err, op->verdict.code, reply->status, "%s", buf_cstr(&text));
}

/* No answer, or none that could be read whole. */
static enum err_code fail_transport(struct operation *op, enum err_code code, struct err *err)
{
	op->verdict = (struct s3_verdict){.code = code, .retry = code == ERR_UNAVAILABLE};
	err_prefix(err, "%s", op->call->operation);
	return code;
}

static enum err_code read_answer(struct operation *op, struct http_exchange *exchange, struct session *session,
                                 struct err *err)
{
	struct s3_reply *reply = op->reply;
	reply->status = http_status(exchange);
	bool success = reply->status >= 200 && reply->status < 300;
	if (success && op->call->stream)
		return ERR_OK;
	buf_done(&reply->body);
	reply->body.max = success ? XML_DOCUMENT_MAX : ERROR_BODY_MAX;
	enum err_code code = http_read_all(exchange, &reply->body, err);
	if (code != ERR_OK && (success || code != ERR_CORRUPT)) /* an error page may be of any length */
		return fail_transport(op, code, err);
	/* CompleteMultipartUpload says 200 before it knows. */
	if (s3_xml_error(buf_span(&reply->body), &reply->error) || !success)
		return fail_answer(op, exchange, session, err);
	return ERR_OK;
}

static enum err_code attempt(struct operation *op, struct err *err)
{
	struct s3_reply *reply = op->reply;
	reply->status = 0;
	reply->error = (struct s3_error){0};
	op->verdict = (struct s3_verdict){0};
	op->place = atomic_load(&op->store->places.now);
	struct signed_request request = {0};
	struct http_exchange *exchange = NULL;
	enum err_code code = sign(op, &request, err);
	if (code == ERR_OK) {
		struct http_request http = {.method = op->call->method,
		                            .url = buf_cstr(&request.url),
		                            .headers = request.headers,
		                            .n_headers = request.n_headers,
		                            .body = op->call->body,
		                            .wait = {op->call->cancel, op->store->clock}};
		code = http_begin(op->store->pool, &http, &exchange, err);
		code = code == ERR_OK ? read_answer(op, exchange, request.session, err) : fail_transport(op, code, err);
	}
	signed_request_done(&request);
	if (code == ERR_OK)
		reply->exchange = exchange;
	else
		http_end(exchange);
	return code;
}

/* ---- all of them ---- */

/* Full jitter: many clients that failed together do not come back together. */
static unsigned backoff_ms(unsigned failed, bool slow)
{
	unsigned span = (slow ? BACKOFF_SLOW_MS : BACKOFF_MS) << failed, random = 0;
	if (getrandom(&random, sizeof random, 0) != sizeof random)
		return span;
	return random % (span + 1);
}

static bool may_have_happened(const struct s3_reply *reply)
{
	return reply->status == 0 || reply->status >= 500 || reply->status == 409 || reply->status < 300;
}

static bool take_retry_tokens(struct s3_store *store)
{
	int left = atomic_load(&store->retry_tokens);
	while (left >= S3_RETRY_COST) {
		if (atomic_compare_exchange_weak(&store->retry_tokens, &left, left - S3_RETRY_COST))
			return true;
	}
	return false;
}

static void give_retry_tokens(struct s3_store *store, int n)
{
	int now = atomic_load(&store->retry_tokens), then;
	do {
		then = now + n < S3_RETRY_TOKENS ? now + n : S3_RETRY_TOKENS;
	} while (!atomic_compare_exchange_weak(&store->retry_tokens, &now, then));
}

static enum err_code attempts(struct operation *op, struct err *err)
{
	for (unsigned failed = 0;; failed++) {
		enum err_code code = attempt(op, err);
		if (code == ERR_OK) {
			give_retry_tokens(op->store, failed > 0 ? S3_RETRY_COST : 1);
			return ERR_OK;
		}
		if (may_have_happened(op->reply))
			op->reply->uncertain = true;
		if (!op->verdict.retry || failed + 1 == S3_ATTEMPTS || !take_retry_tokens(op->store))
			return code;
		struct wait wait = {op->call->cancel, op->store->clock};
		code = wait_sleep(&wait, backoff_ms(failed, op->verdict.slow), err);
		if (code != ERR_OK)
			return code;
	}
}

enum err_code s3_send(struct s3_store *store, const struct s3_call *call, struct s3_reply *reply, struct err *err)
{
	struct operation op = {.store = store, .call = call, .reply = reply};
	uint8_t digest[32];
	if (!call->sha256)
		text_sha256(call->body, digest);
	text_hex(span_of(call->sha256 ? call->sha256 : digest, sizeof digest), op.payload_hash);
	struct err last = {0}; /* a failure that the next attempt made good is none of the caller's */
	enum err_code code = attempts(&op, &last);
	if (code != ERR_OK && err)
		*err = last;
	return code;
}

void s3_reply_done(struct s3_reply *reply)
{
	http_end(reply->exchange);
	buf_done(&reply->body);
	*reply = (struct s3_reply){0};
}
