/* Verifying: what is whole is found whole, and of many thousand generated changes each one is found. An attacker here
 * knows the format, and makes checksums, chain and indexes right again; what it lacks is the key.
 *
 * 1,500 changes; 100,000 with TWOKEY_TORTURE=1. */
#include "tests/unit/audit/signer.h"

#include "audit/scan.h"

enum { RECORDS = 700, FILES_MAX = 64, SEGMENTS_MAX = 8 };

struct file {
	char *name;
	struct buf bytes;
};

/* A ledger that was closed in good order. */
static struct {
	struct ledger ledger;
	struct signer signer;
	struct file files[FILES_MAX];
	size_t n_files, n_segments; /* segments come first */
	struct buf records[RECORDS];
	struct audit_verify_options options;
} base;

static uint64_t seed = 20261121;

static uint64_t any(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

/* ---- the ledger ---- */

static void path_of(char *out, size_t size, const char *name)
{
	snprintf(out, size, "%s/%s", base.ledger.directory, name);
}

static void load_file(const char *name)
{
	char path[256];
	struct err err = {0};
	assert_true(base.n_files < FILES_MAX);
	struct file *file = &base.files[base.n_files++];
	file->name = xstrdup(name);
	path_of(path, sizeof(path), name);
	assert_ok(text_read_file(path, 64 << 20, &file->bytes, &err), err);
}

static int load_tile(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)ftw;
	if (type == FTW_F)
		load_file(path + strlen(base.ledger.directory) + 1);
	return 0;
}

static bool keep_record(uint64_t index, struct span record, void *user)
{
	(void)user;
	buf_append(&base.records[index], record);
	return true;
}

static void load(void)
{
	char path[256];
	struct audit_segments segments = {0};
	struct err err = {0};
	assert_ok(audit_segment_list(base.ledger.directory, &segments, &err), err);
	base.n_segments = segments.n;
	audit_segments_done(&segments);
	for (size_t i = 0; i < base.n_segments; i++) {
		char name[64];
		snprintf(name, sizeof(name), "log/%020zu.seg", i);
		load_file(name);
	}
	load_file("checkpoint");
	path_of(path, sizeof(path), "tile");
	assert_int_equal(nftw(path, load_tile, 16, FTW_PHYS), 0);
	assert_ok(audit_scan(base.ledger.directory, keep_record, NULL, &err), err);
}

static void commit_varied(int i)
{
	struct err err = {0};
	struct audit_commit commit;
	char object[32];
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_COSIGN, TWOKEY__V1__DECISION__DECISION_DENIED);
	snprintf(object, sizeof(object), "object-%d", i);
	record.object = object;
	assert_ok(audit_commit(base.ledger.audit, &record, NULL, &commit, &err), err);
}

static int setup(void **state)
{
	(void)state;
	ledger_init(&base.ledger);
	signer_init(&base.signer, ORIGIN);
	base.signer.interval_ms = 600000; /* one checkpoint, at the end: every tile that there is belongs to it */
	ledger_open(&base.ledger);
	for (int i = 0; i < RECORDS; i++)
		commit_varied(i);
	audit_tree_close(tree_open(&base.ledger, &base.signer));
	ledger_close(&base.ledger);
	load();
	base.options =
	    (struct audit_verify_options){.directory = base.ledger.directory, .keys = &base.signer.verifier, .n_keys = 1};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < base.n_files; i++) {
		free(base.files[i].name);
		buf_done(&base.files[i].bytes);
	}
	for (size_t i = 0; i < RECORDS; i++)
		buf_done(&base.records[i]);
	signer_done(&base.signer);
	ledger_done(&base.ledger);
	return 0;
}

static void write_file(const char *name, struct span bytes)
{
	char path[256];
	path_of(path, sizeof(path), name);
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes.ptr, 1, bytes.len, file), bytes.len);
	assert_int_equal(fclose(file), 0);
}

static void remove_file(const char *name)
{
	char path[256];
	path_of(path, sizeof(path), name);
	unlink(path);
}

static void restore(size_t first, size_t end)
{
	for (size_t i = first; i < end; i++)
		write_file(base.files[i].name, buf_span(&base.files[i].bytes));
}

