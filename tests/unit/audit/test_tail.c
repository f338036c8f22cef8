/* Torn or damaged: what an unfinished write leaves is repaired, anything else is named. */
#include "tests/unit/audit/fixture.h"

static struct ledger ledger;

enum { BASE = 6, IN_BATCH = 5 };

/* The segment's bytes, and where its last batch begins and ends. */
static struct {
	uint8_t bytes[SEGMENT_BYTES];
	char path[128];
	size_t begin, end;
	size_t frames[IN_BATCH + 1]; /* where each frame of the batch begins; last: the end */
} log_file;

static void store(const uint8_t *bytes)
{
	struct err err = {0};
	int fd = open(log_file.path, O_RDWR);
	assert_true(fd >= 0);
	assert_ok(audit_write_all(&audit_io_system, fd, span_of(bytes, SEGMENT_BYTES), 0, &err), err);
	close(fd);
}

static void add_record(struct audit_batch *batch, uint64_t index)
{
	uint8_t prefix[AUDIT_PREFIX_MAX];
	struct audit_use use = use_of(index, 1, true);
	struct err err = {0};
	autobuf struct buf rest = {0};
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_FETCH, TWOKEY__V1__DECISION__DECISION_GRANTED);
	char detail[800];
	memset(detail, 'd', sizeof(detail));
	detail[index % 3 ? 20 : 799] = 0;
	record.detail = detail;
	assert_ok(audit_record_encode(&record, &use, &rest, &err), err);
	audit_batch_add(batch, span_of(prefix, audit_record_prefix(index, START_TIME_MS, prefix)), buf_span(&rest));
}

/* A ledger of BASE records in batches of their own, and one batch of IN_BATCH. */
static int setup(void **state)
{
	(void)state;
	struct audit_walk walk;
	struct err err = {0};
	struct span record;
	ledger_init(&ledger);
	ledger_open(&ledger);
	for (int i = 0; i < BASE; i++)
		commit_denial(&ledger);
	ledger_close(&ledger);
	snprintf(log_file.path, sizeof(log_file.path), "%s/index.sqlite3", ledger.directory);
	unlink(log_file.path);
	snprintf(log_file.path, sizeof(log_file.path), "%s/log/%020d.seg", ledger.directory, 0);
	assert_ok(audit_walk_begin(&walk, ledger.directory, 0, &err), err);
	while (audit_walk_next(&walk, &record, &err) == AUDIT_WALK_RECORD)
		;
	assert_int_equal(walk.index, BASE);
	struct audit_batch *batch = audit_batch_new();
	for (int i = 0; i < IN_BATCH; i++) {
		log_file.frames[i] = walk.offset + batch->frames.len;
		add_record(batch, (uint64_t)(BASE + i));
	}
	audit_batch_seal(batch, &walk.header, walk.offset, walk.hasher, walk.chain);
	log_file.begin = walk.offset;
	log_file.end = log_file.frames[IN_BATCH] = walk.offset + batch->frames.len;
	size_t len = 0;
	assert_ok(audit_read_some(walk.fd, log_file.bytes, SEGMENT_BYTES, 0, &len, &err), err);
	assert_int_equal(len, SEGMENT_BYTES);
	memcpy(log_file.bytes + log_file.begin, batch->frames.data, batch->frames.len);
	audit_batch_unref(batch);
	audit_walk_done(&walk);
	store(log_file.bytes);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ledger_done(&ledger);
	return 0;
}

/* Opens only the log; *ret_records is what it holds then. */
static enum err_code open_log(uint64_t *ret_records, uint64_t *ret_torn, struct err *err)
{
	struct audit_log *log = NULL;
	enum err_code code = audit_log_open(&ledger.options, &tuning, &log, ret_torn, err);
	if (code == ERR_OK)
		*ret_records = audit_ledger_committed(&log->ledger);
	if (log)
		audit_ledger_free(&log->ledger);
	return code;
}

static bool ignore_record(uint64_t index, struct span record, void *user)
{
	(void)index, (void)record, (void)user;
	return true;
}

