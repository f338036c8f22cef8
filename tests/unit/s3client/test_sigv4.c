#include "s3client/sigv4.h"

#include "common/text.h"
#include "s3client/day_key.h"
#include "tests/unit/harness.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

/* A case of tests/vectors/sigv4, read into memory. */
struct vector {
	struct buf file;
	struct buf path;
	struct sigv4_pair query[16], headers[16];
	size_t n_query, n_headers;
	const char *method, *hash, *time, *region, *id, *secret;
};

static void read_case(const char *name, const char *file, struct buf *out)
{
	autofree char *path = xasprintf("%s/vectors/sigv4/%s/%s", TEST_SOURCE_DIR, name, file);
	struct err err = {0};
	assert_ok(text_read_file(path, 1 << 20, out, &err), err);
}

static void set_path_hex(struct buf *path, const char *hex)
{
	size_t len = strlen(hex) / 2;
	assert_true(text_unhex(hex, buf_reserve(path, len), len));
	path->len += len;
}

static struct sigv4_pair split(char *text, char at)
{
	char *cut = strchr(text, at);
	assert_non_null(cut);
	*cut = 0;
	return (struct sigv4_pair){text, cut + 1};
}

static void read_line(struct vector *vector, const char *name, char *value)
{
	const struct {
		const char *name;
		const char **field;
	} fields[] = {{"method", &vector->method}, {"payload-sha256", &vector->hash},
	              {"time", &vector->time},     {"region", &vector->region},
	              {"id", &vector->id},         {"secret", &vector->secret}};
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
		if (strcmp(name, fields[i].name) == 0)
			*fields[i].field = value;
	}
	if (strcmp(name, "path") == 0)
		buf_append_str(&vector->path, value);
	else if (strcmp(name, "path-hex") == 0)
		set_path_hex(&vector->path, value);
	else if (strcmp(name, "query") == 0)
		vector->query[vector->n_query++] = split(value, '=');
	else if (strcmp(name, "header") == 0)
		vector->headers[vector->n_headers++] = split(value, ':');
}

static void vector_read(const char *name, struct vector *vector)
{
	read_case(name, "request.txt", &vector->file);
	buf_append_byte(&vector->file, 0);
	char *next = (char *)vector->file.data;
	for (char *line; (line = strsep(&next, "\n")) && *line;) {
		char *colon = strstr(line, ": ");
		assert_non_null(colon);
		*colon = 0;
		read_line(vector, line, colon + 2);
	}
}

/* What the token does. */
static enum err_code date_key(void *user, const char *yyyymmdd, uint8_t out[32], struct err *err)
{
	(void)err;
	autofree char *key = xasprintf("AWS4%s", (const char *)user);
	unsigned len = 32;
	HMAC(EVP_sha256(), key, (int)strlen(key), (const uint8_t *)yyyymmdd, strlen(yyyymmdd), out, &len);
	return ERR_OK;
}

static void expect_stage(const char *name, const char *file, struct buf *text)
{
	autobuf struct buf expected = {0};
	read_case(name, file, &expected);
	assert_string_equal(buf_cstr(text), buf_cstr(&expected));
}

static void check_case(const char *name)
{
	struct vector vector = {0};
	vector_read(name, &vector);
	struct sigv4_request request = {vector.method,  buf_span(&vector.path), vector.query, vector.n_query,
	                                vector.headers, vector.n_headers,       vector.hash};
	struct sigv4_scope scope = {vector.time, vector.region, "s3", NULL};
	autobuf struct buf canonical = {0}, to_sign = {0}, names = {0}, signature = {0}, authorization = {0};
	sigv4_canonical_request(&request, &canonical);
	expect_stage(name, "canonical-request.txt", &canonical);
	sigv4_string_to_sign(&scope, buf_span(&canonical), &to_sign);
	expect_stage(name, "string-to-sign.txt", &to_sign);

	struct s3_credentials credentials = {vector.id, date_key, (void *)vector.secret};
	struct day_key key;
	struct err err = {0};
	char hex[65];
	day_key_init(&key, &credentials);
	assert_ok(day_key_sign(&key, &scope, buf_span(&to_sign), hex, &err), err);
	day_key_done(&key);
	buf_append_str(&signature, hex);
	expect_stage(name, "signature.txt", &signature);
	sigv4_signed_headers(&request, &names);
	sigv4_authorization(&scope, vector.id, buf_cstr(&names), hex, &authorization);
	expect_stage(name, "authorization.txt", &authorization);
	buf_done(&vector.file);
	buf_done(&vector.path);
}

static void test_aws_get_object(void **state)
{
	(void)state;
	check_case("aws-get-object");
}

static void test_aws_put_object(void **state)
{
	(void)state;
	check_case("aws-put-object");
}

static void test_aws_get_lifecycle(void **state)
{
	(void)state;
	check_case("aws-get-lifecycle");
}

static void test_aws_list(void **state)
{
	(void)state;
	check_case("aws-list");
}

static void test_hostile_keys(void **state)
{
	(void)state;
	static const char *const cases[] = {"space",          "plus",        "equals",  "percent", "dot-dot",
	                                    "double-slash",   "punctuation", "control", "utf8",    "utf8-unnormalised",
	                                    "utf8-1024-bytes"};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		autofree char *name = xasprintf("key-%s", cases[i]);
		check_case(name);
	}
}

static void test_headers_with_blanks_and_empty_values(void **state)
{
	(void)state;
	check_case("put-metadata");
}

static void test_query_order(void **state)
{
	(void)state;
	check_case("query-order");
}

static void test_multipart_complete(void **state)
{
	(void)state;
	check_case("multipart-complete");
}

static void test_encode_keeps_or_escapes_slashes(void **state)
{
	(void)state;
	autobuf struct buf kept = {0}, escaped = {0};
	sigv4_encode(span_str("a/b~c d"), true, &kept);
	sigv4_encode(span_str("a/b~c d"), false, &escaped);
	assert_string_equal(buf_cstr(&kept), "a/b~c%20d");
	assert_string_equal(buf_cstr(&escaped), "a%2Fb~c%20d");
}

static void test_one_byte_changes_the_signature(void **state)
{
	(void)state;
	uint8_t key[32] = {1};
	char one[65], other[65];
	sigv4_signature(key, span_str("a"), one);
	sigv4_signature(key, span_str("b"), other);
	assert_string_not_equal(one, other);
	key[31] ^= 1;
	sigv4_signature(key, span_str("a"), other);
	assert_string_not_equal(one, other);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_aws_get_object), cmocka_unit_test(test_aws_put_object),
             cmocka_unit_test(test_aws_get_lifecycle), cmocka_unit_test(test_aws_list),
             cmocka_unit_test(test_hostile_keys), cmocka_unit_test(test_headers_with_blanks_and_empty_values),
             cmocka_unit_test(test_query_order), cmocka_unit_test(test_multipart_complete),
             cmocka_unit_test(test_encode_keeps_or_escapes_slashes),
             cmocka_unit_test(test_one_byte_changes_the_signature))
