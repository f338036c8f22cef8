/* Opening a token: what is refused and why; sessions; health. */
#include "hsm/internal.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

static struct softhsm token;
static struct err err;

static int setup(void **state)
{
	(void)state;
	softhsm_setup(&token, "gatekeeper");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	softhsm_teardown(&token);
	return 0;
}

static struct hsm_options good(void)
{
	return softhsm_options(&token, "pkcs11:token=gatekeeper");
}

static void expect_refusal(struct hsm_options options, enum err_code code, const char *text)
{
	struct hsm *hsm = NULL;
	err.text[0] = 0;
	assert_err(hsm_open(&options, &hsm, &err), code);
	assert_null(hsm);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void test_open_check_free(void **state)
{
	(void)state;
	struct hsm *hsm = NULL;
	struct hsm_options options = good();
	assert_ok(hsm_open(&options, &hsm, &err), err);
	assert_ok(hsm_check(hsm, &err), err);
	struct hsm_token_info info;
	hsm_token_info(hsm, &info);
	assert_string_equal(info.label, "gatekeeper");
	assert_string_equal(info.manufacturer, "SoftHSM project");
	assert_string_equal(info.model, "SoftHSM v2");
	assert_int_equal(strlen(info.serial), 16);
	assert_int_equal(hsm_sessions_open(hsm), 2);
	hsm_free(hsm);
	hsm_free(NULL);
}

static void test_open_twice_in_one_process(void **state)
{
	(void)state;
	softhsm_add_token("vendor");
	struct hsm *a = NULL, *b = NULL, *c = NULL;
	struct hsm_options options = good(), vendor = softhsm_options(&token, "pkcs11:token=vendor");
	assert_ok(hsm_open(&options, &a, &err), err);
	assert_ok(hsm_open(&vendor, &b, &err), err);
	assert_ok(hsm_open(&options, &c, &err), err);
	assert_ok(hsm_generate_aes(a, "of-a", &err), err);
	struct hsm_key *key = NULL;
	assert_ok(hsm_key_find(c, HSM_KEY_AES, "pkcs11:object=of-a", &key, &err), err);
	assert_err(hsm_key_find(b, HSM_KEY_AES, "pkcs11:object=of-a", &key, &err), ERR_NOT_FOUND);
	hsm_free(a);
	/* The one that closed took neither the module nor the login with it. */
	assert_ok(hsm_check(b, &err), err);
	assert_ok(hsm_check(c, &err), err);
	hsm_free(b);
	hsm_free(c);
}

static void test_module_refused(void **state)
{
	(void)state;
	struct hsm_options options = good();
	options.module = NULL;
	expect_refusal(options, ERR_INVALID, "absolute path");
	options.module = "libsofthsm2.so";
	expect_refusal(options, ERR_INVALID, "absolute path");
	options.module = "/nonexistent/module.so";
	expect_refusal(options, ERR_NOT_FOUND, "/nonexistent/module.so");
	options.module = "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"; /* a library, but no PKCS#11 module */
	expect_refusal(options, ERR_NOT_FOUND, "not a PKCS#11 module");
}

static void test_module_that_does_not_start(void **state)
{
	(void)state;
	setenv("SOFTHSM2_CONF", "/nonexistent/softhsm2.conf", 1);
	expect_refusal(good(), ERR_UNAVAILABLE, "C_Initialize");
	/* Not remembered: a cluster that was not up yet may be later. */
	autofree char *conf = xasprintf("%s/softhsm2.conf", token.dir);
	setenv("SOFTHSM2_CONF", conf, 1);
	struct hsm *hsm = NULL;
	struct hsm_options options = good();
	assert_ok(hsm_open(&options, &hsm, &err), err);
	hsm_free(hsm);
}

static void test_token_refused(void **state)
{
	(void)state;
	struct hsm_options options = good();
	options.token = NULL;
	expect_refusal(options, ERR_INVALID, "token");
	options.token = "gatekeeper";
	expect_refusal(options, ERR_INVALID, "RFC 7512");
	options.token = "pkcs11:token=elsewhere";
	expect_refusal(options, ERR_NOT_FOUND, "elsewhere");
	options.token = "pkcs11:token=gatekeeper;colour=red";
	expect_refusal(options, ERR_INVALID, "nobody knows");
	options.token = "pkcs11:token=gatekeeper;object=key";
	expect_refusal(options, ERR_INVALID, "must not name an object");
	options.token = "pkcs11:token=gatekeeper?module-path=/tmp/x.so";
	expect_refusal(options, ERR_INVALID, "module");
	options.token = "pkcs11:model=SoftHSM%20v2"; /* the fresh slot that SoftHSM offers is one more */
	expect_refusal(options, ERR_INVALID, "names 2 tokens");
}

static void test_pin_in_uri_is_refused_and_not_repeated(void **state)
{
	(void)state;
	struct hsm_options options = good();
	options.token = "pkcs11:token=gatekeeper?pin-value=" SOFTHSM_PIN;
	expect_refusal(options, ERR_INVALID, "must not hold a PIN");
	assert_null(strstr(err.text, SOFTHSM_PIN));
	options.token = "pkcs11:token=gatekeeper?pin-source=file:/etc/pin";
	expect_refusal(options, ERR_INVALID, "must not hold a PIN");
}

static void test_wrong_pin(void **state)
{
	(void)state;
	struct hsm_options options = good();
	softhsm_write(token.pin_path, "11111111\n", 0400);
	expect_refusal(options, ERR_DENIED, "CKR_PIN_INCORRECT");
	assert_int_equal(err.native, CKR_PIN_INCORRECT);
	assert_null(strstr(err.text, "11111111"));
	options.pin_source = NULL;
	expect_refusal(options, ERR_INVALID, "pin source");
	options.pin_source = "12345678";
	expect_refusal(options, ERR_INVALID, "must be file:");
	assert_null(strstr(err.text, "12345678"));
}

static void test_session_limit_too_small(void **state)
{
	(void)state;
	struct hsm_options options = good();
	options.max_sessions = 1;
	expect_refusal(options, ERR_INVALID, "two sessions");
}

static void test_unknown_iv_mode(void **state)
{
	(void)state;
	struct hsm_options options = good();
	options.gcm_iv = (enum hsm_gcm_iv)7;
	expect_refusal(options, ERR_INVALID, "IV mode");
}

static void test_random(void **state)
{
	(void)state;
	struct hsm *hsm = NULL;
	struct hsm_options options = good();
	assert_ok(hsm_open(&options, &hsm, &err), err);
	uint8_t bytes[5000] = {0}, zero[8] = {0};
	assert_ok(hsm_random(hsm, bytes, 4096 + 7, &err), err);
	for (size_t i = 0; i + 8 < 4096 + 7; i += 512) /* every piece was filled */
		assert_memory_not_equal(bytes + i, zero, 8);
	for (size_t i = 4096 + 7; i < sizeof bytes; i++)
		assert_int_equal(bytes[i], 0);
	assert_ok(hsm_random(hsm, bytes, 0, &err), err);
	hsm_free(hsm);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_open_check_free), cmocka_unit_test(test_open_twice_in_one_process),
             cmocka_unit_test(test_module_refused), cmocka_unit_test(test_module_that_does_not_start),
             cmocka_unit_test(test_token_refused), cmocka_unit_test(test_pin_in_uri_is_refused_and_not_repeated),
             cmocka_unit_test(test_wrong_pin), cmocka_unit_test(test_session_limit_too_small),
             cmocka_unit_test(test_unknown_iv_mode), cmocka_unit_test(test_random))
