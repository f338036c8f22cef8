/* What was granted and had not ended when the process died is recorded as interrupted, once. */
#include "tests/unit/audit/fixture.h"

static uint64_t begin(struct ledger *ledger, uint64_t id, Twokey__V1__Event event)
{
	struct err err = {0};
	struct audit_commit commit;
	struct audit_use use = use_of(id, 5, true);
	Twokey__V1__Record record = record_of(event, TWOKEY__V1__DECISION__DECISION_GRANTED);
	assert_ok(audit_commit(ledger->audit, &record, &use, &commit, &err), err);
	assert_int_equal(commit.refusal, REASON_NONE);
	return commit.index;
}

static void end(struct ledger *ledger, uint64_t index)
{
	struct err err = {0};
	struct audit_commit commit;
	Twokey__V1__Record record =
	    record_of(TWOKEY__V1__EVENT__EVENT_COMPLETION, TWOKEY__V1__DECISION__DECISION_UNSPECIFIED);
	record.outcome = (char *)"complete";
	record.decision_index = index;
	assert_ok(audit_commit(ledger->audit, &record, NULL, &commit, &err), err);
}

static uint64_t end_interrupted(struct ledger *ledger)
{
	struct err err = {0};
	uint64_t n;
	assert_ok(audit_end_interrupted(ledger->audit, &n, &err), err);
	return n;
}

static void check_interrupted(struct ledger *ledger, uint64_t at, uint64_t of)
{
	Twokey__V1__Record *record = read_record(ledger, at), *grant = read_record(ledger, of);
	assert_int_equal(record->event, TWOKEY__V1__EVENT__EVENT_COMPLETION);
	assert_int_equal(record->decision, 0);
	assert_int_equal(record->decision_index, of);
	assert_string_equal(record->outcome, "interrupted");
	assert_string_equal(record->object, grant->object);
	assert_string_equal(record->subject, grant->subject);
	assert_memory_equal(record->transaction_id.data, grant->transaction_id.data, 16);
	assert_int_equal(record->bytes, 0);
	twokey__v1__record__free_unpacked(record, NULL);
	twokey__v1__record__free_unpacked(grant, NULL);
}

static void test_each_kind_once(void **state)
{
	(void)state;
	static const Twokey__V1__Event events[] = {TWOKEY__V1__EVENT__EVENT_FETCH, TWOKEY__V1__EVENT__EVENT_STORE,
	                                           TWOKEY__V1__EVENT__EVENT_LIST, TWOKEY__V1__EVENT__EVENT_REMOVE};
	struct ledger ledger;
	uint64_t open[4];
	ledger_init(&ledger);
	ledger_open(&ledger);
	commit_denial(&ledger);
	for (int i = 0; i < 4; i++) {
		open[i] = begin(&ledger, 10 + (uint64_t)i, events[i]);
		end(&ledger, begin(&ledger, 20 + (uint64_t)i, events[i]));
	}
	commit_use(&ledger, use_of(40, 1, false));
	ledger_close(&ledger);

	ledger_open(&ledger);
	uint64_t first = committed(&ledger);
	assert_int_equal(end_interrupted(&ledger), 4);
	assert_int_equal(committed(&ledger), first + 4);
	for (uint64_t i = 0; i < 4; i++)
		check_interrupted(&ledger, first + i, open[i]);
	assert_int_equal(end_interrupted(&ledger), 0);
	ledger_close(&ledger);
	for (int again = 0; again < 3; again++) {
		ledger_open(&ledger);
		assert_int_equal(end_interrupted(&ledger), 0);
		ledger_close(&ledger);
	}
	ledger_done(&ledger);
}

/* It dies again between two of them: what is on record stays, the rest follows. */
static void test_interrupted_while_ending(void **state)
{
	(void)state;
	struct ledger ledger;
	ledger_init(&ledger);
	ledger_open(&ledger);
	commit_denial(&ledger);
	for (uint64_t i = 0; i < 10; i++)
		begin(&ledger, i + 1, TWOKEY__V1__EVENT__EVENT_FETCH);
	ledger_close(&ledger);
	ledger_open(&ledger);
	for (uint64_t i = 0; i < 3; i++)
		end(&ledger, i + 1);
	ledger_close(&ledger);
	ledger_open(&ledger);
	assert_int_equal(end_interrupted(&ledger), 7);
	for (uint64_t i = 0; i < 7; i++)
		check_interrupted(&ledger, 14 + i, i + 4);
	ledger_done(&ledger);
}

static void test_a_log_that_fails_ends_nothing(void **state)
{
	(void)state;
	struct ledger ledger;
	ledger_init(&ledger);
	ledger_open(&ledger);
	commit_denial(&ledger);
	begin(&ledger, 1, TWOKEY__V1__EVENT__EVENT_STORE);
	ledger_close(&ledger);
	ledger_open(&ledger);
	atomic_store(&faults.sync_errno, EIO);
	uint64_t n;
	assert_err(audit_end_interrupted(ledger.audit, &n, NULL), ERR_UNAVAILABLE);
	atomic_store(&faults.sync_errno, 0);
	await_service(&ledger);
	ledger_close(&ledger);
	/* Its record was queued, and became durable when the log recovered: still exactly one. */
	ledger_open(&ledger);
	assert_int_equal(end_interrupted(&ledger), 0);
	check_interrupted(&ledger, committed(&ledger) - 1, 1);
	ledger_done(&ledger);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_each_kind_once), cmocka_unit_test(test_interrupted_while_ending),
             cmocka_unit_test(test_a_log_that_fails_ends_nothing))
