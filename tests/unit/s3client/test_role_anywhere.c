/* IAM Roles Anywhere: every byte of CreateSession, against the cases of tests/vectors/sigv4-x509. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "common/text.h"
#include "s3client/role.h"
#include "tests/unit/s3client/fault_server.h"

#define VECTOR_MAX ((size_t)65536)
#define BODY                                                                                                           \
	"{\"credentialSet\":[{\"assumedRoleUser\":{\"arn\":\"a\"},\"credentials\":{\"accessKeyId\":\"ASIAEXAMPLE\","       \
	"\"expiration\":\"2026-11-21T20:40:00Z\",\"secretAccessKey\":\"a+secret/\",\"sessionToken\":\"to/ke+n==\"},"       \
	"\"packedPolicySize\":1,\"roleArn\":\"r\"}],\"subjectArn\":\"s\"}"

static int64_t fixed_time(void *user)
{
	(void)user;
	return 1795290000000; /* 2026-11-21T19:40:00Z */
}
static const struct clock fixed_clock = {fixed_time, NULL};

static struct fault_server server;

static char *answer_of(const char *status, const char *body)
{
	return xasprintf("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status,
	                 strlen(body), body);
}

/* ---- a case, and the key that the token has ---- */

struct vector {
	struct buf certificates, settings;
	EVP_PKEY *key;
	unsigned char *spki;
	struct s3_role role;
	char *endpoint, *host;
};

static void read_file(const char *name, const char *file, struct buf *out)
{
	autofree char *path = xasprintf("%s/vectors/sigv4-x509/%s/%s", TEST_SOURCE_DIR, name, file);
	struct err err = {0};
	assert_ok(text_read_file(path, VECTOR_MAX, out, &err), err);
}

static enum err_code sign(void *user, const uint8_t digest[32], struct buf *der, struct err *err)
{
	(void)err;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new((EVP_PKEY *)user, NULL);
	unsigned char out[128];
	size_t len = sizeof out;
	assert_int_equal(EVP_PKEY_sign_init(context), 1);
	assert_int_equal(EVP_PKEY_sign(context, out, &len, digest, 32), 1);
	buf_append(der, span_of(out, len));
	EVP_PKEY_CTX_free(context);
	return ERR_OK;
}

static enum err_code token_away(void *user, const uint8_t digest[32], struct buf *der, struct err *err)
{
	(void)user, (void)digest, (void)der;
	return err_set(err, ERR_UNAVAILABLE, 0x30, "the token is away");
}

static void read_setting(struct s3_role *role, const char *name, const char *value)
{
	if (strcmp(name, "profileArn") == 0)
		role->profile_arn = value;
	else if (strcmp(name, "roleArn") == 0)
		role->role_arn = value;
	else if (strcmp(name, "trustAnchorArn") == 0)
		role->trust_anchor_arn = value;
	else if (strcmp(name, "duration") == 0)
		role->duration_s = (unsigned)atoi(value);
	else if (strcmp(name, "name") == 0)
		role->session_name = value;
}

static void vector_read(const char *name, struct vector *vector)
{
	*vector = (struct vector){0};
	read_file(name, "certificates.pem", &vector->certificates);
	read_file(name, "settings.txt", &vector->settings);
	autobuf struct buf pem = {0};
	read_file(name, "key.pem", &pem);
	BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	vector->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	assert_non_null(vector->key);
	int spki = i2d_PUBKEY(vector->key, &vector->spki);
	vector->host = xasprintf("127.0.0.1:%d", server.port);
	vector->endpoint = xasprintf("http://%s", vector->host);
	vector->role = (struct s3_role){.kind = S3_ROLE_ANYWHERE,
	                                .endpoint = vector->endpoint,
	                                .certificates = buf_span(&vector->certificates),
	                                .spki = span_of(vector->spki, (size_t)spki),
	                                .sign = sign,
	                                .user = vector->key};
	buf_append_byte(&vector->settings, 0);
	char *next = (char *)vector->settings.data;
	for (char *line; (line = strsep(&next, "\n")) && *line;) {
		char *colon = strstr(line, ": ");
		*colon = 0;
		read_setting(&vector->role, line, colon + 2);
	}
}

static void vector_done(struct vector *vector)
{
	buf_done(&vector->certificates);
	buf_done(&vector->settings);
	EVP_PKEY_free(vector->key);
	OPENSSL_free(vector->spki);
	free(vector->endpoint);
	free(vector->host);
}

static enum err_code open_role(const struct s3_role *from, struct role **ret, struct err *err)
{
	const struct s3_options options = {.role = from, .clock = &fixed_clock};
	return role_open(&options, ret, err);
}

static enum err_code fetch(struct role *role, struct role_set *ret, struct err *err)
{
	const struct wait wait = {NULL, &fixed_clock};
	return role_fetch(role, &wait, ret, err);
}

/* ---- what goes out ---- */