static void test_whole_batch_is_kept(void **state)
{
	(void)state;
	uint64_t records, torn;
	struct err err = {0};
	assert_ok(open_log(&records, &torn, &err), err);
	assert_int_equal(records, BASE + IN_BATCH);
	assert_int_equal(torn, 0);
}

static void test_cut_at_every_byte(void **state)
{
	(void)state;
	static uint8_t bytes[SEGMENT_BYTES];
	for (size_t cut = log_file.begin; cut < log_file.end; cut++) {
		uint64_t records, torn, whole = 0;
		struct err err = {0};
		memcpy(bytes, log_file.bytes, SEGMENT_BYTES);
		memset(bytes + cut, 0, SEGMENT_BYTES - cut);
		while (whole < IN_BATCH && log_file.frames[whole + 1] <= cut)
			whole++;
		size_t remains = cut;
		while (remains > log_file.frames[whole] && bytes[remains - 1] == 0)
			remains--;
		store(bytes);
		assert_ok(open_log(&records, &torn, &err), err);
		assert_int_equal(records, BASE + whole);
		assert_int_equal(torn, remains - log_file.frames[whole]);
		/* Erased: the next opening finds nothing torn. */
		assert_ok(open_log(&records, &torn, &err), err);
		assert_int_equal(records, BASE + whole);
		assert_int_equal(torn, 0);
	}
}

static void test_lost_sectors(void **state)
{
	(void)state;
	static uint8_t bytes[SEGMENT_BYTES];
	size_t first = log_file.begin / 512 * 512;
	for (size_t at = first; at < log_file.end; at += 512) {
		uint64_t records, torn, whole = 0;
		struct err err = {0};
		size_t from = at < log_file.begin ? log_file.begin : at;
		memcpy(bytes, log_file.bytes, SEGMENT_BYTES);
		memset(bytes + from, 0, at + 512 - from);
		while (log_file.frames[whole + 1] <= from)
			whole++;
		store(bytes);
		assert_ok(open_log(&records, &torn, &err), err);
		assert_int_equal(records, BASE + whole);
		assert_true(torn > 0 || at + 512 >= log_file.end);
	}
}

static void test_recovery_is_recorded(void **state)
{
	(void)state;
	static uint8_t bytes[SEGMENT_BYTES];
	memcpy(bytes, log_file.bytes, SEGMENT_BYTES);
	bytes[log_file.end - 1] = 0;
	store(bytes);
	ledger_open(&ledger);
	assert_int_equal(committed(&ledger), BASE + IN_BATCH);
	Twokey__V1__Record *record = read_record(&ledger, BASE + IN_BATCH - 1);
	char expected[64];
	snprintf(expected, sizeof(expected), " %zu bytes", log_file.end - 1 - log_file.frames[IN_BATCH - 1]);
	assert_int_equal(record->event, TWOKEY__V1__EVENT__EVENT_RECOVERY);
	assert_non_null(strstr(record->detail, expected));
	twokey__v1__record__free_unpacked(record, NULL);
	/* What the unfinished write left whole counts; what it did not never happened. */
	assert_int_equal(commit_use(&ledger, use_of(BASE, 1, true)), REASON_REPLAYED);
	assert_int_equal(commit_use(&ledger, use_of(BASE + IN_BATCH - 1, 1, true)), REASON_NONE);
	ledger_close(&ledger);
	scan_count(ledger.directory);
}

/* Every bit of every frame, also of the last batch: a changed bit is no torn write. */
static void test_every_bit(void **state)
{
	(void)state;
	static uint8_t bytes[SEGMENT_BYTES];
	memcpy(bytes, log_file.bytes, SEGMENT_BYTES);
	for (size_t at = AUDIT_HEADER_BYTES; at < log_file.end; at++) {
		uint64_t records, torn;
		struct err err = {0};
		bytes[at] ^= (uint8_t)(1 << at % 8);
		store(bytes);
		assert_err(open_log(&records, &torn, &err), ERR_CORRUPT);
		assert_non_null(strstr(err.text, "segment 0 offset "));
		assert_non_null(strstr(err.text, " index "));
		bytes[at] ^= (uint8_t)(1 << at % 8);
	}
	store(bytes);
	struct err err = {0};
	uint64_t records, torn;
	assert_ok(open_log(&records, &torn, &err), err);
}

