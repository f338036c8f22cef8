/* What goes wrong between us and S3, and exactly what is sent: against a server that does as told. */
#include "tests/unit/s3client/behaviour.h"
#include "tests/unit/s3client/fault_server.h"

#include "s3client/s3.h"

#define ID "AKIDEXAMPLE"

static struct fault_server server;
static struct store *store;
static unsigned descriptors;
static char endpoint[64];

static enum err_code date_key(void *user, const char *yyyymmdd, uint8_t out[32], struct err *err)
{
	(void)yyyymmdd, (void)err;
	unsigned *asked = user;
	if (asked)
		++*asked;
	memset(out, 7, 32);
	return ERR_OK;
}

static int64_t fixed_time(void *user)
{
	(void)user;
	return 1795290000000; /* 2026-11-21T19:40:00Z */
}
static const struct clock fixed_clock = {fixed_time, NULL};

static struct s3_credentials credentials = {ID, date_key, NULL};

static struct s3_options options(void)
{
	return (struct s3_options){.endpoint = endpoint,
	                           .region = "eu-central-1",
	                           .bucket = "bucket",
	                           .path_style = true,
	                           .part_bytes = (uint64_t)5 << 20,
	                           .background_parts = 1,
	                           .stall_timeout_ms = 400,
	                           .connect_timeout_ms = 2000,
	                           .credentials = credentials,
	                           .clock = &fixed_clock};
}

static void start(const struct fault_step *steps, size_t n)
{
	descriptors = open_descriptors();
	fault_start(&server, steps, n);
	snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", server.port);
	struct s3_options with = options();
	struct err err = {0};
	assert_ok(store_open_s3(&with, &store, &err), err);
}
#define START(...)                                                                                                     \
	static const struct fault_step steps[] = {__VA_ARGS__};                                                            \
	start(steps, sizeof steps / sizeof steps[0])

/* Ends both, and expects so many requests to have come. */
static void stop(unsigned requests)
{
	store_free(store);
	unsigned came = fault_requests(&server);
	fault_stop(&server);
	assert_int_equal(came, requests);
	assert_int_equal(open_descriptors(), descriptors);
}

#define OK_EMPTY  "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 0\r\n\r\n"
#define OK_HELLO  "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 5\r\n\r\nhello"
#define ERROR_500 "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
#define ERROR_403 "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
#define ERROR_503                                                                                                      \
	"HTTP/1.1 503 Slow Down\r\nConnection: close\r\n\r\n<Error><Code>SlowDown</Code><Message>m</Message></Error>"
#define ERROR_412                                                                                                      \
	"HTTP/1.1 412 Precondition Failed\r\nConnection: close\r\n\r\n<Error><Code>PreconditionFailed</Code></Error>"

static enum err_code put_hello(bool overwrite, struct err *err)
{
	const struct store_meta meta = {"name", "value"};
	struct store_object object = {0};
	struct store_put put = {
	    .key = "key", .content_type = "text/plain", .meta = &meta, .n_meta = 1, .overwrite = overwrite};
	enum err_code code = put_with(store, &put, (const uint8_t *)"hello", 5, &object, err);
	store_object_done(&object);
	return code;
}

static enum err_code get_key(struct buf *out, struct err *err)
{
	struct store_object object = {0};
	struct store_get get = {.key = "key"};
	enum err_code code = get_with(store, &get, out, &object, err);
	store_object_done(&object);
	return code;
}

/* ---- retries ---- */

static void test_retries_until_success(void **state)
{
	(void)state;
	START({ERROR_500, FAULT_KEEP}, {ERROR_503, FAULT_CLOSE}, {OK_EMPTY, FAULT_KEEP});
	struct err err = {0};
	assert_ok(put_hello(true, &err), err);
	assert_int_equal(server.body_bytes[2], 5);
	stop(3);
}

static void test_storm_ends_after_three_attempts(void **state)
{
	(void)state;
	START({ERROR_500, FAULT_KEEP});
	struct err err = {0};
	assert_err(put_hello(true, &err), ERR_UNAVAILABLE);
	assert_int_equal(err.native, 500);
	assert_non_null(strstr(err.text, "PutObject"));
	stop(3);
}

static void test_lost_connections_are_retried(void **state)
{
	(void)state;
	START({NULL, FAULT_CLOSE}, {NULL, FAULT_RESET}, {OK_HELLO, FAULT_KEEP});
	struct err err = {0};
	autobuf struct buf bytes = {0};
	assert_ok(get_key(&bytes, &err), err);
	assert_string_equal(buf_cstr(&bytes), "hello");
	stop(3);
}

static void test_refusals_are_not_retried(void **state)
{
	(void)state;
	START({"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nx-amz-request-id: REQ123\r\n\r\n"
	       "<Error><Code>AccessDenied</Code><Message>a message with " ID "</Message></Error>",
	       FAULT_CLOSE});
	struct err err = {0};
	assert_err(put_hello(true, &err), ERR_DENIED);
	assert_int_equal(err.native, 403);
	assert_non_null(strstr(err.text, "AccessDenied"));
	assert_non_null(strstr(err.text, "REQ123"));
	assert_null(strstr(err.text, ID));
	assert_null(strstr(err.text, "Signature"));
	stop(1);
}

static void test_nobody_listens(void **state)
{
	(void)state;
	START({NULL, FAULT_CLOSE});
	struct s3_options with = options();
	fault_stop(&server);
	struct store *other = NULL;
	struct err err = {0};
	struct store_object head = {0};
	assert_ok(store_open_s3(&with, &other, &err), err);
	assert_err(store_head(other, "key", NULL, &head, &err), ERR_UNAVAILABLE);
	store_free(other);
	store_free(store);
}

