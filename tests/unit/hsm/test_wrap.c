/* Wrapping under a key in the token. */
#include "hsm/internal.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

static struct softhsm token;
static struct hsm *hsm;
static struct hsm_key *kek;
static struct err err;

static int setup(void **state)
{
	(void)state;
	softhsm_setup(&token, "wrapper");
	struct hsm_options options = softhsm_options(&token, "pkcs11:token=wrapper");
	if (hsm_open(&options, &hsm, &err) != ERR_OK || hsm_generate_aes(hsm, "kek", &err) != ERR_OK)
		return -1;
	return hsm_key_find(hsm, HSM_KEY_AES, "pkcs11:object=kek", &kek, &err) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}

static struct secret *sample(size_t len)
{
	struct secret *plain = secret_new(len);
	for (size_t i = 0; i < len; i++)
		secret_bytes(plain)[i] = (uint8_t)(i * 7 + 1);
	return plain;
}

static void test_round_trip(void **state)
{
	(void)state;
	const size_t sizes[] = {1, 15, 16, 32, 4096};
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		autosecret struct secret *plain = sample(sizes[i]);
		autosecret struct secret *back = NULL;
		autobuf struct buf out = {0};
		buf_append_str(&out, "kept");
		assert_ok(hsm_wrap(kek, span_str("context"), plain, &out, &err), err);
		assert_int_equal(out.len, 4 + 12 + sizes[i] + 16);
		assert_memory_equal(out.data, "kept", 4);
		assert_ok(hsm_unwrap(kek, span_str("context"), span_of(out.data + 4, out.len - 4), &back, &err), err);
		assert_true(secret_eq(plain, back));
	}
}

static void test_empty_context(void **state)
{
	(void)state;
	autosecret struct secret *plain = sample(32), *back = NULL;
	autobuf struct buf out = {0};
	assert_ok(hsm_wrap(kek, span_of(NULL, 0), plain, &out, &err), err);
	assert_ok(hsm_unwrap(kek, span_of(NULL, 0), buf_span(&out), &back, &err), err);
	assert_true(secret_eq(plain, back));
}

static void test_every_flipped_byte_is_noticed(void **state)
{
	(void)state;
	autosecret struct secret *plain = sample(32);
	autobuf struct buf out = {0};
	assert_ok(hsm_wrap(kek, span_str("context"), plain, &out, &err), err);
	for (size_t i = 0; i < out.len; i++) {
		struct secret *back = NULL;
		out.data[i] ^= 0x20;
		assert_err(hsm_unwrap(kek, span_str("context"), buf_span(&out), &back, &err), ERR_CORRUPT);
		assert_null(back);
		out.data[i] ^= 0x20;
	}
	/* The token is none the worse for it. */
	autosecret struct secret *back = NULL;
	assert_ok(hsm_unwrap(kek, span_str("context"), buf_span(&out), &back, &err), err);
}

static void test_other_context_key_or_length(void **state)
{
	(void)state;
	struct hsm_key *other = NULL;
	struct secret *back = NULL;
	autosecret struct secret *plain = sample(32);
	autobuf struct buf out = {0};
	assert_ok(hsm_generate_aes(hsm, "other", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_AES, "pkcs11:object=other", &other, &err), err);
	assert_ok(hsm_wrap(kek, span_str("context"), plain, &out, &err), err);
	assert_err(hsm_unwrap(kek, span_str("contexT"), buf_span(&out), &back, &err), ERR_CORRUPT);
	assert_err(hsm_unwrap(kek, span_of(NULL, 0), buf_span(&out), &back, &err), ERR_CORRUPT);
	assert_err(hsm_unwrap(other, span_str("context"), buf_span(&out), &back, &err), ERR_CORRUPT);
	for (size_t len = 0; len < out.len; len++)
		assert_err(hsm_unwrap(kek, span_str("context"), span_of(out.data, len), &back, &err), ERR_CORRUPT);
	assert_null(back);
}

static void test_limits(void **state)
{
	(void)state;
	struct secret *back = NULL;
	autosecret struct secret *big = sample(4097), *plain = sample(32);
	static uint8_t long_aad[4097], long_wrapped[12 + 4097 + 16];
	autobuf struct buf out = {0}, tiny = {.max = 40};
	assert_err(hsm_wrap(kek, span_str("context"), big, &out, &err), ERR_INVALID);
	assert_err(hsm_wrap(kek, span_of(long_aad, sizeof long_aad), plain, &out, &err), ERR_INVALID);
	assert_err(hsm_unwrap(kek, span_str("x"), span_of(long_wrapped, sizeof long_wrapped), &back, &err), ERR_INVALID);
	assert_err(hsm_wrap(kek, span_str("context"), plain, &tiny, &err), ERR_EXHAUSTED);
	assert_int_equal(out.len, 0);
}

static void test_only_aes_keys_wrap(void **state)
{
	(void)state;
	struct hsm_key *ec = NULL;
	struct secret *back = NULL;
	autosecret struct secret *plain = sample(32);
	autobuf struct buf out = {0};
	uint8_t wrapped[60] = {0};
	assert_ok(hsm_generate_ec(hsm, "ec", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=ec", &ec, &err), err);
	assert_err(hsm_wrap(ec, span_str("x"), plain, &out, &err), ERR_INVALID);
	assert_err(hsm_unwrap(ec, span_str("x"), span_of(wrapped, sizeof wrapped), &back, &err), ERR_INVALID);
}

static int compare_ivs(const void *a, const void *b)
{
	return memcmp(a, b, 12);
}

static void test_ivs_do_not_repeat(void **state)
{
	(void)state;
	enum { N = 2000 };
	static uint8_t ivs[N][12];
	autosecret struct secret *plain = sample(32);
	for (int i = 0; i < N; i++) {
		autobuf struct buf out = {0};
		assert_ok(hsm_wrap(kek, span_str("context"), plain, &out, &err), err);
		memcpy(ivs[i], out.data, 12);
	}
	qsort(ivs, N, sizeof ivs[0], compare_ivs);
	for (int i = 1; i < N; i++)
		assert_memory_not_equal(ivs[i - 1], ivs[i], 12);
}

/* SoftHSM leaves an IV of zeros as it is: a configuration that expects the token to make it must not start. */
static void test_token_that_makes_no_iv(void **state)
{
	(void)state;
	struct hsm *expecting = NULL;
	struct hsm_key *key = NULL;
	struct hsm_options options = softhsm_options(&token, "pkcs11:token=wrapper");
	options.gcm_iv = HSM_GCM_IV_TOKEN;
	assert_ok(hsm_open(&options, &expecting, &err), err);
	assert_err(hsm_key_find(expecting, HSM_KEY_AES, "pkcs11:object=kek", &key, &err), ERR_PRECONDITION);
	assert_non_null(strstr(err.text, "IV stayed zero"));
	hsm_free(expecting);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_round_trip), cmocka_unit_test(test_empty_context),
             cmocka_unit_test(test_every_flipped_byte_is_noticed), cmocka_unit_test(test_other_context_key_or_length),
             cmocka_unit_test(test_limits), cmocka_unit_test(test_only_aes_keys_wrap),
             cmocka_unit_test(test_ivs_do_not_repeat), cmocka_unit_test(test_token_that_makes_no_iv))
