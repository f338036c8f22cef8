/* gRPC-Web without a connection. */
#include "common/text.h"
#include "rpc/web_frame.h"
#include "tests/unit/harness.h"

static void test_content_types(void **state)
{
	(void)state;
	static const struct {
		const char *type;
		enum rpc_web_format format;
	} types[] = {
	    {"application/grpc-web", RPC_WEB_BINARY},
	    {"application/grpc-web+proto", RPC_WEB_BINARY},
	    {"application/grpc-web+proto; charset=utf-8", RPC_WEB_BINARY},
	    {"application/grpc-web-text", RPC_WEB_TEXT},
	    {"application/grpc-web-text+proto", RPC_WEB_TEXT},
	    {"application/grpc-web+json", RPC_WEB_NONE},
	    {"application/grpc-web-textual", RPC_WEB_NONE},
	    {"application/grpc", RPC_WEB_NONE},
	    {"text/plain", RPC_WEB_NONE},
	    {"", RPC_WEB_NONE},
	    {NULL, RPC_WEB_NONE},
	};
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		assert_int_equal(rpc_web_format(types[i].type), types[i].format);
}

static void test_timeouts(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t ms; /* -1: none */
	} timeouts[] = {
	    {"1S", 1000}, {"250m", 250}, {"2M", 120000}, {"1H", 3600000},
	    {"1500u", 2}, {"1n", 1},     {"0m", 0},      {"99999999H", 99999999 * INT64_C(3600000)},
	    {"", -1},     {"S", -1},     {"1", -1},      {"1s", -1},
	    {"-1S", -1},  {"1SS", -1},   {"1.5S", -1},   {"100000000m", -1},
	    {" 1S", -1},
	};
	for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
		int64_t ms = -1;
		assert_int_equal(rpc_web_timeout(timeouts[i].text, &ms), timeouts[i].ms >= 0);
		assert_int_equal(ms, timeouts[i].ms);
	}
}

static enum err_code unframe(const char *bytes, size_t len, size_t max, struct span *ret)
{
	struct err err;
	return rpc_web_unframe(span_of(bytes, len), max, ret, &err);
}

static void test_frames(void **state)
{
	(void)state;
	struct span message;
	assert_int_equal(unframe("\0\0\0\0\3abc", 8, 3, &message), ERR_OK);
	assert_true(span_eq(message, span_str("abc")));
	assert_int_equal(unframe("\0\0\0\0\0", 5, 3, &message), ERR_OK);
	assert_int_equal(message.len, 0);
	assert_err(unframe("\0\0\0\0\4abcd", 9, 3, &message), ERR_EXHAUSTED);
	assert_err(unframe("\0\xff\xff\xff\xff", 5, 3, &message), ERR_EXHAUSTED);
	assert_err(unframe("\0\0\0\0\3ab", 7, 3, &message), ERR_INVALID);
	assert_err(unframe("\0\0\0\0\1ab", 7, 3, &message), ERR_INVALID);
	assert_err(unframe("\1\0\0\0\1a", 6, 3, &message), ERR_UNIMPLEMENTED);
	assert_err(unframe("\x80\0\0\0\1a", 6, 3, &message), ERR_INVALID);
	assert_err(unframe("\0\0\0\0", 4, 3, &message), ERR_INVALID);
	assert_err(unframe("", 0, 3, &message), ERR_INVALID);
}

static void test_trailers(void **state)
{
	(void)state;
	autobuf struct buf out = {0};
	rpc_web_trailers(ERR_OK, "", (struct span){0}, &out);
	assert_true(span_eq(buf_span(&out), span_of("\x80\0\0\0\x0fgrpc-status:0\r\n", 20)));
	buf_clear(&out);
	rpc_web_trailers(ERR_DENIED, "100% n\xc3\xb6", span_str("a"), &out);
	assert_string_equal(buf_cstr(&out) + 5,
	                    "grpc-status:7\r\ngrpc-message:100%25 n%C3%B6\r\ngrpc-status-details-bin:YQ\r\n");
	assert_int_equal(out.data[4], out.len - 5);
}

static void test_origins(void **state)
{
	(void)state;
	static const char *const valid[] = {"https://example.com", "http://localhost:8080", "https://127.0.0.1:8443",
	                                    "https://[::1]:8443", "https://a-b.c_d.example"};
	static const char *const invalid[] = {"null",
	                                      "*",
	                                      "",
	                                      "https://",
	                                      "example.com",
	                                      "https://*.example.com",
	                                      "https://Example.com",
	                                      "HTTPS://example.com",
	                                      "https://example.com/",
	                                      "https://example.com/path",
	                                      "https://example.com:443",
	                                      "http://example.com:80",
	                                      "https://example.com:0443",
	                                      "https://example.com:",
	                                      "https://example.com:65536",
	                                      "https://user@example.com",
	                                      "https://[]",
	                                      "https://[::1",
	                                      "https://example.com https://other.example",
	                                      "ftp://example.com"};
	for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++)
		assert_true(rpc_web_origin_valid(valid[i]));
	for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++)
		assert_false(rpc_web_origin_valid(invalid[i]));
}

static void test_an_origin_is_compared_byte_by_byte(void **state)
{
	(void)state;
	static const char *const origins[] = {"https://example.com", "https://other.example:8443", NULL};
	static const char *const others[] = {"https://evilexample.com",
	                                     "https://example.com.evil",
	                                     "https://Example.com",
	                                     "http://example.com",
	                                     "https://example.com:8443",
	                                     "https://example.com/",
	                                     "https://example.co",
	                                     "null",
	                                     "",
	                                     "https://other.example"};
	assert_true(rpc_web_origin_allowed(origins, "https://example.com"));
	assert_true(rpc_web_origin_allowed(origins, "https://other.example:8443"));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(rpc_web_origin_allowed(origins, others[i]));
	assert_false(rpc_web_origin_allowed(NULL, "https://example.com"));
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_content_types), cmocka_unit_test(test_timeouts),
             cmocka_unit_test(test_frames), cmocka_unit_test(test_trailers), cmocka_unit_test(test_origins),
             cmocka_unit_test(test_an_origin_is_compared_byte_by_byte))
