/* SigV4 in the query of a URL. Thread-safe. */
#ifndef TWOKEY_S3CLIENT_SIGV4_PRESIGN_H
#define TWOKEY_S3CLIENT_SIGV4_PRESIGN_H

#include "s3client/day_key.h"
#include "s3client/sigv4.h"

struct sigv4_presign {
	const char *host, *path; /* not encoded */
	const char *version_id;  /* NULL: the latest */
	const char *access_key_id;
	const char *token; /* of temporary credentials; NULL: none */
	unsigned seconds;  /* from the scope's time on */
	struct sigv4_scope scope;
};

/* Appends "/path?query" of a GET, signed. */
must_check enum err_code sigv4_presign(const struct sigv4_presign *asked, struct day_key *day_key, struct buf *out,
                                       struct err *err);

#endif
