/* Puts tiles on disk: written beside, made durable many at a time, named when they are. A tile that is there already is
 * never changed. One thread at a time. */
#ifndef TWOKEY_AUDIT_TILE_WRITER_H
#define TWOKEY_AUDIT_TILE_WRITER_H

#include "audit/tile.h"

struct audit_tile_writer;

/* Removes what an earlier process left half-written. */
must_check enum err_code audit_tile_writer_new(const char *root, struct audit_tile_writer **ret, struct err *err);
void audit_tile_writer_free(struct audit_tile_writer *writer); /* drops what is not flushed; accepts NULL */

/* Not durable, and not there for others, before the flush. ERR_CORRUPT: there is another tile of that name. */
must_check enum err_code audit_tile_writer_put(struct audit_tile_writer *writer, int level, uint64_t index,
                                               unsigned width, struct span bytes, struct err *err);
/* Makes durable and names all that was put, and removes partial tiles that full ones have made useless. */
must_check enum err_code audit_tile_writer_flush(struct audit_tile_writer *writer, struct err *err);

#endif
