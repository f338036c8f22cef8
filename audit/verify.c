#include "audit/verify.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit/record.h"
#include "audit/scan.h"
#include "audit/tile.h"
#include "audit/tree.h"
#include "common/text.h"

enum { NOTES_MAX = 64, PROGRESS_EVERY = 4096 };

struct known {
	struct buf note;
	struct audit_checkpoint checkpoint;
	char *name; /* for people */
};

struct verify {
	const struct audit_verify_options *options;
	struct audit_verify_result result;
	struct known known[NOTES_MAX];
	size_t n_known, compared;
	uint64_t total; /* expected; 0: not known */
	struct audit_hasher *hasher;
	struct audit_rows rows;
	struct buf bundle;
	bool has_tiles, from_tiles;
	enum err_code code;
	struct err *err;
};

static void fail(struct verify *verify, const char *what, const char *name, uint64_t number)
{
	if (verify->code == ERR_OK)
		verify->code = err_set(verify->err, ERR_CORRUPT, 0, "%s %s %" PRIu64, name, what, number);
}

/* ---- checkpoints ---- */

static void judge_signature(struct verify *verify, struct known *known, const struct audit_verifier *key, bool *by_log,
                            bool *by_witness)
{
	enum audit_signed answer = audit_checkpoint_signed(&known->checkpoint, key);
	bool own = strcmp(audit_verifier_name(key), known->checkpoint.origin) == 0;
	if (answer == AUDIT_SIGNED_BAD)
		fail(verify, "carries a signature that does not hold; it says it is of records", known->name,
		     known->checkpoint.size);
	*by_log |= own && answer == AUDIT_SIGNED_GOOD;
	*by_witness |= !own && answer == AUDIT_SIGNED_GOOD;
}

static void check_signatures(struct verify *verify, struct known *known)
{
	const struct audit_verify_options *options = verify->options;
	bool by_log = false, by_witness = false;
	for (size_t i = 0; i < options->n_keys; i++)
		judge_signature(verify, known, options->keys[i], &by_log, &by_witness);
	if (options->n_keys && !by_log)
		fail(verify, "is not signed by a known key of its log; it says it is of records", known->name,
		     known->checkpoint.size);
	if (by_log && known->checkpoint.size > verify->result.signed_size)
		verify->result.signed_size = known->checkpoint.size;
	if (by_log && by_witness && known->checkpoint.size > verify->result.witnessed_size)
		verify->result.witnessed_size = known->checkpoint.size;
}

static enum err_code add_note(struct verify *verify, const char *name, struct span note, struct err *err)
{
	if (verify->n_known == NOTES_MAX)
		return err_set(err, ERR_INVALID, 0, "more than %d checkpoints", NOTES_MAX);
	struct known *known = &verify->known[verify->n_known++];
	known->name = xstrdup(name);
	buf_append(&known->note, note);
	if (audit_checkpoint_parse(buf_span(&known->note), &known->checkpoint, err) != ERR_OK) {
		err_prefix(err, "%s", name);
		return ERR_CORRUPT;
	}
	if (strcmp(known->checkpoint.origin, verify->known[0].checkpoint.origin) != 0)
		return err_set(err, ERR_CORRUPT, 0, "%s is of another log: %s", name, known->checkpoint.origin);
	check_signatures(verify, known);
	return verify->code;
}

static enum err_code add_file(struct verify *verify, const char *name, struct err *err)
{
	autofree char *path = xasprintf("%s/%s", verify->options->directory, name);
	autobuf struct buf note = {0};
	enum err_code code = text_read_file(path, AUDIT_NOTE_MAX, &note, err);
	if (code == ERR_NOT_FOUND)
		return ERR_OK;
	return code == ERR_OK ? add_note(verify, name, buf_span(&note), err) : code;
}

static int by_size(const void *a, const void *b)
{
	uint64_t one = ((const struct known *)a)->checkpoint.size, other = ((const struct known *)b)->checkpoint.size;
	return one < other ? -1 : one > other;
}

static enum err_code gather(struct verify *verify, struct err *err)
{
	enum err_code code = add_file(verify, AUDIT_CHECKPOINT_FILE, err);
	if (code == ERR_OK)
		code = add_file(verify, AUDIT_WITNESSED_FILE, err);
	for (size_t i = 0; code == ERR_OK && i < verify->options->n_notes; i++) {
		autofree char *name = xasprintf("given checkpoint %zu", i + 1);
		code = add_note(verify, name, verify->options->notes[i], err);
	}
	qsort(verify->known, verify->n_known, sizeof(*verify->known), by_size);
	verify->total = verify->n_known ? verify->known[verify->n_known - 1].checkpoint.size : 0;
	return code;
}

