/* "Fail the Nth call", for every function that serving uses, each class of error, before and after it was forwarded,
 * until a run in which no fault fired. After each: nothing was wrong, and the token serves again within 5 s. */
#include "tests/unit/hsm/tokens.h"

/* In the long run by itself; in a run of everything the machine is busy with other tests. */
#define RECOVERY_US (getenv("TWOKEY_TORTURE") ? 5000000 : PATIENCE_US)

static struct token token;
static struct err err;

static int setup(void **state)
{
	(void)state;
	token_faulty(&token);
	return token_open(&token, &err) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	token_rules(&token, "");
	hsm_free(token.hsm);
	softhsm_teardown(&token.softhsm);
	return 0;
}

static const struct {
	const char *rv, *when;
} classes[] = {
    {"SESSION_HANDLE_INVALID", ""}, /* A */
    {"USER_NOT_LOGGED_IN", ""},     /* B */
    {"KEY_HANDLE_INVALID", ""},     /* B */
    {"FUNCTION_FAILED", ""},        /* C */
    {"GENERAL_ERROR", "after"},     /* C */
    {"DEVICE_REMOVED", ""},         /* D */
    {"DEVICE_REMOVED", "after"},    /* D */
    {"ARGUMENTS_BAD", ""},          /* E */
};

/* Failing is allowed, wrong answers are not: token_use looks. */
static void use(struct err *ret)
{
	if (token_use(&token, ret) == ERR_OK)
		ret->text[0] = 0;
}

static enum err_code call_logout(struct hsm_session *session, CK_OBJECT_HANDLE none, void *unused, struct err *ret)
{
	(void)none, (void)unused, (void)ret;
	session->hsm->module->C_Logout(session->handle);
	return ERR_OK;
}

/* As an operation among others: the keeper may be at work. */
static void log_out(void)
{
	struct err ignored = {0};
	if (hsm_run(token.hsm, NULL, call_logout, NULL, &ignored) != ERR_OK)
		assert_true(ignored.text[0] != 0);
}

/* Every operation and the ways back: a fresh session each time, a login, keys found again, the look of health. */
static void use_everything(void)
{
	struct hsm *hsm = token.hsm;
	struct err ignored;
	if (hsm_key_find(hsm, HSM_KEY_AES, "pkcs11:object=kek", &token.kek, &ignored) == ERR_NOT_FOUND)
		fail_msg("a key that is there was not found: %s", ignored.text);
	use(&ignored);
	log_out();
	use(&ignored);
	if (hsm_check(hsm, &ignored) != ERR_OK)
		assert_true(ignored.text[0] != 0);
	assert_in_range(hsm_sessions_open(hsm), 1, 16);
}

static void recovers(const char *rule)
{
	int64_t until = clock_monotonic_us() + RECOVERY_US;
	token_rules(&token, "");
	while (token_use(&token, &err) != ERR_OK || hsm_check(token.hsm, &err) != ERR_OK)
		if (clock_monotonic_us() > until)
			fail_msg("%s: not back in time: %s", rule, err.text);
}

/* How many calls of it can fail, one after another. Of long rows `make check` takes a sample; TWOKEY_TORTURE: all. */
static unsigned fail_each(const char *function, const char *class, const char *when)
{
	unsigned faults = 0;
	for (unsigned n = 1;; n += n < 4 || getenv("TWOKEY_TORTURE") ? 1 : n / 2) {
		autofree char *rule = xasprintf("%s n=%u rv=%s %s\n", function, n, class, when);
		unsigned long before = token.fired();
		token_rules(&token, rule);
		use_everything();
		bool fired = token.fired() != before;
		recovers(rule);
		if (!fired)
			return faults;
		faults++;
	}
}

static void fail_function(const char *function)
{
	unsigned total = 0;
	for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
		total += fail_each(function, classes[i].rv, classes[i].when);
	print_message("%s: %u faults\n", function, total);
	assert_true(total >= 7);
}

static void test_open_session(void **state)
{
	(void)state;
	fail_function("C_OpenSession");
}

static void test_close_session(void **state)
{
	(void)state;
	fail_function("C_CloseSession");
}

static void test_get_session_info(void **state)
{
	(void)state;
	fail_function("C_GetSessionInfo");
}

static void test_get_token_info(void **state)
{
	(void)state;
	fail_function("C_GetTokenInfo");
}

static void test_login(void **state)
{
	(void)state;
	fail_function("C_Login");
}

static void test_find_objects_init(void **state)
{
	(void)state;
	fail_function("C_FindObjectsInit");
}

static void test_find_objects(void **state)
{
	(void)state;
	fail_function("C_FindObjects");
}

static void test_find_objects_final(void **state)
{
	(void)state;
	fail_function("C_FindObjectsFinal");
}

static void test_get_attribute_value(void **state)
{
	(void)state;
	fail_function("C_GetAttributeValue");
}

static void test_encrypt_init(void **state)
{
	(void)state;
	fail_function("C_EncryptInit");
}

static void test_encrypt(void **state)
{
	(void)state;
	fail_function("C_Encrypt");
}

static void test_decrypt_init(void **state)
{
	(void)state;
	fail_function("C_DecryptInit");
}

static void test_decrypt(void **state)
{
	(void)state;
	fail_function("C_Decrypt");
}

static void test_sign_init(void **state)
{
	(void)state;
	fail_function("C_SignInit");
}

static void test_sign(void **state)
{
	(void)state;
	fail_function("C_Sign");
}

