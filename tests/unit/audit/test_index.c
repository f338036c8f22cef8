/* The index as a thing that may break: it is rebuilt, and deciding goes on meanwhile. */
#include "tests/unit/audit/fixture.h"

#include <pthread.h>
#include <sqlite3.h>

static struct ledger ledger;
static char index_path[128];

enum { RECORDS = 300 };

static int setup(void **state)
{
	(void)state;
	ledger_init(&ledger);
	ledger_open(&ledger);
	snprintf(index_path, sizeof(index_path), "%s/index.sqlite3", ledger.directory);
	for (int i = 0; i < RECORDS; i++)
		commit_denial(&ledger);
	await_indexed(&ledger, RECORDS - 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ledger_done(&ledger);
	return 0;
}

static bool count_one(uint64_t index, struct span record, void *user)
{
	(void)index, (void)record;
	++*(uint64_t *)user;
	return true;
}

/* Searches until an answer comes (a rebuild may be under way) that has all records. */
static void expect_all_found(uint64_t expected)
{
	uint64_t n = 0;
	for (int i = 0; i < 30000 && n != expected; i++) {
		struct audit_search_result result;
		Twokey__V1__SearchRequest request = TWOKEY__V1__SEARCH_REQUEST__INIT;
		request.limit = 10000;
		request.subject = (char *)"alice@example.org";
		n = 0;
		if (audit_search(ledger.audit, &request, 10000, count_one, &n, &result, NULL) != ERR_OK)
			n = 0;
		if (n != expected)
			usleep(1000);
	}
	assert_int_equal(n, expected);
}

static void run_sql(const char *sql)
{
	sqlite3 *db;
	assert_int_equal(sqlite3_open(index_path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void test_missing_at_open(void **state)
{
	(void)state;
	ledger_close(&ledger);
	assert_int_equal(unlink(index_path), 0);
	ledger_open(&ledger);
	expect_all_found(RECORDS);
}

static void test_junk_at_open(void **state)
{
	(void)state;
	struct err err = {0};
	ledger_close(&ledger);
	assert_ok(text_write_file(index_path, span_str("this is no database, but quite a few bytes of text"), 0600, &err),
	          err);
	ledger_open(&ledger);
	commit_denial(&ledger);
	expect_all_found(RECORDS + 1);
}

static void test_other_version_at_open(void **state)
{
	(void)state;
	ledger_close(&ledger);
	run_sql("PRAGMA user_version=99");
	ledger_open(&ledger);
	expect_all_found(RECORDS);
}

static void test_half_a_schema_at_open(void **state)
{
	(void)state;
	ledger_close(&ledger);
	run_sql("DROP TABLE words");
	ledger_open(&ledger);
	expect_all_found(RECORDS);
}

static void test_other_log_at_open(void **state)
{
	(void)state;
	ledger_close(&ledger);
	run_sql("UPDATE cursor SET chain = zeroblob(32)");
	ledger_open(&ledger);
	expect_all_found(RECORDS);
}

static void test_rows_lost_at_open(void **state)
{
	(void)state;
	ledger_close(&ledger);
	run_sql("DELETE FROM record WHERE idx > 100");
	ledger_open(&ledger);
	expect_all_found(RECORDS);
}

static void test_removed_while_running(void **state)
{
	(void)state;
	assert_int_equal(unlink(index_path), 0);
	commit_denial(&ledger);
	await_indexed(&ledger, RECORDS);
	for (int i = 0; i < 30000 && access(index_path, F_OK) != 0; i++)
		usleep(1000);
	expect_all_found(RECORDS + 1);
}

static void test_damaged_while_running(void **state)
{
	(void)state;
	static uint8_t junk[64 << 10];
	memset(junk, 0x5a, sizeof(junk));
	ledger_close(&ledger);
	ledger_open(&ledger); /* so that all pages are in the file, none in a cache */
	await_indexed(&ledger, RECORDS - 1);
	int fd = open(index_path, O_RDWR);
	struct stat st;
	fstat(fd, &st);
	assert_int_equal(pwrite(fd, junk, sizeof(junk), 4096), sizeof(junk));
	close(fd);
	for (int i = 0; i < 20; i++)
		commit_denial(&ledger);
	expect_all_found(RECORDS + 20);
}

static void test_broken_index_only_stops_searching(void **state)
{
	(void)state;
	struct err err = {0};
	ledger_close(&ledger);
	assert_int_equal(unlink(index_path), 0);
	assert_int_equal(mkdir(index_path, 0700), 0); /* a directory can neither be opened nor unlinked */
	ledger_open(&ledger);
	uint64_t n = 0;
	struct audit_search_result result;
	Twokey__V1__SearchRequest request = TWOKEY__V1__SEARCH_REQUEST__INIT;
	assert_err(audit_search(ledger.audit, &request, 1000, count_one, &n, &result, &err), ERR_UNAVAILABLE);
	assert_int_equal(commit_use(&ledger, use_of(5, 1, true)), REASON_NONE);
	assert_ok(audit_check(ledger.audit, &err), err);
	twokey__v1__record__free_unpacked(read_record(&ledger, RECORDS), NULL);
	twokey__v1__record__free_unpacked(read_record(&ledger, 17), NULL);
	assert_int_equal(rmdir(index_path), 0);
	expect_all_found(RECORDS + 1);
}

/* The index is wrong about a place: the log itself is asked. */
static void test_wrong_place(void **state)
{
	(void)state;
	ledger_close(&ledger);
	run_sql("UPDATE record SET offset = offset + 1 WHERE idx = 17; UPDATE record SET offset = 4096 WHERE idx = 18");
	ledger_open(&ledger);
	await_indexed(&ledger, RECORDS - 1);
	twokey__v1__record__free_unpacked(read_record(&ledger, 17), NULL);
	twokey__v1__record__free_unpacked(read_record(&ledger, 18), NULL);
	expect_all_found(RECORDS);
}

static void test_continues_where_it_was(void **state)
{
	(void)state;
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 50; i++)
			commit_denial(&ledger);
		ledger_close(&ledger);
		ledger_open(&ledger);
	}
	expect_all_found(RECORDS + 250);
	uint64_t n_committed, n_indexed;
	audit_progress(ledger.audit, &n_committed, &n_indexed);
	assert_int_equal(n_committed, RECORDS + 250);
	assert_int_equal(n_indexed, RECORDS + 250);
}

enum { SEARCHERS = 8 };

static void *search_much(void *user)
{
	for (int i = 0; i < 50; i++) {
		uint64_t n = 0;
		struct audit_search_result result;
		Twokey__V1__SearchRequest request = TWOKEY__V1__SEARCH_REQUEST__INIT;
		request.reason = (char *)"RULE_DENIED";
		request.limit = 20;
		if (audit_search(ledger.audit, &request, 60000, count_one, &n, &result, NULL) != ERR_OK || n != 20)
			++*(int *)user;
	}
	return NULL;
}

static void test_many_searchers_while_committing(void **state)
{
	(void)state;
	pthread_t threads[SEARCHERS];
	int failures[SEARCHERS] = {0};
	for (int i = 0; i < SEARCHERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, search_much, &failures[i]), 0);
	for (int i = 0; i < 500; i++)
		commit_denial(&ledger);
	for (int i = 0; i < SEARCHERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(failures[i], 0);
	}
}

#define LEDGER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
HARNESS_MAIN(NULL, NULL, LEDGER_TEST(test_missing_at_open), LEDGER_TEST(test_junk_at_open),
             LEDGER_TEST(test_other_version_at_open), LEDGER_TEST(test_half_a_schema_at_open),
             LEDGER_TEST(test_other_log_at_open), LEDGER_TEST(test_rows_lost_at_open),
             LEDGER_TEST(test_removed_while_running), LEDGER_TEST(test_damaged_while_running),
             LEDGER_TEST(test_broken_index_only_stops_searching), LEDGER_TEST(test_wrong_place),
             LEDGER_TEST(test_continues_where_it_was), LEDGER_TEST(test_many_searchers_while_committing))