/* Those of the size that the tree has now. */
static void compare_checkpoints(struct verify *verify)
{
	struct audit_hash root;
	bool known_root = false;
	for (; verify->compared < verify->n_known; verify->compared++) {
		const struct known *known = &verify->known[verify->compared];
		if (known->checkpoint.size != verify->rows.size)
			return;
		if (!known_root)
			audit_rows_root(&verify->rows, verify->hasher, &root);
		known_root = true;
		if (!audit_hash_eq(&root, &known->checkpoint.root))
			fail(verify, "is not of this log: its root is another one at size", known->name, verify->rows.size);
	}
}

/* ---- tiles ---- */

static void compare_tile(struct verify *verify, int level, uint64_t index, unsigned width, struct span expected,
                         bool may_miss)
{
	autofree char *name = audit_tile_path(level, index, width);
	autofree char *path = xasprintf("%s/%s", verify->options->directory, name);
	autobuf struct buf there = {0};
	enum err_code code = text_read_file(path, AUDIT_TILE_BYTES_MAX, &there, verify->err);
	if (code == ERR_NOT_FOUND && may_miss)
		return;
	if (code == ERR_NOT_FOUND)
		fail(verify, "is missing; it has what begins with record", name, index << (level > 0 ? 8 * level + 8 : 8));
	else if (code != ERR_OK)
		verify->code = code;
	else if (!span_eq(buf_span(&there), expected))
		fail(verify, "is not what the log says; it has what begins with record", name,
		     index << (level > 0 ? 8 * level + 8 : 8));
}

/* Beyond the last checkpoint a full tile may not be there yet. */
static void full_tile(unsigned level, uint64_t index, const struct audit_hash *hashes, void *user)
{
	struct verify *verify = user;
	uint64_t end = (index + 1) << (8 * level + 8);
	bool may_miss = end > verify->total;
	if (!verify->has_tiles || verify->code != ERR_OK)
		return;
	compare_tile(verify, (int)level, index, AUDIT_TILE_WIDTH, span_of(hashes, AUDIT_TILE_WIDTH * AUDIT_HASH_BYTES),
	             may_miss);
	if (level == 0 && !verify->from_tiles)
		compare_tile(verify, AUDIT_TILE_ENTRIES, index, AUDIT_TILE_WIDTH, buf_span(&verify->bundle), may_miss);
	if (level == 0)
		buf_clear(&verify->bundle);
}

/* The bytes of a bundle's first `width` records. */
static struct span bundle_head(struct span bundle, unsigned width)
{
	struct span rest = bundle, record;
	for (unsigned i = 0; i < width && audit_bundle_next(&rest, &record); i++)
		;
	return span_of(bundle.ptr, bundle.len - rest.len);
}

static void compare_partial(struct verify *verify, int level, uint64_t index, unsigned width, unsigned had)
{
	struct span expected = level == AUDIT_TILE_ENTRIES ? bundle_head(buf_span(&verify->bundle), width)
	                                                   : span_of(verify->rows.hashes[level], width * AUDIT_HASH_BYTES);
	autofree char *name = audit_tile_path(level, index, width);
	if (width > had)
		fail(verify, "is of a longer log: this one ends at", name, verify->rows.size);
	else
		compare_tile(verify, level, index, width, expected, false);
}

/* Every partial tile at the right edge, of this checkpoint or an earlier one. */
static void compare_partials(struct verify *verify, int level, unsigned had)
{
	uint64_t index = verify->rows.size >> (level > 0 ? 8 * level : 0) >> 8;
	autofree char *name = audit_tile_path(level, index, AUDIT_TILE_WIDTH);
	autofree char *path = xasprintf("%s/%s", verify->options->directory, name);
	autofree char *folder = xasprintf("%s.p", path);
	if (access(path, F_OK) == 0)
		fail(verify, "is of a longer log: this one ends at", name, verify->rows.size);
	DIR *listing = opendir(folder);
	for (struct dirent *entry; listing && (entry = readdir(listing));) {
		unsigned width = (unsigned)strtoul(entry->d_name, NULL, 10);
		if (width > 0 && width < AUDIT_TILE_WIDTH)
			compare_partial(verify, level, index, width, had);
	}
	if (listing)
		closedir(listing);
}

/* What a tree of the last checkpoint's size must have. */
static void require_partial(struct verify *verify, int level)
{
	uint64_t index = verify->total >> (level > 0 ? 8 * level : 0) >> 8;
	unsigned width = audit_tile_width(verify->total, level, index);
	if (width == 0 || width == AUDIT_TILE_WIDTH)
		return;
	autobuf struct buf tile = {0};
	enum err_code code = audit_tile_read(verify->options->directory, level, index, width, &tile, verify->err);
	if (code == ERR_NOT_FOUND) {
		autofree char *name = audit_tile_path(level, index, width);
		fail(verify, "is missing; the checkpoint has records", name, verify->total);
	} else if (code != ERR_OK) {
		verify->code = code;
	}
}

