/* The snapshot of derived state: a start with it knows what a start without it knows, and reads only the end. */
#include "tests/unit/audit/fixture.h"

#include <pthread.h>

#include "audit/snapshot.h"

/* A signature that only we can make. */
static int signs, verifies;

static enum err_code sign(void *user, const uint8_t sha256[32], struct buf *out, struct err *err)
{
	(void)err;
	signs++;
	buf_append_str(out, user);
	buf_append(out, span_of(sha256, 32));
	return ERR_OK;
}

static bool verify(void *user, const uint8_t sha256[32], struct span signature)
{
	autobuf struct buf good = {0};
	verifies++;
	return sign(user, sha256, &good, NULL) == ERR_OK && span_eq(buf_span(&good), signature);
}

static const struct audit_tuning often = {.io = &faulty_io, .retry_ms = 5, .snapshot_records = 1};

static void open_with(struct ledger *ledger, const char *name)
{
	struct err err = {0};
	ledger->options.voucher = (struct audit_voucher){sign, verify, (void *)(uintptr_t)name};
	assert_ok(audit_open_tuned(&ledger->options, &often, &ledger->audit, &err), err);
}

static void tend(struct ledger *ledger)
{
	struct err err = {0};
	assert_ok(audit_tend(ledger->audit, &err), err);
}

static void fill(struct ledger *ledger, int n)
{
	for (int i = 0; i < n; i++)
		commit_denial(ledger);
}

static void damage_first_segment(const struct ledger *ledger)
{
	autofree char *path = xasprintf("%s/log/00000000000000000000.seg", ledger->directory);
	autofd int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte = 0;
	assert_int_equal(pread(fd, &byte, 1, AUDIT_HEADER_BYTES + 100), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, AUDIT_HEADER_BYTES + 100), 1);
}

static char *snapshot_path(const struct ledger *ledger)
{
	return xasprintf("%s/" AUDIT_SNAPSHOT_FILE, ledger->directory);
}

static void check_state(struct ledger *ledger)
{
	assert_int_equal(commit_use(ledger, use_of(1, 1, true)), REASON_REPLAYED);
	assert_int_equal(commit_use(ledger, use_of(2, 2, true)), REASON_NONE);
	assert_int_equal(commit_use(ledger, use_of(2, 2, true)), REASON_REPLAYED);
	struct audit_use other = use_of(3, 1, false);
	other.transaction_sha256[0] ^= 1;
	assert_int_equal(commit_use(ledger, other), REASON_ID_REUSED);
	assert_int_equal(commit_use(ledger, use_of(4, 1, true)), REASON_REPLAYED);
}

/* Uses before and behind the snapshot, with several segments between. */
static void make_state(struct ledger *ledger)
{
	open_with(ledger, "us");
	assert_int_equal(commit_use(ledger, use_of(1, 1, true)), REASON_NONE);
	assert_int_equal(commit_use(ledger, use_of(2, 2, true)), REASON_NONE);
	assert_int_equal(commit_use(ledger, use_of(3, 1, false)), REASON_NONE);
	fill(ledger, 600);
	tend(ledger);
	assert_int_equal(commit_use(ledger, use_of(4, 1, true)), REASON_NONE);
	ledger_close(ledger);
}

static void test_only_the_end_is_read(void **state)
{
	(void)state;
	struct ledger ledger;
	ledger_init(&ledger);
	make_state(&ledger);
	damage_first_segment(&ledger);
	open_with(&ledger, "us"); /* does not notice */
	check_state(&ledger);
	ledger_close(&ledger);
	autofree char *path = snapshot_path(&ledger);
	assert_int_equal(unlink(path), 0);
	assert_err(audit_open_tuned(&ledger.options, &often, &ledger.audit, NULL), ERR_CORRUPT);
	ledger_done(&ledger);
}

static void test_nothing_behind_it(void **state)
{
	(void)state;
	struct ledger ledger;
	ledger_init(&ledger);
	open_with(&ledger, "us");
	fill(&ledger, 300);
	assert_int_equal(commit_use(&ledger, use_of(1, 1, true)), REASON_NONE);
	tend(&ledger);
	ledger_close(&ledger);
	open_with(&ledger, "us");
	struct audit_last last;
	audit_last(ledger.audit, &last);
	assert_int_equal(last.index, 300);
	assert_int_equal(last.event, TWOKEY__V1__EVENT__EVENT_FETCH);
	assert_int_equal(commit_use(&ledger, use_of(1, 1, true)), REASON_REPLAYED);
	ledger_done(&ledger);
}

static void test_without_one_the_log_tells(void **state)
{
	(void)state;
	struct ledger ledger;
	ledger_init(&ledger);
	make_state(&ledger);
	autofree char *path = snapshot_path(&ledger);
	assert_int_equal(unlink(path), 0);
	open_with(&ledger, "us");
	check_state(&ledger);
	ledger_done(&ledger);
}

static void test_signed_by_somebody_else(void **state)
{
	(void)state;
	struct ledger ledger;
	ledger_init(&ledger);
	make_state(&ledger);
	open_with(&ledger, "them");
	check_state(&ledger);
	ledger_close(&ledger);
	damage_first_segment(&ledger);
	assert_err(audit_open_tuned(&ledger.options, &often, &ledger.audit, NULL), ERR_CORRUPT);
	ledger_done(&ledger);
}

