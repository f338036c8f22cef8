/* 64 threads on few sessions while the token fails at random and stalls: no wrong answer, no session too many, and all
 * well afterwards. TWOKEY_STORM_S: for how long; a few seconds in `make check`, 60 in `make torture`. */
#include <stdatomic.h>

#include "tests/unit/hsm/tokens.h"

#define THREADS 64

static struct token token;
static struct err err;
static atomic_bool stop;
static atomic_uint good, bad, most_open;

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

static int64_t duration_us(void)
{
	const char *text = getenv("TWOKEY_STORM_S");
	return (text ? atol(text) : 4) * 1000000;
}

static void *work(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		struct err own = {0};
		bool ok = token_use(&token, &own) == ERR_OK;
		atomic_fetch_add(ok ? &good : &bad, 1);
		if (!ok)
			usleep(5000); /* who is refused at once and asks again at once only keeps the machine busy */
		unsigned open = hsm_sessions_open(token.hsm), most = atomic_load(&most_open);
		while (open > most && !atomic_compare_exchange_weak(&most_open, &most, open))
			;
	}
	return NULL;
}

static void storm(const char *rules)
{
	pthread_t threads[THREADS];
	token_rules(&token, rules);
	unsigned long before = token.fired();
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
	int64_t until = clock_monotonic_us() + duration_us();
	while (clock_monotonic_us() < until) {
		bool healthy = hsm_check(token.hsm, &err) == ERR_OK;
		assert_true(healthy || err.text[0] != 0);
		usleep(50000);
	}
	token_rules(&token, "");
	int64_t calm = clock_monotonic_us();
	while (hsm_check(token.hsm, &err) != ERR_OK)
		if (clock_monotonic_us() > calm + PATIENCE_US)
			fail_msg("not back: %s", err.text);
	double back_s = (double)(clock_monotonic_us() - calm) / 1e6;
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	print_message("%lu faults, %u rounds good, %u failed, at most %u sessions, back after %.2f s\n",
	              token.fired() - before, good, bad, most_open, back_s);
	assert_ok(token_use(&token, &err), err);
	assert_true(token.fired() > before && good > 0);
	assert_true(most_open <= 16);
}

/* 5 % of calls, from every class but a refused PIN, and calls of 700 ms. */
static void test_faults_and_stalls(void **state)
{
	(void)state;
	storm("* prob=0.001 ms=700\n"
	      "C_Finalize ms=0\nC_Initialize ms=0\n"
	      "* prob=0.01 rv=FUNCTION_FAILED\n* prob=0.01 rv=GENERAL_ERROR after\n"
	      "* prob=0.01 rv=SESSION_HANDLE_INVALID\n* prob=0.005 rv=USER_NOT_LOGGED_IN\n"
	      "* prob=0.005 rv=KEY_HANDLE_INVALID\n* prob=0.005 rv=DEVICE_ERROR\n* prob=0.004 rv=OPERATION_ACTIVE\n"
	      "* prob=0.0002 rv=DEVICE_REMOVED\n");
}

/* The same, with nothing but trouble that passes: nearly everything is to succeed. */
static void test_throttling_is_ridden_out(void **state)
{
	(void)state;
	storm("* prob=0.05 rv=FUNCTION_FAILED\n");
	assert_true(bad * 100 <= good);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_faults_and_stalls), cmocka_unit_test(test_throttling_is_ridden_out))
