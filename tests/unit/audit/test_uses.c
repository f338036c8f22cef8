#include "tests/unit/audit/fixture.h"

static uint64_t next_index(void)
{
	static uint64_t index;
	return ++index;
}

static void test_spend_once(void **state)
{
	(void)state;
	struct audit_uses *uses = audit_uses_new();
	struct audit_use use = use_of(1, 1, true);
	assert_int_equal(audit_uses_apply(uses, &use, START_TIME_MS, next_index()), REASON_NONE);
	assert_int_equal(audit_uses_apply(uses, &use, START_TIME_MS, next_index()), REASON_REPLAYED);
	audit_uses_free(uses);
}

static void test_spend_several(void **state)
{
	(void)state;
	struct audit_uses *uses = audit_uses_new();
	struct audit_use use = use_of(1, 3, true);
	for (int i = 0; i < 3; i++)
		assert_int_equal(audit_uses_apply(uses, &use, START_TIME_MS, next_index()), REASON_NONE);
	assert_int_equal(audit_uses_apply(uses, &use, START_TIME_MS, next_index()), REASON_REPLAYED);
	audit_uses_free(uses);
}

static void test_cosign_notes_and_spends_nothing(void **state)
{
	(void)state;
	struct audit_uses *uses = audit_uses_new();
	struct audit_use note = use_of(1, 1, false), spend = use_of(1, 1, true);
	for (int i = 0; i < 5; i++)
		assert_int_equal(audit_uses_apply(uses, &note, START_TIME_MS, next_index()), REASON_NONE);
	assert_int_equal(audit_uses_apply(uses, &spend, START_TIME_MS, next_index()), REASON_NONE);
	assert_int_equal(audit_uses_apply(uses, &note, START_TIME_MS, next_index()), REASON_NONE);
	assert_int_equal(audit_uses_apply(uses, &spend, START_TIME_MS, next_index()), REASON_REPLAYED);
	assert_int_equal(audit_uses_count(uses), 1);
	audit_uses_free(uses);
}

static void test_other_content_is_refused(void **state)
{
	(void)state;
	struct audit_uses *uses = audit_uses_new();
	struct audit_use use = use_of(1, 2, false);
	assert_int_equal(audit_uses_apply(uses, &use, START_TIME_MS, next_index()), REASON_NONE);
	use.transaction_sha256[31] ^= 1;
	assert_int_equal(audit_uses_apply(uses, &use, START_TIME_MS, next_index()), REASON_ID_REUSED);
	use.spend = true;
	assert_int_equal(audit_uses_apply(uses, &use, START_TIME_MS, next_index()), REASON_ID_REUSED);
	audit_uses_free(uses);
}

static void test_what_may_be_forgotten_is_refused(void **state)
{
	(void)state;
	struct audit_uses *uses = audit_uses_new();
	struct audit_use use = use_of(1, 1, true);
	int64_t last_ms = use.expires_at_ms + AUDIT_KEEP_MS;
	assert_int_equal(audit_uses_apply(uses, &use, last_ms + 1, next_index()), REASON_EXPIRED);
	assert_int_equal(audit_uses_apply(uses, &use, last_ms, next_index()), REASON_NONE);
	assert_int_equal(audit_uses_apply(uses, &use, last_ms, next_index()), REASON_REPLAYED);
	audit_uses_free(uses);
}

static void test_expired_entries_go_and_others_stay(void **state)
{
	(void)state;
	struct audit_uses *uses = audit_uses_new();
	enum { MANY = 20000 };
	for (uint64_t i = 0; i < MANY; i++) {
		struct audit_use use = use_of(i, 1, true);
		assert_int_equal(audit_uses_apply(uses, &use, START_TIME_MS, next_index()), REASON_NONE);
	}
	for (uint64_t i = 0; i < MANY; i += 7) {
		struct audit_use use = use_of(i, 1, true);
		assert_int_equal(audit_uses_apply(uses, &use, START_TIME_MS, next_index()), REASON_REPLAYED);
	}
	assert_int_equal(audit_uses_count(uses), MANY);
	int64_t later_ms = START_TIME_MS + 300000 + AUDIT_KEEP_MS + 1;
	for (uint64_t i = 0; i < MANY; i++) {
		struct audit_use use = use_of(MANY + i, 1, true);
		use.expires_at_ms = later_ms + 1000;
		assert_int_equal(audit_uses_apply(uses, &use, later_ms, next_index()), REASON_NONE);
	}
	assert_int_equal(audit_uses_count(uses), MANY);
	audit_uses_free(uses);
}

static void test_restore_counts_spent_uses(void **state)
{
	(void)state;
	struct audit_uses *uses = audit_uses_new();
	struct audit_use use = use_of(1, 2, true);
	uint64_t index = next_index();
	for (int i = 0; i < 3; i++)
		audit_uses_restore(uses, &use, index); /* seen again: once */
	assert_int_equal(audit_uses_apply(uses, &use, START_TIME_MS, next_index()), REASON_NONE);
	assert_int_equal(audit_uses_apply(uses, &use, START_TIME_MS, next_index()), REASON_REPLAYED);
	audit_uses_free(uses);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_spend_once), cmocka_unit_test(test_spend_several),
             cmocka_unit_test(test_cosign_notes_and_spends_nothing), cmocka_unit_test(test_other_content_is_refused),
             cmocka_unit_test(test_what_may_be_forgotten_is_refused),
             cmocka_unit_test(test_expired_entries_go_and_others_stay),
             cmocka_unit_test(test_restore_counts_spent_uses))
