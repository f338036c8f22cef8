/* Which sealed object may stand under a name, as the record knows it. */
#include "tests/unit/audit/fixture.h"

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

static uint64_t append(Twokey__V1__Record *record, const struct audit_use *use)
{
	struct err err = {0};
	struct audit_commit commit;
	assert_ok(audit_commit(ledger.audit, record, use, &commit, &err), err);
	assert_int_equal(commit.refusal, REASON_NONE);
	return commit.index;
}

static void name(Twokey__V1__Record *record, Twokey__V1__Operation operation, char id, uint8_t storage[16])
{
	record->operation = operation;
	memset(storage, id, 16);
	if (id)
		record->object_id = (ProtobufCBinaryData){16, storage};
}

/* A use of its own each time. */
static uint64_t grant(Twokey__V1__Operation operation, char id)
{
	static uint64_t number = 1000;
	uint8_t storage[16];
	bool put = operation == TWOKEY__V1__OPERATION__OPERATION_PUT;
	Twokey__V1__Record record = record_of(put ? TWOKEY__V1__EVENT__EVENT_STORE : TWOKEY__V1__EVENT__EVENT_REMOVE,
	                                      TWOKEY__V1__DECISION__DECISION_GRANTED);
	struct audit_use use = use_of(number++, 1, true);
	name(&record, operation, id, storage);
	return append(&record, &use);
}

static uint64_t end(Twokey__V1__Operation operation, char id, uint64_t granted, const char *outcome)
{
	uint8_t storage[16];
	Twokey__V1__Record record =
	    record_of(TWOKEY__V1__EVENT__EVENT_COMPLETION, TWOKEY__V1__DECISION__DECISION_UNSPECIFIED);
	name(&record, operation, id, storage);
	record.decision_index = granted;
	record.outcome = (char *)outcome;
	return append(&record, NULL);
}

static uint64_t begin_store(char id)
{
	return grant(TWOKEY__V1__OPERATION__OPERATION_PUT, id);
}

static uint64_t end_store(char id, uint64_t granted, const char *outcome)
{
	return end(TWOKEY__V1__OPERATION__OPERATION_PUT, id, granted, outcome);
}

static uint64_t store(char id)
{
	return end_store(id, begin_store(id), "complete");
}

static uint64_t remove_object(void)
{
	return end(TWOKEY__V1__OPERATION__OPERATION_DELETE, 0, grant(TWOKEY__V1__OPERATION__OPERATION_DELETE, 0),
	           "complete");
}

static bool fresh_at(const char *bucket, const char *object, char id)
{
	struct err err = {0};
	uint8_t object_id[16];
	bool fresh = false;
	memset(object_id, id, sizeof object_id);
	const struct audit_object asked = {
	    .bucket = bucket, .object = object, .id = object_id, .before = committed(&ledger)};
	assert_ok(audit_object_fresh(ledger.audit, &asked, &fresh, &err), err);
	return fresh;
}

static bool fresh(char id)
{
	return fresh_at("documents", "reports/2026/11.pdf", id);
}

/* The answers must be the same from memory, from the index, after a restart, and from the
 * log alone. */
static void expect(const char *fresh_ids, const char *stale_ids)
{
	for (const char *id = fresh_ids; *id; id++)
		assert_true(fresh(*id));
	for (const char *id = stale_ids; *id; id++)
		assert_false(fresh(*id));
}

static void expect_everywhere(const char *fresh_ids, const char *stale_ids)
{
	autofree char *path = xasprintf("%s/index.sqlite3", ledger.directory);
	expect(fresh_ids, stale_ids);
	await_indexed(&ledger, committed(&ledger) - 1);
	expect(fresh_ids, stale_ids);
	ledger_close(&ledger);
	ledger_open(&ledger);
	expect(fresh_ids, stale_ids);
	ledger_close(&ledger);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0); /* no index can be made there */
	ledger_open(&ledger);
	assert_true(!fresh_ids[0] || fresh(fresh_ids[0]));
	assert_false(stale_ids[0] && fresh(stale_ids[0]));
	ledger_close(&ledger);
	assert_int_equal(rmdir(path), 0);
	ledger_open(&ledger);
	expect(fresh_ids, stale_ids);
}

static void test_unknown_name(void **state)
{
	(void)state;
	commit_denial(&ledger);
	expect_everywhere("ab", "");
}