static void replace(struct buf *text, const char *what, const char *with)
{
	autobuf struct buf out = {0};
	const char *from = buf_cstr(text);
	for (const char *at; (at = strstr(from, what)); from = at + strlen(what)) {
		buf_append(&out, span_of(from, (size_t)(at - from)));
		buf_append_str(&out, with);
	}
	buf_append_str(&out, from);
	buf_clear(text);
	buf_append(text, buf_span(&out));
}

/* The signature in a request's head is one by the leaf's key over the case's string to sign. */
static void check_signature(const struct vector *vector, const char *name, const char *hex)
{
	autobuf struct buf canonical = {0}, to_sign = {0};
	read_file(name, "canonical-request.txt", &canonical);
	read_file(name, "string-to-sign.txt", &to_sign);
	replace(&canonical, "{host}", vector->host);
	uint8_t digest[32], der[128];
	char hash[65];
	text_sha256(buf_span(&canonical), digest);
	text_hex(span_of(digest, 32), hash);
	replace(&to_sign, "{hash}", hash);
	text_sha256(buf_span(&to_sign), digest);
	assert_true(strlen(hex) / 2 <= sizeof der);
	assert_true(text_unhex(hex, der, strlen(hex) / 2));
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(vector->key, NULL);
	assert_int_equal(EVP_PKEY_verify_init(context), 1);
	assert_int_equal(EVP_PKEY_verify(context, der, strlen(hex) / 2, digest, 32), 1);
	EVP_PKEY_CTX_free(context);
}

static void check_request(const struct vector *vector, const char *name)
{
	autobuf struct buf came = {0}, expected = {0};
	buf_printf(&came, "%s%s", server.heads[0], server.bodies[0]);
	replace(&came, "\r\n", "\n");
	const char *signature = strstr(buf_cstr(&came), "Signature=");
	assert_non_null(signature);
	autofree char *hex = xstrndup(signature + 10, strspn(signature + 10, "0123456789abcdef"));
	check_signature(vector, name, hex);
	read_file(name, "request.txt", &expected);
	replace(&expected, "{host}", vector->host);
	replace(&expected, "{signature}", hex);
	assert_string_equal(buf_cstr(&came), buf_cstr(&expected));
}

static void check_case(const char *name)
{
	autofree char *answer = answer_of("201 Created", BODY);
	const struct fault_step steps[] = {{answer, FAULT_KEEP}};
	fault_start(&server, steps, 1);
	struct vector vector;
	vector_read(name, &vector);
	struct role *role = NULL;
	struct role_set set = {0};
	struct err err = {0};
	assert_ok(open_role(&vector.role, &role, &err), err);
	assert_ok(fetch(role, &set, &err), err);
	assert_int_equal(fault_requests(&server), 1);
	check_request(&vector, name);
	assert_string_equal(set.access_key_id, "ASIAEXAMPLE");
	assert_true(span_eq(secret_span(set.secret), span_str("AWS4a+secret/")));
	assert_string_equal((const char *)secret_bytes(set.token), "to/ke+n==");
	assert_int_equal(set.ends_ms, 1795293600000);
	role_set_done(&set);
	role_free(role);
	vector_done(&vector);
	fault_stop(&server);
}

static void test_leaf(void **state)
{
	(void)state;
	check_case("leaf");
}

static void test_chain(void **state)
{
	(void)state;
	check_case("chain");
}

static void test_session_name(void **state)
{
	(void)state;
	check_case("session-name");
}

/* ---- what is refused ---- */

static void expect_invalid(const struct s3_role *role, const char *said)
{
	struct role *ignored = NULL;
	struct err err = {0};
	assert_err(open_role(role, &ignored, &err), ERR_INVALID);
	if (!strstr(err.text, said))
		fail_msg("\"%s\" does not say \"%s\"", err.text, said);
}

static void test_settings_that_cannot_be(void **state)
{
	(void)state;
	struct vector vector, other;
	vector_read("chain", &vector);
	vector_read("leaf", &other);
	const struct s3_role good = vector.role;
	struct s3_role role = good;
#define BAD(member, value, said)                                                                                       \
	do {                                                                                                               \
		role = good;                                                                                                   \
		role.member = (value);                                                                                         \
		expect_invalid(&role, said);                                                                                   \
	} while (0)
	BAD(trust_anchor_arn, NULL, "ARN");
	BAD(trust_anchor_arn, "arn:aws:rolesanywhere::1:trust-anchor/a", "ARN");
	BAD(trust_anchor_arn, "arn:aws:rolesanywhere:evil.example/:1:trust-anchor/a", "ARN");
	BAD(profile_arn, good.role_arn, "ARN");
	BAD(role_arn, "arn:aws:iam::1:", "ARN");
	BAD(duration_s, 899, "900");
	BAD(duration_s, 43201, "43200");
	BAD(session_name, "a\"b", "name");
	BAD(session_name, "a", "name");
	BAD(endpoint, "http://rolesanywhere.eu-central-1.amazonaws.com", "https");
	BAD(endpoint, "http://127.evil.example", "https");
	BAD(endpoint, "https://user@example.com", "https");
	BAD(endpoint, "https://example.com/path", "https");
	BAD(endpoint, "ftp://example.com", "https");
	BAD(sign, NULL, "key");
	BAD(spki, other.role.spki, "not of the key");
	BAD(certificates, span_str("no certificate"), "certificates");
	vector_done(&vector);
	vector_done(&other);
}