static void test_scan_finds_damage(void **state)
{
	(void)state;
	static uint8_t bytes[SEGMENT_BYTES];
	memcpy(bytes, log_file.bytes, SEGMENT_BYTES);
	for (size_t at = AUDIT_HEADER_BYTES + 5; at < log_file.end; at += 211) {
		struct err err = {0};
		bytes[at] ^= 0x10;
		store(bytes);
		assert_err(audit_scan(ledger.directory, ignore_record, NULL, &err), ERR_CORRUPT);
		bytes[at] ^= 0x10;
	}
}

static void test_header_damage(void **state)
{
	(void)state;
	static uint8_t bytes[SEGMENT_BYTES];
	memcpy(bytes, log_file.bytes, SEGMENT_BYTES);
	for (size_t at = 0; at < AUDIT_HEADER_BYTES; at += at < 128 ? 1 : 97) {
		uint64_t records, torn;
		struct err err = {0};
		bytes[at] ^= 1;
		store(bytes);
		assert_err(open_log(&records, &torn, &err), ERR_CORRUPT);
		bytes[at] ^= 1;
	}
}

/* Zeros where a whole batch was, with a later batch behind: not torn, since that one was only begun after. */
static void test_zeroed_batch_before_another(void **state)
{
	(void)state;
	static uint8_t bytes[SEGMENT_BYTES];
	uint64_t records, torn;
	memcpy(bytes, log_file.bytes, SEGMENT_BYTES);
	memset(bytes + AUDIT_HEADER_BYTES, 0, log_file.begin - AUDIT_HEADER_BYTES);
	store(bytes);
	assert_err(open_log(&records, &torn, NULL), ERR_CORRUPT);
}

static void test_data_far_behind(void **state)
{
	(void)state;
	struct err err = {0};
	uint64_t records, torn;
	ledger_done(&ledger);
	ledger_init(&ledger);
	ledger.options.segment_bytes = 2 << 20;
	ledger_open(&ledger);
	commit_denial(&ledger);
	ledger_close(&ledger);
	snprintf(log_file.path, sizeof(log_file.path), "%s/log/%020d.seg", ledger.directory, 0);
	int fd = open(log_file.path, O_RDWR);
	assert_int_equal(pwrite(fd, "x", 1, (2 << 20) - 10), 1);
	close(fd);
	assert_err(open_log(&records, &torn, &err), ERR_CORRUPT);
	assert_non_null(strstr(err.text, "bytes behind it"));
}

/* A frame with another record's chain, checksums and all. */
static void test_chain_mismatch(void **state)
{
	(void)state;
	static uint8_t bytes[SEGMENT_BYTES];
	struct audit_header header;
	uint64_t records, torn;
	uint8_t chain[AUDIT_CHAIN_BYTES] = {1};
	memcpy(bytes, log_file.bytes, SEGMENT_BYTES);
	assert_true(audit_header_decode(bytes, &header));
	size_t at = log_file.frames[IN_BATCH - 1];
	uint32_t length = (uint32_t)(log_file.end - at - AUDIT_FRAME_EXTRA);
	audit_frame_seal(bytes + at, length, (uint32_t)(at - log_file.begin), at, &header, chain);
	store(bytes);
	assert_err(open_log(&records, &torn, NULL), ERR_CORRUPT);
}

#define LEDGER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
HARNESS_MAIN(NULL, NULL, LEDGER_TEST(test_whole_batch_is_kept), LEDGER_TEST(test_cut_at_every_byte),
             LEDGER_TEST(test_lost_sectors), LEDGER_TEST(test_recovery_is_recorded), LEDGER_TEST(test_every_bit),
             LEDGER_TEST(test_scan_finds_damage), LEDGER_TEST(test_header_damage),
             LEDGER_TEST(test_zeroed_batch_before_another), LEDGER_TEST(test_data_far_behind),
             LEDGER_TEST(test_chain_mismatch))
