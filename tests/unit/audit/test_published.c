/* Checkpoints by compare and swap: no two that contradict. */
#include "tests/unit/audit/fixture.h"

#include "audit/ledger.h"

static struct ledger ledger;

static int setup(void **state)
{
	(void)state;
	ledger_init(&ledger);
	ledger_open(&ledger);
	for (int i = 0; i < 30; i++)
		commit_denial(&ledger);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ledger_done(&ledger);
	return 0;
}

static struct audit_published checkpoint_of(uint64_t size, uint8_t root)
{
	struct audit_published published = {.size = size};
	autobuf struct buf base64 = {0};
	memset(published.root, root, sizeof(published.root));
	text_base64(span_of(published.root, sizeof(published.root)), &base64);
	buf_printf(&published.note, "example.org/log\n%" PRIu64 "\n%s\n\n", size, buf_cstr(&base64));
	return published;
}

static enum err_code publish(struct audit_published last, struct audit_published next)
{
	enum err_code code = audit_ledger_publish(audit_ledger(ledger.audit), &last, &next, NULL);
	buf_done(&last.note);
	buf_done(&next.note);
	return code;
}

static void expect_published(uint64_t size, uint8_t root)
{
	struct err err = {0};
	struct audit_published now, expected = checkpoint_of(size, root);
	assert_ok(audit_ledger_published(audit_ledger(ledger.audit), &now, &err), err);
	assert_int_equal(now.size, size);
	if (size) {
		assert_memory_equal(now.root, expected.root, sizeof(now.root));
		assert_int_equal(now.note.len, expected.note.len);
		assert_memory_equal(now.note.data, expected.note.data, now.note.len);
	}
	buf_done(&now.note);
	buf_done(&expected.note);
}

static const struct audit_published none;

static void test_extends_the_last(void **state)
{
	(void)state;
	expect_published(0, 0);
	assert_int_equal(publish(none, checkpoint_of(10, 1)), ERR_OK);
	expect_published(10, 1);
	assert_int_equal(publish(checkpoint_of(10, 1), checkpoint_of(25, 2)), ERR_OK);
	expect_published(25, 2);
	ledger_close(&ledger);
	ledger_open(&ledger);
	expect_published(25, 2);
}

static void test_who_has_not_seen_the_last_is_refused(void **state)
{
	(void)state;
	assert_int_equal(publish(none, checkpoint_of(10, 1)), ERR_OK);
	assert_int_equal(publish(none, checkpoint_of(12, 3)), ERR_PRECONDITION);
	assert_int_equal(publish(checkpoint_of(10, 9), checkpoint_of(12, 3)), ERR_PRECONDITION);
	assert_int_equal(publish(checkpoint_of(9, 1), checkpoint_of(12, 3)), ERR_PRECONDITION);
	expect_published(10, 1);
}

static void test_what_contradicts_is_refused(void **state)
{
	(void)state;
	assert_int_equal(publish(none, checkpoint_of(10, 1)), ERR_OK);
	assert_int_equal(publish(checkpoint_of(10, 1), checkpoint_of(9, 2)), ERR_INVALID);
	assert_int_equal(publish(checkpoint_of(10, 1), checkpoint_of(10, 2)), ERR_INVALID);
	assert_int_equal(publish(checkpoint_of(10, 1), checkpoint_of(31, 2)), ERR_INVALID); /* more than there is */
	expect_published(10, 1);
}

#define LEDGER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
HARNESS_MAIN(NULL, NULL, LEDGER_TEST(test_extends_the_last), LEDGER_TEST(test_who_has_not_seen_the_last_is_refused),
             LEDGER_TEST(test_what_contradicts_is_refused))
