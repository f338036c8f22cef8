#include "policy/hours.h"

#include <pthread.h>

#include "common/clock.h"
#include "tests/unit/harness.h"

/* Edge minutes and changes of summer time: tests/vectors/policy/hours. */

static struct policy_hours *hours_of(unsigned days, unsigned from, unsigned to, const char *zone)
{
	const struct policy_hours_options options = {days, from, to, zone};
	return policy_hours_new(&options);
}

static bool contain(const struct policy_hours *hours, const char *time)
{
	int64_t ms;
	assert_true(clock_parse(time, &ms));
	return policy_hours_contain(hours, ms);
}

static void test_whole_days(void **state)
{
	(void)state;
	struct policy_hours *always = hours_of(0, 0, 0, "UTC"), *monday = hours_of(1, 0, 0, "UTC");
	assert_true(contain(always, "2026-11-22T23:59:59.999Z"));
	assert_false(contain(monday, "2026-11-22T23:59:59.999Z"));
	assert_true(contain(monday, "2026-11-23T00:00:00Z"));
	assert_true(contain(monday, "2026-11-23T23:59:59.999Z"));
	assert_false(contain(monday, "2026-11-24T00:00:00Z"));
	policy_hours_free(always);
	policy_hours_free(monday);
	policy_hours_free(NULL);
}

static void test_until_midnight_and_over_it(void **state)
{
	(void)state;
	struct policy_hours *until = hours_of(1, 23 * 60, POLICY_DAY_MINUTES, "UTC"),
	                    *over = hours_of(1, 23 * 60, 60, "UTC"), *to_midnight = hours_of(1, 23 * 60, 0, "UTC");
	static const struct {
		const char *time;
		bool until, over;
	} cases[] = {{"2026-11-23T22:59:59Z", false, false}, {"2026-11-23T23:00:00Z", true, true},
	             {"2026-11-23T23:59:59Z", true, true},   {"2026-11-24T00:00:00Z", false, true},
	             {"2026-11-24T00:59:59Z", false, true},  {"2026-11-24T01:00:00Z", false, false},
	             {"2026-11-23T00:30:00Z", false, false}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(contain(until, cases[i].time), cases[i].until);
		assert_int_equal(contain(to_midnight, cases[i].time), cases[i].until);
		assert_int_equal(contain(over, cases[i].time), cases[i].over);
	}
	policy_hours_free(until);
	policy_hours_free(over);
	policy_hours_free(to_midnight);
}

static void test_any_time_at_all(void **state)
{
	(void)state;
	struct policy_hours *hours = hours_of(0, 0, 0, "Europe/Berlin");
	static const int64_t times[] = {INT64_MIN, -1, 0, INT64_C(253402300799999), INT64_MAX};
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
		assert_true(policy_hours_contain(hours, times[i]));
	policy_hours_free(hours);
}

static void test_what_is_no_zone(void **state)
{
	(void)state;
	static const char *const names[] = {"",         "Europe",          "Europe/",        "Europe/Berln",
	                                    "/UTC",     "../zoneinfo/UTC", "Europe/../UTC",  "EST5EDT,M3.2.0,M11.1.0",
	                                    "+01:00",   "right/UTC",       "posix/UTC",      "tzdata.zi",
	                                    "zone.tab", "europe/berlin",   "Europe/Berlin ", ":UTC"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		assert_null(hours_of(0, 0, 0, names[i]));
	autofree char *longest = xcalloc(1000, 1);
	memset(longest, 'A', 999);
	assert_null(hours_of(0, 0, 0, longest));
}

static void test_times(void **state)
{
	(void)state;
	unsigned minutes;
	assert_true(policy_hours_parse_time("00:00", &minutes) && minutes == 0);
	assert_true(policy_hours_parse_time("08:05", &minutes) && minutes == 485);
	assert_true(policy_hours_parse_time("23:59", &minutes) && minutes == 1439);
	assert_true(policy_hours_parse_time("24:00", &minutes) && minutes == 1440);
	static const char *const wrong[] = {"",      "8:00",     "08:0", "08:60", "24:01", "25:00",
	                                    "08-00", "08:00:00", "0800", " 8:00", "08:+1"};
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		assert_false(policy_hours_parse_time(wrong[i], &minutes));
}

static void test_days(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned days;
	} right[] = {{"mon", 1},       {"sun", 64},    {"mon-fri", 31}, {"sat-sun", 96},
	             {"fri-mon", 113}, {"wed-wed", 4}, {"tue-mon", 127}};
	for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
		unsigned days = 0;
		assert_true(policy_hours_parse_days(right[i].text, &days));
		assert_int_equal(days, right[i].days);
	}
	static const char *const wrong[] = {"",       "mo",      "Mon",     "monday",  "mon-", "-fri",
	                                    "mon-fr", "mon fri", "mon-frx", "mon:fri", "xyz"};
	unsigned days = 0;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		assert_false(policy_hours_parse_days(wrong[i], &days));
	assert_int_equal(days, 0);
}

static void test_the_list_of_zones(void **state)
{
	(void)state;
	autobuf struct buf list = {0};
	policy_hours_list_zones(&list);
	assert_non_null(strstr(buf_cstr(&list), "\nEurope/Berlin\n"));
	assert_non_null(strstr(buf_cstr(&list), "\nUTC\n"));
}

static void *ask_from_a_thread(void *user)
{
	const struct policy_hours *hours = (const struct policy_hours *)user;
	size_t wrong = 0;
	for (int64_t hour = 0; hour < 24 * 365; hour++) {
		int64_t ms = INT64_C(1767225600000) + hour * 3600000;
		wrong += policy_hours_contain(hours, ms) == policy_hours_contain(hours, ms + 12 * 3600000);
	}
	return (void *)wrong;
}

/* Half of each day, in a zone without summer time. */
static void test_many_threads_ask(void **state)
{
	(void)state;
	struct policy_hours *hours = hours_of(0, 0, 720, "Asia/Kathmandu");
	pthread_t threads[4];
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_from_a_thread, hours), 0);
	for (size_t i = 0; i < 4; i++) {
		void *wrong;
		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	policy_hours_free(hours);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_whole_days), cmocka_unit_test(test_until_midnight_and_over_it),
             cmocka_unit_test(test_any_time_at_all), cmocka_unit_test(test_what_is_no_zone),
             cmocka_unit_test(test_times), cmocka_unit_test(test_days), cmocka_unit_test(test_the_list_of_zones),
             cmocka_unit_test(test_many_threads_ask))
