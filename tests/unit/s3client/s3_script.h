/* A store of S3's kind against a server that does as a script says, and short words for both. */
#ifndef TWOKEY_TESTS_UNIT_S3CLIENT_S3_SCRIPT_H
#define TWOKEY_TESTS_UNIT_S3CLIENT_S3_SCRIPT_H

#include "tests/unit/s3client/behaviour.h"
#include "tests/unit/s3client/fault_server.h"

#include "s3client/s3.h"

#define ID "AKIDEXAMPLE"

static struct fault_server server;
static struct store *store;
static unsigned descriptors;
static char endpoint[64];

static inline enum err_code date_key(void *user, const char *yyyymmdd, uint8_t out[32], struct err *err)
{
	(void)yyyymmdd, (void)err;
	unsigned *asked = user;
	if (asked)
		++*asked;
	memset(out, 7, 32);
	return ERR_OK;
}

static inline int64_t fixed_time(void *user)
{
	(void)user;
	return 1795290000000; /* 2026-11-21T19:40:00Z */
}
static const struct clock fixed_clock = {fixed_time, NULL};

static struct s3_credentials credentials = {ID, date_key, NULL};

static inline struct s3_options options(void)
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

static inline void start(const struct fault_step *steps, size_t n)
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
static inline void stop(unsigned requests)
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

static inline enum err_code put_hello(bool overwrite, struct err *err)
{
	const struct store_meta meta = {"name", "value"};
	struct store_object object = {0};
	struct store_put put = {
	    .key = "key", .content_type = "text/plain", .meta = &meta, .n_meta = 1, .overwrite = overwrite};
	enum err_code code = put_with(store, &put, (const uint8_t *)"hello", 5, &object, err);
	store_object_done(&object);
	return code;
}

static inline enum err_code get_key(struct buf *out, struct err *err)
{
	struct store_object object = {0};
	struct store_get get = {.key = "key"};
	enum err_code code = get_with(store, &get, out, &object, err);
	store_object_done(&object);
	return code;
}

static inline void expect_request(unsigned at, const char *line)
{
	if (strncmp(server.heads[at], line, strlen(line)) != 0)
		fail_msg("request %u is %s", at, server.heads[at]);
}

/* SHA-256 of "hello", in base64. */
#define HELLO_SHA256 "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="

#endif
