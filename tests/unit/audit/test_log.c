/* Committing, reading back, reopening; faults are in test_log_commit.c. */
#include "tests/unit/audit/fixture.h"

#include <pthread.h>
#include <sys/file.h>

static struct ledger ledger;

static int setup(void **state)
{
	(void)state;
	ledger_init(&ledger);
	ledger_open(&ledger);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ledger_done(&ledger);
	return 0;
}

static void reopen(void)
{
	ledger_close(&ledger);
	ledger_open(&ledger);
}

static void test_commit_and_read(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 5; i++) {
		struct audit_commit commit = commit_denial(&ledger);
		assert_int_equal(commit.index, i);
		assert_int_equal(commit.time_ms, START_TIME_MS);
		assert_int_equal(committed(&ledger), i + 1);
	}
	Twokey__V1__Record *record = read_record(&ledger, 3);
	assert_int_equal(audit_record_time_ms(record), START_TIME_MS);
	assert_string_equal(record->reason, "RULE_DENIED");
	twokey__v1__record__free_unpacked(record, NULL);
	struct err err = {0};
	assert_ok(audit_check(ledger.audit, &err), err);
}

static void test_read_beyond_the_end(void **state)
{
	(void)state;
	autobuf struct buf out = {0};
	commit_denial(&ledger);
	assert_err(audit_read(ledger.audit, 1, &out, NULL), ERR_NOT_FOUND);
	assert_err(audit_read(ledger.audit, UINT64_MAX, &out, NULL), ERR_NOT_FOUND);
}

static void test_many_segments(void **state) /* embedded */
{
	(void)state;
	enum { MANY = 2000 };
	for (int i = 0; i < MANY; i++)
		commit_denial(&ledger);
	struct audit_segments segments = {0};
	struct err err = {0};
	assert_ok(audit_segment_list(ledger.directory, &segments, &err), err);
	assert_true(segments.n >= 4);
	audit_segments_done(&segments);
	for (uint64_t i = 0; i < MANY; i += 97)
		twokey__v1__record__free_unpacked(read_record(&ledger, i), NULL);
	reopen();
	assert_int_equal(committed(&ledger), MANY);
	assert_int_equal(commit_denial(&ledger).index, MANY);
	assert_int_equal(scan_count(ledger.directory), MANY + 1);
}

static void test_use_survives_reopening(void **state)
{
	(void)state;
	assert_int_equal(commit_use(&ledger, use_of(1, 1, true)), REASON_NONE);
	assert_int_equal(commit_use(&ledger, use_of(2, 2, true)), REASON_NONE);
	assert_int_equal(commit_use(&ledger, use_of(3, 1, false)), REASON_NONE);
	for (int i = 0; i < 1000; i++)
		commit_denial(&ledger);
	reopen();
	struct audit_use other = use_of(3, 1, true);
	other.transaction_sha256[0]++;
	assert_int_equal(commit_use(&ledger, use_of(1, 1, true)), REASON_REPLAYED);
	assert_int_equal(commit_use(&ledger, use_of(2, 2, true)), REASON_NONE);
	assert_int_equal(commit_use(&ledger, use_of(2, 2, true)), REASON_REPLAYED);
	assert_int_equal(commit_use(&ledger, other), REASON_ID_REUSED);
	assert_int_equal(commit_use(&ledger, use_of(3, 1, true)), REASON_NONE);
}

static void test_refusals_append_nothing(void **state)
{
	(void)state;
	assert_int_equal(commit_use(&ledger, use_of(1, 1, true)), REASON_NONE);
	assert_int_equal(commit_use(&ledger, use_of(1, 1, true)), REASON_REPLAYED);
	assert_int_equal(committed(&ledger), 1);
}

static void test_lifetime_is_limited(void **state)
{
	(void)state;
	struct audit_commit commit;
	struct err err = {0};
	struct audit_use use = use_of(1, 1, true);
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_FETCH, TWOKEY__V1__DECISION__DECISION_GRANTED);
	use.expires_at_ms = START_TIME_MS + AUDIT_LIFETIME_MAX_MS + AUDIT_SKEW_MS + 1;
	assert_err(audit_commit(ledger.audit, &record, &use, &commit, NULL), ERR_INVALID);
	use.expires_at_ms--;
	assert_ok(audit_commit(ledger.audit, &record, &use, &commit, &err), err);
}

