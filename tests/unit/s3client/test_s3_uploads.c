/* Uploads of which something goes wrong: answers that get lost, parts that fail, what has to be ended. */
#include "tests/unit/s3client/s3_script.h"

/* ---- answers that get lost ---- */

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

static bool two_requests_came(void *user)
{
	return fault_requests(user) >= 2;
}

/* libcurl may have sent it twice over a kept connection, and then nobody here has seen an answer get lost. */
static void test_first_412_is_looked_into(void **state)
{
	(void)state;
	START({ERROR_412, FAULT_CLOSE}, {HEAD_OURS, FAULT_KEEP});
	struct err err = {0};
	assert_ok(put_hello(false, &err), err);
	stop(2);
}

static void test_a_look_that_is_refused_says_nothing(void **state)
{
	(void)state;
	START({ERROR_412, FAULT_CLOSE}, {ERROR_403, FAULT_KEEP});
	assert_err(put_hello(false, NULL), ERR_EXISTS);
	stop(2);
}

/* The look has its own faults: it is repeated, and what could not be found out is not said to be another's. */
static void test_a_look_that_fails_is_repeated(void **state)
{
	(void)state;
	START({NULL, FAULT_CLOSE}, {ERROR_412, FAULT_CLOSE}, {ERROR_500, FAULT_KEEP}, {ERROR_500, FAULT_KEEP},
	      {ERROR_500, FAULT_KEEP}, {NULL, FAULT_CLOSE}, {HEAD_OURS, FAULT_KEEP});
	struct err err = {0};
	assert_ok(put_hello(false, &err), err);
	stop(7);
}

static void test_a_look_that_always_fails_is_no_answer(void **state)
{
	(void)state;
	START({ERROR_412, FAULT_CLOSE}, {ERROR_500, FAULT_KEEP});
	struct err err = {0};
	atomic_store(&s3_of(store)->retry_tokens, 0);
	assert_err(put_hello(false, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "could not be found out"));
	stop(6);
}

static void test_a_look_ends_with_its_caller(void **state)
{
	(void)state;
	START({ERROR_412, FAULT_CLOSE}, {NULL, FAULT_SILENT});
	struct store_cancel cancel = {two_requests_came, &server, 0};
	struct store_object object = {0};
	struct store_put put = {.key = "key", .content_type = "text/plain", .cancel = &cancel};
	assert_err(put_with(store, &put, (const uint8_t *)"hello", 5, &object, NULL), ERR_CANCELLED);
	stop(2);
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

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_lost_answer_of_our_own_put),
             cmocka_unit_test(test_lost_answer_and_anothers_object), cmocka_unit_test(test_first_412_is_looked_into),
             cmocka_unit_test(test_a_look_that_is_refused_says_nothing),
             cmocka_unit_test(test_a_look_that_fails_is_repeated),
             cmocka_unit_test(test_a_look_that_always_fails_is_no_answer),
             cmocka_unit_test(test_a_look_ends_with_its_caller), cmocka_unit_test(test_conflict_is_retried),
             cmocka_unit_test(test_two_parts), cmocka_unit_test(test_failed_part_aborts_the_upload),
             cmocka_unit_test(test_uploads_are_ended_later),
             cmocka_unit_test(test_vanished_upload_is_not_a_missing_object),
             cmocka_unit_test(test_error_in_a_200_is_retried), cmocka_unit_test(test_error_in_a_200_is_an_error),
             cmocka_unit_test(test_empty_200_is_no_completion))
