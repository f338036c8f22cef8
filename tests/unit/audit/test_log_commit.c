/* A failing disk: nothing is granted, health says why, service comes back by itself, nothing acknowledged is lost. */
#include "tests/unit/audit/fixture.h"

#include <pthread.h>
#include <semaphore.h>

static struct ledger ledger;

static int setup(void **state)
{
	(void)state;
	ledger_init(&ledger);
	ledger_open(&ledger);
	for (int i = 0; i < 3; i++)
		commit_denial(&ledger);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	memset(&faults, 0, sizeof(faults));
	ledger_done(&ledger);
	return 0;
}

/* Both kinds of commit are refused, and health says why. */
static void expect_refusal(const char *words)
{
	struct err err = {0};
	struct audit_commit commit;
	struct audit_use use = use_of(99, 1, true);
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_FETCH, TWOKEY__V1__DECISION__DECISION_GRANTED);
	assert_err(audit_commit(ledger.audit, &record, &use, &commit, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, words));
	assert_err(try_denial(&ledger), ERR_UNAVAILABLE);
	assert_err(audit_check(ledger.audit, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, words));
}

/* The use whose record failed stays spent: it may have become durable. */
static void expect_service(void)
{
	await_service(&ledger);
	assert_int_equal(commit_use(&ledger, use_of(99, 1, true)), REASON_REPLAYED);
	uint64_t before = committed(&ledger);
	assert_int_equal(commit_denial(&ledger).index, before);
	ledger_close(&ledger);
	assert_int_equal(scan_count(ledger.directory), before + 1);
	ledger_open(&ledger);
	assert_int_equal(committed(&ledger), before + 1);
	assert_int_equal(commit_use(&ledger, use_of(99, 1, true)), REASON_REPLAYED);
}

static void test_write_fails(void **state)
{
	(void)state;
	atomic_store(&faults.write_errno, EIO);
	expect_refusal(strerror(EIO));
	assert_int_equal(committed(&ledger), 3);
	atomic_store(&faults.write_errno, 0);
	expect_service();
}

static void test_read_only(void **state)
{
	(void)state;
	atomic_store(&faults.write_errno, EROFS);
	expect_refusal(strerror(EROFS));
	atomic_store(&faults.write_errno, 0);
	expect_service();
}

static void test_flush_fails(void **state)
{
	(void)state;
	atomic_store(&faults.sync_errno, EIO);
	expect_refusal("flushing the log");
	assert_int_equal(committed(&ledger), 3);
	atomic_store(&faults.sync_errno, 0);
	expect_service();
}

static void test_torn_write_then_failure(void **state)
{
	(void)state;
	atomic_store(&faults.write_errno, ENOSPC);
	atomic_store(&faults.tear, true);
	expect_refusal(strerror(ENOSPC));
	atomic_store(&faults.write_errno, 0);
	expect_service();
}

/* A write that ends half-way without an error is simply continued. */
static void test_short_write(void **state)
{
	(void)state;
	atomic_store(&faults.tear, true);
	assert_int_equal(commit_denial(&ledger).index, 3);
	assert_int_equal(scan_count(ledger.directory), 4);
}

static void test_closing_while_failed_loses_nothing_acknowledged(void **state)
{
	(void)state;
	atomic_store(&faults.sync_errno, EIO);
	assert_err(try_denial(&ledger), ERR_UNAVAILABLE);
	ledger_close(&ledger);
	atomic_store(&faults.sync_errno, 0);
	ledger_open(&ledger);
	assert_true(committed(&ledger) >= 3);
	commit_denial(&ledger);
	scan_count(ledger.directory);
}

static void test_disk_full_at_the_next_segment(void **state)
{
	(void)state;
	struct err err = {0};
	uint64_t acknowledged = 3;
	atomic_store(&faults.allocate_errno, ENOSPC);
	/* What was prepared before is used up first. */
	for (int i = 0; i < 5000 && try_denial(&ledger) == ERR_OK; i++)
		acknowledged++;
	assert_err(audit_check(ledger.audit, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, strerror(ENOSPC)));
	assert_int_equal(committed(&ledger), acknowledged);
	expect_refusal(strerror(ENOSPC));
	atomic_store(&faults.allocate_errno, 0);
	await_service(&ledger);
	assert_true(committed(&ledger) > acknowledged);
	commit_denial(&ledger);
	scan_count(ledger.directory);
}

static void rename_log(const char *from, const char *to)
{
	char old_path[128], new_path[128];
	snprintf(old_path, sizeof(old_path), "%s/%s", ledger.directory, from);
	snprintf(new_path, sizeof(new_path), "%s/%s", ledger.directory, to);
	assert_int_equal(rename(old_path, new_path), 0);
}

static void test_directory_moved_away(void **state)
{
	(void)state;
	rename_log("log", "elsewhere");
	expect_refusal("No such file");
	rename_log("elsewhere", "log");
	expect_service();
}

