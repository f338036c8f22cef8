/* Tiles and checkpoints of a real log; a key in the process signs. */
#include "tests/unit/audit/signer.h"

static struct ledger ledger;
static struct signer signer;

static int setup(void **state)
{
	(void)state;
	ledger_init(&ledger);
	ledger_open(&ledger);
	signer_init(&signer, ORIGIN);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	signer_done(&signer);
	ledger_done(&ledger);
	return 0;
}

static void append(unsigned n)
{
	while (n--)
		commit_denial(&ledger);
}

static void path_of(char *out, size_t size, const char *name)
{
	snprintf(out, size, "%s/%s", ledger.directory, name);
}

static bool exists(const char *name)
{
	char path[256];
	path_of(path, sizeof(path), name);
	return access(path, F_OK) == 0;
}

static void flip(const char *name, long offset)
{
	char path[256];
	path_of(path, sizeof(path), name);
	FILE *file = fopen(path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET), 0);
	int c = fgetc(file);
	assert_true(c != EOF);
	assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
	fputc(c ^ 1, file);
	fclose(file);
}

static struct audit_hash root_of_records(uint64_t n)
{
	struct audit_hasher *hasher = audit_hasher_new();
	struct audit_frontier frontier = {0};
	struct audit_hash leaf, root;
	for (uint64_t i = 0; i < n; i++) {
		autobuf struct buf record = {0};
		struct err err = {0};
		assert_ok(audit_read(ledger.audit, i, &record, &err), err);
		audit_merkle_leaf(hasher, buf_span(&record), &leaf);
		audit_frontier_add(&frontier, hasher, &leaf);
	}
	audit_frontier_root(&frontier, hasher, &root);
	audit_hasher_free(hasher);
	return root;
}

static void test_a_checkpoint_says_what_the_log_is(void **state)
{
	(void)state;
	autobuf struct buf note = {0};
	append(300);
	struct audit_tree *tree = tree_open(&ledger, &signer);
	struct audit_checkpoint checkpoint = await_checkpoint(tree, 300, &note);
	struct audit_hash root = root_of_records(checkpoint.size);
	assert_true(audit_hash_eq(&root, &checkpoint.root));
	assert_string_equal(checkpoint.origin, ORIGIN);
	assert_int_equal(audit_checkpoint_signed(&checkpoint, signer.verifier), AUDIT_SIGNED_GOOD);
	assert_true(exists("tile/0/000") && exists("tile/entries/000"));
	assert_true(exists("tile/0/001.p/44") && exists("tile/entries/001.p/44") && exists("tile/1/000.p/1"));
	append(212);
	checkpoint = await_checkpoint(tree, 512, &note);
	assert_true(exists("tile/0/001") && exists("tile/1/000.p/2"));
	assert_false(exists("tile/0/001.p"));
	audit_tree_close(tree);
}

static void test_the_end_is_covered(void **state)
{
	(void)state;
	autobuf struct buf note = {0};
	struct audit_checkpoint checkpoint;
	struct err err = {0};
	char path[256];
	path_of(path, sizeof(path), AUDIT_CHECKPOINT_FILE);
	struct audit_tree *tree = tree_open(&ledger, &signer);
	append(5);
	audit_tree_close(tree);
	assert_ok(text_read_file(path, AUDIT_NOTE_MAX, &note, &err), err);
	assert_ok(audit_checkpoint_parse(buf_span(&note), &checkpoint, &err), err);
	assert_int_equal(checkpoint.size, 5);
}

static void test_bundles_are_the_records(void **state)
{
	(void)state;
	autobuf struct buf note = {0}, bundle = {0};
	struct span entry;
	struct err err = {0};
	append(260);
	struct audit_tree *tree = tree_open(&ledger, &signer);
	await_checkpoint(tree, 260, &note);
	for (uint64_t i = 0; i < 260; i++) {
		autobuf struct buf record = {0};
		if (i % 256 == 0)
			assert_ok(audit_tile_read(ledger.directory, AUDIT_TILE_ENTRIES, i / 256, i ? 4 : 256, &bundle, &err), err);
		struct span rest = buf_span(&bundle);
		for (uint64_t k = 0; k <= i % 256; k++)
			assert_true(audit_bundle_next(&rest, &entry));
		assert_ok(audit_read(ledger.audit, i, &record, &err), err);
		assert_true(span_eq(entry, buf_span(&record)));
	}
	audit_tree_close(tree);
}

