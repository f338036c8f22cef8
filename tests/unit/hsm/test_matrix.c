/* What our engine needs, on each of three modules. The lines "cell: NEED: RESULT" are what tools/token-matrix.sh makes
 * a table of. */
#include "tests/unit/hsm/tokens.h"

static struct token token;
static struct err err;

static void cell(const char *need, const char *result)
{
	printf("cell: %s: %s\n", need, result);
	fflush(stdout);
}

static void expect(const char *need, enum err_code got, enum err_code expected)
{
	cell(need, got == expected ? "ok" : err.text);
	assert_err(got, expected);
}

static void provisioning(void)
{
	struct hsm_options options = token_options(&token);
	expect("open, log in, self-test", hsm_open(&options, &token.hsm, &err), ERR_OK);
	autosecret struct secret *value = secret_from(span_str("0123456789abcdef0123456789abcdef"));
	expect("make P-256", hsm_generate_ec(token.hsm, "ec", &err), ERR_OK);
	expect("make AES-256", hsm_generate_aes(token.hsm, "kek", &err), ERR_OK);
	expect("import HMAC secret", hsm_import_hmac(token.hsm, "mac", value, &err), ERR_OK);
	expect("a label is used once", hsm_generate_ec(token.hsm, "ec", &err), ERR_EXISTS);
	expect("find keys, self-tests", token_find_keys(&token, &err), ERR_OK);
}

static void wrong_bytes(void)
{
	autobuf struct buf wrapped = {0};
	autosecret struct secret *plain = secret_new(32), *back = NULL;
	assert_ok(hsm_wrap(token.kek, span_str("aad"), plain, &wrapped, &err), err);
	wrapped.data[20] ^= 1;
	expect("tampered bytes are corrupt", hsm_unwrap(token.kek, span_str("aad"), buf_span(&wrapped), &back, &err),
	       ERR_CORRUPT);
	wrapped.data[20] ^= 1;
	expect("another AAD is corrupt", hsm_unwrap(token.kek, span_str("bbd"), buf_span(&wrapped), &back, &err),
	       ERR_CORRUPT);
	expect("untouched bytes are sound", hsm_unwrap(token.kek, span_str("aad"), buf_span(&wrapped), &back, &err),
	       ERR_OK);
}

/* Sessions closed and logged out under us, and the module finalised: the ways back. */
static void ways_back(void)
{
	assert_int_equal(token.hsm->module->C_Logout(token.hsm->login->handle), CKR_OK);
	expect("after a logout", token_use(&token, &err), ERR_OK);
	assert_int_equal(token.hsm->module->C_CloseAllSessions(token.hsm->slot), CKR_OK);
	expect("after all sessions closed", token_use(&token, &err), ERR_OK);
	hsm_keeper_open(token.hsm, &(struct err){.text = "a test"});
	expect("refused while out of order", token_use(&token, &err), ERR_UNAVAILABLE);
	int64_t until = clock_monotonic_us() + PATIENCE_US;
	enum err_code code;
	while ((code = hsm_check(token.hsm, &err)) != ERR_OK && clock_monotonic_us() < until)
		usleep(1000);
	expect("initialised anew by itself", code, ERR_OK);
	expect("in use again", token_use(&token, &err), ERR_OK);
}

struct user {
	pthread_t thread;
	struct err err;
};

static void *use_many(void *arg)
{
	struct user *user = (struct user *)arg;
	enum err_code code = ERR_OK;
	for (unsigned i = 0; i < token.rounds && code == ERR_OK; i++)
		code = token_use(&token, &user->err);
	user->err.code = code;
	return NULL;
}

static void many_threads(void)
{
	static struct user users[32];
	token.hsm->timeout_ms = 60000; /* it is about being right */
	for (int i = 0; i < 32; i++)
		assert_int_equal(pthread_create(&users[i].thread, NULL, use_many, &users[i]), 0);
	const struct err *wrong = NULL;
	for (int i = 0; i < 32; i++) {
		pthread_join(users[i].thread, NULL);
		if (users[i].err.code != ERR_OK)
			wrong = &users[i].err;
	}
	cell("32 threads on 16 sessions", wrong ? wrong->text : "ok");
	token.hsm->timeout_ms = 5000;
	assert_true(!wrong && hsm_sessions_open(token.hsm) <= 16);
}