static void test_generate_random(void **state)
{
	(void)state;
	fail_function("C_GenerateRandom");
}

/* The ways back themselves: while the token is being brought back, its initialisation fails as well. */
static void lose_and_fail(const char *function)
{
	for (unsigned n = 1; n <= 3; n++) {
		autofree char *rule = xasprintf("C_Sign n=1 rv=DEVICE_REMOVED\n%s n=%u rv=GENERAL_ERROR\n", function, n);
		token_rules(&token, rule);
		use_everything();
		recovers(rule);
	}
}

static void test_initialize_and_the_slot_list(void **state)
{
	(void)state;
	lose_and_fail("C_Initialize");
	lose_and_fail("C_Finalize");
	lose_and_fail("C_GetSlotList");
	lose_and_fail("C_GetTokenInfo");
}

/* The token stays away for a while; meanwhile everything is refused at once, and nothing waits for the deadline. */
static void test_a_lost_token_is_refused_at_once(void **state)
{
	(void)state;
	token_rules(&token, "* rv=TOKEN_NOT_PRESENT\n");
	assert_err(token_use(&token, &err), ERR_UNAVAILABLE);
	while (!atomic_load(&token.hsm->keeper.open))
		use(&err);
	int64_t before = clock_monotonic_us();
	for (int i = 0; i < 1000; i++)
		assert_err(token_use(&token, &err), ERR_UNAVAILABLE);
	assert_true(clock_monotonic_us() - before < PATIENCE_US / 3);
	assert_err(hsm_check(token.hsm, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "CKR_TOKEN_NOT_PRESENT"));
	recovers("all");
}

/* Trouble that does not end opens the breaker as well. */
static void test_persistent_trouble(void **state)
{
	(void)state;
	token_rules(&token, "* rv=DEVICE_ERROR\n");
	int64_t until = clock_monotonic_us() + PATIENCE_US;
	while (!atomic_load(&token.hsm->keeper.open)) {
		assert_err(token_use(&token, &err), ERR_UNAVAILABLE);
		assert_true(clock_monotonic_us() < until);
	}
	recovers("all");
}

static void test_a_refused_pin_stops_the_recovery(void **state)
{
	(void)state;
	token_rules(&token, "C_Sign n=1 rv=DEVICE_REMOVED\nC_Login n=1 rv=PIN_INCORRECT\n");
	unsigned long before = token.fired();
	assert_err(token_use(&token, &err), ERR_UNAVAILABLE);
	while (token.fired() < before + 2)
		assert_err(token_use(&token, &err), ERR_UNAVAILABLE);
	token_rules(&token, "C_Login ms=1\n");
	before = token.fired();
	int64_t until = clock_monotonic_us() + PATIENCE_US;
	do
		assert_err(hsm_check(token.hsm, &err), ERR_UNAVAILABLE);
	while (clock_monotonic_us() < until && !strstr(err.text, "not sent again"));
	assert_non_null(strstr(err.text, "not sent again"));
	assert_int_equal(token.fired(), before); /* C_Login was not called */
}

/* A key may have been made although its reply was lost. */
static void test_making_a_key_with_its_reply_lost(void **state)
{
	(void)state;
	autosecret struct secret *value = secret_from(span_str("another secret of more than 32 bytes"));
	struct hsm_key *key = NULL;
	token_rules(&token, "C_GenerateKeyPair n=1 rv=FUNCTION_FAILED after\nC_GenerateKey n=1 rv=SESSION_CLOSED after\n"
	                    "C_CreateObject n=1 rv=DEVICE_ERROR after\n");
	unsigned long before = token.fired();
	assert_ok(hsm_generate_ec(token.hsm, "ec2", &err), err);
	assert_ok(hsm_generate_aes(token.hsm, "kek2", &err), err);
	assert_ok(hsm_import_hmac(token.hsm, "mac2", value, &err), err);
	assert_int_equal(token.fired(), before + 3);
	/* One each, not two. */
	assert_ok(hsm_key_find(token.hsm, HSM_KEY_SIGN, "pkcs11:object=ec2", &key, &err), err);
	assert_ok(hsm_key_find(token.hsm, HSM_KEY_AES, "pkcs11:object=kek2", &key, &err), err);
	assert_ok(hsm_key_find(token.hsm, HSM_KEY_HMAC, "pkcs11:object=mac2", &key, &err), err);
	assert_err(hsm_generate_ec(token.hsm, "ec2", &err), ERR_EXISTS);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_open_session), cmocka_unit_test(test_close_session),
             cmocka_unit_test(test_get_session_info), cmocka_unit_test(test_get_token_info),
             cmocka_unit_test(test_login), cmocka_unit_test(test_find_objects_init),
             cmocka_unit_test(test_find_objects), cmocka_unit_test(test_find_objects_final),
             cmocka_unit_test(test_get_attribute_value), cmocka_unit_test(test_encrypt_init),
             cmocka_unit_test(test_encrypt), cmocka_unit_test(test_decrypt_init), cmocka_unit_test(test_decrypt),
             cmocka_unit_test(test_sign_init), cmocka_unit_test(test_sign), cmocka_unit_test(test_generate_random),
             cmocka_unit_test(test_initialize_and_the_slot_list),
             cmocka_unit_test(test_a_lost_token_is_refused_at_once), cmocka_unit_test(test_persistent_trouble),
             cmocka_unit_test(test_a_refused_pin_stops_the_recovery),
             cmocka_unit_test(test_making_a_key_with_its_reply_lost))
