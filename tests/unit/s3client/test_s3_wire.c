/* Exactly what is sent, where to, and under which signature; and what lists may say. */
#include "tests/unit/s3client/s3_script.h"

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

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_bad_lists), cmocka_unit_test(test_keys_on_the_wire),
             cmocka_unit_test(test_signed_headers_on_the_wire),
             cmocka_unit_test(test_proxies_of_the_environment_are_not_used),
             cmocka_unit_test(test_a_configured_proxy_is_used), cmocka_unit_test(test_an_endpoint_may_be_ipv6),
             cmocka_unit_test(test_another_region_is_signed_for), cmocka_unit_test(test_redirects_are_not_followed),
             cmocka_unit_test(test_a_bucket_does_not_wander), cmocka_unit_test(test_hosts_of_aws_follow_the_region),
             cmocka_unit_test(test_clock_is_learnt_from_a_refusal),
             cmocka_unit_test(test_clock_is_not_learnt_from_anything),
             cmocka_unit_test(test_token_is_asked_once_a_day_and_after_a_denial),
             cmocka_unit_test(test_nothing_is_sent_unsigned))
