/* A token that does not return: whoever waits is answered in time, others are not let in after them, health says so,
 * and all is well when it returns. */
#include <stdatomic.h>

#include "tests/unit/hsm/tokens.h"

#define CALLERS 12

static struct token token;
static struct err err;

static int setup(void **state)
{
	(void)state;
	token_faulty(&token);
	if (token_open(&token, &err) != ERR_OK)
		return -1;
	token.hsm->timeout_ms = 2000;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	token_rules(&token, "");
	hsm_free(token.hsm);
	softhsm_teardown(&token.softhsm);
	return 0;
}

struct caller {
	pthread_t thread;
	atomic_llong answered_us; /* 0: not yet */
	atomic_uint answers;
	_Atomic enum err_code code;
	atomic_bool returned;
};

static void answer(void *user)
{
	struct caller *caller = (struct caller *)user;
	atomic_store(&caller->answered_us, clock_monotonic_us());
	atomic_fetch_add(&caller->answers, 1);
}

static void *call(void *user)
{
	struct caller *caller = (struct caller *)user;
	const struct hsm_guard guard = {answer, caller};
	uint8_t digest[32] = {9};
	autobuf struct buf sig = {0};
	hsm_guard(&guard);
	atomic_store(&caller->code, hsm_sign(token.ec, digest, &sig, NULL));
	hsm_guard(NULL);
	atomic_store(&caller->returned, true);
	return NULL;
}

static void wait_until(bool (*condition)(void), int64_t us)
{
	int64_t until = clock_monotonic_us() + us;
	while (!condition()) {
		assert_true(clock_monotonic_us() < until);
		usleep(1000);
	}
}

static struct caller callers[CALLERS];

static bool all_answered(void)
{
	for (size_t i = 0; i < CALLERS; i++)
		if (!atomic_load(&callers[i].answered_us) && !atomic_load(&callers[i].returned))
			return false;
	return true;
}

static bool stalled(void)
{
	return atomic_load(&token.hsm->flights.stalled);
}

static bool healthy(void)
{
	return hsm_check(token.hsm, &err) == ERR_OK;
}

static void start_callers(void)
{
	for (size_t i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
}

static void join_callers(void)
{
	for (size_t i = 0; i < CALLERS; i++)
		pthread_join(callers[i].thread, NULL);
}

static void test_stuck_callers_are_answered(void **state)
{
	(void)state;
	token_rules(&token, "C_Sign stall\n");
	start_callers();
	wait_until(all_answered, PATIENCE_US);
	wait_until(stalled, PATIENCE_US);
	assert_int_equal(hsm_stuck(token.hsm), CALLERS);
	/* Nobody follows them, and nobody waits. */
	int64_t before = clock_monotonic_us();
	for (int i = 0; i < 100; i++)
		assert_err(token_use(&token, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "does not answer: 12 operations"));
	assert_err(hsm_check(token.hsm, &err), ERR_UNAVAILABLE);
	assert_true(clock_monotonic_us() - before < PATIENCE_US / 3);
	assert_true(hsm_sessions_open(token.hsm) <= 16);

	token_rules(&token, "");
	join_callers();
	for (size_t i = 0; i < CALLERS; i++) {
		assert_int_equal(callers[i].answers, 1);
		assert_int_equal(callers[i].code, ERR_UNAVAILABLE); /* although the token signed in the end */
	}
	wait_until(healthy, PATIENCE_US);
	assert_int_equal(hsm_stuck(token.hsm), 0);
	assert_ok(token_use(&token, &err), err);
}

/* A few that hang do not take the others with them. */
static void test_one_stuck_call_is_only_one(void **state)
{
	(void)state;
	unsigned long before = token.fired();
	token_rules(&token, "C_Sign n=1 stall\n");
	assert_int_equal(pthread_create(&callers[0].thread, NULL, call, &callers[0]), 0);
	while (token.fired() == before)
		usleep(1000);
	int64_t until = clock_monotonic_us() + PATIENCE_US;
	while (!atomic_load(&callers[0].answered_us)) {
		assert_ok(token_use(&token, &err), err);
		assert_true(clock_monotonic_us() < until);
	}
	assert_int_equal(hsm_stuck(token.hsm), 1);
	assert_ok(hsm_check(token.hsm, &err), err);
	token_rules(&token, "");
	pthread_join(callers[0].thread, NULL);
	assert_int_equal(callers[0].code, ERR_UNAVAILABLE);
	assert_int_equal(hsm_stuck(token.hsm), 0);
}

static void test_a_stall_within_the_deadline_is_no_trouble(void **state)
{
	(void)state;
	token_rules(&token, "C_Sign ms=200\n");
	start_callers();
	join_callers();
	for (size_t i = 0; i < CALLERS; i++) {
		assert_int_equal(callers[i].code, ERR_OK);
		assert_int_equal(callers[i].answers, 0);
	}
}

/* The look of health itself hangs. */
static void test_health_returns_in_time(void **state)
{
	(void)state;
	token_rules(&token, "C_GenerateRandom stall\n");
	int64_t before = clock_monotonic_us();
	assert_err(hsm_check(token.hsm, &err), ERR_UNAVAILABLE);
	assert_true(clock_monotonic_us() - before < PATIENCE_US);
	token_rules(&token, "");
	wait_until(healthy, PATIENCE_US);
}

/* Who logs in for all hangs: the others do not wait for ever. */
static void test_a_login_that_hangs(void **state)
{
	(void)state;
	token_rules(&token, "C_Login stall\n");
	assert_int_equal(token.hsm->module->C_Logout(token.hsm->login->handle), CKR_OK);
	start_callers();
	wait_until(all_answered, PATIENCE_US);
	wait_until(stalled, PATIENCE_US);
	token_rules(&token, "");
	join_callers();
	wait_until(healthy, PATIENCE_US);
	assert_ok(token_use(&token, &err), err);
}

static void test_free_while_stuck_does_not_hang(void **state)
{
	(void)state;
	token_rules(&token, "C_GenerateRandom stall\n");
	assert_err(hsm_check(token.hsm, &err), ERR_UNAVAILABLE);
	struct hsm *hsm = token.hsm;
	hsm_free(hsm); /* leaves it alone */
	token_rules(&token, "");
	bool ended = false;
	while (!ended) {
		usleep(1000);
		pthread_mutex_lock(&hsm->keeper.lock);
		ended = hsm->keeper.ended;
		pthread_mutex_unlock(&hsm->keeper.lock);
	}
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_stuck_callers_are_answered),
             cmocka_unit_test(test_one_stuck_call_is_only_one),
             cmocka_unit_test(test_a_stall_within_the_deadline_is_no_trouble),
             cmocka_unit_test(test_health_returns_in_time), cmocka_unit_test(test_a_login_that_hangs),
             cmocka_unit_test(test_free_while_stuck_does_not_hang))