/* ERR_OK only when nothing is wrong and a signature covers all that there is. */
static enum err_code verdict(struct err *err)
{
	struct audit_verify_result result;
	enum err_code code = audit_verify(&base.options, &result, err);
	if (code == ERR_OK && result.signed_size != result.records)
		return err_set(err, ERR_CORRUPT, 0, "records that no checkpoint covers");
	return code;
}

static void expect_found(const char *what, uint64_t a, uint64_t b)
{
	struct err err = {0};
	if (verdict(&err) != ERR_CORRUPT)
		fail_msg("not found: %s %" PRIu64 " %" PRIu64 ": %s", what, a, b, err.text);
	assert_true(err.text[0] != '\0');
}

/* ---- changes of bytes ---- */

/* How much of a file says something: a segment's end is zeros. */
static size_t used(size_t i)
{
	size_t len = base.files[i].bytes.len;
	while (i < base.n_segments && len && base.files[i].bytes.data[len - 1] == 0)
		len--;
	return len;
}

static void flip_a_bit(void)
{
	size_t i = any(base.n_files);
	size_t at = any(used(i));
	uint8_t bit = (uint8_t)(1 << any(8));
	base.files[i].bytes.data[at] ^= bit;
	restore(i, i + 1);
	expect_found("flip", i, at);
	base.files[i].bytes.data[at] ^= bit;
	restore(i, i + 1);
}

static void cut_a_file(void)
{
	size_t i = any(base.n_files);
	size_t len = any(base.files[i].bytes.len);
	write_file(base.files[i].name, span_of(base.files[i].bytes.data, len));
	expect_found("cut", i, len);
	restore(i, i + 1);
}

static void drop_a_file(void)
{
	size_t i = any(base.n_files);
	remove_file(base.files[i].name);
	expect_found("drop file", i, 0);
	restore(i, i + 1);
}

/* One file's bytes in the place of another's. */
static void replay_a_file(void)
{
	size_t from = any(base.n_files), to = any(base.n_files);
	if (span_eq(buf_span(&base.files[from].bytes), buf_span(&base.files[to].bytes)))
		return;
	write_file(base.files[to].name, buf_span(&base.files[from].bytes));
	expect_found("replay file", from, to);
	restore(to, to + 1);
}

static void zero_a_range(void)
{
	size_t i = any(base.n_segments);
	size_t end = used(i), from = any(end), to = from + 1 + any(end - from);
	autobuf struct buf bytes = {0};
	buf_append(&bytes, buf_span(&base.files[i].bytes));
	memset(bytes.data + from, 0, to - from);
	if (span_eq(buf_span(&bytes), buf_span(&base.files[i].bytes)))
		return;
	write_file(base.files[i].name, buf_span(&bytes));
	expect_found("zero", from, to);
	restore(i, i + 1);
}

/* ---- changes of records, everything made right again ---- */

static struct span order[2 * RECORDS];
static size_t n_order;

static size_t prefix_of_index(struct span record)
{
	size_t at = 1;
	if (record.ptr[0] != 0x08)
		return 0;
	while (record.ptr[at] & 0x80)
		at++;
	return at + 1;
}

static void append_reindexed(struct buf *out, uint64_t index, struct span record)
{
	size_t skip = prefix_of_index(record);
	if (index)
		buf_append_byte(out, 0x08);
	for (uint64_t rest = index; rest; rest >>= 7)
		buf_append_byte(out, (uint8_t)(rest >= 0x80 ? rest | 0x80 : rest));
	buf_append(out, span_of(record.ptr + skip, record.len - skip));
}