static void test_file_replaced(void **state)
{
	(void)state;
	autofree char *path = audit_segment_path(ledger.directory, 0);
	autofree char *aside = xasprintf("%s.aside", path);
	autobuf struct buf bytes = {0};
	struct err err = {0};
	assert_ok(text_read_file(path, SEGMENT_BYTES, &bytes, &err), err);
	assert_int_equal(rename(path, aside), 0);
	assert_ok(text_write_file(path, buf_span(&bytes), 0600, &err), err);
	expect_refusal("replaced");
	assert_int_equal(rename(aside, path), 0);
	expect_service();
}

static void test_lock_removed(void **state)
{
	(void)state;
	rename_log("lock", "lock.aside");
	expect_refusal("lock");
	rename_log("lock.aside", "lock");
	expect_service();
}

/* Nobody commits: the loss is noticed all the same. */
static void test_idle_log_notices_removal(void **state)
{
	(void)state;
	rename_log("log", "elsewhere");
	for (int i = 0; i < 30000 && audit_check(ledger.audit, NULL) == ERR_OK; i++)
		usleep(1000);
	assert_err(audit_check(ledger.audit, NULL), ERR_UNAVAILABLE);
	rename_log("elsewhere", "log");
	await_service(&ledger);
	commit_denial(&ledger);
}

/* The acknowledged part was changed behind our back while the flush failed: never in service again. */
static void test_altered_log_stays_out_of_service(void **state)
{
	(void)state;
	autofree char *path = audit_segment_path(ledger.directory, 0);
	atomic_store(&faults.sync_errno, EIO);
	assert_err(try_denial(&ledger), ERR_UNAVAILABLE);
	int fd = open(path, O_RDWR);
	uint8_t byte, other;
	assert_int_equal(pread(fd, &byte, 1, AUDIT_HEADER_BYTES + 60), 1);
	other = byte ^ 1;
	assert_int_equal(pwrite(fd, &other, 1, AUDIT_HEADER_BYTES + 60), 1);
	atomic_store(&faults.sync_errno, 0);
	struct err err = {0};
	for (int i = 0; i < 10000 && !strstr(err.text, "does not verify"); i++) {
		assert_err(audit_check(ledger.audit, &err), ERR_UNAVAILABLE);
		usleep(1000);
	}
	assert_non_null(strstr(err.text, "segment 0 offset 4096 index 0"));
	assert_int_equal(pwrite(fd, &byte, 1, AUDIT_HEADER_BYTES + 60), 1);
	close(fd);
	await_service(&ledger);
	commit_denial(&ledger);
}

static _Atomic(bool) hold;
static sem_t release;

static int held_sync(int fd)
{
	if (atomic_load(&hold))
		sem_wait(&release);
	return fdatasync(fd);
}

static void *commit_in_thread(void *user)
{
	*(enum err_code *)user = try_denial(&ledger);
	return NULL;
}

/* A flush that does not come back: waiting is bounded, and the record still becomes durable. */
static void test_slow_disk(void **state)
{
	(void)state;
	static const struct audit_io slow_io = {faulty_write, held_sync, faulty_allocate};
	static const struct audit_tuning slow = {.io = &slow_io, .retry_ms = 5};
	struct err err = {0};
	ledger_close(&ledger);
	sem_init(&release, 0, 0);
	ledger.options.commit_timeout_ms = 50;
	assert_ok(audit_open_tuned(&ledger.options, &slow, &ledger.audit, &err), err);
	atomic_store(&hold, true);
	pthread_t thread;
	enum err_code code = ERR_OK;
	assert_int_equal(pthread_create(&thread, NULL, commit_in_thread, &code), 0);
	pthread_join(thread, NULL);
	assert_err(code, ERR_UNAVAILABLE);
	assert_err(audit_check(ledger.audit, &err), ERR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "has not ended"));
	atomic_store(&hold, false);
	for (int i = 0; i < 10; i++)
		sem_post(&release);
	await_service(&ledger);
	assert_int_equal(committed(&ledger), 4);
	ledger_close(&ledger);
	assert_int_equal(scan_count(ledger.directory), 4);
}

#define LEDGER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
HARNESS_MAIN(NULL, NULL, LEDGER_TEST(test_write_fails), LEDGER_TEST(test_read_only), LEDGER_TEST(test_flush_fails),
             LEDGER_TEST(test_torn_write_then_failure), LEDGER_TEST(test_short_write),
             LEDGER_TEST(test_closing_while_failed_loses_nothing_acknowledged),
             LEDGER_TEST(test_disk_full_at_the_next_segment), LEDGER_TEST(test_directory_moved_away),
             LEDGER_TEST(test_file_replaced), LEDGER_TEST(test_lock_removed),
             LEDGER_TEST(test_idle_log_notices_removal), LEDGER_TEST(test_altered_log_stays_out_of_service),
             LEDGER_TEST(test_slow_disk))
