/* An upload to S3 under way; private to s3_put.c and s3_multipart.c. */
#ifndef TWOKEY_S3CLIENT_S3_UPLOAD_H
#define TWOKEY_S3CLIENT_S3_UPLOAD_H

#include "s3client/s3.h"
#include "s3client/s3_part.h"

struct s3_sent_part {
	char *etag; /* as S3 said it, quotes and all */
	uint8_t sha256[32];
};

struct s3_upload {
	struct store_upload base;
	struct s3_store *store;
	struct put_copy put;
	struct part part; /* what is not sent yet */
	uint64_t total;   /* bytes written */

	char *upload_id; /* NULL: no multipart upload is open */
	bool loose;      /* an attempt to send a part broke off: S3 may still be at work on it */
	struct s3_sent_part *sent;
	unsigned n_sent, cap_sent;
};

/* Content type, encryption and metadata as headers; their names are `names`'s to keep. */
#define S3_PUT_HEADERS_MAX (STORE_META_MAX + 6)
struct s3_put_headers {
	struct sigv4_pair pairs[S3_PUT_HEADERS_MAX];
	size_t n;
	char *names[STORE_META_MAX];
	size_t n_names;
};
void s3_put_headers_init(struct s3_put_headers *headers, const struct s3_upload *upload);
void s3_put_headers_add(struct s3_put_headers *headers, const char *name, const char *value);
void s3_put_headers_done(struct s3_put_headers *headers);

/* After an answer was lost: is the object there the one that this upload wrote? It is when the length, the type, the
 * metadata and S3's own checksum of the content are the same. */
bool s3_upload_is_there(struct s3_upload *upload, const char *sha256, struct store_object *ret);

/* Opens the multipart upload, which is not open yet. */
must_check enum err_code s3_multipart_open(struct s3_upload *upload, struct err *err);
/* Sends the part, and opens the multipart upload before the first. */
must_check enum err_code s3_multipart_send(struct s3_upload *upload, struct err *err);
must_check enum err_code s3_multipart_complete(struct s3_upload *upload, struct store_object *ret, struct err *err);
void s3_multipart_abort(struct s3_upload *upload);

#endif