/* A log of the records in `order`, with right checksums, chain and indexes, in as many segments as it takes. */
static size_t write_order(void)
{
	struct audit_hasher *hasher = audit_hasher_new();
	uint8_t chain[32] = {0}, leaf[32];
	size_t next = 0, segment = 0;
	while (next < n_order || segment == 0) {
		struct audit_header header;
		char name[64];
		autobuf struct buf bytes = {0};
		assert_true(segment < SEGMENTS_MAX);
		assert_true(audit_header_decode(base.files[segment < base.n_segments ? segment : 0].bytes.data, &header));
		header.segment = segment;
		header.first_index = next;
		memcpy(header.chain, chain, sizeof(chain));
		memset(buf_reserve(&bytes, header.bytes), 0, header.bytes);
		bytes.len = header.bytes;
		audit_header_encode(&header, bytes.data);
		for (size_t at = AUDIT_HEADER_BYTES; next < n_order; next++) {
			autobuf struct buf record = {0};
			append_reindexed(&record, next, order[next]);
			if (at + audit_frame_bytes((uint32_t)record.len) > header.bytes)
				break;
			audit_hash_leaf(hasher, buf_span(&record), leaf);
			audit_hash_chain(hasher, leaf, chain);
			memcpy(bytes.data + at + AUDIT_FRAME_HEAD, record.data, record.len);
			audit_frame_seal(bytes.data + at, (uint32_t)record.len, 0, at, &header, chain);
			at += audit_frame_bytes((uint32_t)record.len);
		}
		snprintf(name, sizeof(name), "log/%020zu.seg", segment++);
		write_file(name, buf_span(&bytes));
	}
	audit_hasher_free(hasher);
	return segment;
}

static void expect_found_order(const char *what, uint64_t a, uint64_t b)
{
	size_t n = write_order();
	for (size_t i = n; i < base.n_segments; i++)
		remove_file(base.files[i].name);
	expect_found(what, a, b);
	for (size_t i = base.n_segments; i < n; i++) {
		char name[64];
		snprintf(name, sizeof(name), "log/%020zu.seg", i);
		remove_file(name);
	}
	restore(0, base.n_segments);
}

static void begin_order(size_t n)
{
	for (size_t i = 0; i < n; i++)
		order[i] = buf_span(&base.records[i]);
	n_order = n;
}

static void drop_a_record(void)
{
	size_t at = any(RECORDS);
	begin_order(RECORDS);
	memmove(&order[at], &order[at + 1], (RECORDS - at - 1) * sizeof(*order));
	n_order--;
	expect_found_order("drop", at, 0);
}

static void swap_two(void)
{
	size_t a = any(RECORDS), b = any(RECORDS);
	begin_order(RECORDS);
	order[a] = buf_span(&base.records[b]);
	order[b] = buf_span(&base.records[a]);
	if (a != b)
		expect_found_order("swap", a, b);
}

static void cut_the_tail(void)
{
	size_t keep = any(RECORDS);
	begin_order(keep);
	expect_found_order("tail", keep, 0);
}

/* From one record on, another history. */
static void fork_it(void)
{
	size_t at = any(RECORDS);
	autobuf struct buf other = {0};
	begin_order(RECORDS);
	buf_append(&other, order[at]);
	other.data[other.len - 1 - any(20)] ^= 1;
	order[at] = buf_span(&other);
	expect_found_order("fork", at, 0);
}

static void replay_a_run(void)
{
	size_t from = any(RECORDS), n = 1 + any(RECORDS - from), to = any(RECORDS + 1);
	begin_order(RECORDS);
	memmove(&order[to + n], &order[to], (RECORDS - to) * sizeof(*order));
	for (size_t i = 0; i < n; i++)
		order[to + i] = buf_span(&base.records[from + i]);
	n_order = RECORDS + n;
	expect_found_order("replay", from, to);
}

/* ---- cases ---- */

static void test_what_is_whole(void **state)
{
	(void)state;
	struct audit_verify_result result;
	struct err err = {0};
	assert_ok(audit_verify(&base.options, &result, &err), err);
	assert_int_equal(result.records, RECORDS);
	assert_int_equal(result.signed_size, RECORDS);
	assert_int_equal(result.witnessed_size, 0);
	assert_int_equal(result.checkpoints, 1);
	assert_true(result.tiles);
	/* The attacker's own tool makes the same log of the same records. */
	begin_order(RECORDS);
	assert_int_equal(write_order(), base.n_segments);
	assert_ok(verdict(&err), err);
	restore(0, base.n_segments);
}

static void test_every_change_is_found(void **state)
{
	(void)state;
	static void (*const changes[])(void) = {flip_a_bit,  flip_a_bit,    flip_a_bit,   cut_a_file,
	                                        drop_a_file, replay_a_file, zero_a_range, drop_a_record,
	                                        swap_two,    cut_the_tail,  fork_it,      replay_a_run};
	const char *torture = getenv("TWOKEY_TORTURE");
	unsigned n = torture && *torture == '1' ? 100000 : 1500;
	struct err err = {0};
	for (unsigned i = 0; i < n; i++)
		changes[i % (sizeof(changes) / sizeof(*changes))]();
	assert_ok(verdict(&err), err);
}