static void check_edge(struct verify *verify)
{
	if (!verify->has_tiles)
		return;
	/* A running server may be ahead of what was read. */
	bool at_rest = verify->rows.size == verify->total;
	for (int level = AUDIT_TILE_ENTRIES; level < AUDIT_TILE_LEVELS && verify->code == ERR_OK; level++) {
		if (level == AUDIT_TILE_ENTRIES && verify->from_tiles)
			continue;
		if (at_rest)
			compare_partials(verify, level, audit_rows_width(&verify->rows, level > 0 ? (unsigned)level : 0));
		if (verify->code == ERR_OK)
			require_partial(verify, level);
	}
}

/* ---- records ---- */

static bool add_leaf(struct verify *verify, struct span record, const uint8_t *leaf)
{
	struct audit_hash hash;
	memcpy(hash.bytes, leaf, sizeof(hash.bytes));
	if (verify->has_tiles && !verify->from_tiles)
		audit_bundle_add(&verify->bundle, record);
	audit_rows_add(&verify->rows, verify->hasher, &hash, full_tile, verify);
	compare_checkpoints(verify);
	if (verify->options->progress && verify->rows.size % PROGRESS_EVERY == 0)
		verify->options->progress(verify->rows.size, verify->total, verify->options->user);
	return verify->code == ERR_OK;
}

static bool scanned(const struct audit_scanned *scanned, void *user)
{
	return add_leaf(user, scanned->record, scanned->leaf);
}

static void verify_bundle(struct verify *verify, struct span bundle)
{
	struct span record;
	while (verify->code == ERR_OK && audit_bundle_next(&bundle, &record)) {
		uint64_t claimed;
		uint8_t leaf[AUDIT_HASH_BYTES];
		if (!audit_record_index(record, &claimed) || claimed != verify->rows.size) {
			fail(verify, "has another record in the place of", "its bundle", verify->rows.size);
			return;
		}
		audit_hash_leaf(verify->hasher, record, leaf);
		add_leaf(verify, record, leaf);
	}
}

/* Without the log itself: the bundles are the records, and the checkpoint says how many there are. */
static enum err_code scan_bundles(struct verify *verify, struct err *err)
{
	enum err_code code = ERR_OK;
	for (uint64_t index = 0; code == ERR_OK && verify->code == ERR_OK && verify->rows.size < verify->total; index++) {
		autobuf struct buf bundle = {0};
		unsigned width = audit_tile_width(verify->total, AUDIT_TILE_ENTRIES, index);
		code = audit_tile_read(verify->options->directory, AUDIT_TILE_ENTRIES, index, width, &bundle, err);
		if (code == ERR_NOT_FOUND)
			code = err_set(err, ERR_CORRUPT, 0, "the bundle that begins with record %" PRIu64 " is missing",
			               index * AUDIT_TILE_WIDTH);
		if (code == ERR_OK)
			verify_bundle(verify, buf_span(&bundle));
	}
	return code;
}

static bool below(const char *directory, const char *name)
{
	autofree char *path = xasprintf("%s/%s", directory, name);
	return access(path, F_OK) == 0;
}

static enum err_code run(struct verify *verify, struct err *err)
{
	const char *directory = verify->options->directory;
	enum err_code code = gather(verify, err);
	if (code != ERR_OK)
		return code;
	verify->has_tiles = below(directory, "tile");
	verify->from_tiles = !below(directory, "log");
	if (verify->from_tiles && !(verify->has_tiles && verify->n_known))
		return err_set(err, ERR_NOT_FOUND, 0, "%s: neither a log nor tiles with their checkpoint", directory);
	compare_checkpoints(verify); /* of size 0 */
	code = verify->from_tiles ? scan_bundles(verify, err) : audit_scan_leaves(directory, scanned, verify, err);
	if (code == ERR_OK && verify->code == ERR_OK && verify->compared < verify->n_known) {
		const struct known *known = &verify->known[verify->compared];
		return err_set(err, ERR_CORRUPT, 0,
		               "the log ends at record %" PRIu64 ", but %s is of %" PRIu64 " records: its tail is missing",
		               verify->rows.size, known->name, known->checkpoint.size);
	}
	if (code == ERR_OK && verify->code == ERR_OK)
		check_edge(verify);
	return code == ERR_OK ? verify->code : code;
}

enum err_code audit_verify(const struct audit_verify_options *options, struct audit_verify_result *ret, struct err *err)
{
	struct err own;
	struct verify *verify = xcalloc(1, sizeof(*verify));
	verify->options = options;
	verify->err = err ? err : &own;
	verify->hasher = audit_hasher_new();
	verify->bundle.max = AUDIT_TILE_BYTES_MAX;
	enum err_code code = run(verify, verify->err);
	verify->result.records = verify->rows.size;
	verify->result.checkpoints = verify->compared;
	verify->result.tiles = verify->has_tiles;
	if (code == ERR_OK)
		*ret = verify->result;
	for (size_t i = 0; i < verify->n_known; i++) {
		buf_done(&verify->known[i].note);
		free(verify->known[i].name);
	}
	buf_done(&verify->bundle);
	audit_hasher_free(verify->hasher);
	free(verify);
	return code;
}