static void everything(void)
{
	provisioning();
	expect("sign, HMAC, wrap, random", token_use(&token, &err), ERR_OK);
	wrong_bytes();
	many_threads();
	ways_back();
	hsm_free(token.hsm);
	/* Another life of the process: other handles, the same keys. */
	struct hsm_options options = token_options(&token);
	assert_ok(hsm_open(&options, &token.hsm, &err), err);
	expect("keys found after a restart", token_find_keys(&token, &err), ERR_OK);
	hsm_free(token.hsm);
	softhsm_teardown(&token.softhsm);
}

static void test_softhsm(void **state)
{
	(void)state;
	token_softhsm(&token);
	everything();
}

static void test_cloudhsm(void **state)
{
	(void)state;
	token_cloudhsm(&token);
	everything();
}

static void test_nss(void **state)
{
	(void)state;
	if (!token_nss(&token)) {
		fprintf(stderr, "%s is not installed\n", NSS_MODULE);
		exit(77);
	}
	everything();
}

/* Two lines of the configuration: with only one of them changed the token is refused, and says why. */
static void test_cloudhsm_with_the_wrong_iv_mode(void **state)
{
	(void)state;
	token_cloudhsm(&token);
	struct hsm_options options = token_options(&token);
	options.gcm_iv = HSM_GCM_IV_CALLER;
	assert_ok(hsm_open(&options, &token.hsm, &err), err);
	assert_ok(hsm_generate_aes(token.hsm, "kek", &err), err);
	assert_err(hsm_key_find(token.hsm, HSM_KEY_AES, "pkcs11:object=kek", &token.kek, &err), ERR_UNIMPLEMENTED);
	assert_non_null(strstr(err.text, "CKR_MECHANISM_PARAM_INVALID"));
	hsm_free(token.hsm);
	softhsm_teardown(&token.softhsm);
}

static void test_softhsm_with_the_wrong_iv_mode(void **state)
{
	(void)state;
	token_softhsm(&token);
	token.gcm_iv = HSM_GCM_IV_TOKEN;
	struct hsm_options options = token_options(&token);
	assert_ok(hsm_open(&options, &token.hsm, &err), err);
	assert_ok(hsm_generate_aes(token.hsm, "kek", &err), err);
	assert_err(hsm_key_find(token.hsm, HSM_KEY_AES, "pkcs11:object=kek", &token.kek, &err), ERR_PRECONDITION);
	assert_non_null(strstr(err.text, "stayed zero"));
	hsm_free(token.hsm);
	softhsm_teardown(&token.softhsm);
}

static void test_cloudhsm_throttles(void **state)
{
	(void)state;
	setenv("P11SHIM_RATE", "400", 1);
	token_cloudhsm(&token);
	assert_ok(token_open(&token, &err), err);
	for (int i = 0; i < 100; i++)
		assert_ok(token_use(&token, &err), err);
	hsm_free(token.hsm);
	softhsm_teardown(&token.softhsm);
}

static void test_cloudhsm_with_few_sessions(void **state)
{
	(void)state;
	setenv("P11SHIM_SESSIONS", "5", 1);
	token_cloudhsm(&token);
	assert_ok(token_open(&token, &err), err);
	many_threads();
	assert_true(hsm_sessions_open(token.hsm) <= 5);
	hsm_free(token.hsm);
	softhsm_teardown(&token.softhsm);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_softhsm), cmocka_unit_test(test_cloudhsm), cmocka_unit_test(test_nss),
             cmocka_unit_test(test_cloudhsm_with_the_wrong_iv_mode),
             cmocka_unit_test(test_softhsm_with_the_wrong_iv_mode), cmocka_unit_test(test_cloudhsm_throttles),
             cmocka_unit_test(test_cloudhsm_with_few_sessions))
