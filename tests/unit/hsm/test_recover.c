/* A token that forgets us: sessions, login or handles go stale under a running process. */
#include <sched.h>

#include "hsm/internal.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

static struct softhsm token;
static struct hsm *hsm;
static struct hsm_key *ec, *kek;
static struct err err;

static int setup(void **state)
{
	(void)state;
	softhsm_setup(&token, "forgetful");
	struct hsm_options options = softhsm_options(&token, "pkcs11:token=forgetful");
	options.timeout_ms = 10000;
	if (hsm_open(&options, &hsm, &err) != ERR_OK || hsm_generate_ec(hsm, "ec", &err) != ERR_OK ||
	    hsm_generate_aes(hsm, "kek", &err) != ERR_OK)
		return -1;
	return hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=ec", &ec, &err) == ERR_OK &&
	               hsm_key_find(hsm, HSM_KEY_AES, "pkcs11:object=kek", &kek, &err) == ERR_OK
	           ? 0
	           : -1;
}

static int teardown(void **state)
{
	(void)state;
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}

static void log_out(void)
{
	assert_int_equal(hsm->module->C_Logout(hsm->login->handle), CKR_OK);
}

static enum err_code try_sign(void)
{
	uint8_t digest[32] = {3};
	autobuf struct buf sig = {0};
	enum err_code code = hsm_sign(ec, digest, &sig, &err);
	assert_true(code != ERR_OK || hsm_spki_verify(hsm_key_spki(ec), digest, buf_span(&sig)));
	return code;
}

static void test_logged_out(void **state)
{
	(void)state;
	autosecret struct secret *plain = secret_new(32), *back = NULL;
	autobuf struct buf wrapped = {0};
	log_out();
	assert_ok(try_sign(), err);
	log_out();
	assert_ok(hsm_wrap(kek, span_str("x"), plain, &wrapped, &err), err);
	log_out();
	assert_ok(hsm_unwrap(kek, span_str("x"), buf_span(&wrapped), &back, &err), err);
	log_out();
	assert_ok(hsm_check(hsm, &err), err);
}

/* Private objects cannot be seen while logged out: that must not pass for an empty token. */
static void test_logged_out_token_is_not_an_empty_one(void **state)
{
	(void)state;
	struct hsm_key *again = NULL;
	log_out();
	assert_err(hsm_generate_aes(hsm, "kek", &err), ERR_EXISTS);
	log_out();
	assert_ok(hsm_key_find(hsm, HSM_KEY_AES, "pkcs11:object=kek", &again, &err), err);
	assert_ptr_equal(again, kek);
}

static void test_all_sessions_closed(void **state)
{
	(void)state;
	assert_int_equal(hsm->module->C_CloseAllSessions(hsm->slot), CKR_OK);
	assert_ok(try_sign(), err);
	assert_int_equal(hsm->module->C_CloseAllSessions(hsm->slot), CKR_OK);
	assert_ok(hsm_check(hsm, &err), err);
	assert_ok(try_sign(), err);
}

static void test_stale_handle_only(void **state)
{
	(void)state;
	ec->handle = 123456;
	assert_ok(try_sign(), err);
	assert_int_not_equal(ec->handle, 123456);
}

static void test_operation_left_active(void **state)
{
	(void)state;
	struct hsm_session *session = NULL;
	CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
	assert_ok(hsm_pool_take(hsm, hsm_deadline(hsm), &session, &err), err);
	assert_int_equal(hsm->module->C_SignInit(session->handle, &mechanism, ec->handle), CKR_OK);
	hsm_pool_give_back(session);
	assert_ok(try_sign(), err);
}

static void test_refused_pin_is_not_sent_again(void **state)
{
	(void)state;
	softhsm_write(token.pin_path, "00000000\n", 0400);
	log_out();
	assert_err(try_sign(), ERR_UNAVAILABLE);
	assert_int_equal(err.native, CKR_PIN_INCORRECT);
	/* Even when the file is right by now: that is for a person to decide. */
	softhsm_write(token.pin_path, SOFTHSM_PIN "\n", 0400);
	assert_err(try_sign(), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "not sent again"));
	assert_err(hsm_check(hsm, &err), ERR_UNAVAILABLE);
}

static void test_pin_file_gone_and_back(void **state)
{
	(void)state;
	assert_int_equal(unlink(token.pin_path), 0);
	log_out();
	assert_err(try_sign(), ERR_UNAVAILABLE);
	softhsm_write(token.pin_path, SOFTHSM_PIN "\n", 0400);
	assert_ok(try_sign(), err);
}

static void test_typed_pin_is_not_asked_for_again(void **state)
{
	(void)state;
	free(hsm->pin_source);
	hsm->pin_source = xstrdup("prompt");
	log_out();
	assert_err(try_sign(), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "restart"));
}

/* Nor by the thread that brings a lost token back. */
static void test_typed_pin_is_not_asked_for_by_the_keeper(void **state)
{
	(void)state;
	free(hsm->pin_source);
	hsm->pin_source = xstrdup("prompt");
	hsm_keeper_open(hsm, &(struct err){.text = "a test"});
	int64_t until = clock_monotonic_us() + 60000000;
	do
		assert_err(hsm_check(hsm, &err), ERR_UNAVAILABLE);
	while (!strstr(err.text, "restart") && clock_monotonic_us() < until);
	assert_non_null(strstr(err.text, "restart"));
}

