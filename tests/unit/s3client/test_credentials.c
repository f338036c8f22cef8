/* When credentials are fetched, which are used meanwhile, and that S3 is shown their token. */
#include "s3client/credentials.h"

#include <stdatomic.h>

#include "tests/unit/s3client/behaviour.h"
#include "tests/unit/s3client/fault_server.h"

#define START_MS 1795290000000 /* 2026-11-21T19:40:00Z */
#define HOUR_MS  ((int64_t)3600 * 1000)
#define THREADS  8

#define OK(body) "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" body
#define TOKEN                                                                                                          \
	{                                                                                                                  \
		OK("tok"), FAULT_CLOSE                                                                                         \
	}
#define SET(id, at)                                                                                                    \
	{                                                                                                                  \
		OK("{\"AccessKeyId\":\"" id "\",\"SecretAccessKey\":\"s\",\"Token\":\"token-of-" id "\",\"Expiration\":\"" at  \
		   "\"}"),                                                                                                     \
		    FAULT_CLOSE                                                                                                \
	}
#define AT_20_40 "2026-11-21T20:40:00Z"
#define AT_21_40 "2026-11-21T21:40:00Z"
#define FAULT                                                                                                          \
	{                                                                                                                  \
		"HTTP/1.1 500 Fault\r\nContent-Length: 0\r\n\r\n", FAULT_KEEP                                                  \
	}

static _Atomic int64_t now_ms = START_MS;
static int64_t read_clock(void *user)
{
	(void)user;
	return atomic_load(&now_ms);
}
static const struct clock test_clock = {read_clock, NULL};

static struct fault_server server;
static struct credentials *credentials;

static struct credentials *open_credentials(const struct s3_options *options)
{
	struct credentials *made = NULL;
	struct err err = {0};
	assert_ok(credentials_open(options, &made, &err), err);
	return made;
}

static void start(const struct fault_step *steps, size_t n)
{
	atomic_store(&now_ms, START_MS);
	fault_start(&server, steps, n);
	autofree char *origin = xasprintf("http://127.0.0.1:%d", server.port);
	const struct s3_role role = {.kind = S3_ROLE_INSTANCE, .endpoint = origin, .role = "r"};
	const struct s3_options options = {.role = &role, .clock = &test_clock};
	credentials = open_credentials(&options);
}
#define START(...)                                                                                                     \
	static const struct fault_step steps[] = {__VA_ARGS__};                                                            \
	start(steps, sizeof steps / sizeof steps[0])

static void stop(unsigned requests)
{
	credentials_free(credentials);
	unsigned came = fault_requests(&server);
	fault_stop(&server);
	assert_int_equal(came, requests);
}

static enum err_code take_with(const struct store_cancel *cancel, struct session **ret, struct err *err)
{
	const struct wait wait = {cancel, &test_clock};
	return credentials_take(credentials, &wait, ret, err);
}

static void expect_id(const char *id)
{
	struct session *session = NULL;
	struct err err = {0};
	assert_ok(take_with(NULL, &session, &err), err);
	assert_string_equal(session->access_key_id, id);
	session_give_back(session);
}

static void test_nothing_is_fetched_before_it_is_needed(void **state)
{
	(void)state;
	START(TOKEN);
	stop(0);
}

static void *take_once(void *user)
{
	(void)user;
	expect_id("FIRST");
	return NULL;
}

static void test_many_callers_fetch_once(void **state)
{
	(void)state;
	START(TOKEN, SET("FIRST", AT_20_40));
	pthread_t threads[THREADS];
	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, take_once, NULL);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	stop(2);
}

static void test_refreshed_before_the_end(void **state)
{
	(void)state;
	START(TOKEN, SET("FIRST", AT_20_40), TOKEN, SET("SECOND", AT_21_40));
	struct session *old = NULL;
	struct err err = {0};
	assert_ok(take_with(NULL, &old, &err), err);
	assert_true(old->refresh_ms >= START_MS + HOUR_MS * 3 / 4);
	assert_true(old->refresh_ms < START_MS + HOUR_MS);
	atomic_store(&now_ms, old->refresh_ms - 1);
	expect_id("FIRST");
	atomic_store(&now_ms, old->refresh_ms);
	expect_id("SECOND");
	expect_id("SECOND");
	const struct sigv4_scope scope = {"20261121T202600Z", "eu-central-1", "s3", NULL};
	char hex[65]; /* whoever holds the old set goes on with it */
	assert_ok(day_key_sign(&old->day_key, &scope, span_str("text"), hex, &err), err);
	session_give_back(old);
	stop(4);
}

