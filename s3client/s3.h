/* The S3 kind of store: what its files share. */
#ifndef TWOKEY_S3CLIENT_S3_H
#define TWOKEY_S3CLIENT_S3_H

#include <stdatomic.h>

#include "s3client/credentials.h"
#include "s3client/http.h"
#include "s3client/s3_place.h"
#include "s3client/s3_xml.h"
#include "s3client/store.h"

/* Multipart uploads that are still to be ended: s3_abandon.c. */
struct s3_abandon {
	pthread_mutex_t lock;
	struct s3_abandoned *list;
	unsigned n;
};

struct s3_store {
	struct store base;
	char *bucket, *sse;
	struct s3_places places;
	char *bucket_path; /* of the bucket's own requests: "/" or "/bucket" */
	char *object_path; /* what stands before each key: "/" or "/bucket/" */
	uint64_t part_bytes;
	const struct clock *clock;
	_Atomic int64_t clock_offset_ms; /* S3's clock minus ours, as far as it had to be learnt */
	_Atomic int retry_tokens;        /* what is left for retries */
	atomic_int jobs;                 /* buffers of parts in the background, of all uploads */
	unsigned jobs_max;
	struct s3_abandon abandon;
	struct http_pool *pool;
	struct credentials *credentials;
};

static inline struct s3_store *s3_of(struct store *store)
{
	return (struct s3_store *)store;
}

/* ---- s3_request.c: one operation, with its retries ---- */

#define S3_ATTEMPTS 3
/* A retry takes tokens, and gives them back when it succeeds; a first attempt that succeeds brings one. While S3 is
 * down, requests soon fail without retries, and do not make things worse. (AWS SDKs, "retry quota".) */
#define S3_RETRY_TOKENS 500
#define S3_RETRY_COST   5

struct s3_call {
	const char *operation; /* S3's name for it, for error texts */
	const char *method;
	const char *key; /* NULL: the bucket itself */
	const struct sigv4_pair *query;
	size_t n_query;
	const struct sigv4_pair *headers; /* signed too; names in lower case */
	size_t n_headers;
	struct span body;
	const uint8_t *sha256; /* of the body, when the caller has it already; 32 bytes */
	const struct store_cancel *cancel;
	bool stream; /* leave the body of a success to be read from reply.exchange */
};

/* Zeroed by the caller, filled on success and on failure. */
struct s3_reply {
	struct http_exchange *exchange; /* on success: for the headers, and the body of a stream */
	struct buf body;                /* on success, unless a stream */
	long status;                    /* 0: no answer came */
	struct s3_error error;          /* of the last answer */
	bool uncertain;                 /* an attempt that failed may have taken effect all the same */
};

must_check enum err_code s3_send(struct s3_store *store, const struct s3_call *call, struct s3_reply *reply,
                                 struct err *err);
void s3_reply_done(struct s3_reply *reply);

/* ---- s3_status.c: what an answer means ---- */

struct s3_verdict {
	enum err_code code;
	bool retry; /* another attempt may help */
	bool slow;  /* and S3 asks for patience */
	const char *hint;
};
struct s3_verdict s3_judge(long status, const char *error_code);

/* ---- s3_object.c ---- */

/* The head of an object from a HEAD's or GET's headers. Of a 206 the size is the whole object's. */
must_check enum err_code s3_object_read(const struct http_exchange *exchange, struct store_object *ret,
                                        struct err *err);
/* As store_head; *ret_sha256, when not NULL, is the stored checksum (base64) or NULL; the caller frees it. */
must_check enum err_code s3_head_object(struct s3_store *store, const char *key, const char *version_id,
                                        const struct store_cancel *cancel, struct store_object *ret, char **ret_sha256,
                                        struct err *err);
/* The text without the quotes around it; "" for NULL. Heap. */
char *s3_unquote(const char *etag);

enum err_code s3_check(struct store *store, struct err *err);
enum err_code s3_head(struct store *store, const char *key, const char *version_id, struct store_object *ret,
                      struct err *err);
enum err_code s3_remove(struct store *store, const char *key, const char *version_id, struct err *err);

/* ---- s3_abandon.c ---- */

void s3_abandon_init(struct s3_abandon *abandon);
void s3_abandon_done(struct s3_abandon *abandon);
/* ERR_OK too when there is no such upload (any more). */
must_check enum err_code s3_abort_upload(struct s3_store *store, const char *key, const char *upload_id,
                                         const struct store_cancel *cancel, struct err *err);
/* Remembers an upload, to be ended with the next s3_abandon_now. */
void s3_abandon_later(struct s3_store *store, const char *key, const char *upload_id);
/* Ends what is remembered, until S3 fails. */
void s3_abandon_now(struct s3_store *store, const struct store_cancel *cancel);

/* ---- s3_list.c, s3_sweep.c, s3_get.c, s3_copy.c, s3_presign.c, s3_put.c ---- */

enum err_code s3_list(struct store *store, const char *prefix, const struct store_cancel *cancel, store_each *each,
                      void *user, struct err *err);

enum err_code s3_sweep(struct store *store, const struct store_cancel *cancel, unsigned *ret_removed, struct err *err);

enum err_code s3_download_begin(struct store *store, const struct store_get *get, struct store_download **ret,
                                struct store_object *ret_object, struct err *err);
enum err_code s3_download_read(struct store_download *download, uint8_t *out, size_t len, size_t *ret_len,
                               struct err *err);
void s3_download_end(struct store_download *download);

enum err_code s3_presign(struct store *store, const char *key, const char *version_id, unsigned seconds, char **ret_url,
                         struct err *err);
enum err_code s3_replace_meta(struct store *store, const struct store_put *put, const struct store_object *seen,
                              char **ret_version, struct err *err);

enum err_code s3_upload_begin(struct store *store, const struct store_put *put, struct store_upload **ret,
                              struct err *err);
enum err_code s3_upload_write(struct store_upload *upload, struct span bytes, struct err *err);
enum err_code s3_upload_commit(struct store_upload *upload, struct store_object *ret, struct err *err);
void s3_upload_abort(struct store_upload *upload);

#endif