static void test_stall_ends_the_request(void **state)
{
	(void)state;
	START({NULL, FAULT_SILENT});
	struct err err = {0};
	assert_err(put_hello(true, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "not a byte"));
	stop(3);
}

static bool request_came(void *user)
{
	return fault_requests(user) > 0;
}

static void test_cancel_while_waiting_for_the_answer(void **state)
{
	(void)state;
	START({NULL, FAULT_SILENT});
	struct store_cancel cancel = {request_came, &server, 0};
	struct store_object object = {0};
	struct store_get get = {.key = "key", .cancel = &cancel};
	autobuf struct buf bytes = {0};
	assert_err(get_with(store, &get, &bytes, &object, NULL), ERR_CANCELLED);
	stop(1);
}

static void test_cancel_in_the_middle_of_a_body(void **state)
{
	(void)state;
	START({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", FAULT_SILENT});
	bool flag = false;
	struct err err = {0};
	struct store_cancel cancel = {cancelled_by_flag, &flag, 0};
	struct store_object object = {0};
	struct store_get get = {.key = "key", .cancel = &cancel};
	struct store_download *download = NULL;
	uint8_t out[16];
	size_t len = 0;
	assert_ok(store_download_begin(store, &get, &download, &object, &err), err);
	store_object_done(&object);
	for (size_t total = 0; total < 5; total += len)
		assert_ok(store_download_read(download, out, sizeof out, &len, &err), err);
	flag = true;
	assert_err(store_download_read(download, out, sizeof out, &len, &err), ERR_CANCELLED);
	store_download_end(download);
	stop(1);
}

static void test_stall_in_the_middle_of_a_body(void **state)
{
	(void)state;
	START({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", FAULT_SILENT});
	autobuf struct buf bytes = {0};
	assert_err(get_key(&bytes, NULL), ERR_UNAVAILABLE);
	assert_string_equal(buf_cstr(&bytes), "hello");
	stop(1);
}

/* ---- bodies ---- */

/* Each is an answer to a get that must not pass for the object. */
static void expect_bad_get(const char *answer, enum fault_end end, bool ranged)
{
	const struct fault_step step = {answer, end};
	start(&step, 1);
	struct store_object object = {0};
	autobuf struct buf bytes = {0};
	struct store_get get = {.key = "key", .has_range = ranged, .first = 2, .length = 3};
	enum err_code code = get_with(store, &get, &bytes, &object, NULL);
	if (code != ERR_CORRUPT)
		fail_msg("%s for %s", err_name(code), answer);
	stop(1);
}

static void test_short_and_wrong_bodies(void **state)
{
	(void)state;
	expect_bad_get("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", FAULT_CLOSE, false);
	expect_bad_get("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", FAULT_RESET, false);
	expect_bad_get("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", FAULT_CLOSE, false);
	expect_bad_get("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", FAULT_CLOSE, false);
	expect_bad_get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", FAULT_KEEP, false);
	expect_bad_get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", FAULT_KEEP, true);
	expect_bad_get("HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-2/5\r\nContent-Length: 3\r\n\r\nhel", FAULT_KEEP,
	               true);
	expect_bad_get("HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-3/5\r\nContent-Length: 2\r\n\r\nll", FAULT_KEEP,
	               true);
	expect_bad_get("HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-4/*\r\nContent-Length: 3\r\n\r\nllo", FAULT_KEEP,
	               true);
	expect_bad_get("HTTP/1.1 206 Partial\r\nContent-Length: 3\r\n\r\nllo", FAULT_KEEP, true);
}

/* ---- going on after a break ---- */

#define SHA256_OF_HELLOWORLD "k2oYXKqiZrucvpgengXLeM1zKwsygOuURBK7b4+PB68="
#define HALF(tail)                                                                                                     \
	"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nx-amz-checksum-sha256: " SHA256_OF_HELLOWORLD                                   \
	"\r\nContent-Length: 10\r\n\r\n" tail
#define REST(etag, range, body)                                                                                        \
	"HTTP/1.1 206 Partial\r\nETag: \"" etag "\"\r\nContent-Range: bytes " range "/10\r\nConnection: close\r\n"         \
	"Content-Length: 5\r\n\r\n" body

static void test_broken_downloads_go_on(void **state)
{
	(void)state;
	static const enum fault_end ends[] = {FAULT_CLOSE, FAULT_RESET, FAULT_SILENT};
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
		const struct fault_step steps[] = {
		    {HALF("hello"), ends[i]}, {NULL, FAULT_CLOSE}, {REST("e", "5-9", "world"), FAULT_CLOSE}};
		start(steps, 3);
		struct err err = {0};
		autobuf struct buf bytes = {0};
		/* A reset may take with it what has not been read yet. */
		enum err_code code = get_key(&bytes, &err);
		if (ends[i] != FAULT_RESET || code == ERR_OK) {
			assert_ok(code, err);
			assert_string_equal(buf_cstr(&bytes), "helloworld");
			assert_non_null(strstr(server.heads[2], "\r\nrange: bytes=5-9\r\n"));
			assert_non_null(strstr(server.heads[2], "\r\nif-match: \"e\"\r\n"));
			assert_non_null(strstr(server.heads[2], "SignedHeaders=host;if-match;range;"));
		}
		stop(3);
	}
}

static void expect_no_other(const char *second)
{
	const struct fault_step steps[] = {{HALF("hello"), FAULT_CLOSE}, {second, FAULT_CLOSE}};
	start(steps, 2);
	autobuf struct buf bytes = {0};
	assert_err(get_key(&bytes, NULL), ERR_CORRUPT);
	assert_string_equal(buf_cstr(&bytes), "hello");
	stop(2);
}

static void test_what_came_in_its_place_is_not_taken(void **state)
{
	(void)state;
	expect_no_other(REST("f", "5-9", "world"));
	expect_no_other(REST("e", "4-8", "oworl"));
	expect_no_other(HALF("hello"));
	expect_no_other("HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n");
}

static void test_a_resumed_download_is_checked_whole(void **state)
{
	(void)state;
	START({HALF("hello"), FAULT_CLOSE}, {REST("e", "5-9", "worle"), FAULT_CLOSE});
	autobuf struct buf bytes = {0};
	assert_err(get_key(&bytes, NULL), ERR_CORRUPT);
	stop(2);
}

static void test_downloads_do_not_go_on_for_ever(void **state)
{
	(void)state;
	START({HALF(""), FAULT_CLOSE},
	      {"HTTP/1.1 206 Partial\r\nETag: \"e\"\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\n\r\n",
	       FAULT_CLOSE});
	autobuf struct buf bytes = {0};
	assert_err(get_key(&bytes, NULL), ERR_CORRUPT);
	stop(6);
}

#define OK_CHECKED(sha256, body)                                                                                       \
	"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nx-amz-checksum-sha256: " sha256 "\r\nContent-Length: 5\r\n\r\n" body

/* SHA-256 of "hello" in base64; of parts it says nothing of the whole. */
static void test_checksum_of_a_download(void **state)
{
	(void)state;
	START({OK_CHECKED("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", "hello"), FAULT_KEEP},
	      {OK_CHECKED("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", "hellO"), FAULT_KEEP},
	      {OK_CHECKED("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=-1", "hellO"), FAULT_KEEP});
	for (int i = 0; i < 3; i++) {
		struct err err = {0};
		autobuf struct buf bytes = {0};
		enum err_code code = get_key(&bytes, &err);
		assert_int_equal(code, i == 1 ? ERR_CORRUPT : ERR_OK);
		assert_int_equal(bytes.len, i == 1 ? 0 : 5);
	}
	assert_non_null(strstr(server.heads[0], "\r\nx-amz-checksum-mode: ENABLED\r\n"));
	assert_non_null(strstr(server.heads[0], "x-amz-checksum-mode;"));
	stop(3);
}

static void test_right_range(void **state)
{
	(void)state;
	START({"HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 3\r\n\r\nllo", FAULT_KEEP});
	struct err err = {0};
	struct store_object object = {0};
	autobuf struct buf bytes = {0};
	struct store_get get = {.key = "key", .has_range = true, .first = 2, .length = 3};
	assert_ok(get_with(store, &get, &bytes, &object, &err), err);
	assert_string_equal(buf_cstr(&bytes), "llo");
	assert_int_equal(object.size, 5);
	store_object_done(&object);
	assert_non_null(strstr(server.heads[0], "\r\nrange: bytes=2-4\r\n"));
	assert_non_null(strstr(server.heads[0], "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"));
	stop(1);
}

static void test_endless_head_is_refused(void **state)
{
	(void)state;
	autobuf struct buf answer = {0};
	buf_append_str(&answer, "HTTP/1.1 200 OK\r\n");
	for (int i = 0; i < 3000; i++)
		buf_printf(&answer, "x-amz-meta-%05d: abcdefghijklmnopqrstuvwxyz\r\n", i);
	buf_append_str(&answer, "Content-Length: 0\r\n\r\n");
	const struct fault_step step = {buf_cstr(&answer), FAULT_CLOSE};
	start(&step, 1);
	struct store_object head = {0};
	assert_err(store_head(store, "key", NULL, &head, NULL), ERR_UNAVAILABLE);
	stop(3);
}

static void test_answers_that_are_no_http(void **state)
{
	(void)state;
	START({"HTTP/1.1 200 OK\r\nContent-Length: -5\r\nConnection: close\r\n\r\nhello", FAULT_CLOSE},
	      {"SSH-2.0-OpenSSH_9.2\r\n", FAULT_CLOSE}, {"HTTP/1.1 200 OK\r\nContent-Le", FAULT_CLOSE});
	autobuf struct buf bytes = {0};
	assert_err(get_key(&bytes, NULL), ERR_UNAVAILABLE);
	assert_int_equal(bytes.len, 0);
	stop(3);
}

static void test_interim_answers_are_passed_over(void **state)
{
	(void)state;
	START({"HTTP/1.1 103 Early Hints\r\nETag: \"early\"\r\n\r\n" OK_HELLO, FAULT_KEEP});
	struct err err = {0};
	struct store_object object = {0};
	autobuf struct buf bytes = {0};
	struct store_get get = {.key = "key"};
	assert_ok(get_with(store, &get, &bytes, &object, &err), err);
	assert_string_equal(object.etag, "e");
	assert_string_equal(buf_cstr(&bytes), "hello");
	store_object_done(&object);
	stop(1);
}

/* ---- answers that get lost ---- */

/* SHA-256 of "hello", in base64. */
#define HELLO_SHA256 "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
#define HEAD_OURS                                                                                                      \
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nETag: \"ours\"\r\nx-amz-meta-name: value\r\n" \
	"x-amz-checksum-sha256: " HELLO_SHA256 "\r\n\r\n"

static void test_lost_answer_of_our_own_put(void **state)
{
	(void)state;
	START({NULL, FAULT_CLOSE}, {ERROR_412, FAULT_CLOSE}, {HEAD_OURS, FAULT_KEEP});
	struct err err = {0};
	assert_ok(put_hello(false, &err), err);
	assert_non_null(strstr(server.heads[0], "if-none-match: *"));
	assert_non_null(strstr(server.heads[0], "x-amz-checksum-sha256: " HELLO_SHA256));
	assert_non_null(strstr(server.heads[2], "HEAD /bucket/key"));
	stop(3);
}

static void expect_not_ours(const char *head)
{
	const struct fault_step steps[] = {{NULL, FAULT_CLOSE}, {ERROR_412, FAULT_CLOSE}, {head, FAULT_KEEP}};
	start(steps, 3);
	assert_err(put_hello(false, NULL), ERR_EXISTS);
	stop(3);
}

static void test_lost_answer_and_anothers_object(void **state)
{
	(void)state;
	expect_not_ours("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
	expect_not_ours(
	    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nx-amz-meta-name: value\r\n\r\n");
	expect_not_ours("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nx-amz-meta-name: other\r\n"
	                "x-amz-checksum-sha256: " HELLO_SHA256 "\r\n\r\n");
	expect_not_ours("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n"
	                "x-amz-checksum-sha256: " HELLO_SHA256 "\r\n\r\n");
	expect_not_ours("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nx-amz-meta-name: value\r\n"
	                "x-amz-checksum-sha256: AAAA\r\n\r\n");
}

static void test_first_412_is_final(void **state)
{
	(void)state;
	START({ERROR_412, FAULT_CLOSE});
	assert_err(put_hello(false, NULL), ERR_EXISTS);
	stop(1);
}

static void test_conflict_is_retried(void **state)
{
	(void)state;
	START({"HTTP/1.1 409 Conflict\r\nConnection: close\r\n\r\n<Error><Code>ConditionalRequestConflict</Code></Error>",
	       FAULT_CLOSE},
	      {OK_EMPTY, FAULT_KEEP});
	struct err err = {0};
	assert_ok(put_hello(false, &err), err);
	stop(2);
}

/* ---- multipart ---- */

#define CREATED                                                                                                        \
	"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"                                                                     \
	"<InitiateMultipartUploadResult><UploadId>id/1+2</UploadId></InitiateMultipartUploadResult>"
#define COMPLETED                                                                                                      \
	"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"                                                                     \
	"<CompleteMultipartUploadResult><ETag>\"all-2\"</ETag></CompleteMultipartUploadResult>"
#define GONE "HTTP/1.1 204 No Content\r\n\r\n"

static enum err_code put_two_parts(struct err *err)
{
	size_t len = 5 * MIB + 10;
	uint8_t *bytes = pattern(len);
	struct store_object object = {0};
	struct store_put put = {.key = "key"};
	enum err_code code = put_with(store, &put, bytes, len, &object, err);
	if (code == ERR_OK) {
		assert_string_equal(object.etag, "all-2");
		assert_int_equal(object.size, len);
	}
	store_object_done(&object);
	free(bytes);
	return code;
}

static void expect_request(unsigned at, const char *line)
{
	if (strncmp(server.heads[at], line, strlen(line)) != 0)
		fail_msg("request %u is %s", at, server.heads[at]);
}

static void test_two_parts(void **state)
{
	(void)state;
	START({CREATED, FAULT_CLOSE}, {OK_EMPTY, FAULT_KEEP}, {OK_EMPTY, FAULT_KEEP}, {COMPLETED, FAULT_CLOSE});
	struct err err = {0};
	assert_ok(put_two_parts(&err), err);
	expect_request(0, "POST /bucket/key?uploads= HTTP/1.1\r\n");
	expect_request(1, "PUT /bucket/key?partNumber=1&uploadId=id%2F1%2B2 HTTP/1.1\r\n");
	expect_request(2, "PUT /bucket/key?partNumber=2&uploadId=id%2F1%2B2 HTTP/1.1\r\n");
	expect_request(3, "POST /bucket/key?uploadId=id%2F1%2B2 HTTP/1.1\r\n");
	assert_int_equal(server.body_bytes[1], 5 * MIB);
	assert_int_equal(server.body_bytes[2], 10);
	assert_non_null(strstr(server.heads[3], "if-none-match: *"));
	stop(4);
}

static void test_failed_part_aborts_the_upload(void **state)
{
	(void)state;
	START({CREATED, FAULT_CLOSE}, {ERROR_500, FAULT_KEEP}, {ERROR_500, FAULT_KEEP}, {ERROR_500, FAULT_KEEP},
	      {GONE, FAULT_KEEP});
	assert_err(put_two_parts(NULL), ERR_UNAVAILABLE);
	expect_request(4, "DELETE /bucket/key?uploadId=id%2F1%2B2 HTTP/1.1\r\n");
	stop(5);
}

/* S3 asks for another abort when a part may have been under way; and what fails is tried again. */
static void test_uploads_are_ended_later(void **state)
{
	(void)state;
	START({CREATED, FAULT_CLOSE}, {ERROR_500, FAULT_KEEP}, {ERROR_500, FAULT_KEEP}, {ERROR_500, FAULT_KEEP},
	      {ERROR_500, FAULT_KEEP}, {ERROR_500, FAULT_KEEP}, {ERROR_500, FAULT_KEEP}, /* three times in vain */
	      {OK_EMPTY, FAULT_KEEP}, {ERROR_403, FAULT_KEEP},                           /* a check, and not yet */
	      {OK_EMPTY, FAULT_KEEP}, {GONE, FAULT_KEEP},                                /* another */
	      {OK_EMPTY, FAULT_KEEP});
	struct err err = {0};
	assert_err(put_two_parts(NULL), ERR_UNAVAILABLE);
	assert_int_equal(s3_of(store)->abandon.n, 1);
	for (int i = 0; i < 3; i++)
		assert_ok(store_check(store, &err), err);
	assert_int_equal(s3_of(store)->abandon.n, 0);
	static const unsigned deletes[] = {4, 5, 6, 8, 10};
	for (size_t i = 0; i < sizeof deletes / sizeof deletes[0]; i++)
		expect_request(deletes[i], "DELETE /bucket/key?uploadId=id%2F1%2B2 HTTP/1.1\r\n");
	stop(12);
}

static void test_vanished_upload_is_not_a_missing_object(void **state)
{
	(void)state;
	START({CREATED, FAULT_CLOSE},
	      {"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n<Error><Code>NoSuchUpload</Code></Error>", FAULT_CLOSE},
	      {GONE, FAULT_KEEP});
	assert_err(put_two_parts(NULL), ERR_UNAVAILABLE);
	stop(3);
}

/* CompleteMultipartUpload says 200 first and thinks then. */
#define COMPLETE_ERROR(code) "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\n  <Error><Code>" code "</Code></Error>"

static void test_error_in_a_200_is_retried(void **state)
{
	(void)state;
	START({CREATED, FAULT_CLOSE}, {OK_EMPTY, FAULT_KEEP}, {OK_EMPTY, FAULT_KEEP},
	      {COMPLETE_ERROR("InternalError"), FAULT_CLOSE}, {COMPLETED, FAULT_CLOSE});
	struct err err = {0};
	assert_ok(put_two_parts(&err), err);
	stop(5);
}

static void test_error_in_a_200_is_an_error(void **state)
{
	(void)state;
	START({CREATED, FAULT_CLOSE}, {OK_EMPTY, FAULT_KEEP}, {OK_EMPTY, FAULT_KEEP},
	      {COMPLETE_ERROR("AccessDenied"), FAULT_CLOSE}, {GONE, FAULT_KEEP});
	assert_err(put_two_parts(NULL), ERR_DENIED);
	expect_request(4, "DELETE ");
	stop(5);
}

static void test_empty_200_is_no_completion(void **state)
{
	(void)state;
	START({CREATED, FAULT_CLOSE}, {OK_EMPTY, FAULT_KEEP}, {OK_EMPTY, FAULT_KEEP}, {OK_EMPTY, FAULT_KEEP},
	      {GONE, FAULT_KEEP});
	assert_err(put_two_parts(NULL), ERR_CORRUPT);
	expect_request(4, "DELETE ");
	stop(5);
}

/* ---- lists ---- */

static void expect_bad_list(const char *answer)
{
	const struct fault_step step = {answer, FAULT_CLOSE};
	start(&step, 1);
	unsigned n = 0;
	enum err_code code = store_list(store, "", NULL, count_entry, &n, NULL);
	if (code != ERR_CORRUPT)
		fail_msg("%s for %s", err_name(code), answer);
	store_free(store);
	fault_stop(&server);
}

#define LIST(contents) "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<ListBucketResult>" contents "</ListBucketResult>"
#define ENTRY(key)                                                                                                     \
	"<Contents><Key>" key "</Key><Size>0</Size><LastModified>2099-01-01T00:00:00Z</LastModified></Contents>"

static bool take_entry(const struct store_entry *entry, void *user)
{
	(void)entry;
	++*(unsigned *)user;
	return true;
}

static void expect_broken_order(const char *answer, const char *prefix)
{
	const struct fault_step step = {answer, FAULT_CLOSE};
	start(&step, 1);
	unsigned n = 0;
	assert_err(store_list(store, prefix, NULL, take_entry, &n, NULL), ERR_CORRUPT);
	store_free(store);
	fault_stop(&server);
}

static void test_bad_lists(void **state)
{
	(void)state;
	expect_bad_list(OK_HELLO);
	expect_bad_list(OK_EMPTY);
	expect_bad_list("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<!DOCTYPE a [<!ENTITY e \"x\">]><a>&e;</a>");
	expect_broken_order(LIST(ENTRY("b") ENTRY("a")), "");
	expect_broken_order(LIST(ENTRY("a") ENTRY("a")), "");
	expect_broken_order(LIST(ENTRY("other")), "prefix/");
	expect_broken_order(
	    LIST(ENTRY("a") "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"), "");
	expect_broken_order(LIST("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"), "");
}

/* ---- what is sent ---- */

static void expect_target(const char *key, const char *target)
{
	struct err err = {0};
	unsigned before = fault_requests(&server);
	struct store_object head = {0};
	assert_ok(store_head(store, key, NULL, &head, &err), err);
	store_object_done(&head);
	autofree char *line = xasprintf("HEAD %s HTTP/1.1\r\n", target);
	expect_request(before, line);
}

/* Byte for byte: nothing is folded on the way. tests/vectors/sigv4 holds the signatures over the same paths. */
static void test_keys_on_the_wire(void **state)
{
	(void)state;
	START({OK_EMPTY, FAULT_KEEP});
	static const struct {
		const char *key, *target;
	} keys[] = {{"a b  c", "/bucket/a%20b%20%20c"},
	            {"a+b=c", "/bucket/a%2Bb%3Dc"},
	            {"a%2Fb%", "/bucket/a%252Fb%25"},
	            {"../a/./b/../c", "/bucket/../a/./b/../c"},
	            {"..", "/bucket/.."},
	            {"/a//b///", "/bucket//a//b///"},
	            {"?x#y&z;", "/bucket/%3Fx%23y%26z%3B"},
	            {"tab\tnewline\n\x1b\x7f", "/bucket/tab%09newline%0A%1B%7F"},
	            {"\xc3\xa9 e\xcc\x81", "/bucket/%C3%A9%20e%CC%81"}};
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		expect_target(keys[i].key, keys[i].target);
	char key[1025] = "";
	autobuf struct buf target = {0};
	buf_append_str(&target, "/bucket/");
	for (int i = 0; i < 341; i++) {
		strcat(key, "\xe2\x82\xac");
		buf_append_str(&target, "%E2%82%AC");
	}
	strcat(key, "a");
	buf_append_byte(&target, 'a');
	expect_target(key, buf_cstr(&target));
	assert_int_equal(server.n_connections, 1);
	stop(10);
}

static void test_signed_headers_on_the_wire(void **state)
{
	(void)state;
	START({OK_EMPTY, FAULT_KEEP});
	struct err err = {0};
	assert_ok(put_hello(false, &err), err);
	const char *head = server.heads[0];
	autofree char *host = xasprintf("\r\nhost: 127.0.0.1:%d\r\n", server.port);
	assert_non_null(strcasestr(head, host));
	assert_non_null(strstr(head, "\r\nx-amz-date: 20261121T194000Z\r\n"));
	assert_non_null(strstr(head, "\r\ncontent-type: text/plain\r\n"));
	assert_non_null(strstr(head, "\r\nContent-Length: 5\r\n"));
	assert_non_null(strstr(head, "Credential=" ID "/20261121/eu-central-1/s3/aws4_request,SignedHeaders=content-type;"
	                             "host;if-none-match;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date;"
	                             "x-amz-meta-name,Signature="));
	stop(1);
}

static void test_proxies_of_the_environment_are_not_used(void **state)
{
	(void)state;
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	START({OK_HELLO, FAULT_KEEP});
	struct err err = {0};
	autobuf struct buf bytes = {0};
	assert_ok(get_key(&bytes, &err), err);
	stop(1);
}

/* Through a configured proxy: it is told the whole address, S3 its own name. */
static void test_a_configured_proxy_is_used(void **state)
{
	(void)state;
	START({OK_EMPTY, FAULT_KEEP});
	struct s3_options with = options();
	with.proxy = endpoint;
	with.endpoint = "http://s3.example.test:8080";
	struct store *other = NULL;
	struct err err = {0};
	assert_ok(store_open_s3(&with, &other, &err), err);
	assert_ok(store_remove(other, "key", NULL, &err), err);
	store_free(other);
	expect_request(0, "DELETE http://s3.example.test:8080/bucket/key HTTP/1.1\r\n");
	assert_non_null(strstr(server.heads[0], "\r\nHost: s3.example.test:8080\r\n"));
	stop(1);
}

static void test_an_endpoint_may_be_ipv6(void **state)
{
	(void)state;
	descriptors = open_descriptors();
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (probe < 0 || bind(probe, (struct sockaddr *)&address, sizeof address) != 0)
		exit(77); /* no IPv6 here */
	close(probe);
	static const struct fault_step steps[] = {{OK_EMPTY, FAULT_KEEP}};
	fault_start_ipv6(&server, steps, 1);
	snprintf(endpoint, sizeof endpoint, "http://[::1]:%d", server.port);
	struct s3_options with = options();
	struct err err = {0};
	assert_ok(store_open_s3(&with, &store, &err), err);
	assert_ok(put_hello(true, &err), err);
	autofree char *host = xasprintf("\r\nHost: [::1]:%d\r\n", server.port);
	assert_non_null(strstr(server.heads[0], host));
	stop(1);
}

/* The address of a redirect is never gone to; the region that S3 names is signed for, once. */
static void test_another_region_is_signed_for(void **state)
{
	(void)state;
	START({"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nx-amz-bucket-region: us-west-2\r\n"
	       "Content-Length: 0\r\n\r\n",
	       FAULT_KEEP},
	      {OK_HELLO, FAULT_KEEP}, {OK_HELLO, FAULT_KEEP},
	      {"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n<Error><Code>AuthorizationHeaderMalformed</Code>"
	       "<Region>ap-south-1</Region></Error>",
	       FAULT_CLOSE},
	      {OK_HELLO, FAULT_KEEP});
	for (int i = 0; i < 3; i++) {
		struct err err = {0};
		autobuf struct buf bytes = {0};
		assert_ok(get_key(&bytes, &err), err);
	}
	static const char *const regions[] = {"eu-central-1", "us-west-2", "us-west-2", "us-west-2", "ap-south-1"};
	autofree char *host = xasprintf("\r\nHost: 127.0.0.1:%d\r\n", server.port);
	for (size_t i = 0; i < 5; i++) {
		autofree char *scope = xasprintf("/20261121/%s/s3/aws4_request", regions[i]);
		assert_non_null(strstr(server.heads[i], scope));
		assert_non_null(strstr(server.heads[i], host));
	}
	stop(5);
}

static void expect_no_move(const char *answer)
{
	const struct fault_step steps[] = {{answer, FAULT_KEEP}};
	start(steps, 1);
	struct err err = {0};
	assert_err(put_hello(true, &err), ERR_PRECONDITION);
	stop(1);
}

static void test_redirects_are_not_followed(void **state)
{
	(void)state;
	expect_no_move("HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
	expect_no_move("HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nx-amz-bucket-region: eu-central-1\r\n"
	               "Content-Length: 0\r\n\r\n");
	expect_no_move("HTTP/1.1 301 Moved\r\nx-amz-bucket-region: evil.example/\r\nContent-Length: 0\r\n\r\n");
}

/* Whoever names another region each time is believed once per request. */
static void test_a_bucket_does_not_wander(void **state)
{
	(void)state;
	START({"HTTP/1.1 301 Moved\r\nx-amz-bucket-region: us-west-1\r\nContent-Length: 0\r\n\r\n", FAULT_KEEP},
	      {"HTTP/1.1 301 Moved\r\nx-amz-bucket-region: us-west-2\r\nContent-Length: 0\r\n\r\n", FAULT_KEEP});
	struct err err = {0};
	assert_err(put_hello(true, &err), ERR_PRECONDITION);
	assert_non_null(strstr(err.text, "us-west-2"));
	stop(2);
}

static void test_hosts_of_aws_follow_the_region(void **state)
{
	(void)state;
	static const struct {
		const char *endpoint, *host;
	} cases[] = {
	    {"https://s3.eu-central-1.amazonaws.com", "bucket.s3.us-west-2.amazonaws.com"},
	    {"https://s3.dualstack.eu-central-1.amazonaws.com:8443", "bucket.s3.dualstack.us-west-2.amazonaws.com:8443"},
	    {"https://s3.amazonaws.com", "bucket.s3.us-west-2.amazonaws.com"},
	    {"https://s3.eu-central-1.example.com", "bucket.s3.eu-central-1.example.com"},
	    {"https://eu-central-1.amazonaws.com.evil.example", "bucket.eu-central-1.amazonaws.com.evil.example"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct s3_places places = {0};
		const struct s3_options at = {
		    .endpoint = cases[i].endpoint, .region = "eu-central-1", .bucket = "bucket", .path_style = false};
		struct err err = {0};
		assert_ok(s3_places_init(&places, &at, &err), err);
		const struct s3_place *first = atomic_load(&places.now);
		assert_true(s3_places_move(&places, first, "us-west-2"));
		assert_string_equal(atomic_load(&places.now)->host, cases[i].host);
		assert_true(s3_places_move(&places, first, "us-west-2")); /* somebody else was first */
		assert_false(s3_places_move(&places, atomic_load(&places.now), "us-west-2"));
		s3_places_done(&places);
	}
}

/* While S3 is down, retries run out: each request is one attempt then, and success brings them back. */
static void test_retries_run_out(void **state)
{
	(void)state;
	START({"HTTP/1.1 500 Fault\r\nContent-Length: 0\r\n\r\n", FAULT_KEEP});
	atomic_store(&s3_of(store)->retry_tokens, S3_RETRY_COST);
	struct err err = {0};
	assert_err(put_hello(true, &err), ERR_UNAVAILABLE);
	assert_err(put_hello(true, &err), ERR_UNAVAILABLE);
	assert_int_equal(atomic_load(&s3_of(store)->retry_tokens), 0);
	stop(3);
}

static void test_success_brings_retries_back(void **state)
{
	(void)state;
	START({OK_EMPTY, FAULT_KEEP}, {ERROR_500, FAULT_KEEP}, {OK_EMPTY, FAULT_KEEP});
	atomic_store(&s3_of(store)->retry_tokens, S3_RETRY_COST - 1);
	struct err err = {0};
	assert_ok(put_hello(true, &err), err);
	assert_int_equal(atomic_load(&s3_of(store)->retry_tokens), S3_RETRY_COST);
	assert_ok(put_hello(true, &err), err);
	assert_int_equal(atomic_load(&s3_of(store)->retry_tokens), S3_RETRY_COST);
	stop(3);
}

static void test_one_connection_for_many_requests(void **state)
{
	(void)state;
	START({OK_HELLO, FAULT_KEEP});
	for (int i = 0; i < 20; i++) {
		struct err err = {0};
		autobuf struct buf bytes = {0};
		assert_ok(get_key(&bytes, &err), err);
	}
	assert_int_equal(server.n_connections, 1);
	stop(20);
}

/* A connection that S3 closed while it was idle. */
static void test_dead_kept_connection_is_replaced(void **state)
{
	(void)state;
	START({OK_EMPTY, FAULT_CLOSE}, {OK_EMPTY, FAULT_CLOSE}, {OK_EMPTY, FAULT_CLOSE});
	for (int i = 0; i < 3; i++) {
		struct err err = {0};
		assert_ok(put_hello(true, &err), err);
	}
	assert_int_equal(server.n_connections, 3);
	stop(3);
}

/* ---- clocks and keys ---- */

static void test_clock_is_learnt_from_a_refusal(void **state)
{
	(void)state;
	START({"HTTP/1.1 403 Forbidden\r\nDate: Sun, 22 Nov 2026 00:10:00 GMT\r\nConnection: close\r\n\r\n"
	       "<Error><Code>RequestTimeTooSkewed</Code></Error>",
	       FAULT_CLOSE},
	      {OK_EMPTY, FAULT_KEEP});
	struct err err = {0};
	assert_ok(put_hello(true, &err), err);
	assert_non_null(strstr(server.heads[1], "x-amz-date: 20261122T001000Z"));
	assert_non_null(strstr(server.heads[1], "/20261122/eu-central-1/"));
	stop(2);
}

static void expect_no_second_try(const char *answer)
{
	const struct fault_step step = {answer, FAULT_CLOSE};
	start(&step, 1);
	assert_err(put_hello(true, NULL), ERR_DENIED);
	stop(1);
}

static void test_clock_is_not_learnt_from_anything(void **state)
{
	(void)state;
	expect_no_second_try("HTTP/1.1 403 Forbidden\r\nDate: Mon, 21 Nov 2033 19:40:00 GMT\r\nConnection: close\r\n\r\n"
	                     "<Error><Code>RequestTimeTooSkewed</Code></Error>");
	expect_no_second_try("HTTP/1.1 403 Forbidden\r\nDate: Sat, 21 Nov 2026 19:40:00 GMT\r\nConnection: close\r\n\r\n"
	                     "<Error><Code>RequestTimeTooSkewed</Code></Error>");
	expect_no_second_try("HTTP/1.1 403 Forbidden\r\nDate: Sun, 22 Nov 2026 00:10:00 GMT\r\nConnection: close\r\n\r\n"
	                     "<Error><Code>AccessDenied</Code></Error>");
	expect_no_second_try("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n");
}

static void test_token_is_asked_once_a_day_and_after_a_denial(void **state)
{
	(void)state;
	unsigned asked = 0;
	credentials.user = &asked;
	START({OK_EMPTY, FAULT_KEEP}, {OK_EMPTY, FAULT_KEEP},
	      {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", FAULT_KEEP}, {OK_EMPTY, FAULT_KEEP});
	struct err err = {0};
	assert_ok(put_hello(true, &err), err);
	assert_ok(put_hello(true, &err), err);
	assert_int_equal(asked, 1);
	assert_err(put_hello(true, &err), ERR_DENIED);
	assert_ok(put_hello(true, &err), err);
	assert_int_equal(asked, 2);
	stop(4);
	credentials.user = NULL;
}

static enum err_code no_date_key(void *user, const char *yyyymmdd, uint8_t out[32], struct err *err)
{
	(void)user, (void)yyyymmdd, (void)out;
	return err_set(err, ERR_UNAVAILABLE, 0x30, "the token is away");
}

static void test_nothing_is_sent_unsigned(void **state)
{
	(void)state;
	credentials.date_key = no_date_key;
	START({OK_EMPTY, FAULT_KEEP});
	struct err err = {0};
	assert_err(put_hello(true, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "the token is away"));
	stop(0);
	credentials.date_key = date_key;
}

HARNESS_MAIN(
    NULL, NULL, cmocka_unit_test(test_retries_until_success), cmocka_unit_test(test_storm_ends_after_three_attempts),
    cmocka_unit_test(test_lost_connections_are_retried), cmocka_unit_test(test_refusals_are_not_retried),
    cmocka_unit_test(test_nobody_listens), cmocka_unit_test(test_stall_ends_the_request),
    cmocka_unit_test(test_cancel_while_waiting_for_the_answer), cmocka_unit_test(test_cancel_in_the_middle_of_a_body),
    cmocka_unit_test(test_stall_in_the_middle_of_a_body), cmocka_unit_test(test_short_and_wrong_bodies),
    cmocka_unit_test(test_right_range), cmocka_unit_test(test_broken_downloads_go_on),
    cmocka_unit_test(test_what_came_in_its_place_is_not_taken),
    cmocka_unit_test(test_a_resumed_download_is_checked_whole), cmocka_unit_test(test_downloads_do_not_go_on_for_ever),
    cmocka_unit_test(test_checksum_of_a_download), cmocka_unit_test(test_endless_head_is_refused),
    cmocka_unit_test(test_answers_that_are_no_http), cmocka_unit_test(test_interim_answers_are_passed_over),
    cmocka_unit_test(test_lost_answer_of_our_own_put), cmocka_unit_test(test_lost_answer_and_anothers_object),
    cmocka_unit_test(test_first_412_is_final), cmocka_unit_test(test_conflict_is_retried),
    cmocka_unit_test(test_two_parts), cmocka_unit_test(test_failed_part_aborts_the_upload),
    cmocka_unit_test(test_uploads_are_ended_later), cmocka_unit_test(test_vanished_upload_is_not_a_missing_object),
    cmocka_unit_test(test_error_in_a_200_is_retried), cmocka_unit_test(test_error_in_a_200_is_an_error),
    cmocka_unit_test(test_empty_200_is_no_completion), cmocka_unit_test(test_bad_lists),
    cmocka_unit_test(test_keys_on_the_wire), cmocka_unit_test(test_signed_headers_on_the_wire),
    cmocka_unit_test(test_proxies_of_the_environment_are_not_used), cmocka_unit_test(test_redirects_are_not_followed),
    cmocka_unit_test(test_a_configured_proxy_is_used), cmocka_unit_test(test_an_endpoint_may_be_ipv6),
    cmocka_unit_test(test_another_region_is_signed_for), cmocka_unit_test(test_a_bucket_does_not_wander),
    cmocka_unit_test(test_hosts_of_aws_follow_the_region), cmocka_unit_test(test_retries_run_out),
    cmocka_unit_test(test_success_brings_retries_back), cmocka_unit_test(test_one_connection_for_many_requests),
    cmocka_unit_test(test_dead_kept_connection_is_replaced), cmocka_unit_test(test_clock_is_learnt_from_a_refusal),
    cmocka_unit_test(test_clock_is_not_learnt_from_anything),
    cmocka_unit_test(test_token_is_asked_once_a_day_and_after_a_denial),
    cmocka_unit_test(test_nothing_is_sent_unsigned))