/* Cut anywhere, and each byte changed of a sample: the log tells. */
static void test_damaged(void **state)
{
	(void)state;
	struct ledger ledger;
	autobuf struct buf good = {0};
	struct err err = {0};
	ledger_init(&ledger);
	make_state(&ledger);
	autofree char *path = snapshot_path(&ledger);
	assert_ok(text_read_file(path, 1 << 20, &good, &err), err);
	struct audit_log *log = NULL;
	uint64_t torn;
	for (size_t at = 0; at < good.len; at += 1 + good.len / 40) {
		assert_ok(text_write_file(path, span_of(good.data, at), 0600, &err), err);
		assert_ok(audit_log_open(&ledger.options, &often, &log, &torn, &err), err);
		assert_int_equal(log->snapshot_next, 0);
		assert_int_equal(audit_uses_count(log->uses), 4);
		audit_log_free(&log->ledger);
		good.data[at] ^= 0x40;
		assert_ok(text_write_file(path, buf_span(&good), 0600, &err), err);
		good.data[at] ^= 0x40;
		assert_ok(audit_log_open(&ledger.options, &often, &log, &torn, &err), err);
		assert_int_equal(log->snapshot_next, 0);
		assert_int_equal(audit_uses_count(log->uses), 4);
		audit_log_free(&log->ledger);
	}
	assert_ok(text_write_file(path, buf_span(&good), 0600, &err), err);
	assert_ok(audit_log_open(&ledger.options, &often, &log, &torn, &err), err);
	assert_int_equal(log->snapshot_next, 603);
	audit_log_free(&log->ledger);
	ledger_done(&ledger);
}

static void test_of_another_log(void **state)
{
	(void)state;
	struct ledger ledger, other;
	struct err err = {0};
	autobuf struct buf snapshot = {0};
	ledger_init(&ledger);
	make_state(&ledger);
	ledger_init(&other);
	open_with(&other, "us");
	fill(&other, 10);
	assert_int_equal(commit_use(&other, use_of(7, 1, true)), REASON_NONE);
	fill(&other, 700);
	ledger_close(&other);
	autofree char *from = snapshot_path(&ledger), *to = snapshot_path(&other);
	assert_ok(text_read_file(from, 1 << 20, &snapshot, &err), err);
	assert_ok(text_write_file(to, buf_span(&snapshot), 0600, &err), err);
	open_with(&other, "us");
	assert_int_equal(commit_use(&other, use_of(7, 1, true)), REASON_REPLAYED);
	assert_int_equal(commit_use(&other, use_of(1, 1, true)), REASON_NONE);
	ledger_done(&other);
	ledger_done(&ledger);
}

static void test_nobody_vouches(void **state)
{
	(void)state;
	struct ledger ledger;
	ledger_init(&ledger);
	ledger_open(&ledger);
	fill(&ledger, 3);
	tend(&ledger);
	autofree char *path = snapshot_path(&ledger);
	assert_int_equal(access(path, F_OK), -1);
	ledger_done(&ledger);
}

static void test_a_failing_disk_leaves_the_last_one(void **state)
{
	(void)state;
	struct ledger ledger;
	ledger_init(&ledger);
	make_state(&ledger);
	open_with(&ledger, "us");
	fill(&ledger, 1);
	autofree char *path = snapshot_path(&ledger), *made = xasprintf("%s.new", path);
	assert_int_equal(mkdir(made, 0700), 0);
	assert_err(audit_tend(ledger.audit, NULL), ERR_UNAVAILABLE);
	assert_int_equal(access(path, F_OK), 0);
	check_state(&ledger);
	ledger_done(&ledger);
}

enum { THREADS = 4, IDS = 499 /* a prime */, USES = 6 };

static void *spend(void *user)
{
	struct ledger *ledger = ((struct ledger **)user)[0];
	unsigned thread = (unsigned)(uintptr_t)((void **)user)[1];
	/* Every thread spends one use of every id, in an order of its own. */
	for (unsigned i = 0; i < IDS; i++)
		assert_int_equal(commit_use(ledger, use_of(1 + (i * (2 * thread + 1)) % IDS, USES, true)), REASON_NONE);
	return NULL;
}

/* Snapshots are taken while uses are spent: afterwards exactly as many are left as were not spent. */
static void test_taken_while_records_are_written(void **state)
{
	(void)state;
	struct ledger ledger;
	pthread_t threads[THREADS];
	void *inputs[THREADS][2];
	ledger_init(&ledger);
	open_with(&ledger, "us");
	for (int i = 0; i < THREADS; i++) {
		inputs[i][0] = &ledger;
		inputs[i][1] = (void *)(uintptr_t)i;
		assert_int_equal(pthread_create(&threads[i], NULL, spend, inputs[i]), 0);
	}
	int before = signs;
	while (committed(&ledger) < THREADS * IDS)
		tend(&ledger);
	assert_true(signs > before);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ledger_close(&ledger);
	open_with(&ledger, "us");
	for (unsigned id = 1; id <= IDS; id++) {
		for (int left = USES - THREADS; left; left--)
			assert_int_equal(commit_use(&ledger, use_of(id, USES, true)), REASON_NONE);
		assert_int_equal(commit_use(&ledger, use_of(id, USES, true)), REASON_REPLAYED);
	}
	ledger_done(&ledger);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_only_the_end_is_read), cmocka_unit_test(test_nothing_behind_it),
             cmocka_unit_test(test_without_one_the_log_tells), cmocka_unit_test(test_signed_by_somebody_else),
             cmocka_unit_test(test_damaged), cmocka_unit_test(test_of_another_log),
             cmocka_unit_test(test_nobody_vouches), cmocka_unit_test(test_a_failing_disk_leaves_the_last_one),
             cmocka_unit_test(test_taken_while_records_are_written))