static void test_longest_use_survives_hours_of_records(void **state)
{
	(void)state;
	struct audit_use use = use_of(1, 1, true);
	use.expires_at_ms = START_TIME_MS + AUDIT_LIFETIME_MAX_MS + AUDIT_SKEW_MS;
	assert_int_equal(commit_use(&ledger, use), REASON_NONE);
	for (int i = 0; i < 1500; i++) {
		atomic_fetch_add(&ledger.now_ms, (AUDIT_LIFETIME_MAX_MS + AUDIT_SKEW_MS + AUDIT_KEEP_MS) / 1500);
		commit_denial(&ledger);
	}
	reopen();
	assert_int_equal(commit_use(&ledger, use), REASON_REPLAYED);
	atomic_fetch_add(&ledger.now_ms, 60000);
	assert_int_equal(commit_use(&ledger, use), REASON_EXPIRED);
}

static void test_time_never_runs_backwards(void **state)
{
	(void)state;
	atomic_store(&ledger.now_ms, START_TIME_MS + 5000);
	assert_int_equal(commit_denial(&ledger).time_ms, START_TIME_MS + 5000);
	atomic_store(&ledger.now_ms, START_TIME_MS);
	assert_int_equal(commit_denial(&ledger).time_ms, START_TIME_MS + 5000);
	reopen();
	assert_int_equal(commit_denial(&ledger).time_ms, START_TIME_MS + 5000);
	atomic_store(&ledger.now_ms, START_TIME_MS + 5001);
	assert_int_equal(commit_denial(&ledger).time_ms, START_TIME_MS + 5001);
}

static void test_clock_in_doubt(void **state)
{
	(void)state;
	atomic_store(&ledger.now_ms, START_TIME_MS + AUDIT_SKEW_MS + 1);
	commit_denial(&ledger);
	atomic_store(&ledger.now_ms, START_TIME_MS);
	reopen();
	assert_int_equal(commit_use(&ledger, use_of(1, 1, true)), REASON_CLOCK_IN_DOUBT);
	struct audit_commit commit;
	struct err err = {0};
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_AUTHORIZE, TWOKEY__V1__DECISION__DECISION_GRANTED);
	assert_ok(audit_commit(ledger.audit, &record, NULL, &commit, &err), err);
	assert_int_equal(commit.refusal, REASON_CLOCK_IN_DOUBT);
	record.event = TWOKEY__V1__EVENT__EVENT_COMPLETION;
	assert_ok(audit_commit(ledger.audit, &record, NULL, &commit, &err), err);
	assert_int_equal(commit.refusal, REASON_NONE);
	commit_denial(&ledger);
	atomic_fetch_add(&ledger.now_ms, 1);
	assert_int_equal(commit_use(&ledger, use_of(1, 1, true)), REASON_NONE);
}

static void test_second_process_is_refused(void **state)
{
	(void)state;
	struct audit *second;
	assert_err(audit_open(&ledger.options, &second, NULL), ERR_PRECONDITION);
	commit_denial(&ledger);
}

static void test_bad_options(void **state) /* embedded */
{
	(void)state;
	struct audit *audit;
	struct audit_options options = ledger.options;
	options.segment_bytes = 1000;
	assert_err(audit_open(&options, &audit, NULL), ERR_INVALID);
	options = ledger.options;
	options.directory = "/nonexistent/record";
	assert_err(audit_open(&options, &audit, NULL), ERR_UNAVAILABLE);
}

static void test_close_accepts_null(void **state) /* embedded */
{
	(void)state;
	audit_close(NULL);
}

static void test_other_segment_size_later(void **state) /* embedded */
{
	(void)state;
	commit_denial(&ledger);
	ledger_close(&ledger);
	ledger.options.segment_bytes = 4 * SEGMENT_BYTES;
	ledger_open(&ledger);
	for (int i = 0; i < 600; i++)
		commit_denial(&ledger);
	reopen();
	assert_int_equal(scan_count(ledger.directory), 601);
}

enum { THREADS = 64, EACH = 157 };

struct worker {
	pthread_t thread;
	uint64_t indexes[EACH];
	unsigned won;
};