static void expect_failure(const char *answer, enum err_code code, const char *said, unsigned requests)
{
	const struct fault_step steps[] = {{answer, FAULT_KEEP}};
	fault_start(&server, steps, 1);
	struct vector vector;
	vector_read("leaf", &vector);
	struct role *role = NULL;
	struct role_set set = {0};
	struct err err = {0};
	assert_ok(open_role(&vector.role, &role, &err), err);
	assert_err(fetch(role, &set, &err), code);
	if (!strstr(err.text, said))
		fail_msg("\"%s\" does not say \"%s\"", err.text, said);
	assert_null(strstr(err.text, "secret"));
	assert_null(set.access_key_id);
	assert_int_equal(fault_requests(&server), requests);
	role_free(role);
	vector_done(&vector);
	fault_stop(&server);
}

static void test_answers_that_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *status, *body;
		enum err_code code;
		const char *said;
		unsigned requests;
	} cases[] = {
	    {"403 Forbidden\r\nx-amzn-ErrorType: AccessDeniedException:http://x/", "{\"message\":\"secret\"}", ERR_DENIED,
	     "403 AccessDeniedException", 1},
	    {"400 Bad Request", "{}", ERR_PRECONDITION, "400", 1},
	    {"500 Fault", "{}", ERR_UNAVAILABLE, "500", 3},
	    {"429 Slow", "{}", ERR_UNAVAILABLE, "429", 3},
	    {"302 Found\r\nLocation: http://127.0.0.1:1/", "", ERR_UNAVAILABLE, "302", 3},
	    {"201 Created", "{}", ERR_CORRUPT, "none", 1},
	    {"201 Created", "no JSON with a secret", ERR_CORRUPT, "none", 1},
	    {"201 Created", "{\"credentialSet\":[]}", ERR_CORRUPT, "none", 1},
	    {"201 Created", "{\"credentialSet\":[{\"credentials\":{\"accessKeyId\":\"A\"}}]}", ERR_CORRUPT,
	     "no credentials", 1},
	    {"201 Created",
	     "{\"credentialSet\":[{\"credentials\":{\"accessKeyId\":\"A\",\"expiration\":\"2026-11-21T20:40:00Z\","
	     "\"secretAccessKey\":\"s\",\"sessionToken\":\"a\\r\\nx: y\"}}]}",
	     ERR_CORRUPT, "no credentials", 1},
	    {"201 Created",
	     "{\"credentialSet\":[{\"credentials\":{\"accessKeyId\":\"A\",\"expiration\":\"2026-11-21T19:40:00Z\","
	     "\"secretAccessKey\":\"s\",\"sessionToken\":\"t\"}}]}",
	     ERR_UNAVAILABLE, "ended already", 1},
	    {"201 Created",
	     "{\"credentialSet\":[{\"credentials\":{\"accessKeyId\":\"A\",\"expiration\":\"soon\","
	     "\"secretAccessKey\":\"s\",\"sessionToken\":\"t\"}}]}",
	     ERR_CORRUPT, "end", 1},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		autofree char *answer = answer_of(cases[i].status, cases[i].body);
		expect_failure(answer, cases[i].code, cases[i].said, cases[i].requests);
	}
}

static void test_an_answer_without_end_is_refused(void **state)
{
	(void)state;
	autofree char *long_body = xcalloc(20001, 1);
	memset(long_body, ' ', 20000);
	autofree char *answer = answer_of("201 Created", long_body);
	expect_failure(answer, ERR_CORRUPT, "longer", 1);
}

static void test_a_lost_token_is_told(void **state)
{
	(void)state;
	struct vector vector;
	vector_read("leaf", &vector);
	vector.role.sign = token_away;
	struct role *role = NULL;
	struct role_set set = {0};
	struct err err = {0};
	assert_ok(open_role(&vector.role, &role, &err), err);
	assert_err(fetch(role, &set, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "the token is away"));
	role_free(role);
	vector_done(&vector);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_leaf), cmocka_unit_test(test_chain), cmocka_unit_test(test_session_name),
             cmocka_unit_test(test_settings_that_cannot_be), cmocka_unit_test(test_answers_that_are_refused),
             cmocka_unit_test(test_an_answer_without_end_is_refused), cmocka_unit_test(test_a_lost_token_is_told))
