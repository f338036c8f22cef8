/* From records to tiles. Tiles are derived: whatever is missing is made again from the log, but one that is there and
 * says something else than the log is damage, of one or the other. */
#include <inttypes.h>

#include "audit/tree_internal.h"
#include "common/clock.h"

static void put(struct audit_tree *tree, int level, uint64_t index, unsigned width, struct span bytes)
{
	if (tree->adding == ERR_OK)
		tree->adding = audit_tile_writer_put(tree->writer, level, index, width, bytes, tree->adding_err);
}

static void put_full(unsigned level, uint64_t index, const struct audit_hash *hashes, void *user)
{
	struct audit_tree *tree = user;
	if (level == 0) {
		put(tree, AUDIT_TILE_ENTRIES, index, AUDIT_TILE_WIDTH, buf_span(&tree->bundle));
		buf_clear(&tree->bundle);
	}
	put(tree, (int)level, index, AUDIT_TILE_WIDTH, span_of(hashes, AUDIT_TILE_WIDTH * sizeof(*hashes)));
}

static bool add_record(uint64_t index, struct span record, void *user)
{
	struct audit_tree *tree = user;
	struct audit_hash leaf;
	if (index != tree->rows.size) {
		tree->adding = err_set(tree->adding_err, ERR_INTERNAL, 0, "record %" PRIu64 " comes out of order", index);
		return false;
	}
	audit_merkle_leaf(tree->hasher, record, &leaf);
	audit_bundle_add(&tree->bundle, record);
	audit_rows_add(&tree->rows, tree->hasher, &leaf, put_full, tree);
	tree->paused = tree->rows.size >= tree->until ||
	               (tree->rows.size % AUDIT_TILE_WIDTH == 0 && clock_monotonic_us() >= tree->pause_at_us);
	return tree->adding == ERR_OK && !tree->paused;
}

static enum err_code take(struct audit_tree *tree, struct err *err)
{
	tree->adding = ERR_OK;
	tree->adding_err = err;
	tree->paused = false;
	enum err_code code =
	    audit_ledger_replay(tree->ledger, TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &tree->position, add_record, tree, err);
	return code == ERR_OK ? tree->adding : code;
}

enum err_code audit_tree_take(struct audit_tree *tree, struct err *err)
{
	tree->until = UINT64_MAX;
	return take(tree, err);
}

enum err_code audit_tree_settle(struct audit_tree *tree, struct err *err)
{
	tree->adding = ERR_OK;
	tree->adding_err = err;
	for (unsigned level = 0; level < AUDIT_TILE_LEVELS; level++) {
		unsigned width = audit_rows_width(&tree->rows, level);
		uint64_t index = tree->rows.size >> 8 * level >> 8;
		if (width && level == 0)
			put(tree, AUDIT_TILE_ENTRIES, index, width, buf_span(&tree->bundle));
		if (width)
			put(tree, (int)level, index, width, span_of(tree->rows.hashes[level], width * AUDIT_HASH_BYTES));
	}
	return tree->adding == ERR_OK ? audit_tile_writer_flush(tree->writer, err) : tree->adding;
}

/* ---- going on ---- */

static void start_over(struct audit_tree *tree)
{
	memset(&tree->rows, 0, sizeof(tree->rows));
	memset(&tree->position, 0, sizeof(tree->position));
	buf_clear(&tree->bundle);
}

/* One row of upper hashes: its partial tile, or made from the full tiles below. */
static enum err_code load_row(struct audit_tree *tree, unsigned level, uint64_t index, unsigned width, struct err *err)
{
	autobuf struct buf bytes = {0};
	enum err_code code = audit_tile_read(tree->directory, (int)level, index, width, &bytes, NULL);
	if (code == ERR_OK)
		memcpy(tree->rows.hashes[level], bytes.data, bytes.len);
	if (code != ERR_NOT_FOUND)
		return code == ERR_OK ? ERR_OK : err_set(err, code, 0, "a tile of level %u cannot be read", level);
	autofree struct audit_tiles *tiles = xcalloc(1, sizeof(*tiles));
	*tiles = (struct audit_tiles){.root = tree->directory, .size = tree->rows.size, .hasher = tree->hasher};
	code = ERR_OK;
	for (unsigned i = 0; code == ERR_OK && i < width; i++)
		code = audit_tiles_root(tiles, level - 1, index * AUDIT_TILE_WIDTH + i, &tree->rows.hashes[level][i], err);
	return code;
}