static void destroy(const struct hsm_key *key)
{
	struct hsm_session *session = NULL;
	assert_ok(hsm_pool_take(hsm, hsm_deadline(hsm), &session, &err), err);
	assert_int_equal(hsm->module->C_DestroyObject(session->handle, key->handle), CKR_OK);
	hsm_pool_give_back(session);
}

static void test_key_gone(void **state)
{
	(void)state;
	destroy(kek);
	autosecret struct secret *plain = secret_new(32);
	autobuf struct buf wrapped = {0};
	assert_err(hsm_wrap(kek, span_str("x"), plain, &wrapped, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "\"kek\""));
	/* Is it still our token? The keeper looks, and lets the other key go on. */
	while (atomic_load(&hsm->keeper.open))
		sched_yield();
	assert_ok(try_sign(), err);
	assert_err(hsm_check(hsm, &err), ERR_UNAVAILABLE);
	assert_err(hsm_wrap(kek, span_str("x"), plain, &wrapped, &err), ERR_UNAVAILABLE);
	assert_ok(try_sign(), err);
}

/* A new key under the old name has another id: it must not slip into the old one's place. */
static void test_key_replaced(void **state)
{
	(void)state;
	destroy(kek);
	assert_ok(hsm_generate_aes(hsm, "kek", &err), err);
	autosecret struct secret *plain = secret_new(32);
	autobuf struct buf wrapped = {0};
	assert_err(hsm_wrap(kek, span_str("x"), plain, &wrapped, &err), ERR_UNAVAILABLE);
	assert_int_equal(wrapped.len, 0);
}

static void test_token_directory_gone(void **state)
{
	(void)state;
	autofree char *away = xasprintf("mv %s/tokens %s/away", token.dir, token.dir);
	autofree char *back = xasprintf("mv %s/away %s/tokens", token.dir, token.dir);
	softhsm_run(away);
	assert_err(try_sign(), ERR_UNAVAILABLE);
	assert_err(hsm_check(hsm, &err), ERR_UNAVAILABLE);
	softhsm_run(back);
	int64_t until = clock_monotonic_us() + 60000000;
	while (hsm_check(hsm, &err) != ERR_OK)
		assert_true(clock_monotonic_us() < until);
	assert_ok(try_sign(), err);
}

static void test_what_return_values_mean(void **state)
{
	(void)state;
	assert_int_equal(hsm_rv_code(CKR_DEVICE_ERROR), ERR_UNAVAILABLE);
	assert_int_equal(hsm_rv_code(CKR_VENDOR_DEFINED | 5), ERR_UNAVAILABLE);
	assert_int_equal(hsm_rv_code(CKR_PIN_LOCKED), ERR_DENIED);
	assert_string_equal(hsm_rv_name(CKR_DEVICE_ERROR), "CKR_DEVICE_ERROR");
	assert_non_null(hsm_rv_name(CKR_VENDOR_DEFINED | 5));
	assert_int_equal(hsm_rv_class(CKR_SESSION_HANDLE_INVALID), HSM_FRESH);
	assert_int_equal(hsm_rv_class(CKR_USER_NOT_LOGGED_IN), HSM_LOGIN);
	assert_int_equal(hsm_rv_class(CKR_KEY_HANDLE_INVALID), HSM_LOGIN);
	assert_int_equal(hsm_rv_class(CKR_FUNCTION_FAILED), HSM_BACKOFF);
	assert_int_equal(hsm_rv_class(CKR_VENDOR_DEFINED | 5), HSM_BACKOFF);
	assert_int_equal(hsm_rv_class(CKR_DEVICE_REMOVED), HSM_LOST);
	assert_int_equal(hsm_rv_class(CKR_PIN_LOCKED), HSM_PIN);
	assert_int_equal(hsm_rv_class(CKR_MECHANISM_INVALID), HSM_NEVER);
	assert_err(hsm_rv_fail(&err, CKR_MECHANISM_INVALID, "C_SignInit"), ERR_UNIMPLEMENTED);
	assert_string_equal(err.text, "C_SignInit: CKR_MECHANISM_INVALID (0x70)");
	assert_int_equal(err.native, 0x70);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_logged_out),
             cmocka_unit_test(test_logged_out_token_is_not_an_empty_one), cmocka_unit_test(test_all_sessions_closed),
             cmocka_unit_test(test_stale_handle_only), cmocka_unit_test(test_operation_left_active),
             cmocka_unit_test(test_refused_pin_is_not_sent_again), cmocka_unit_test(test_pin_file_gone_and_back),
             cmocka_unit_test(test_typed_pin_is_not_asked_for_again),
             cmocka_unit_test(test_typed_pin_is_not_asked_for_by_the_keeper), cmocka_unit_test(test_key_gone),
             cmocka_unit_test(test_key_replaced), cmocka_unit_test(test_token_directory_gone),
             cmocka_unit_test(test_what_return_values_mean))
