/* Reading the log in order, from a place that is known. */
#include "tests/unit/audit/fixture.h"

enum { RECORDS = 600 }; /* several segments */

static struct ledger ledger;

static void append(Twokey__V1__Event event)
{
	Twokey__V1__Record record = record_of(event, TWOKEY__V1__DECISION__DECISION_DENIED);
	struct audit_commit commit;
	struct err err = {0};
	record.reason = (char *)"RULE_DENIED";
	assert_ok(audit_commit(ledger.audit, &record, NULL, &commit, &err), err);
}

static int setup(void **state)
{
	(void)state;
	ledger_init(&ledger);
	ledger_open(&ledger);
	for (int i = 0; i < RECORDS; i++) {
		atomic_fetch_add(&ledger.now_ms, 1000);
		append(i % 3 ? TWOKEY__V1__EVENT__EVENT_FETCH : TWOKEY__V1__EVENT__EVENT_RESTRICTION);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ledger_done(&ledger);
	return 0;
}

struct seen {
	uint64_t n, first, last, stop_after;
};

static bool count(uint64_t index, struct span record, void *user)
{
	struct seen *seen = user;
	uint64_t claimed;
	assert_true(audit_record_index(record, &claimed));
	assert_int_equal(claimed, index);
	seen->first = seen->n++ ? seen->first : index;
	seen->last = index;
	return seen->n != seen->stop_after;
}

static struct seen replay(Twokey__V1__Event event, struct audit_position *position, uint64_t stop_after)
{
	struct seen seen = {.stop_after = stop_after};
	struct err err = {0};
	assert_ok(audit_replay(ledger.audit, event, position, count, &seen, &err), err);
	return seen;
}

static void test_everything_in_order(void **state)
{
	(void)state;
	struct audit_position position = {0}, end;
	assert_true(ledger.audit != NULL);
	struct seen seen = replay(TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &position, 0);
	assert_int_equal(seen.n, RECORDS);
	assert_int_equal(seen.first, 0);
	assert_int_equal(seen.last, RECORDS - 1);
	audit_position(ledger.audit, &end);
	assert_int_equal(end.next, RECORDS);
	assert_memory_equal(&position, &end, offsetof(struct audit_position, hint));
	seen = replay(TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &position, 0);
	assert_int_equal(seen.n, 0);
}

static void test_one_event(void **state)
{
	(void)state;
	struct audit_position position = {0};
	struct seen seen = replay(TWOKEY__V1__EVENT__EVENT_RESTRICTION, &position, 0);
	assert_int_equal(seen.n, RECORDS / 3);
	assert_int_equal(position.next, RECORDS);
}

static void test_goes_on_from_a_position(void **state)
{
	(void)state;
	struct audit_position position = {0};
	replay(TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &position, 450);
	assert_int_equal(position.next, 450);
	struct seen seen = replay(TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &position, 0);
	assert_int_equal(seen.first, 450);
	assert_int_equal(seen.n, RECORDS - 450);
}

static void test_another_log_is_noticed(void **state)
{
	(void)state;
	struct audit_position position = {0}, end;
	struct seen seen = {0};
	struct err err = {0};
	replay(TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &position, 450);
	position.chain[3] ^= 1;
	assert_err(audit_replay(ledger.audit, 0, &position, count, &seen, &err), ERR_PRECONDITION);
	audit_position(ledger.audit, &end);
	end.chain[0] ^= 1;
	assert_err(audit_replay(ledger.audit, 0, &end, count, &seen, &err), ERR_PRECONDITION);
	struct audit_position beyond = {.next = RECORDS + 1};
	assert_err(audit_replay(ledger.audit, 0, &beyond, count, &seen, &err), ERR_PRECONDITION);
	assert_int_equal(seen.n, 0);
}

static void test_a_position_by_time(void **state)
{
	(void)state;
	struct audit_position position;
	struct err err = {0};
	assert_ok(audit_position_at(ledger.audit, 0, &position, &err), err);
	assert_int_equal(position.next, 0);
	/* Record i is of START + (i + 1) s. */
	const uint64_t wanted = RECORDS - 20;
	assert_ok(audit_position_at(ledger.audit, START_TIME_MS + (int64_t)(wanted + 1) * 1000, &position, &err), err);
	assert_true(position.next <= wanted);
	assert_true(position.next > 0);
	struct seen seen = replay(TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &position, 0);
	assert_int_equal(seen.last, RECORDS - 1);
}

static void test_a_position_by_count(void **state)
{
	(void)state;
	struct audit_position walked = {0}, found;
	struct err err = {0};
	for (uint64_t n = 0; n <= RECORDS; n += 25) {
		if (n)
			replay(TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &walked, n - walked.next);
		assert_ok(audit_position_of(ledger.audit, n, &found, &err), err);
		assert_memory_equal(&walked, &found, offsetof(struct audit_position, hint));
		/* A wrong hint costs time, not truth. */
		found.hint.offset ^= 64;
		assert_int_equal(replay(TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &found, 0).n, RECORDS - n);
	}
	assert_err(audit_position_of(ledger.audit, RECORDS + 1, &found, NULL), ERR_NOT_FOUND);
}

static void test_the_end_is_known_after_opening(void **state)
{
	(void)state;
	struct audit_position before, after;
	audit_position(ledger.audit, &before);
	ledger_close(&ledger);
	ledger_open(&ledger);
	audit_position(ledger.audit, &after);
	assert_memory_equal(&before, &after, sizeof before);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_everything_in_order), cmocka_unit_test(test_one_event),
             cmocka_unit_test(test_goes_on_from_a_position), cmocka_unit_test(test_another_log_is_noticed),
             cmocka_unit_test(test_a_position_by_time), cmocka_unit_test(test_a_position_by_count),
             cmocka_unit_test(test_the_end_is_known_after_opening))
