/* The role services of a machine or container: every byte that goes out, and who is trusted to answer. */
#include "common/text.h"
#include "s3client/role.h"
#include "tests/unit/s3client/fault_server.h"

#define SET                                                                                                            \
	"{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"ASIAEXAMPLE\",\"SecretAccessKey\":\"a+secret/\","   \
	"\"Token\":\"to/ke+n==\",\"Expiration\":\"2026-11-21T20:40:00Z\"}"
#define OK(length, body) "HTTP/1.1 200 OK\r\nContent-Length: " length "\r\n\r\n" body
#define OK_SET           OK("150", SET)

static int64_t fixed_time(void *user)
{
	(void)user;
	return 1795290000000; /* 2026-11-21T19:40:00Z */
}
static const struct clock fixed_clock = {fixed_time, NULL};

static struct fault_server server;
static char *origin;

#define START(...)                                                                                                     \
	static const struct fault_step steps[] = {__VA_ARGS__};                                                            \
	fault_start(&server, steps, sizeof steps / sizeof steps[0]);                                                       \
	origin = xasprintf("http://127.0.0.1:%d", server.port)

static void stop(void)
{
	fault_stop(&server);
	free(origin);
}

static enum err_code fetch(const struct s3_role *from, struct role_set *ret, struct err *err)
{
	/* A proxy would see the credentials: the local services are asked without one. */
	const struct s3_options options = {.role = from, .clock = &fixed_clock, .proxy = "http://127.0.0.1:9"};
	const struct wait wait = {NULL, &fixed_clock};
	struct role *role = NULL;
	enum err_code code = role_open(&options, &role, err);
	if (code == ERR_OK)
		code = role_fetch(role, &wait, ret, err);
	role_free(role);
	return code;
}

static void fetch_well(const struct s3_role *from)
{
	struct role_set set = {0};
	struct err err = {0};
	assert_ok(fetch(from, &set, &err), err);
	assert_string_equal(set.access_key_id, "ASIAEXAMPLE");
	assert_true(span_eq(secret_span(set.secret), span_str("AWS4a+secret/")));
	assert_string_equal((const char *)secret_bytes(set.token), "to/ke+n==");
	assert_int_equal(set.ends_ms, 1795293600000);
	role_set_done(&set);
}

static void fetch_badly(const struct s3_role *from, enum err_code expected, const char *said)
{
	struct role_set set = {0};
	struct err err = {0};
	assert_err(fetch(from, &set, &err), expected);
	if (!strstr(err.text, said))
		fail_msg("\"%s\" does not say \"%s\"", err.text, said);
	assert_null(set.access_key_id);
}

static void expect_request(unsigned at, const char *line, const char *headers)
{
	autofree char *expected =
	    xasprintf("%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: */*\r\n%s\r\n", line, server.port, headers);
	assert_string_equal(server.heads[at], expected);
	assert_int_equal(server.body_bytes[at], 0);
}

/* ---- an instance ---- */

static void test_instance(void **state)
{
	(void)state;
	START({OK("9", "AQAA-tok="), FAULT_KEEP}, {OK("11", "my-role\r\nno"), FAULT_KEEP}, {OK_SET, FAULT_KEEP});
	fetch_well(&(struct s3_role){.kind = S3_ROLE_INSTANCE, .endpoint = origin});
	assert_int_equal(fault_requests(&server), 3);
	expect_request(0, "PUT /latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\n");
	expect_request(1, "GET /latest/meta-data/iam/security-credentials/", "x-aws-ec2-metadata-token: AQAA-tok=\r\n");
	expect_request(2, "GET /latest/meta-data/iam/security-credentials/my-role",
	               "x-aws-ec2-metadata-token: AQAA-tok=\r\n");
	stop();
}

static void test_instance_with_a_named_role(void **state)
{
	(void)state;
	START({OK("3", "tok"), FAULT_KEEP}, {OK_SET, FAULT_KEEP});
	fetch_well(&(struct s3_role){.kind = S3_ROLE_INSTANCE, .endpoint = origin, .role = "other+role"});
	assert_int_equal(fault_requests(&server), 2);
	expect_request(1, "GET /latest/meta-data/iam/security-credentials/other+role", "x-aws-ec2-metadata-token: tok\r\n");
	stop();
}

