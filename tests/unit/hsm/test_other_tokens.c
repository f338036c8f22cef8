/* What other tokens do and SoftHSM does not: SoftHSM with some of its functions replaced. */
#include "hsm/internal.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

static struct softhsm token;
static struct hsm *hsm;
static struct hsm_key *kek;
static CK_FUNCTION_LIST *real, altered;
static struct err err;

static int setup(void **state)
{
	(void)state;
	softhsm_setup(&token, "altered");
	struct hsm_options options = softhsm_options(&token, "pkcs11:token=altered");
	options.max_sessions = 8;
	options.timeout_ms = 60000;
	if (hsm_open(&options, &hsm, &err) != ERR_OK || hsm_generate_aes(hsm, "kek", &err) != ERR_OK)
		return -1;
	real = hsm->module;
	altered = *real;
	hsm->module = &altered;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	hsm->module = real;
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}

static void find_kek(void)
{
	assert_ok(hsm_key_find(hsm, HSM_KEY_AES, "pkcs11:object=kek", &kek, &err), err);
}

/* AWS CloudHSM: takes 12 zero bytes as IV, and writes the one it made there during C_Encrypt. */
static CK_GCM_PARAMS *pending;
static uint8_t made_iv[12];
static bool iv_repeats;

static CK_RV cloud_encrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	static const uint8_t zero[12];
	pending = (CK_GCM_PARAMS *)mechanism->pParameter;
	if (pending->iv_len != 12 || memcmp(pending->iv_ptr, zero, 12) != 0)
		return CKR_ARGUMENTS_BAD;
	if (!iv_repeats || memcmp(made_iv, zero, 12) == 0)
		real->C_GenerateRandom(session, made_iv, sizeof made_iv);
	CK_GCM_PARAMS own = *pending;
	own.iv_ptr = made_iv;
	own.iv_bits = 96;
	CK_MECHANISM forward = {CKM_AES_GCM, &own, sizeof own};
	return real->C_EncryptInit(session, &forward, key);
}

static CK_RV cloud_encrypt(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG data_len, CK_BYTE *out, CK_ULONG *out_len)
{
	memcpy(pending->iv_ptr, made_iv, sizeof made_iv);
	return real->C_Encrypt(session, data, data_len, out, out_len);
}

static void test_token_that_makes_the_iv(void **state)
{
	(void)state;
	hsm->gcm_iv = HSM_GCM_IV_TOKEN;
	altered.C_EncryptInit = cloud_encrypt_init;
	altered.C_Encrypt = cloud_encrypt;
	find_kek();
	autosecret struct secret *plain = secret_new(32), *back = NULL;
	autobuf struct buf wrapped = {0};
	assert_ok(hsm_wrap(kek, span_str("x"), plain, &wrapped, &err), err);
	assert_memory_equal(wrapped.data, made_iv, 12);
	assert_ok(hsm_unwrap(kek, span_str("x"), buf_span(&wrapped), &back, &err), err);
	assert_true(secret_eq(plain, back));
	/* And an IV of ours is refused there. */
	hsm->gcm_iv = HSM_GCM_IV_CALLER;
	assert_err(hsm_wrap(kek, span_str("x"), plain, &wrapped, &err), ERR_INTERNAL);
}

static void test_token_that_repeats_its_iv(void **state)
{
	(void)state;
	hsm->gcm_iv = HSM_GCM_IV_TOKEN;
	iv_repeats = true;
	altered.C_EncryptInit = cloud_encrypt_init;
	altered.C_Encrypt = cloud_encrypt;
	assert_err(hsm_key_find(hsm, HSM_KEY_AES, "pkcs11:object=kek", &kek, &err), ERR_PRECONDITION);
	assert_non_null(strstr(err.text, "same AES-GCM IV"));
}

static CK_RV fail_decrypt(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG data_len, CK_BYTE *out, CK_ULONG *out_len)
{
	(void)session, (void)data, (void)data_len, (void)out, (void)out_len;
	return CKR_FUNCTION_FAILED;
}

/* A token that is out of order must not make sound objects look corrupt. */
static void test_failing_token_is_not_corrupt_data(void **state)
{
	(void)state;
	find_kek();
	autosecret struct secret *plain = secret_new(32), *back = NULL;
	autobuf struct buf wrapped = {0};
	assert_ok(hsm_wrap(kek, span_str("x"), plain, &wrapped, &err), err);
	altered.C_Decrypt = fail_decrypt;
	assert_err(hsm_unwrap(kek, span_str("x"), buf_span(&wrapped), &back, &err), ERR_UNAVAILABLE);
	assert_int_equal(err.native, CKR_FUNCTION_FAILED);
	assert_null(back);
	altered.C_Decrypt = real->C_Decrypt;
	assert_ok(hsm_unwrap(kek, span_str("x"), buf_span(&wrapped), &back, &err), err);
}

static unsigned decrypts_to_fail;

static CK_RV fail_some_decrypts(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG data_len, CK_BYTE *out,
                                CK_ULONG *out_len)
{
	if (decrypts_to_fail > 0 && decrypts_to_fail--)
		return CKR_GENERAL_ERROR;
	return real->C_Decrypt(session, data, data_len, out, out_len);
}

