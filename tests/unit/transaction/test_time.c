#include "tests/unit/transaction/support.h"

#define SKEW TRANSACTION_CLOCK_SKEW_MS

/* Offsets from NOW_MS, all in ms. */
static enum reason check(int64_t issued, int64_t begin, int64_t end, int64_t now, unsigned lifetime_max_s)
{
	struct sample sample;
	struct err detail = {0};
	sample_init(&sample, TWOKEY__V1__OPERATION__OPERATION_GET);
	sample.issued_at = transaction_timestamp(NOW_MS + issued);
	sample.not_before = transaction_timestamp(NOW_MS + begin);
	sample.expires_at = transaction_timestamp(NOW_MS + end);
	enum reason reason = transaction_check_time(&sample.transaction, NOW_MS + now, lifetime_max_s, &detail);
	assert_int_equal(detail.text[0] != 0, reason != REASON_NONE);
	return reason;
}

static void test_window_at_its_edges(void **state)
{
	(void)state;
	assert_int_equal(check(0, 0, 300000, 0, 300), REASON_NONE);
	assert_int_equal(check(0, 0, 300000, -SKEW, 300), REASON_NONE);
	assert_int_equal(check(0, 0, 300000, -SKEW - 1, 300), REASON_NOT_YET_VALID);
	assert_int_equal(check(0, 0, 300000, 300000 + SKEW - 1, 300), REASON_NONE);
	assert_int_equal(check(0, 0, 300000, 300000 + SKEW, 300), REASON_EXPIRED);
}

static void test_not_before_later_than_issued(void **state)
{
	(void)state;
	assert_int_equal(check(0, 100000, 300000, 100000 - SKEW, 300), REASON_NONE);
	assert_int_equal(check(0, 100000, 300000, 100000 - SKEW - 1, 300), REASON_NOT_YET_VALID);
}

static void test_order_of_the_three(void **state)
{
	(void)state;
	assert_int_equal(check(1, 0, 300000, 0, 300), REASON_MALFORMED);
	assert_int_equal(check(0, 300000, 300000, 0, 300), REASON_MALFORMED);
	assert_int_equal(check(0, 300001, 300000, 0, 300), REASON_MALFORMED);
	assert_int_equal(check(0, 0, 1, 0, 300), REASON_NONE);
}

static void test_lifetime_at_its_edges(void **state)
{
	(void)state;
	assert_int_equal(check(0, 0, 10000, 0, 10), REASON_NONE);
	assert_int_equal(check(0, 0, 10001, 0, 10), REASON_LIFETIME_TOO_LONG);
	/* not_before does not lengthen it */
	assert_int_equal(check(0, 5000, 10001, 0, 10), REASON_LIFETIME_TOO_LONG);
	assert_int_equal(check(0, 0, 1, 0, 0), REASON_LIFETIME_TOO_LONG);
}

static void test_nobody_can_configure_more_than_an_hour(void **state)
{
	(void)state;
	assert_int_equal(check(0, 0, 3600000, 0, 1000000), REASON_NONE);
	assert_int_equal(check(0, 0, 3600001, 0, 1000000), REASON_LIFETIME_TOO_LONG);
	assert_int_equal(check(0, 0, 3600001, 0, UINT32_MAX), REASON_LIFETIME_TOO_LONG);
}

static void test_absent_or_absurd_times_are_refused(void **state)
{
	(void)state;
	struct sample sample;
	sample_init(&sample, TWOKEY__V1__OPERATION__OPERATION_GET);
	sample.transaction.expires_at = NULL;
	assert_int_equal(transaction_check_time(&sample.transaction, NOW_MS, 300, NULL), REASON_MALFORMED);
	sample_init(&sample, TWOKEY__V1__OPERATION__OPERATION_GET);
	sample.expires_at.seconds = INT64_MAX;
	assert_int_equal(transaction_check_time(&sample.transaction, NOW_MS, 300, NULL), REASON_LIFETIME_TOO_LONG);
	sample.issued_at.seconds = sample.not_before.seconds = sample.expires_at.seconds = INT64_MIN;
	assert_int_equal(transaction_check_time(&sample.transaction, NOW_MS, 300, NULL), REASON_MALFORMED);
}

static void test_timestamps_there_and_back(void **state)
{
	(void)state;
	static const int64_t times[] = {0, 1, 999, 1000, -1, -999, -1000, -1001, NOW_MS, NOW_MS + 123};
	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		Google__Protobuf__Timestamp time = transaction_timestamp(times[i]);
		assert_in_range(time.nanos, 0, 999999999);
		assert_int_equal(transaction_time_ms(&time), times[i]);
	}
	assert_int_equal(transaction_time_ms(NULL), 0);
}

static void test_timestamps_beyond_the_calendar_do_not_overflow(void **state)
{
	(void)state;
	Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	time.seconds = INT64_MAX;
	assert_int_equal(transaction_time_ms(&time), INT64_C(253402300799999));
	time.seconds = INT64_MIN;
	assert_int_equal(transaction_time_ms(&time), INT64_C(-62135596800000));
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_window_at_its_edges),
             cmocka_unit_test(test_not_before_later_than_issued), cmocka_unit_test(test_order_of_the_three),
             cmocka_unit_test(test_lifetime_at_its_edges),
             cmocka_unit_test(test_nobody_can_configure_more_than_an_hour),
             cmocka_unit_test(test_absent_or_absurd_times_are_refused),
             cmocka_unit_test(test_timestamps_there_and_back),
             cmocka_unit_test(test_timestamps_beyond_the_calendar_do_not_overflow))