/* IMDSv2 over IPv6: the same exchange, whose Host is in brackets. */
static void test_instance_over_ipv6(void **state)
{
	(void)state;
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	autofd int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (probe < 0 || bind(probe, (struct sockaddr *)&address, sizeof address) != 0)
		exit(77); /* no IPv6 here */
	static const struct fault_step steps[] = {{OK("3", "tok"), FAULT_KEEP}, {OK_SET, FAULT_KEEP}};
	fault_start_ipv6(&server, steps, 2);
	origin = xasprintf("http://[::1]:%d", server.port);
	fetch_well(&(struct s3_role){.kind = S3_ROLE_INSTANCE, .endpoint = origin, .role = "r"});
	autofree char *host = xasprintf("\r\nHost: [::1]:%d\r\n", server.port);
	assert_non_null(strstr(server.heads[0], host));
	stop();
}

static void test_instance_without_a_role(void **state)
{
	(void)state;
	START({OK("3", "tok"), FAULT_KEEP}, {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", FAULT_KEEP});
	fetch_badly(&(struct s3_role){.kind = S3_ROLE_INSTANCE, .endpoint = origin}, ERR_PRECONDITION, "no role");
	stop();
}

static void test_instance_whose_answers_are_hostile(void **state)
{
	(void)state;
	START({OK("3", "tok"), FAULT_KEEP}, {OK("9", "../../etc"), FAULT_KEEP}, {OK("8", "a\r\nX: y\r"), FAULT_KEEP});
	const struct s3_role role = {.kind = S3_ROLE_INSTANCE, .endpoint = origin};
	fetch_badly(&role, ERR_CORRUPT, "names no role");
	fetch_badly(&role, ERR_CORRUPT, "no token");
	assert_int_equal(fault_requests(&server), 3);
	stop();
}

static void expect_refused(const struct s3_role *from)
{
	const struct s3_options options = {.role = from, .clock = &fixed_clock};
	struct role *role = NULL;
	struct err err = {0};
	if (role_open(&options, &role, &err) != ERR_INVALID)
		fail_msg("%s %s is taken", from->endpoint ? from->endpoint : "-", from->full_uri ? from->full_uri : "-");
}

static void expect_taken(const struct s3_role *from)
{
	const struct s3_options options = {.role = from, .clock = &fixed_clock};
	struct role *role = NULL;
	struct err err = {0};
	assert_ok(role_open(&options, &role, &err), err);
	role_free(role);
}

static void test_addresses_of_the_metadata_service(void **state)
{
	(void)state;
	static const char *const refused[] = {"http://169.254.169.253",      "https://169.254.169.254",
	                                      "http://example.com",          "http://[fd00:ec2::255]",
	                                      "http://169.254.169.254/path", "http://169.254.169.254@evil.example",
	                                      "http://127.0.0.1.evil",       "http://169.254.169.254?a"};
	static const char *const taken[] = {NULL, "http://169.254.169.254", "http://[fd00:ec2::254]",
	                                    "http://169.254.169.254:80"};
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		expect_refused(&(struct s3_role){.kind = S3_ROLE_INSTANCE, .endpoint = refused[i]});
	for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
		expect_taken(&(struct s3_role){.kind = S3_ROLE_INSTANCE, .endpoint = taken[i]});
	expect_refused(&(struct s3_role){.kind = S3_ROLE_INSTANCE, .role = "../x"});
}

/* ---- a container ---- */

static char *token_file(const char *text)
{
	char *path = xstrdup("/tmp/twokey-token-XXXXXX");
	int fd = mkstemp(path);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return path;
}

static void rewrite(const char *path, const char *text)
{
	struct err err = {0};
	assert_ok(text_write_file(path, span_str(text), 0600, &err), err);
}

static void test_container(void **state)
{
	(void)state;
	START({OK_SET, FAULT_KEEP});
	autofree char *uri = xasprintf("%s/v1/credentials", origin), *file = token_file("first token\n");
	const struct s3_role from = {.kind = S3_ROLE_CONTAINER, .full_uri = uri, .token_file = file};
	fetch_well(&from);
	rewrite(file, "second-token"); /* it is replaced while we run */
	fetch_well(&from);
	fetch_well(&(struct s3_role){.kind = S3_ROLE_CONTAINER, .full_uri = uri});
	assert_int_equal(fault_requests(&server), 3);
	expect_request(0, "GET /v1/credentials", "authorization: first token\r\n");
	expect_request(1, "GET /v1/credentials", "authorization: second-token\r\n");
	expect_request(2, "GET /v1/credentials", "");
	unlink(file);
	stop();
}

static void test_container_whose_token_is_none(void **state)
{
	(void)state;
	autofree char *file = token_file("a\r\nx-evil: b");
	const struct s3_role from = {.kind = S3_ROLE_CONTAINER, .full_uri = "http://127.0.0.1:9/", .token_file = file};
	fetch_badly(&from, ERR_PRECONDITION, "more than a token");
	rewrite(file, "\n");
	fetch_badly(&from, ERR_PRECONDITION, "empty");
	unlink(file);
	fetch_badly(&from, ERR_PRECONDITION, "cannot be read");
}

static void test_container_refusals(void **state)
{
	(void)state;
	START({"HTTP/1.1 403 Forbidden\r\nContent-Length: 20\r\n\r\n{\"message\":\"secret\"}", FAULT_KEEP});
	autofree char *uri = xasprintf("%s/", origin);
	fetch_badly(&(struct s3_role){.kind = S3_ROLE_CONTAINER, .full_uri = uri}, ERR_DENIED, "403");
	assert_int_equal(fault_requests(&server), 1);
	stop();
}

static void test_addresses_of_the_container_endpoint(void **state)
{
	(void)state;
	static const char *const refused[] = {
	    "http://example.com/",         "http://169.254.170.3/",  "http://127.evil.example/",
	    "http://[fd00:ec2::24]/",      "http://localhost.evil/", "ftp://127.0.0.1/",
	    "http://user@169.254.170.23/", "http://127.0.0.1/#a",    "http://2130706433.evil/c"};
	static const char *const taken[] = {"https://example.com/creds", "http://169.254.170.2/a",
	                                    "http://169.254.170.23/v1",  "http://[fd00:ec2::23]/v1",
	                                    "http://localhost:8/",       "http://[::1]/"};
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		expect_refused(&(struct s3_role){.kind = S3_ROLE_CONTAINER, .full_uri = refused[i]});
	for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
		expect_taken(&(struct s3_role){.kind = S3_ROLE_CONTAINER, .full_uri = taken[i]});
	expect_taken(&(struct s3_role){.kind = S3_ROLE_CONTAINER, .relative_uri = "/v2/credentials/uuid"});
	expect_refused(&(struct s3_role){.kind = S3_ROLE_CONTAINER, .relative_uri = "@evil.example/"});
	expect_refused(&(struct s3_role){.kind = S3_ROLE_CONTAINER, .relative_uri = "/a", .full_uri = "https://b/"});
	expect_refused(&(struct s3_role){.kind = S3_ROLE_CONTAINER});
	expect_refused(&(struct s3_role){.kind = (enum s3_role_kind)9});
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_instance), cmocka_unit_test(test_instance_with_a_named_role),
             cmocka_unit_test(test_instance_over_ipv6), cmocka_unit_test(test_instance_without_a_role),
             cmocka_unit_test(test_instance_whose_answers_are_hostile),
             cmocka_unit_test(test_addresses_of_the_metadata_service), cmocka_unit_test(test_container),
             cmocka_unit_test(test_container_whose_token_is_none), cmocka_unit_test(test_container_refusals),
             cmocka_unit_test(test_addresses_of_the_container_endpoint))
