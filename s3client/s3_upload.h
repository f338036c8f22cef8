/* An upload to S3 under way; private to s3_put.c and s3_multipart.c. */
#ifndef TWOKEY_S3CLIENT_S3_UPLOAD_H
#define TWOKEY_S3CLIENT_S3_UPLOAD_H

#include "s3client/s3.h"
#include "s3client/s3_part.h"

struct s3_sent_part {
	char *etag; /* as S3 said it, quotes and all */
	uint8_t sha256[32];
};

#define S3_JOBS 2 /* parts of one upload that are sent at once */

/* A part on its way, in a thread of its own, while the next is being filled. */
struct s3_part_job {
	struct s3_upload *upload;
	struct part part;
	unsigned number; /* 0: nothing is on its way, and no result waits */
	bool granted;    /* one of struct s3_store's jobs */
	bool threaded;
	atomic_bool done;
	pthread_t thread;
	/* Once done. */
	enum err_code code;
	struct err err;
	bool loose;
	struct s3_sent_part sent;
};

struct s3_upload {
	struct store_upload base;
	struct s3_store *store;
	struct put_copy put;
	struct part part; /* what is not sent yet */
	uint64_t total;   /* bytes written */

	char *upload_id;           /* NULL: no multipart upload is open */
	bool loose;                /* an attempt to send a part broke off: S3 may still be at work on it */
	struct s3_sent_part *sent; /* by number; an ETag is there once the part is */
	unsigned n_sent, cap_sent;
	struct s3_part_job jobs[S3_JOBS];
	atomic_bool stop; /* ends the jobs */
};

/* Content type, encryption and metadata as headers; their names are `names`'s to keep. */
#define S3_PUT_HEADERS_MAX (STORE_META_MAX + 6)
struct s3_put_headers {
	struct sigv4_pair pairs[S3_PUT_HEADERS_MAX];
	size_t n;
	char *names[STORE_META_MAX];
	size_t n_names;
};
void s3_put_headers_init(struct s3_put_headers *headers, const struct s3_store *store, const char *content_type,
                         const struct store_meta *meta, size_t n_meta);
void s3_put_headers_add(struct s3_put_headers *headers, const char *name, const char *value);
void s3_put_headers_done(struct s3_put_headers *headers);

/* S3 says that the object is there already, or the upload gone. An attempt whose answer was lost may have done that,
 * and also one that the connection, unasked, has made twice. ERR_OK: the object there is the one that this upload
 * wrote: the length, the type, the metadata and S3's own checksum of the content are the same. Else
 * `otherwise`, or ERR_UNAVAILABLE when that cannot be found out. */
must_check enum err_code s3_upload_was_done(struct s3_upload *upload, const char *sha256, enum err_code otherwise,
                                            struct store_object *ret, struct err *err);

/* Opens the multipart upload, which is not open yet. */
must_check enum err_code s3_multipart_open(struct s3_upload *upload, struct err *err);
/* Sends the part, and opens the multipart upload before the first. Unless it is the last, it may still be on its way
 * afterwards, and a failure is told by a later call. */
must_check enum err_code s3_multipart_send(struct s3_upload *upload, bool last, struct err *err);
must_check enum err_code s3_multipart_complete(struct s3_upload *upload, struct store_object *ret, struct err *err);
void s3_multipart_abort(struct s3_upload *upload);

/* ---- s3_part_job.c ---- */

/* Takes the upload's part, leaves it an empty one, and sends it: in the background when that is wanted and there is
 * room for one more in memory. */
void s3_part_job_start(struct s3_upload *upload, struct s3_part_job *job, unsigned number, bool background);
/* Waits for its end; notes the part, or fails as it did. ERR_OK when there was none. */
must_check enum err_code s3_part_job_wait(struct s3_upload *upload, struct s3_part_job *job, struct err *err);
/* Waits for all; the first failure. */
must_check enum err_code s3_part_jobs_wait(struct s3_upload *upload, struct err *err);
/* Ends them, whatever they do. */
void s3_part_jobs_stop(struct s3_upload *upload);
void s3_part_jobs_done(struct s3_upload *upload);

#endif