static void test_old_ones_serve_while_the_source_is_down(void **state)
{
	(void)state;
	START(TOKEN, SET("FIRST", AT_20_40), FAULT);
	expect_id("FIRST");
	atomic_store(&now_ms, START_MS + HOUR_MS - 1);
	expect_id("FIRST"); /* three attempts, all in vain */
	expect_id("FIRST"); /* and then a pause */
	atomic_store(&now_ms, START_MS + HOUR_MS);
	struct session *session = NULL;
	struct err err = {0};
	assert_err(take_with(NULL, &session, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "500"));
	assert_null(session);
	stop(5);
}

static void test_a_source_that_fails_is_left_in_peace(void **state)
{
	(void)state;
	START({"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", FAULT_KEEP});
	for (int i = 0; i < 5; i++) {
		struct session *session = NULL;
		struct err err = {0};
		assert_err(take_with(NULL, &session, &err), ERR_DENIED);
	}
	stop(1);
}

static bool is_asked(void *user)
{
	return fault_requests((struct fault_server *)user) > 0;
}

static void test_a_caller_need_not_wait(void **state)
{
	(void)state;
	START({NULL, FAULT_SILENT}, TOKEN, SET("FIRST", AT_20_40));
	const struct store_cancel cancel = {.cancelled = is_asked, .user = &server};
	struct session *session = NULL;
	struct err err = {0};
	assert_err(take_with(&cancel, &session, &err), ERR_CANCELLED);
	expect_id("FIRST"); /* that one gave up says nothing of the source */
	stop(3);
}

static void test_doubt(void **state)
{
	(void)state;
	START(TOKEN, SET("FIRST", AT_20_40), TOKEN, SET("SECOND", AT_21_40));
	struct session *first = NULL, *second = NULL;
	struct err err = {0};
	assert_ok(take_with(NULL, &first, &err), err);
	assert_true(credentials_doubt(credentials, first));
	assert_ok(take_with(NULL, &second, &err), err);
	assert_string_equal(second->access_key_id, "SECOND");
	assert_true(credentials_doubt(credentials, first));   /* there is a newer one already */
	assert_false(credentials_doubt(credentials, second)); /* not again so soon */
	session_give_back(first);
	session_give_back(second);
	stop(4);
}

/* ---- as S3 sees them ---- */

static void test_the_token_is_sent_and_signed(void **state)
{
	(void)state;
	static const struct fault_step steps[] = {
	    TOKEN,
	    SET("FIRST", AT_20_40),
	    {"HTTP/1.1 400 Bad\r\nConnection: close\r\n\r\n<Error><Code>ExpiredToken</Code></Error>", FAULT_CLOSE},
	    TOKEN,
	    SET("SECOND", AT_21_40),
	    {"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 5\r\n\r\nhello", FAULT_KEEP}};
	fault_start(&server, steps, sizeof steps / sizeof steps[0]);
	atomic_store(&now_ms, START_MS);
	autofree char *origin = xasprintf("http://127.0.0.1:%d", server.port);
	const struct s3_role role = {.kind = S3_ROLE_INSTANCE, .endpoint = origin, .role = "r"};
	const struct s3_options options = {.endpoint = origin,
	                                   .region = "eu-central-1",
	                                   .bucket = "bucket",
	                                   .path_style = true,
	                                   .role = &role,
	                                   .clock = &test_clock};
	struct store *store = NULL;
	struct err err = {0};
	struct store_object object = {0};
	autobuf struct buf bytes = {0};
	assert_ok(store_open_s3(&options, &store, &err), err);
	const struct store_get get = {.key = "key"};
	assert_ok(get_with(store, &get, &bytes, &object, &err), err);
	assert_string_equal(buf_cstr(&bytes), "hello");
	store_object_done(&object);
	store_free(store);
	assert_int_equal(fault_requests(&server), 6);
	assert_non_null(strstr(server.heads[2], "\r\nx-amz-security-token: token-of-FIRST\r\n"));
	assert_non_null(strstr(server.heads[5], "\r\nx-amz-security-token: token-of-SECOND\r\n"));
	assert_non_null(strstr(server.heads[5], "Credential=SECOND/20261121/eu-central-1/s3/aws4_request"));
	assert_non_null(strstr(server.heads[5], "SignedHeaders=host;x-amz-checksum-mode;x-amz-content-sha256;x-amz-date;"
	                                        "x-amz-security-token,"));
	fault_stop(&server);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_nothing_is_fetched_before_it_is_needed),
             cmocka_unit_test(test_many_callers_fetch_once), cmocka_unit_test(test_refreshed_before_the_end),
             cmocka_unit_test(test_old_ones_serve_while_the_source_is_down),
             cmocka_unit_test(test_a_source_that_fails_is_left_in_peace), cmocka_unit_test(test_a_caller_need_not_wait),
             cmocka_unit_test(test_doubt), cmocka_unit_test(test_the_token_is_sent_and_signed))