static void test_without_the_log(void **state)
{
	(void)state;
	char path[256];
	struct audit_verify_result result;
	struct err err = {0};
	for (size_t i = 0; i < base.n_segments; i++)
		remove_file(base.files[i].name);
	remove_file("log/next");
	path_of(path, sizeof(path), "log");
	assert_int_equal(rmdir(path), 0);
	assert_ok(audit_verify(&base.options, &result, &err), err);
	assert_int_equal(result.records, RECORDS);
	for (size_t i = base.n_segments + 1; i < base.n_files; i++)
		for (unsigned k = 0; k < 40; k++) {
			size_t at = any(base.files[i].bytes.len);
			base.files[i].bytes.data[at] ^= 32;
			restore(i, i + 1);
			expect_found("flip", i, at);
			base.files[i].bytes.data[at] ^= 32;
			restore(i, i + 1);
		}
	assert_int_equal(mkdir(path, 0700), 0);
	restore(0, base.n_segments);
}

/* The tail is cut off and the checkpoint signed anew, by the one who has the key: the witness's copy tells. */
static void test_a_witness_tells(void **state)
{
	(void)state;
	autobuf struct buf text = {0}, signature = {0}, spki = {0};
	uint8_t digest[32];
	struct err err = {0};
	struct audit_hash root;
	struct audit_hasher *hasher = audit_hasher_new();
	struct audit_frontier frontier = {0};
	struct span note = buf_span(&base.files[base.n_segments].bytes);
	for (size_t i = 0; i < 600; i++) {
		struct audit_hash leaf;
		audit_merkle_leaf(hasher, buf_span(&base.records[i]), &leaf);
		audit_frontier_add(&frontier, hasher, &leaf);
	}
	audit_frontier_root(&frontier, hasher, &root);
	audit_hasher_free(hasher);
	audit_checkpoint_text(ORIGIN, 600, &root, &text);
	text_sha256(buf_span(&text), digest);
	assert_ok(signer_sign(&base.signer, digest, &signature, &spki, &err), err);
	buf_append_byte(&text, '\n');
	audit_note_signature(ORIGIN, buf_span(&spki), buf_span(&signature), &text);
	write_file("checkpoint", buf_span(&text));
	for (size_t i = base.n_segments + 1; i < base.n_files; i++)
		remove_file(base.files[i].name);
	begin_order(600);
	size_t n = write_order();
	for (size_t i = n; i < base.n_segments; i++)
		remove_file(base.files[i].name);
	char path[256], aside[256];
	path_of(path, sizeof(path), "tile");
	path_of(aside, sizeof(aside), "aside");
	assert_int_equal(rename(path, aside), 0);
	/* By itself, it is a log like any other. */
	assert_ok(verdict(&err), err);
	base.options.notes = &note;
	base.options.n_notes = 1;
	assert_err(verdict(&err), ERR_CORRUPT);
	assert_non_null(strstr(err.text, "its tail is missing"));
	base.options.n_notes = 0;
	assert_int_equal(rename(aside, path), 0);
	restore(0, base.n_files);
	assert_ok(verdict(&err), err);
}

static void test_a_stranger_signed(void **state)
{
	(void)state;
	struct signer stranger;
	struct err err = {0};
	signer_init(&stranger, ORIGIN);
	base.options.keys = &stranger.verifier;
	assert_err(verdict(&err), ERR_CORRUPT);
	assert_non_null(strstr(err.text, "not signed by a known key"));
	base.options.keys = &base.signer.verifier;
	signer_done(&stranger);
}

static void test_nothing_to_verify(void **state)
{
	(void)state;
	struct audit_verify_result result;
	const struct audit_verify_options options = {.directory = "/nonexistent"};
	assert_err(audit_verify(&options, &result, NULL), ERR_NOT_FOUND);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_what_is_whole), cmocka_unit_test(test_every_change_is_found),
             cmocka_unit_test(test_without_the_log), cmocka_unit_test(test_a_witness_tells),
             cmocka_unit_test(test_a_stranger_signed), cmocka_unit_test(test_nothing_to_verify))
