/* AWS's published example of a presigned URL, to the byte, with the secret in a token.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html */
#include "s3client/sigv4_presign.h"

#include "common/text.h"
#include "hsm/hsm.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

static struct softhsm token;
static struct hsm *hsm;
static struct hsm_key *secret_key;
static struct err err;

static int setup(void **state)
{
	(void)state;
	softhsm_setup(&token, "presign");
	struct hsm_options options = softhsm_options(&token, "pkcs11:token=presign");
	struct secret *secret = secret_new(strlen("AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"));
	memcpy(secret_bytes(secret), "AWS4wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", secret_span(secret).len);
	bool ready = hsm_open(&options, &hsm, &err) == ERR_OK && hsm_import_hmac(hsm, "s3", secret, &err) == ERR_OK &&
	             hsm_key_find(hsm, HSM_KEY_HMAC, "pkcs11:object=s3", &secret_key, &err) == ERR_OK;
	secret_free(secret);
	return ready ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}

static enum err_code date_key(void *user, const char *yyyymmdd, uint8_t out[32], struct err *ret)
{
	return hsm_hmac((struct hsm_key *)user, span_str(yyyymmdd), out, ret);
}

static void presign(const struct sigv4_presign *asked, struct buf *out)
{
	const struct s3_credentials credentials = {asked->access_key_id, date_key, secret_key};
	struct day_key key;
	day_key_init(&key, &credentials);
	assert_ok(sigv4_presign(asked, &key, out, &err), err);
	day_key_done(&key);
}

static const struct sigv4_presign published = {.host = "examplebucket.s3.amazonaws.com",
                                               .path = "/test.txt",
                                               .access_key_id = "AKIAIOSFODNN7EXAMPLE",
                                               .seconds = 86400,
                                               .scope = {"20130524T000000Z", "us-east-1", "s3", NULL}};

static void test_published_example(void **state)
{
	(void)state;
	autobuf struct buf url = {0}, expected = {0};
	assert_ok(text_read_file(TEST_SOURCE_DIR "/vectors/sigv4-presigned/aws-get-object.txt", 4096, &expected, &err),
	          err);
	buf_append_str(&url, "https://examplebucket.s3.amazonaws.com");
	presign(&published, &url);
	buf_append_byte(&url, '\n');
	assert_string_equal(buf_cstr(&url), buf_cstr(&expected));
}

static void test_everything_counts(void **state)
{
	(void)state;
	struct sigv4_presign others[4] = {published, published, published, published};
	others[0].path = "/test.txu";
	others[1].version_id = "v1";
	others[2].token = "temporary+token";
	others[3].seconds = 86399;
	autobuf struct buf first = {0};
	presign(&published, &first);
	for (size_t i = 0; i < 4; i++) {
		autobuf struct buf other = {0};
		presign(&others[i], &other);
		assert_string_not_equal(strstr(buf_cstr(&other), "X-Amz-Signature"),
		                        strstr(buf_cstr(&first), "X-Amz-Signature"));
	}
	autobuf struct buf with_token = {0};
	presign(&others[2], &with_token);
	assert_non_null(strstr(buf_cstr(&with_token), "&X-Amz-Security-Token=temporary%2Btoken&"));
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_published_example), cmocka_unit_test(test_everything_counts))
