#include "common/clock.h"

#include "tests/unit/harness.h"

static int64_t fixed_ms(void *user)
{
	return *(int64_t *)user;
}

static void test_a_clock_can_be_replaced(void **state)
{
	(void)state;
	int64_t at = 1234567;
	const struct clock clock = {fixed_ms, &at};
	assert_int_equal(clock_now_ms(&clock), 1234567);
	at++;
	assert_int_equal(clock_now_ms(&clock), 1234568);
}

static void test_the_system_clock(void **state)
{
	(void)state;
	const struct clock empty = {0};
	int64_t first = clock_now_ms(NULL), second = clock_now_ms(&empty);
	assert_true(first > INT64_C(1700000000000));
	assert_true(second >= first - 1000 && second < first + 60000);
	int64_t a = clock_monotonic_us(), b = clock_monotonic_us();
	assert_true(b >= a);
}

static const struct {
	int64_t ms;
	const char *text;
} formats[] = {
    {0, "1970-01-01T00:00:00.000Z"},
    {INT64_C(1795285200123), "2026-11-21T18:20:00.123Z"},
    {INT64_C(951782400000), "2000-02-29T00:00:00.000Z"},
    {-1, "1969-12-31T23:59:59.999Z"},
    {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
    {INT64_C(253402300800000), "out of range"},
    {INT64_MAX, "out of range"},
    {INT64_MIN, "out of range"},
};

static void test_format(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
		char out[CLOCK_TEXT_MAX];
		clock_format(formats[i].ms, out);
		assert_string_equal(out, formats[i].text);
	}
}

static const struct {
	const char *text;
	int64_t ms;
} times[] = {
    {"1970-01-01T00:00:00Z", 0},
    {"1970-01-01", 0},
    {"2026-11-21T18:20:00Z", INT64_C(1795285200000)},
    {"2026-11-21t18:20:00z", INT64_C(1795285200000)},
    {"2026-11-21 18:20:00Z", INT64_C(1795285200000)},
    {"2026-11-21T18:20:00.5Z", INT64_C(1795285200500)},
    {"2026-11-21T18:20:00.123456789Z", INT64_C(1795285200123)},
    {"2026-11-21T19:20:00+01:00", INT64_C(1795285200000)},
    {"2026-11-21T12:50:00-05:30", INT64_C(1795285200000)},
    {"2000-02-29", INT64_C(951782400000)},
    {"1969-12-31T23:59:59Z", -1000},
};

static void test_parse(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		int64_t ms = 99;
		if (!clock_parse(times[i].text, &ms) || ms != times[i].ms)
			fail_msg("%s: %lld", times[i].text, (long long)ms);
	}
}

static void test_parse_refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    "",
	    "now",
	    "2026",
	    "2026-11",
	    "2026-11-2",
	    "26-11-21",
	    "2026-11-21T",
	    "2026-11-21T18:20Z",
	    "2026-11-21T18:20:00",
	    "2026-11-21T18:20:00 Z",
	    "2026-11-21T18:20:00Zx",
	    "2026-11-21T18:20:00+0100",
	    "2026-11-21T18:20:00+01:60",
	    "2026-11-21T18:20:00+24:00",
	    "2026-02-29",
	    "2026-06-31",
	    "2026-13-01",
	    "2026-00-01",
	    "2026-01-00",
	    "2026-11-21T24:00:00Z",
	    "2026-11-21T18:60:00Z",
	    "-026-11-21",
	    "2026-1a-21",
	    " 2026-11-21",
	    "2026-11-21 ",
	    "2026/11/21",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		int64_t ms = 99;
		if (clock_parse(bad[i], &ms) || ms != 99)
			fail_msg("accepted or changed by: \"%s\"", bad[i]);
	}
}

static void test_format_and_parse_agree(void **state)
{
	(void)state;
	for (int64_t ms = INT64_C(-62135596800000) /* the year 1 */; ms < INT64_C(253402300800000);
	     ms += INT64_C(1234567890123)) {
		char out[CLOCK_TEXT_MAX];
		int64_t back;
		clock_format(ms, out);
		assert_true(clock_parse(out, &back));
		assert_true(back == ms);
	}
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_a_clock_can_be_replaced), cmocka_unit_test(test_the_system_clock),
             cmocka_unit_test(test_format), cmocka_unit_test(test_parse), cmocka_unit_test(test_parse_refuses),
             cmocka_unit_test(test_format_and_parse_agree))