static void test_proofs(void **state)
{
	(void)state;
	autobuf struct buf note = {0};
	struct audit_hasher *hasher = audit_hasher_new();
	struct audit_hash leaf;
	struct audit_proof proof;
	struct err err = {0};
	append(600);
	struct audit_tree *tree = tree_open(&ledger, &signer);
	struct audit_checkpoint checkpoint = await_checkpoint(tree, 600, &note);
	struct audit_hash old_root = root_of_records(517);
	for (uint64_t index = 0; index < 600; index += 7) {
		assert_ok(audit_tree_inclusion(tree, index, 600, &leaf, &proof, &err), err);
		assert_true(audit_merkle_check_inclusion(hasher, index, 600, &leaf, &proof, &checkpoint.root));
	}
	/* Also of a size that no checkpoint had. */
	assert_ok(audit_tree_inclusion(tree, 516, 517, &leaf, &proof, &err), err);
	assert_true(audit_merkle_check_inclusion(hasher, 516, 517, &leaf, &proof, &old_root));
	assert_ok(audit_tree_consistency(tree, 517, 600, &proof, &err), err);
	assert_true(audit_merkle_check_consistency(hasher, 517, 600, &old_root, &checkpoint.root, &proof));
	assert_err(audit_tree_inclusion(tree, 600, 600, &leaf, &proof, NULL), ERR_INVALID);
	assert_err(audit_tree_inclusion(tree, 0, 601, &leaf, &proof, NULL), ERR_NOT_FOUND);
	assert_err(audit_tree_consistency(tree, 600, 517, &proof, NULL), ERR_INVALID);
	assert_err(audit_tree_consistency(tree, 1, 601, &proof, NULL), ERR_NOT_FOUND);
	audit_tree_close(tree);
	audit_hasher_free(hasher);
}

static void test_goes_on_after_a_restart(void **state)
{
	(void)state;
	autobuf struct buf note = {0};
	for (unsigned size = 0; size < 900;) {
		struct audit_tree *tree = tree_open(&ledger, &signer);
		append(133);
		size += 133;
		struct audit_checkpoint checkpoint = await_checkpoint(tree, size, &note);
		struct audit_hash root = root_of_records(size);
		assert_true(audit_hash_eq(&root, &checkpoint.root));
		audit_tree_close(tree);
		ledger_close(&ledger);
		ledger_open(&ledger);
	}
	/* Nothing new: nothing is signed. */
	int before = atomic_load(&signer.signatures);
	audit_tree_close(tree_open(&ledger, &signer));
	assert_int_equal(atomic_load(&signer.signatures), before);
}

static void build(unsigned n)
{
	append(n);
	audit_tree_close(tree_open(&ledger, &signer));
}

static void remove_below(const char *name)
{
	char path[256];
	path_of(path, sizeof(path), name);
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void copy_file(const char *from, const char *to)
{
	autobuf struct buf bytes = {0};
	char path[256];
	struct err err = {0};
	path_of(path, sizeof(path), from);
	assert_ok(text_read_file(path, 64 << 20, &bytes, &err), err);
	path_of(path, sizeof(path), to);
	assert_ok(text_write_file(path, buf_span(&bytes), 0600, &err), err);
}

static void test_missing_tiles_are_made_again(void **state)
{
	(void)state;
	build(600);
	remove_below("tile");
	audit_tree_close(tree_open(&ledger, &signer));
	append(1);
	audit_tree_close(tree_open(&ledger, &signer));
	assert_true(exists("tile/0/000") && exists("tile/0/002.p/89") && exists("tile/entries/001"));
}

static void test_changed_tiles_are_noticed(void **state)
{
	(void)state;
	static const char *const upper[] = {"tile/1/000.p/2"};
	signer.interval_ms = 600000; /* nothing is signed half-way */
	struct audit_tree *tree = NULL;
	struct err err = {0};
	build(600);
	for (size_t i = 0; i < sizeof(upper) / sizeof(*upper); i++) {
		flip(upper[i], 3);
		assert_err(tree_try(&ledger, &signer, &tree, &err), ERR_CORRUPT);
		flip(upper[i], 3);
	}
	/* Without the upper tile, it is made of the full ones below. */
	remove_below("tile/1");
	flip("tile/0/001", 40);
	assert_err(tree_try(&ledger, &signer, &tree, &err), ERR_CORRUPT);
	/* Without the checkpoint, tiles are made again, and a different one is never overwritten. */
	copy_file("checkpoint", "checkpoint.kept");
	remove_below("checkpoint");
	tree = tree_open(&ledger, &signer);
	struct audit_tree_state now;
	do {
		usleep(1000);
		audit_tree_state(tree, &now);
	} while (now.trouble.code == ERR_OK);
	assert_err(audit_tree_check(tree, &err), ERR_CORRUPT);
	assert_non_null(strstr(err.text, "tile/0/001"));
	audit_tree_close(tree);
	assert_false(exists("checkpoint"));
	copy_file("checkpoint.kept", "checkpoint");
	flip("tile/0/001", 40);
	audit_tree_close(tree_open(&ledger, &signer));
}

static void test_a_log_that_lost_its_tail(void **state)
{
	(void)state;
	struct audit_tree *tree = NULL;
	struct err err = {0};
	append(50);
	copy_file("log/00000000000000000000.seg", "before.seg");
	build(20);
	ledger_close(&ledger);
	/* The log of 20 records ago, and no index that would remember more: nothing in it is wrong. */
	copy_file("before.seg", "log/00000000000000000000.seg");
	remove_below("index.sqlite3");
	remove_below("index.sqlite3-wal");
	remove_below("index.sqlite3-shm");
	ledger_open(&ledger);
	assert_int_equal(committed(&ledger), 50);
	assert_err(tree_try(&ledger, &signer, &tree, &err), ERR_CORRUPT);
	assert_non_null(strstr(err.text, "does not contain the checkpoint of 70 records"));
	/* Nor when others have come in their place. */
	atomic_fetch_add(&ledger.now_ms, 1000);
	append(40);
	assert_err(tree_try(&ledger, &signer, &tree, &err), ERR_CORRUPT);
}

static void test_a_spoilt_checkpoint_is_refused(void **state)
{
	(void)state;
	struct audit_tree *tree = NULL;
	build(10);
	static const long places[] = {0, 20, 30, -20, -3};
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		flip("checkpoint", places[i]);
		assert_err(tree_try(&ledger, &signer, &tree, NULL), ERR_CORRUPT);
		flip("checkpoint", places[i]);
	}
	audit_tree_close(tree_open(&ledger, &signer));
}

