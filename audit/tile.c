#include "audit/tile.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/text.h"

char *audit_tile_path(int level, uint64_t index, unsigned width)
{
	autobuf struct buf path = {0};
	uint64_t groups[8];
	size_t n = 0;
	for (uint64_t rest = index; n == 0 || rest; rest /= 1000)
		groups[n++] = rest % 1000;
	if (level == AUDIT_TILE_ENTRIES)
		buf_append_str(&path, "tile/entries");
	else
		buf_printf(&path, "tile/%d", level);
	while (n-- > 1)
		buf_printf(&path, "/x%03" PRIu64, groups[n]);
	buf_printf(&path, "/%03" PRIu64, groups[0]);
	if (width < AUDIT_TILE_WIDTH)
		buf_printf(&path, ".p/%u", width);
	return xstrdup(buf_cstr(&path));
}

unsigned audit_tile_width(uint64_t size, int level, uint64_t index)
{
	uint64_t hashes = level > 0 ? size >> 8 * level : size;
	if (index >= (hashes >> 8) + 1 || hashes <= index << 8)
		return 0;
	return hashes - (index << 8) >= AUDIT_TILE_WIDTH ? AUDIT_TILE_WIDTH : (unsigned)(hashes - (index << 8));
}

/* Only the first `width` entries, of all that there are. */
static bool cut_bundle(struct buf *bundle, unsigned width, unsigned had)
{
	struct span rest = buf_span(bundle), record;
	size_t keep = 0;
	for (unsigned i = 0; i < had; i++) {
		if (!audit_bundle_next(&rest, &record))
			return false;
		if (i < width)
			keep += 2 + record.len;
	}
	bundle->len = keep;
	return rest.len == 0;
}

static bool cut(struct buf *tile, int level, unsigned width, unsigned had)
{
	if (level == AUDIT_TILE_ENTRIES)
		return cut_bundle(tile, width, had);
	bool good = tile->len == (size_t)had * AUDIT_HASH_BYTES;
	tile->len = good ? (size_t)width * AUDIT_HASH_BYTES : tile->len;
	return good;
}

static enum err_code read_one(const char *root, int level, uint64_t index, unsigned width, unsigned had,
                              struct buf *out, struct err *err)
{
	autofree char *name = audit_tile_path(level, index, had);
	autofree char *path = xasprintf("%s/%s", root, name);
	buf_clear(out);
	enum err_code code = text_read_file(path, AUDIT_TILE_BYTES_MAX, out, err);
	if (code == ERR_OK && !cut(out, level, width, had))
		code = err_set(err, ERR_CORRUPT, 0, "%s does not have %u entries", name, had);
	return code;
}

enum err_code audit_tile_read(const char *root, int level, uint64_t index, unsigned width, struct buf *out,
                              struct err *err)
{
	enum err_code code = read_one(root, level, index, width, width, out, err);
	/* A partial tile may be gone once the full one is there. */
	if (code == ERR_NOT_FOUND && width < AUDIT_TILE_WIDTH)
		code = read_one(root, level, index, width, AUDIT_TILE_WIDTH, out, err);
	return code;
}

void audit_bundle_add(struct buf *bundle, struct span record)
{
	buf_append_byte(bundle, (uint8_t)(record.len >> 8));
	buf_append_byte(bundle, (uint8_t)record.len);
	buf_append(bundle, record);
}

bool audit_bundle_next(struct span *rest, struct span *ret_record)
{
	size_t len = rest->len >= 2 ? (size_t)rest->ptr[0] << 8 | rest->ptr[1] : 0;
	if (rest->len < 2 || rest->len - 2 < len)
		return false;
	*ret_record = span_of(rest->ptr + 2, len);
	*rest = span_of(rest->ptr + 2 + len, rest->len - 2 - len);
	return true;
}

/* The root over a run of 1, 2, 4 ... 256 hashes. */
static void run_root(struct audit_hasher *hasher, const struct audit_hash *hashes, unsigned n, struct audit_hash *ret)
{
	struct audit_hash row[AUDIT_TILE_WIDTH];
	memcpy(row, hashes, n * sizeof(*row));
	for (; n > 1; n /= 2)
		for (unsigned i = 0; i < n / 2; i++)
			audit_merkle_node(hasher, &row[2 * i], &row[2 * i + 1], &row[i]);
	*ret = row[0];
}