static void test_one_failed_decrypt_is_confirmed_first(void **state)
{
	(void)state;
	find_kek();
	autosecret struct secret *plain = secret_new(32), *back = NULL;
	autobuf struct buf wrapped = {0};
	assert_ok(hsm_wrap(kek, span_str("x"), plain, &wrapped, &err), err);
	altered.C_Decrypt = fail_some_decrypts;
	decrypts_to_fail = 1;
	assert_ok(hsm_unwrap(kek, span_str("x"), buf_span(&wrapped), &back, &err), err);
	assert_int_equal(decrypts_to_fail, 0);
}

static CK_RV no_more_sessions(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                              CK_SESSION_HANDLE *session)
{
	(void)slot, (void)flags, (void)application, (void)notify, (void)session;
	return CKR_SESSION_COUNT;
}

static void *give_back(void *session)
{
	hsm_pool_give_back((struct hsm_session *)session);
	return NULL;
}

/* Fewer sessions than promised: wait for one of ours instead of failing. */
static void test_token_out_of_sessions(void **state)
{
	(void)state;
	struct hsm_session *held = NULL, *got = NULL;
	pthread_t thread;
	assert_ok(hsm_pool_take(hsm, hsm_deadline(hsm), &held, &err), err);
	altered.C_OpenSession = no_more_sessions;
	assert_int_equal(pthread_create(&thread, NULL, give_back, held), 0);
	assert_ok(hsm_pool_take(hsm, hsm_deadline(hsm), &got, &err), err);
	pthread_join(thread, NULL);
	assert_ptr_equal(got, held);
	hsm->timeout_ms = 20;
	assert_err(hsm_pool_take(hsm, hsm_deadline(hsm), &held, &err), ERR_UNAVAILABLE);
	hsm_pool_give_back(got);
	/* With none of ours open there is nothing to wait for. */
	hsm_pool_drop_idle(hsm);
	assert_err(hsm_pool_take(hsm, hsm_deadline(hsm), &held, &err), ERR_UNAVAILABLE);
	assert_int_equal(err.native, CKR_SESSION_COUNT);
}

static CK_FLAGS extra_flags;
static unsigned logins;

static CK_RV flagged_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	CK_RV rv = real->C_GetTokenInfo(slot, info);
	info->flags |= extra_flags;
	return rv;
}

static CK_RV count_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG pin_len)
{
	logins++;
	return real->C_Login(session, user, pin, pin_len);
}

static void test_pin_near_its_lock_is_not_sent(void **state)
{
	(void)state;
	static const CK_FLAGS flags[] = {CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED, CKF_USER_PIN_TO_BE_CHANGED};
	uint8_t byte;
	altered.C_GetTokenInfo = flagged_token_info;
	altered.C_Login = count_login;
	find_kek();
	autosecret struct secret *plain = secret_new(1);
	for (size_t i = 0; i < 3; i++) {
		autobuf struct buf out = {0};
		extra_flags = flags[i];
		real->C_Logout(hsm->login->handle);
		assert_err(hsm_wrap(kek, span_str("x"), plain, &out, &err), ERR_UNAVAILABLE);
		extra_flags = 0;
		assert_ok(hsm_wrap(kek, span_str("x"), plain, &out, &err), err);
	}
	assert_int_equal(logins, 3);
	assert_ok(hsm_random(hsm, &byte, 1, &err), err);
}

static CK_RV constant_random(CK_SESSION_HANDLE session, CK_BYTE *out, CK_ULONG len)
{
	(void)session;
	memset(out, 4, len);
	return CKR_OK;
}

static void test_generator_that_repeats(void **state)
{
	(void)state;
	assert_ok(hsm_selftest_random(hsm, &err), err);
	altered.C_GenerateRandom = constant_random;
	assert_err(hsm_selftest_random(hsm, &err), ERR_UNAVAILABLE);
	assert_err(hsm_key_find(hsm, HSM_KEY_AES, "pkcs11:object=kek", &kek, &err), ERR_PRECONDITION);
}

/* Each error costs a session, which is closed; service goes on with new ones. */
static CK_RV fail_sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG data_len, CK_BYTE *out, CK_ULONG *out_len)
{
	(void)session, (void)data, (void)data_len, (void)out, (void)out_len;
	return CKR_DEVICE_ERROR;
}

static void test_device_errors_do_not_use_up_sessions(void **state)
{
	(void)state;
	struct hsm_key *ec = NULL;
	uint8_t digest[32] = {0};
	autobuf struct buf sig = {0};
	assert_ok(hsm_generate_ec(hsm, "ec", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=ec", &ec, &err), err);
	altered.C_Sign = fail_sign;
	hsm->timeout_ms = 20;
	for (int i = 0; i < 20; i++)
		assert_err(hsm_sign(ec, digest, &sig, &err), ERR_UNAVAILABLE);
	assert_int_equal(err.native, CKR_DEVICE_ERROR);
	assert_int_equal(hsm_sessions_open(hsm), 1);
	hsm->timeout_ms = 60000;
	altered.C_Sign = real->C_Sign;
	assert_ok(hsm_sign(ec, digest, &sig, &err), err);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_token_that_makes_the_iv),
             cmocka_unit_test(test_token_that_repeats_its_iv), cmocka_unit_test(test_failing_token_is_not_corrupt_data),
             cmocka_unit_test(test_one_failed_decrypt_is_confirmed_first), cmocka_unit_test(test_token_out_of_sessions),
             cmocka_unit_test(test_pin_near_its_lock_is_not_sent), cmocka_unit_test(test_generator_that_repeats),
             cmocka_unit_test(test_device_errors_do_not_use_up_sessions))