static void test_a_token_that_is_away(void **state)
{
	(void)state;
	autobuf struct buf note = {0};
	struct audit_tree_state now;
	struct err err = {0};
	append(3);
	atomic_store(&signer.down, true);
	struct audit_tree *tree = tree_open(&ledger, &signer);
	assert_err(audit_tree_checkpoint(tree, 3, 100, &note, &err), ERR_DEADLINE);
	do {
		usleep(1000);
		audit_tree_state(tree, &now);
	} while (now.trouble.code == ERR_OK || now.late_ms == 0);
	assert_int_equal(now.size, 0);
	assert_non_null(strstr(now.trouble.text, "the token is away"));
	append(1); /* deciding goes on */
	atomic_store(&signer.down, false);
	await_checkpoint(tree, 4, &note);
	assert_ok(audit_tree_check(tree, &err), err);
	audit_tree_close(tree);
}

static void test_a_disk_that_takes_no_tiles(void **state)
{
	(void)state;
	autobuf struct buf note = {0};
	struct audit_tree_state now;
	char path[256];
	append(300);
	struct audit_tree *tree = tree_open(&ledger, &signer);
	await_checkpoint(tree, 300, &note);
	/* A file where a folder must be. */
	remove_below("tile.new");
	path_of(path, sizeof(path), "tile.new");
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	append(300);
	do {
		usleep(1000);
		audit_tree_state(tree, &now);
	} while (now.trouble.code == ERR_OK);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	struct audit_checkpoint checkpoint = await_checkpoint(tree, 600, &note);
	struct audit_hash root = root_of_records(600);
	assert_true(audit_hash_eq(&root, &checkpoint.root));
	assert_true(exists("tile/0/001") && exists("tile/entries/002.p/88"));
	audit_tree_close(tree);
}

static void test_an_origin_that_cannot_be(void **state)
{
	(void)state;
	struct audit_tree *tree = NULL;
	const struct audit_tree_options options = {.audit = ledger.audit,
	                                           .directory = ledger.directory,
	                                           .signer = {.origin = "a b", .sign = signer_sign, .user = &signer}};
	assert_err(audit_tree_open(&options, &tree, NULL), ERR_INVALID);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
HARNESS_MAIN(NULL, NULL, CASE(test_a_checkpoint_says_what_the_log_is), CASE(test_the_end_is_covered),
             CASE(test_bundles_are_the_records), CASE(test_proofs), CASE(test_goes_on_after_a_restart),
             CASE(test_missing_tiles_are_made_again), CASE(test_changed_tiles_are_noticed),
             CASE(test_a_log_that_lost_its_tail), CASE(test_a_spoilt_checkpoint_is_refused),
             CASE(test_a_token_that_is_away), CASE(test_a_disk_that_takes_no_tiles),
             CASE(test_an_origin_that_cannot_be))
