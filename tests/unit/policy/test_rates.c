#include <pthread.h>
#include <stdatomic.h>

#include "common/span.h"
#include "policy/policy.h"
#include "tests/unit/harness.h"

#define SECOND INT64_C(1000000)
#define START  (1000 * SECOND)

static const struct policy_rate sixty = {60, 60000};

static bool take(struct policy_rates *rates, const char *key, uint64_t amount, int64_t now_us)
{
	return policy_rates_use(rates, span_str(key), &sixty, POLICY_RATE_TAKE, amount, now_us);
}

static unsigned take_all(struct policy_rates *rates, const char *key, int64_t now_us)
{
	unsigned n = 0;
	while (n < 1000 && take(rates, key, 1, now_us))
		n++;
	return n;
}

static void test_takes_until_there_is_no_more(void **state)
{
	(void)state;
	struct policy_rates *rates = policy_rates_new(100);
	assert_int_equal(take_all(rates, "a", START), 60);
	assert_false(take(rates, "a", 1, START));
	assert_int_equal(take_all(rates, "b", START), 60); /* everybody has their own */
	policy_rates_free(rates);
	policy_rates_free(NULL);
}

static void test_refills_steadily_and_no_further_than_full(void **state)
{
	(void)state;
	struct policy_rates *rates = policy_rates_new(100);
	take_all(rates, "a", START);
	assert_false(take(rates, "a", 1, START + SECOND - 1000));
	assert_true(take(rates, "a", 1, START + SECOND));
	assert_false(take(rates, "a", 1, START + SECOND));
	assert_int_equal(take_all(rates, "a", START + 31 * SECOND), 30);
	assert_int_equal(take_all(rates, "a", START + 100000 * SECOND), 60);
	policy_rates_free(rates);
}

static void test_a_refusal_takes_nothing(void **state)
{
	(void)state;
	struct policy_rates *rates = policy_rates_new(100);
	assert_true(take(rates, "a", 50, START));
	assert_false(take(rates, "a", 11, START));
	assert_true(take(rates, "a", 10, START));
	assert_false(take(rates, "b", 61, START)); /* more than ever is there */
	assert_int_equal(take_all(rates, "b", START), 60);
	policy_rates_free(rates);
}

static void test_debts_are_remembered(void **state)
{
	(void)state;
	struct policy_rates *rates = policy_rates_new(100);
	const struct span key = span_str("a");
	assert_true(policy_rates_use(rates, key, &sixty, POLICY_RATE_LOOK, 0, START));
	assert_true(policy_rates_use(rates, key, &sixty, POLICY_RATE_CHARGE, 59, START));
	assert_true(policy_rates_use(rates, key, &sixty, POLICY_RATE_LOOK, 0, START));
	assert_true(policy_rates_use(rates, key, &sixty, POLICY_RATE_CHARGE, 61, START)); /* 60 more than there was */
	assert_false(policy_rates_use(rates, key, &sixty, POLICY_RATE_LOOK, 0, START));
	assert_false(policy_rates_use(rates, key, &sixty, POLICY_RATE_LOOK, 0, START + 60 * SECOND));
	assert_true(policy_rates_use(rates, key, &sixty, POLICY_RATE_LOOK, 0, START + 61 * SECOND));
	policy_rates_free(rates);
}

static void test_time_that_goes_back_refills_nothing(void **state)
{
	(void)state;
	struct policy_rates *rates = policy_rates_new(100);
	take_all(rates, "a", START);
	assert_false(take(rates, "a", 1, START - 500 * SECOND));
	assert_false(take(rates, "a", 1, START));
	assert_true(take(rates, "a", 1, START + SECOND));
	policy_rates_free(rates);
}

static void test_another_limit_for_the_same_key(void **state)
{
	(void)state;
	struct policy_rates *rates = policy_rates_new(100);
	const struct policy_rate ten = {10, 60000};
	assert_true(take(rates, "a", 40, START));
	assert_false(policy_rates_use(rates, span_str("a"), &ten, POLICY_RATE_TAKE, 1, START));
	assert_true(take(rates, "a", 20, START));
	policy_rates_free(rates);
}

/* A table of 64 keys, and 10,000 that ask once: who had used up their share has not got it back. */
static void test_a_crowd_does_not_wash_away_who_used_up_their_share(void **state)
{
	(void)state;
	struct policy_rates *rates = policy_rates_new(64);
	assert_int_equal(take_all(rates, "greedy", START), 60);
	for (int i = 0; i < 10000; i++) {
		autofree char *key = xasprintf("crowd-%d", i);
		assert_true(take(rates, key, 1, START));
	}
	assert_false(take(rates, "greedy", 1, START));
	policy_rates_free(rates);
}

static void test_the_smallest_table_works(void **state)
{
	(void)state;
	struct policy_rates *rates = policy_rates_new(0);
	for (int i = 0; i < 1000; i++) {
		autofree char *key = xasprintf("%d", i);
		assert_int_equal(take_all(rates, key, START), 60);
	}
	policy_rates_free(rates);
}

struct crowd {
	struct policy_rates *rates;
	atomic_uint taken;
};

static void *take_from_a_thread(void *user)
{
	struct crowd *crowd = (struct crowd *)user;
	for (int i = 0; i < 1000; i++)
		atomic_fetch_add(&crowd->taken, take(crowd->rates, "shared", 1, START));
	return NULL;
}

static void test_threads_share_one_bucket(void **state)
{
	(void)state;
	struct crowd crowd = {.rates = policy_rates_new(100)};
	pthread_t threads[4];
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_from_a_thread, &crowd), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&crowd.taken), 60);
	policy_rates_free(crowd.rates);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_takes_until_there_is_no_more),
             cmocka_unit_test(test_refills_steadily_and_no_further_than_full),
             cmocka_unit_test(test_a_refusal_takes_nothing), cmocka_unit_test(test_debts_are_remembered),
             cmocka_unit_test(test_time_that_goes_back_refills_nothing),
             cmocka_unit_test(test_another_limit_for_the_same_key),
             cmocka_unit_test(test_a_crowd_does_not_wash_away_who_used_up_their_share),
             cmocka_unit_test(test_the_smallest_table_works), cmocka_unit_test(test_threads_share_one_bucket))
