/* What goes wrong between us and S3: retries, broken bodies, and going on after a break. */
#include "tests/unit/s3client/s3_script.h"

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

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_retries_until_success),
             cmocka_unit_test(test_storm_ends_after_three_attempts),
             cmocka_unit_test(test_lost_connections_are_retried), cmocka_unit_test(test_refusals_are_not_retried),
             cmocka_unit_test(test_nobody_listens), cmocka_unit_test(test_stall_ends_the_request),
             cmocka_unit_test(test_cancel_while_waiting_for_the_answer),
             cmocka_unit_test(test_cancel_in_the_middle_of_a_body),
             cmocka_unit_test(test_stall_in_the_middle_of_a_body), cmocka_unit_test(test_short_and_wrong_bodies),
             cmocka_unit_test(test_broken_downloads_go_on), cmocka_unit_test(test_what_came_in_its_place_is_not_taken),
             cmocka_unit_test(test_a_resumed_download_is_checked_whole),
             cmocka_unit_test(test_downloads_do_not_go_on_for_ever), cmocka_unit_test(test_checksum_of_a_download),
             cmocka_unit_test(test_right_range), cmocka_unit_test(test_endless_head_is_refused),
             cmocka_unit_test(test_answers_that_are_no_http), cmocka_unit_test(test_interim_answers_are_passed_over),
             cmocka_unit_test(test_retries_run_out), cmocka_unit_test(test_success_brings_retries_back),
             cmocka_unit_test(test_one_connection_for_many_requests),
             cmocka_unit_test(test_dead_kept_connection_is_replaced))
