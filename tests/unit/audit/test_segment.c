/* Segments as a whole: missing, swapped, cut; and damage at random places of a log of several. */
#include "tests/unit/audit/fixture.h"

static struct ledger ledger;

enum { RECORDS = 1500 };

static int setup(void **state)
{
	(void)state;
	ledger_init(&ledger);
	ledger_open(&ledger);
	for (int i = 0; i < RECORDS; i++)
		commit_denial(&ledger);
	ledger_close(&ledger);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ledger_done(&ledger);
	return 0;
}

static bool ignore_record(uint64_t index, struct span record, void *user)
{
	(void)index, (void)record, (void)user;
	return true;
}

static void expect_corrupt(const char *words)
{
	struct err err = {0};
	assert_err(audit_scan(ledger.directory, ignore_record, NULL, &err), ERR_CORRUPT);
	assert_non_null(strstr(err.text, words));
	assert_err(audit_open_tuned(&ledger.options, &tuning, &ledger.audit, &err), ERR_CORRUPT);
	assert_non_null(strstr(err.text, words));
	ledger.audit = NULL;
}

static char *path_of(uint64_t number)
{
	return audit_segment_path(ledger.directory, number);
}

static void test_missing_segment(void **state)
{
	(void)state;
	autofree char *path = path_of(1);
	assert_int_equal(unlink(path), 0);
	expect_corrupt("missing");
}

static void test_missing_first_segment(void **state)
{
	(void)state;
	autofree char *path = path_of(0);
	assert_int_equal(unlink(path), 0);
	expect_corrupt("missing");
}

static void test_swapped_segments(void **state)
{
	(void)state;
	autofree char *one = path_of(1), *two = path_of(2), *aside = path_of(9999);
	assert_int_equal(rename(one, aside), 0);
	assert_int_equal(rename(two, one), 0);
	assert_int_equal(rename(aside, two), 0);
	expect_corrupt("header does not verify");
}

static void test_cut_segment(void **state)
{
	(void)state;
	autofree char *path = path_of(1);
	assert_int_equal(truncate(path, SEGMENT_BYTES / 2), 0);
	expect_corrupt("another size");
}

/* The end of the log is gone: the log alone cannot know, the index can. */
static void test_lost_end(void **state)
{
	(void)state;
	struct audit_segments segments = {0};
	struct err err = {0};
	ledger_open(&ledger);
	await_indexed(&ledger, RECORDS - 1);
	ledger_close(&ledger);
	assert_ok(audit_segment_list(ledger.directory, &segments, &err), err);
	autofree char *path = path_of(segments.n - 1);
	audit_segments_done(&segments);
	assert_int_equal(unlink(path), 0);
	assert_err(audit_open_tuned(&ledger.options, &tuning, &ledger.audit, &err), ERR_CORRUPT);
	assert_non_null(strstr(err.text, "index has seen"));
	char index[128];
	snprintf(index, sizeof(index), "%s/index.sqlite3", ledger.directory);
	assert_int_equal(unlink(index), 0);
	ledger_open(&ledger);
	assert_true(committed(&ledger) < RECORDS);
}

static void test_random_damage(void **state)
{
	(void)state;
	srandom(7);
	for (int i = 0; i < 200; i++) {
		autofree char *path = path_of((uint64_t)random() % 3);
		uint8_t byte, flipped;
		off_t at = random() % SEGMENT_BYTES;
		struct err err = {0};
		int fd = open(path, O_RDWR);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		flipped = byte ^ (uint8_t)(1 << random() % 8);
		assert_int_equal(pwrite(fd, &flipped, 1, at), 1);
		assert_err(audit_scan(ledger.directory, ignore_record, NULL, &err), ERR_CORRUPT);
		assert_err(audit_open_tuned(&ledger.options, &tuning, &ledger.audit, &err), ERR_CORRUPT);
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
	}
	ledger.audit = NULL;
	assert_int_equal(scan_count(ledger.directory), RECORDS);
}

static void test_scan_of_nothing(void **state)
{
	(void)state;
	assert_err(audit_scan("/nonexistent", ignore_record, NULL, NULL), ERR_NOT_FOUND);
}

static bool stop_at_ten(uint64_t index, struct span record, void *user)
{
	(void)record;
	*(uint64_t *)user = index;
	return index < 10;
}

static void test_scan_callback_stops(void **state)
{
	(void)state;
	struct err err = {0};
	uint64_t last = 0;
	assert_ok(audit_scan(ledger.directory, stop_at_ten, &last, &err), err);
	assert_int_equal(last, 10);
}

static void test_left_over_next_is_discarded(void **state)
{
	(void)state;
	char path[128];
	snprintf(path, sizeof(path), "%s/log/next", ledger.directory);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, "junk", 4), 4);
	close(fd);
	ledger_open(&ledger);
	for (int i = 0; i < 1000; i++)
		commit_denial(&ledger);
	ledger_close(&ledger);
	assert_int_equal(scan_count(ledger.directory), RECORDS + 1000);
}

#define LEDGER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
HARNESS_MAIN(NULL, NULL, LEDGER_TEST(test_missing_segment), LEDGER_TEST(test_missing_first_segment),
             LEDGER_TEST(test_swapped_segments), LEDGER_TEST(test_cut_segment), LEDGER_TEST(test_lost_end),
             LEDGER_TEST(test_random_damage), LEDGER_TEST(test_scan_of_nothing), LEDGER_TEST(test_scan_callback_stops),
             LEDGER_TEST(test_left_over_next_is_discarded))
