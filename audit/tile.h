/* Tiles: the tree's hashes in files of 256, and the records in bundles of 256, as C2SP tlog-tiles v0.1.0
 * (c2sp.org/tlog-tiles) says: ROOT/tile/<level>/<index>[.p/<width>] and ROOT/tile/entries/<index>[.p/<width>]. */
#ifndef TWOKEY_AUDIT_TILE_H
#define TWOKEY_AUDIT_TILE_H

#include "audit/merkle.h"

enum {
	AUDIT_TILE_WIDTH = 256,
	AUDIT_TILE_LEVELS = 8,   /* enough for 2^64 leaves */
	AUDIT_TILE_ENTRIES = -1, /* in place of a level: an entry bundle */
	AUDIT_TILE_BYTES_MAX = AUDIT_TILE_WIDTH * (2 + AUDIT_RECORD_MAX),
};

/* "tile/0/x001/234" or "tile/entries/005.p/17"; width 256: a full one. The caller frees it. */
char *audit_tile_path(int level, uint64_t index, unsigned width);
/* How many hashes the tile has in a tree of that size: 0 to 256. */
unsigned audit_tile_width(uint64_t size, int level, uint64_t index);
/* Reads a tile or bundle of at least that width, and cuts it to the width; an overfull or odd one is ERR_CORRUPT, none
 * ERR_NOT_FOUND. */
must_check enum err_code audit_tile_read(const char *root, int level, uint64_t index, unsigned width, struct buf *out,
                                         struct err *err);
/* Bundles: u16 length, record. False at the end, and when it is cut short (rest->len is not 0 then). */
void audit_bundle_add(struct buf *bundle, struct span record);
bool audit_bundle_next(struct span *rest, struct span *ret_record);

/* ---- growing ---- */

/* The rightmost tile of each level; full ones are handed out and begun anew. Zeroed: the empty tree. */
struct audit_rows {
	uint64_t size;
	struct audit_hash hashes[AUDIT_TILE_LEVELS][AUDIT_TILE_WIDTH];
};
static inline unsigned audit_rows_width(const struct audit_rows *rows, unsigned level)
{
	return (unsigned)(rows->size >> 8 * level) & (AUDIT_TILE_WIDTH - 1);
}
/* Calls back with every tile that the leaf has filled, lowest level first. */
void audit_rows_add(struct audit_rows *rows, struct audit_hasher *hasher, const struct audit_hash *leaf,
                    void (*full)(unsigned level, uint64_t index, const struct audit_hash *hashes, void *user),
                    void *user);
void audit_rows_root(const struct audit_rows *rows, struct audit_hasher *hasher, struct audit_hash *ret);

/* ---- reading ---- */

/* Hashes from the tiles of a tree of `size` leaves below `root`, also those of any smaller tree; the last tile of each
 * level is kept. Zeroed but for root, size and hasher (borrowed); one thread at a time. */
struct audit_tiles {
	const char *root;
	uint64_t size;
	struct audit_hasher *hasher;
	struct {
		bool known;
		uint64_t index;
		struct audit_hash hashes[AUDIT_TILE_WIDTH];
	} kept[AUDIT_TILE_LEVELS];
};
/* The root over a full tile. */
must_check enum err_code audit_tiles_root(struct audit_tiles *tiles, unsigned level, uint64_t index,
                                          struct audit_hash *ret, struct err *err);
/* A source for audit_merkle_...; tiles that are missing are ERR_NOT_FOUND. */
struct audit_merkle_source audit_tiles_source(struct audit_tiles *tiles);

#endif
