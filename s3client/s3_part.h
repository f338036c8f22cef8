/* The bytes of one part of an upload. They have to be kept until the part is sent: its hash is signed, and a failed
 * attempt starts again. Not thread-safe. */
#ifndef TWOKEY_S3CLIENT_S3_PART_H
#define TWOKEY_S3CLIENT_S3_PART_H

#include "common/err.h"
#include "common/span.h"

#define S3_PARTS_MAX  10000U
#define S3_OBJECT_MAX ((uint64_t)5 << 40)

/* Bytes of the part with this number (from 1). Parts double every 900, so that S3's 10,000 reach its 5 TiB. */
uint64_t s3_part_size(uint64_t part_bytes, unsigned number);

/* Zeroed: empty. Small parts grow on the heap; above 64 MiB they are in an unlinked file that is mapped, so that memory
 * stays bounded however long the object becomes. */
struct part {
	uint8_t *data;
	size_t len, cap;
	bool mapped;
};
/* Appends as much as fits below `limit` and sets *ret_taken. ERR_EXHAUSTED: no memory, or no room for the file. */
must_check enum err_code part_append(struct part *part, uint64_t limit, struct span bytes, size_t *ret_taken,
                                     struct err *err);
void part_clear(struct part *part); /* keeps the memory */
void part_done(struct part *part);

#endif