static void test_only_the_last_counts(void **state)
{
	(void)state;
	store('a');
	store('b');
	store('c');
	expect_everywhere("c", "abx");
	assert_true(fresh_at("documents", "reports/2026/12.pdf", 'a'));
	assert_true(fresh_at("other", "reports/2026/11.pdf", 'a'));
}

static void test_removed(void **state)
{
	(void)state;
	store('a');
	remove_object();
	expect_everywhere("", "ax");
	store('b');
	expect_everywhere("b", "a");
}

/* A transaction that names a version removes that one, whichever it was. */
static void test_one_version_removed(void **state)
{
	(void)state;
	store('a');
	Twokey__V1__Record record =
	    record_of(TWOKEY__V1__EVENT__EVENT_COMPLETION, TWOKEY__V1__DECISION__DECISION_UNSPECIFIED);
	record.operation = TWOKEY__V1__OPERATION__OPERATION_DELETE;
	record.outcome = (char *)"complete";
	record.version_id = (char *)"v1";
	record.decision_index = committed(&ledger) - 1;
	append(&record, NULL);
	expect_everywhere("a", "x");
}

/* It may be there already, or never come. */
static void test_running(void **state)
{
	(void)state;
	store('a');
	uint64_t granted = begin_store('b');
	expect_everywhere("ab", "x");
	end_store('b', granted, "complete");
	expect_everywhere("b", "ax");
}

static void test_failed(void **state)
{
	(void)state;
	store('a');
	end_store('b', begin_store('b'), "STORE_UNAVAILABLE");
	expect_everywhere("ab", "x");
	store('c');
	expect_everywhere("c", "abx");
}

/* Nobody knows which of them the bucket took last. */
static void test_overlapping(void **state)
{
	(void)state;
	store('a');
	uint64_t b = begin_store('b'), c = begin_store('c');
	end_store('c', c, "complete");
	end_store('b', b, "complete");
	expect_everywhere("bc", "a");
	store('d');
	expect_everywhere("d", "abc");
}

static void test_cut_off_by_a_crash(void **state)
{
	(void)state;
	store('a');
	begin_store('b');
	ledger_close(&ledger);
	ledger_open(&ledger);
	expect("ab", "x");
	store('c');
	expect_everywhere("c", "ab");
}

/* A Fetch names the object too, and a refused Store names none. */
static void test_reading_changes_nothing(void **state)
{
	(void)state;
	store('a');
	store('b');
	end(TWOKEY__V1__OPERATION__OPERATION_GET, 'a', 0, "complete");
	commit_denial(&ledger);
	expect_everywhere("b", "a");
}

static void test_many(void **state)
{
	(void)state;
	for (int i = 0; i < 300; i++)
		store((char)('a' + i % 2));
	expect_everywhere("b", "a");
}

static void test_damaged_log_without_index(void **state)
{
	(void)state;
	struct err err = {0};
	uint8_t id[16] = {0};
	bool is_fresh = true;
	autofree char *index = xasprintf("%s/index.sqlite3", ledger.directory);
	store('a');
	for (int i = 0; i < 2000; i++)
		commit_denial(&ledger);
	ledger_close(&ledger);
	assert_int_equal(unlink(index), 0);
	assert_int_equal(mkdir(index, 0700), 0);
	ledger_open(&ledger);
	autofree char *path = audit_segment_path(ledger.directory, 0);
	int fd = open(path, O_RDWR);
	assert_int_equal(pwrite(fd, "x", 1, AUDIT_HEADER_BYTES + 40), 1);
	close(fd);
	const struct audit_object asked = {.bucket = "documents", .object = "x", .id = id};
	assert_int_not_equal(audit_object_fresh(ledger.audit, &asked, &is_fresh, &err), ERR_OK);
	assert_int_equal(rmdir(index), 0);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_unknown_name), cmocka_unit_test(test_only_the_last_counts),
             cmocka_unit_test(test_removed), cmocka_unit_test(test_one_version_removed), cmocka_unit_test(test_running),
             cmocka_unit_test(test_failed), cmocka_unit_test(test_overlapping),
             cmocka_unit_test(test_cut_off_by_a_crash), cmocka_unit_test(test_reading_changes_nothing),
             cmocka_unit_test(test_many), cmocka_unit_test(test_damaged_log_without_index))
