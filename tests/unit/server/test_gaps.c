#include "tests/unit/harness.h"

#include "server/gaps.h"

static void test_time_that_passes_is_no_jump(void **state)
{
	(void)state;
	struct gaps_watch watch = {0};
	int64_t wall_ms = 1700000000000, monotonic_us = 5000000;
	assert_int_equal(gaps_jump_ms(&watch, wall_ms, monotonic_us), 0);
	for (int i = 0; i < 1000; i++) {
		wall_ms += 1000 + i % 7; /* a clock that is being slewed */
		monotonic_us += 1000000;
		assert_int_equal(gaps_jump_ms(&watch, wall_ms, monotonic_us), 0);
	}
	/* A loop that was held up saw the time pass, on both. */
	assert_int_equal(gaps_jump_ms(&watch, wall_ms + 600000, monotonic_us + 600000000), 0);
}

static void test_jumps(void **state)
{
	(void)state;
	struct gaps_watch watch = {0};
	int64_t us = 1000000;
	assert_int_equal(gaps_jump_ms(&watch, 1000000, us), 0);
	assert_int_equal(gaps_jump_ms(&watch, 1000000 + 1000 + 3600000, us += 1000000), 3600000);
	assert_int_equal(gaps_jump_ms(&watch, 1000000 + 2000 + 3600000, us += 1000000), 0);
	assert_int_equal(gaps_jump_ms(&watch, 1000000 + 3000, us += 1000000), -3600000);
	assert_int_equal(gaps_jump_ms(&watch, 1000000 + 4000 + GAPS_JUMP_MS - 1, us += 1000000), 0);
	assert_int_equal(gaps_jump_ms(&watch, 1000000 + 5000 + 2 * GAPS_JUMP_MS - 1, us += 1000000), GAPS_JUMP_MS);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_time_that_passes_is_no_jump), cmocka_unit_test(test_jumps))