static void *work(void *user)
{
	struct worker *worker = user;
	for (int i = 0; i < EACH; i++)
		worker->indexes[i] = commit_denial(&ledger).index;
	/* Everybody tries to spend the same ten transactions. */
	for (uint64_t id = 0; id < 10; id++)
		worker->won += commit_use(&ledger, use_of(id, 1, true)) == REASON_NONE;
	return NULL;
}

static void test_many_threads(void **state)
{
	(void)state;
	static struct worker workers[THREADS];
	static bool seen[THREADS * EACH + 10];
	unsigned won = 0;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	for (int i = 0; i < THREADS; i++) {
		won += workers[i].won;
		for (int n = 0; n < EACH; n++) {
			assert_true(workers[i].indexes[n] < THREADS * EACH + 10);
			assert_false(seen[workers[i].indexes[n]]);
			seen[workers[i].indexes[n]] = true;
			assert_true(n == 0 || workers[i].indexes[n] > workers[i].indexes[n - 1]);
		}
	}
	assert_int_equal(won, 10);
	assert_int_equal(committed(&ledger), THREADS * EACH + 10);
	assert_true(atomic_load(&faults.syncs) < THREADS * EACH);
	reopen();
	assert_int_equal(committed(&ledger), THREADS * EACH + 10);
	assert_int_equal(verified_count(&ledger), THREADS * EACH + 10);
}

/* What was decided on the state of `known` records. */
static bool stale(Twokey__V1__Event event, struct audit_use use, uint64_t known)
{
	struct audit_commit commit;
	struct err err = {0};
	bool is_stale;
	Twokey__V1__Record record = record_of(event, TWOKEY__V1__DECISION__DECISION_GRANTED);
	bool uses = event == TWOKEY__V1__EVENT__EVENT_FETCH;
	if (event == TWOKEY__V1__EVENT__EVENT_KEY)
		record.key_action = TWOKEY__V1__KEY_ACTION__KEY_ACTION_USE;
	assert_ok(audit_commit_known(ledger.audit, &record, uses ? &use : NULL, known, &is_stale, &commit, &err), err);
	return is_stale;
}

static void test_what_was_decided_on_an_older_state_is_not_appended(void **state)
{
	(void)state;
	const Twokey__V1__Event fetch = TWOKEY__V1__EVENT__EVENT_FETCH;
	struct audit_state now;
	commit_denial(&ledger);
	assert_false(stale(fetch, use_of(1, 1, true), 1));
	assert_false(stale(TWOKEY__V1__EVENT__EVENT_RESTRICTION, use_of(0, 0, false), 2));
	commit_denial(&ledger);
	assert_true(stale(fetch, use_of(2, 1, true), 2));
	assert_true(stale(TWOKEY__V1__EVENT__EVENT_RESTRICTION, use_of(0, 0, false), 2));
	assert_int_equal(committed(&ledger), 4);
	audit_state(ledger.audit, &now);
	assert_int_equal(now.end.next, 4);
	assert_int_equal(now.changed, 3);
	/* The use was not spent; and a change of keys counts as well. */
	assert_false(stale(fetch, use_of(2, 1, true), 3));
	assert_false(stale(TWOKEY__V1__EVENT__EVENT_KEY, use_of(0, 0, false), 5));
	assert_true(stale(fetch, use_of(3, 1, true), 5));
	reopen();
	audit_state(ledger.audit, &now);
	assert_int_equal(now.end.next, 6);
	assert_int_equal(now.changed, 6);
	assert_false(stale(fetch, use_of(3, 1, true), 6));
}

#define LEDGER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
HARNESS_MAIN(NULL, NULL, LEDGER_TEST(test_commit_and_read),
             LEDGER_TEST(test_what_was_decided_on_an_older_state_is_not_appended),
             LEDGER_TEST(test_read_beyond_the_end), LEDGER_TEST(test_many_segments),
             LEDGER_TEST(test_use_survives_reopening), LEDGER_TEST(test_refusals_append_nothing),
             LEDGER_TEST(test_lifetime_is_limited), LEDGER_TEST(test_longest_use_survives_hours_of_records),
             LEDGER_TEST(test_time_never_runs_backwards), LEDGER_TEST(test_clock_in_doubt),
             LEDGER_TEST(test_second_process_is_refused), LEDGER_TEST(test_bad_options),
             LEDGER_TEST(test_close_accepts_null), LEDGER_TEST(test_other_segment_size_later),
             LEDGER_TEST(test_many_threads))