/* ---- growing ---- */

void audit_rows_add(struct audit_rows *rows, struct audit_hasher *hasher, const struct audit_hash *leaf,
                    void (*full)(unsigned level, uint64_t index, const struct audit_hash *hashes, void *user),
                    void *user)
{
	struct audit_hash hash = *leaf;
	uint64_t before = rows->size++;
	for (unsigned level = 0; level < AUDIT_TILE_LEVELS; level++, before >>= 8) {
		struct audit_hash *row = rows->hashes[level];
		row[before % AUDIT_TILE_WIDTH] = hash;
		if (before % AUDIT_TILE_WIDTH != AUDIT_TILE_WIDTH - 1)
			break;
		full(level, before / AUDIT_TILE_WIDTH, row, user);
		run_root(hasher, row, AUDIT_TILE_WIDTH, &hash);
	}
}

struct rows_source {
	const struct audit_rows *rows;
	struct audit_hasher *hasher;
};

static enum err_code rows_hash(void *user, unsigned level, uint64_t index, struct audit_hash *ret, struct err *err)
{
	const struct rows_source *source = user;
	(void)err;
	uint64_t first = (index << level % 8) % AUDIT_TILE_WIDTH;
	run_root(source->hasher, &source->rows->hashes[level / 8][first], 1U << level % 8, ret);
	return ERR_OK;
}

void audit_rows_root(const struct audit_rows *rows, struct audit_hasher *hasher, struct audit_hash *ret)
{
	struct rows_source rows_source = {rows, hasher};
	const struct audit_merkle_source source = {rows_hash, &rows_source};
	struct audit_frontier frontier;
	if (audit_merkle_frontier(&source, rows->size, &frontier, NULL) != ERR_OK)
		abort(); /* rows_hash does not fail */
	audit_frontier_root(&frontier, hasher, ret);
}

/* ---- reading ---- */

static enum err_code tiles_hash(void *user, unsigned level, uint64_t index, struct audit_hash *ret, struct err *err)
{
	struct audit_tiles *tiles = user;
	unsigned row = level / 8;
	uint64_t first = index << level % 8, tile = first / AUDIT_TILE_WIDTH;
	unsigned n = 1U << level % 8, width = audit_tile_width(tiles->size, (int)row, tile);
	if (first % AUDIT_TILE_WIDTH + n > width)
		return err_set(err, ERR_INVALID, 0, "a tree of that size has no such hash");
	if (!tiles->kept[row].known || tiles->kept[row].index != tile) {
		autobuf struct buf bytes = {0};
		enum err_code code = audit_tile_read(tiles->root, (int)row, tile, width, &bytes, err);
		if (code != ERR_OK)
			return code;
		memcpy(tiles->kept[row].hashes, bytes.data, bytes.len);
		tiles->kept[row].index = tile;
		tiles->kept[row].known = true;
	}
	run_root(tiles->hasher, &tiles->kept[row].hashes[first % AUDIT_TILE_WIDTH], n, ret);
	return ERR_OK;
}

enum err_code audit_tiles_root(struct audit_tiles *tiles, unsigned level, uint64_t index, struct audit_hash *ret,
                               struct err *err)
{
	autobuf struct buf bytes = {0};
	struct audit_hash hashes[AUDIT_TILE_WIDTH];
	enum err_code code = audit_tile_read(tiles->root, (int)level, index, AUDIT_TILE_WIDTH, &bytes, err);
	if (code != ERR_OK)
		return code;
	memcpy(hashes, bytes.data, bytes.len);
	run_root(tiles->hasher, hashes, AUDIT_TILE_WIDTH, ret);
	return ERR_OK;
}

struct audit_merkle_source audit_tiles_source(struct audit_tiles *tiles)
{
	return (struct audit_merkle_source){tiles_hash, tiles};
}