/* The upper rows at the last multiple of 256. */
static enum err_code load_rows(struct audit_tree *tree, uint64_t size, struct err *err)
{
	tree->rows.size = size / AUDIT_TILE_WIDTH * AUDIT_TILE_WIDTH;
	for (unsigned level = 1; level < AUDIT_TILE_LEVELS; level++) {
		unsigned width = audit_rows_width(&tree->rows, level);
		enum err_code code = width ? load_row(tree, level, size >> 8 * level >> 8, width, err) : ERR_OK;
		if (code != ERR_OK)
			return code;
	}
	return audit_ledger_position_of(tree->ledger, tree->rows.size, &tree->position, err);
}

/* Takes records up to a size that was signed once, and compares. */
static enum err_code reach(struct audit_tree *tree, uint64_t size, const uint8_t *root, struct err *err)
{
	struct audit_hash found;
	tree->pause_at_us = INT64_MAX;
	tree->until = size;
	enum err_code code = tree->rows.size < size ? take(tree, err) : ERR_OK;
	if (code != ERR_OK)
		return code;
	audit_rows_root(&tree->rows, tree->hasher, &found);
	if (tree->rows.size != size || memcmp(found.bytes, root, sizeof(found.bytes)) != 0)
		return err_set(err, ERR_CORRUPT, 0,
		               "the log does not contain the checkpoint of %" PRIu64 " records that was signed: %s", size,
		               tree->rows.size < size ? "it ends before" : "its records are others");
	return ERR_OK;
}

enum err_code audit_tree_resume(struct audit_tree *tree, const struct audit_checkpoint *local, struct err *err)
{
	enum err_code code = ERR_OK;
	start_over(tree);
	if (local && local->size <= audit_ledger_committed(tree->ledger))
		code = load_rows(tree, local->size, err);
	if (code == ERR_NOT_FOUND) {
		/* Tiles are missing: they are made again, and compared with what was signed all the same. */
		start_over(tree);
		code = ERR_OK;
	}
	if (code == ERR_OK && local)
		code = reach(tree, local->size, local->root.bytes, err);
	if (code == ERR_OK && tree->rows.size < tree->last.size)
		code = reach(tree, tree->last.size, tree->last.root, err);
	return code;
}

/* The root of a tree that ours has grown out of; our tiles are settled. */
static enum err_code compare_older(struct audit_tree *tree, const struct audit_published *older, struct err *err)
{
	autofree struct audit_tiles *tiles = xcalloc(1, sizeof(*tiles));
	struct audit_frontier frontier;
	struct audit_hash root;
	*tiles = (struct audit_tiles){.root = tree->directory, .size = tree->rows.size, .hasher = tree->hasher};
	const struct audit_merkle_source source = audit_tiles_source(tiles);
	enum err_code code = audit_merkle_frontier(&source, older->size, &frontier, err);
	if (code != ERR_OK)
		return code;
	audit_frontier_root(&frontier, tree->hasher, &root);
	return memcmp(root.bytes, older->root, sizeof(root.bytes)) == 0
	           ? ERR_OK
	           : err_set(err, ERR_CORRUPT, 0, "a checkpoint of %" PRIu64 " records was published that is not the log's",
	                     older->size);
}

enum err_code audit_tree_adopt(struct audit_tree *tree, struct err *err)
{
	struct audit_published now = {0};
	enum err_code code = audit_ledger_published(tree->ledger, &now, err);
	if (code == ERR_OK && now.size < tree->last.size)
		code = err_set(err, ERR_UNAVAILABLE, 0, "the checkpoint of %" PRIu64 " records is gone", tree->last.size);
	else if (code == ERR_OK && now.size > tree->rows.size)
		code = reach(tree, now.size, now.root, err);
	else if (code == ERR_OK && now.size)
		code = compare_older(tree, &now, err);
	if (code != ERR_OK) {
		buf_done(&now.note);
		return code;
	}
	buf_done(&tree->last.note);
	tree->last = now;
	return ERR_OK;
}
