/* Restrictions that are derived from a record: across restarts, with and without a snapshot that can be believed. */
#include <ftw.h>
#include <sys/stat.h>

#include "common/log.h"
#include "common/text.h"
#include "server/restricting.h"
#include "server/restriction_snapshot.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

static struct softhsm token;
static struct hsm *hsm;
static struct hsm_key *other_key;
static struct keys *keys;
static char directory[64];
static struct audit *audit;
static struct restricting *restricting;

static int make_token(void **state)
{
	(void)state;
	struct err err = {0};
	log_setup(LOG_ERROR, LOG_TEXT);
	softhsm_setup(&token, "restricting");
	const struct hsm_options options = {
	    .module = SOFTHSM_MODULE, .token = "pkcs11:token=restricting", .pin_source = token.pin_source};
	assert_ok(hsm_open(&options, &hsm, &err), err);
	assert_ok(hsm_generate_ec(hsm, "transaction", &err), err);
	assert_ok(hsm_generate_ec(hsm, "audit", &err), err);
	assert_ok(hsm_generate_ec(hsm, "other", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=other", &other_key, &err), err);
	return 0;
}

static int drop_token(void **state)
{
	(void)state;
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}

static void open_ledger(void)
{
	static const struct config config = {
	    .role = CONFIG_VENDOR,
	    .name = (char *)"g",
	    .keys = {.transaction = (char *)"pkcs11:object=transaction", .audit = (char *)"pkcs11:object=audit"}};
	struct err err = {0};
	const struct audit_options options = {.directory = directory, .segment_bytes = 64 << 10};
	assert_ok(audit_open(&options, &audit, &err), err);
	assert_ok(keys_open(&config, hsm, &keys, &err), err);
	const struct restricting_options with = {.audit = audit, .keys = keys, .directory = directory, .name = "g"};
	assert_ok(restricting_open(&with, &restricting, &err), err);
}

static void close_ledger(void)
{
	restricting_close(restricting);
	audit_close(audit);
	keys_free(keys);
	restricting = NULL;
	audit = NULL;
}

static int setup(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/twokey-restricting-XXXXXX");
	assert_non_null(mkdtemp(directory));
	open_ledger();
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	close_ledger();
	return nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static enum reason change(enum restriction_action action, enum restriction_scope scope, const char *name,
                          const char *user)
{
	struct restriction_change wanted = {.scope = scope,
	                                    .action = action,
	                                    .bucket = "",
	                                    .name = name,
	                                    .user = user,
	                                    .expires_ms = 1,
	                                    .note = {.who = "op", .why = "test"}};
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	record.identity = (char *)"op";
	uint64_t index;
	struct err err = {0};
	return restricting_change(restricting, &wanted, &record, &index, &err);
}

static enum reason check(const char *object)
{
	const struct restriction_question question = {
	    .bucket = "b", .object = object, .user = "alice", .account = "acme", .now_ms = 1000};
	struct restricting_view seen;
	return restricting_check(restricting, &question, &seen);
}

static void make_some(void)
{
	assert_int_equal(change(RESTRICT_REVOKE, RESTRICT_PREFIX, "r/", NULL), REASON_NONE);
	assert_int_equal(change(RESTRICT_REVOKE, RESTRICT_OBJECT, "gone", NULL), REASON_NONE);
	assert_int_equal(change(RESTRICT_REINSTATE, RESTRICT_OBJECT, "gone", NULL), REASON_NONE);
	assert_int_equal(change(RESTRICT_SET_EXPIRY, RESTRICT_OBJECT, "e", NULL), REASON_NONE);
	assert_int_equal(change(RESTRICT_ADD_USER, RESTRICT_OBJECT, "u", "bob"), REASON_NONE);
	assert_int_equal(change(RESTRICT_ADD_USER, RESTRICT_OBJECT, "none", "alice"), REASON_NONE);
	assert_int_equal(change(RESTRICT_REMOVE_USER, RESTRICT_OBJECT, "none", "alice"), REASON_NONE);
}

static void expect_some(void)
{
	assert_int_equal(check("r/x"), REASON_REVOKED);
	assert_int_equal(check("gone"), REASON_NONE);
	assert_int_equal(check("e"), REASON_OBJECT_EXPIRED);
	assert_int_equal(check("u"), REASON_USER_NOT_LISTED);
	assert_int_equal(check("none"), REASON_USER_NOT_LISTED);
}

static char *snapshot_path(void)
{
	return xasprintf("%s/" RESTRICTION_SNAPSHOT_FILE, directory);
}

static void fill_log(int n)
{
	for (int i = 0; i < n; i++) {
		Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
		record.event = TWOKEY__V1__EVENT__EVENT_REQUEST;
		struct audit_commit commit;
		struct err err = {0};
		assert_ok(audit_commit(audit, &record, NULL, &commit, &err), err);
	}
}

/* The body of a snapshot in which nothing is restricted. */
static void empty_body(const struct audit_position *position, struct buf *out)
{
	struct restrictions *none = restrictions_new();
	restriction_snapshot_body(none, keys, position, out);
	restrictions_free(none);
}

static void test_a_change_holds_and_moves(void **state)
{
	(void)state;
	const struct restriction_question question = {.bucket = "b", .object = "r/x", .user = "alice"};
	struct restricting_view seen;
	assert_int_equal(restricting_check(restricting, &question, &seen), REASON_NONE);
	assert_false(restricting_moved(restricting, &seen));
	make_some();
	assert_true(restricting_moved(restricting, &seen));
	expect_some();
}

/* What was decided before a change is not appended behind it; who has caught up may. */
static void test_a_grant_knows_every_change_before_it(void **state)
{
	(void)state;
	const struct restriction_question question = {.bucket = "b", .object = "r/x", .user = "alice"};
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	struct restricting_view seen;
	struct audit_commit commit;
	struct err err = {0};
	bool stale;
	fill_log(5); /* what changes nothing does not matter */
	assert_int_equal(restricting_check(restricting, &question, &seen), REASON_NONE);
	record.event = TWOKEY__V1__EVENT__EVENT_AUTHORIZE;
	record.decision = TWOKEY__V1__DECISION__DECISION_GRANTED;
	assert_ok(audit_commit_known(audit, &record, NULL, seen.known, &stale, &commit, &err), err);
	assert_false(stale);
	assert_int_equal(change(RESTRICT_REVOKE, RESTRICT_PREFIX, "r/", NULL), REASON_NONE);
	assert_ok(audit_commit_known(audit, &record, NULL, seen.known, &stale, &commit, &err), err);
	assert_true(stale);
	assert_int_equal(restricting_catch_up(restricting), REASON_NONE);
	assert_int_equal(restricting_check(restricting, &question, &seen), REASON_REVOKED);
	assert_ok(audit_commit_known(audit, &record, NULL, seen.known, &stale, &commit, &err), err);
	assert_false(stale);
}

static void test_what_is_refused_changes_and_records_nothing(void **state)
{
	(void)state;
	struct audit_position before, after;
	audit_position(audit, &before);
	assert_int_equal(change(RESTRICT_REINSTATE, RESTRICT_OBJECT, "x", NULL), REASON_NO_SUCH_RESTRICTION);
	assert_int_equal(change(RESTRICT_REVOKE, RESTRICT_OBJECT, "", NULL), REASON_MALFORMED);
	audit_position(audit, &after);
	assert_int_equal(before.next, after.next);
}

static void test_restart_with_a_snapshot(void **state)
{
	(void)state;
	make_some();
	fill_log(300);
	close_ledger();
	autofree char *path = snapshot_path();
	assert_int_equal(access(path, R_OK), 0);
	open_ledger();
	expect_some();
	/* What came after the snapshot counts as well: as after a kill, the old one is there. */
	autobuf struct buf old = {0};
	struct err err = {0};
	assert_ok(text_read_file(path, 1 << 20, &old, &err), err);
	assert_int_equal(change(RESTRICT_REVOKE, RESTRICT_OBJECT, "late", NULL), REASON_NONE);
	close_ledger();
	assert_ok(text_write_file(path, buf_span(&old), 0600, &err), err);
	open_ledger();
	assert_int_equal(check("late"), REASON_REVOKED);
	expect_some();
}

static void test_restart_without_a_snapshot(void **state)
{
	(void)state;
	make_some();
	fill_log(300);
	close_ledger();
	autofree char *path = snapshot_path();
	assert_int_equal(unlink(path), 0);
	open_ledger();
	expect_some();
}

/* Each byte that matters is covered by the signature. */
static void test_a_changed_snapshot_does_not_count(void **state)
{
	(void)state;
	autofree char *path = snapshot_path();
	make_some();
	for (int round = 0; round < 3; round++) {
		struct err err = {0};
		autobuf struct buf file = {0};
		close_ledger();
		assert_ok(text_read_file(path, 1 << 20, &file, &err), err);
		if (round == 0)
			file.data[file.len - 10] ^= 1;
		else if (round == 1)
			file.len -= 20; /* a restriction less */
		else
			file.data[10] ^= 1;
		assert_ok(text_write_file(path, buf_span(&file), 0600, &err), err);
		open_ledger();
		expect_some();
	}
}

static void test_a_snapshot_by_another_key_does_not_count(void **state)
{
	(void)state;
	struct audit_position position;
	autobuf struct buf body = {0};
	struct err err = {0};
	make_some();
	/* As of the log's end, and properly signed, but by somebody else. */
	audit_position(audit, &position);
	empty_body(&position, &body);
	close_ledger();
	assert_ok(restriction_snapshot_write(directory, buf_span(&body), other_key, &err), err);
	open_ledger();
	expect_some();
}

static void test_a_snapshot_of_another_log_does_not_count(void **state)
{
	(void)state;
	struct audit_position position;
	struct err err = {0};
	make_some();
	audit_position(audit, &position);
	for (int round = 0; round < 2; round++) {
		autobuf struct buf body = {0}, file = {0};
		autofree char *path = snapshot_path();
		if (round == 0)
			position.chain[0] ^= 1;
		else
			position.next += 1000;
		empty_body(&position, &body);
		assert_ok(restriction_snapshot_write(directory, buf_span(&body), keys_audit(keys), &err), err);
		assert_ok(text_read_file(path, 1 << 20, &file, &err), err);
		close_ledger(); /* leaves a good one */
		assert_ok(text_write_file(path, buf_span(&file), 0600, &err), err);
		open_ledger();
		expect_some();
	}
}

static void test_a_lockdown_is_in_the_snapshot(void **state)
{
	(void)state;
	assert_int_equal(change(RESTRICT_LOCKDOWN, RESTRICT_EVERYTHING, "", NULL), REASON_NONE);
	close_ledger();
	open_ledger();
	assert_int_equal(check("x"), REASON_LOCKDOWN);
	assert_int_equal(change(RESTRICT_RELEASE, RESTRICT_EVERYTHING, "", NULL), REASON_NONE);
	close_ledger();
	open_ledger();
	assert_int_equal(check("x"), REASON_NONE);
}

/* When the log cannot be written nobody knows whether a change holds: nothing is allowed until it is known. */
static void test_an_unknown_outcome_stops_everything_until_it_is_known(void **state)
{
	(void)state;
	autofree char *path = xasprintf("%s/lock", directory), *aside = xasprintf("%s/lock-aside", directory);
	assert_int_equal(rename(path, aside), 0); /* the log checks that its files are there */
	assert_int_equal(change(RESTRICT_REVOKE, RESTRICT_OBJECT, "x", NULL), REASON_LEDGER_UNAVAILABLE);
	assert_int_equal(check("y"), REASON_LEDGER_UNAVAILABLE);
	const struct restricting_view nothing = {0};
	assert_true(restricting_moved(restricting, &nothing));
	restricting_tend(restricting);
	assert_int_equal(check("y"), REASON_LEDGER_UNAVAILABLE);
	assert_int_equal(rename(aside, path), 0);
	/* The log looks after itself once a second. */
	for (int i = 0; i < 200 && check("y") != REASON_NONE; i++) {
		usleep(50000);
		restricting_tend(restricting);
	}
	assert_int_equal(check("y"), REASON_NONE);
	enum reason now = check("x");
	close_ledger();
	autofree char *snapshot = snapshot_path();
	unlink(snapshot);
	open_ledger();
	assert_int_equal(check("x"), now); /* what memory said is what the record says */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
HARNESS_MAIN(make_token, drop_token, TEST(test_a_change_holds_and_moves),
             TEST(test_a_grant_knows_every_change_before_it), TEST(test_what_is_refused_changes_and_records_nothing),
             TEST(test_restart_with_a_snapshot), TEST(test_restart_without_a_snapshot),
             TEST(test_a_changed_snapshot_does_not_count), TEST(test_a_snapshot_by_another_key_does_not_count),
             TEST(test_a_snapshot_of_another_log_does_not_count), TEST(test_a_lockdown_is_in_the_snapshot),
             TEST(test_an_unknown_outcome_stops_everything_until_it_is_known))
