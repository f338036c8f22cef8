/* Where the bucket is: its region, and the host that follows from it. S3 may correct it (a redirect, or a signature for
 * the wrong region); only the region is taken from S3, never an address. Thread-safe. */
#ifndef TWOKEY_S3CLIENT_S3_PLACE_H
#define TWOKEY_S3CLIENT_S3_PLACE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "common/err.h"

struct s3_options;

/* Immutable; lives as long as its struct s3_places. */
struct s3_place {
	char *region;
	char *host;   /* as signed and sent */
	char *origin; /* "https://bucket.host:port" */
	struct s3_place *older;
};

struct s3_places {
	char *scheme, *name, *port, *bucket; /* of the endpoint; port may be NULL */
	bool path_style;
	_Atomic(struct s3_place *) now;
};

/* ERR_INVALID when the endpoint is none. */
must_check enum err_code s3_places_init(struct s3_places *places, const struct s3_options *options, struct err *err);
void s3_places_done(struct s3_places *places);

/* S3 said that the bucket is in that region, to a request that was made for `seen`. True when there is another place to
 * go to now. At AWS the host changes with the region, elsewhere the signature only. */
bool s3_places_move(struct s3_places *places, const struct s3_place *seen, const char *region);

#endif
