/* Object stores: one interface over S3 (and whatever speaks it) and a local directory. Blocking calls, streaming both
 * ways, bounded memory.
 *
 * A struct store is thread-safe; a store_upload or store_download belongs to one thread. Object keys are exact bytes:
 * 1-1024 bytes of UTF-8 without NUL; nothing is folded or normalised. */
#ifndef TWOKEY_S3CLIENT_S3CLIENT_H
#define TWOKEY_S3CLIENT_S3CLIENT_H

#include "common/clock.h"
#include "common/err.h"
#include "common/span.h"

struct store;
struct store_upload;
struct store_download;

/* User metadata kept beside an object: names [a-z0-9-]+, each once; values printable ASCII without a blank at either
 * end; at most 2 KiB in all (S3's own limit). */
struct store_meta {
	const char *name;
	const char *value;
};
#define STORE_META_MAX 16

struct store_object {
	uint64_t size; /* stored bytes of the whole object */
	char *content_type;
	char *etag;
	char *version_id; /* "" when the bucket keeps no versions */
	int64_t modified_ms;
	struct {
		char *name, *value;
	} meta[STORE_META_MAX];
	size_t n_meta;
};
void store_object_done(struct store_object *object);
/* The value, or NULL. */
const char *store_object_meta(const struct store_object *object, const char *name);

/* Stop early: polled at least every 200 ms while waiting. May be NULL; otherwise it stays until the upload or download
 * it was given to has ended. */
struct store_cancel {
	bool (*cancelled)(void *user); /* true: give up with ERR_CANCELLED */
	void *user;
	int64_t deadline_ms; /* wall clock; 0: none; ERR_DEADLINE after it */
};

/* A small document of a third party, by GET over https://; redirects are not followed. */
struct s3_document {
	const char *url;
	const char *ca_file; /* PEM; NULL: the system's */
	const char *proxy;   /* NULL: none, whatever the environment says */
};
/* Five seconds; the buffer's maximum bounds the answer. ERR_UNAVAILABLE, ERR_PRECONDITION (the certificate is not
 * trusted), ERR_DEADLINE, ERR_CORRUPT (too large). */
must_check enum err_code s3_document_get(const struct s3_document *document, struct buf *out, struct err *err);

/* ---- making one ---- */

/* Where the secret is: the store never has it. date_key is HMAC-SHA-256("AWS4" + secret, "YYYYMMDD"), made in the
 * token; the store derives the day-region-service key from it, keeps that one day in locked memory, and asks again when
 * the day changes. Thread-safe. */
struct s3_credentials {
	const char *access_key_id;
	enum err_code (*date_key)(void *user, const char *yyyymmdd, uint8_t out[32], struct err *err);
	void *user;
};

/* Temporary credentials instead: fetched when first needed, and again before they end. All texts are copied. */
enum s3_role_kind {
	S3_ROLE_ANYWHERE = 1, /* AWS IAM Roles Anywhere: CreateSession, signed with the key of a certificate */
	S3_ROLE_INSTANCE,     /* the role of an EC2 instance, from its metadata service (IMDSv2) */
	S3_ROLE_CONTAINER,    /* the role of an ECS task or EKS pod, from the container endpoint */
};
struct s3_role {
	enum s3_role_kind kind;
	/* ANYWHERE: https://; NULL: AWS's own of the trust anchor's region. INSTANCE: NULL: http://169.254.169.254; or
	 * http://[fd00:ec2::254], or an address of this machine. */
	const char *endpoint;

	/* ANYWHERE */
	const char *trust_anchor_arn, *profile_arn, *role_arn;
	const char *session_name; /* NULL: none */
	unsigned duration_s;      /* 0: 3600; 900 to 43200 */
	struct span certificates; /* PEM, leaf first; the leaf's key is EC P-256 */
	struct span spki;         /* of the key behind `sign`: must be the leaf's */
	/* ECDSA over a SHA-256 digest, DER, appended to *der. Thread-safe. */
	enum err_code (*sign)(void *user, const uint8_t digest[32], struct buf *der, struct err *err);
	void *user;

	/* INSTANCE */
	const char *role; /* NULL: the one that the service names */

	/* CONTAINER: one of the two. A full URI is https://, or http:// to this machine or to one of AWS's own addresses.
	 */
	const char *relative_uri, *full_uri;
	const char *token_file; /* what is sent as Authorization, read anew each time; NULL: nothing is */
};

struct s3_options {
	const char *endpoint; /* "https://s3.eu-central-1.amazonaws.com" or "http://127.0.0.1:7070"; no path */
	const char *region;
	const char *bucket;
	bool path_style;     /* https://host/bucket/key instead of https://bucket.host/key */
	const char *ca_file; /* PEM; NULL: the system's */
	const char *sse;     /* NULL, "AES256" or "aws:kms": asked of S3 on every PUT */
	uint64_t part_bytes; /* size of a multipart part; 0: 8 MiB; at least 5 MiB */
	/* Parts that are sent while the next is being filled, of all uploads together: what they cost in memory. 0: 16; 1
	 * when each part has to be there before the next is taken. At most 2 of one upload. */
	unsigned background_parts;
	unsigned connect_timeout_ms; /* 0: 5000 */
	unsigned stall_timeout_ms;   /* no byte for this long ends a request; 0: 30000 */
	const char *proxy;           /* "http://host:port": CONNECT for https endpoints; NULL: none */
	struct s3_credentials credentials;
	const struct s3_role *role; /* instead of credentials; NULL: none */
	const struct clock *clock;
};
/* clock, credentials.user and role->user stay as long as the store; the texts are copied. SIGPIPE is ignored from then
 * on, unless the process has a handler for it. */
must_check enum err_code store_open_s3(const struct s3_options *options, struct store **ret, struct err *err);

/* A local directory (made when missing, 0700). Writes are atomic and durable. */
must_check enum err_code store_open_directory(const char *path, struct store **ret, struct err *err);
/* A copy of a bucket in a folder, only to be read (nothing but list, head and download): a directory store's, or a file
 * for each object with its metadata where copying tools leave them (s3client/copy.c). ERR_NOT_FOUND. */
must_check enum err_code store_open_copy(const char *path, struct store **ret, struct err *err);
void store_free(struct store *store);

/* ---- using it ---- */

/* Can the bucket be used? One cheap request; for health. */
must_check enum err_code store_check(struct store *store, struct err *err);

struct store_put {
	const char *key;
	const char *content_type;
	const struct store_meta *meta;
	size_t n_meta;
	bool overwrite; /* false: ERR_EXISTS when the object is there (If-None-Match: *), judged atomically at commit */
	const struct store_cancel *cancel;
};
/* Nothing is visible before store_upload_commit returned ERR_OK. */
must_check enum err_code store_upload_begin(struct store *store, const struct store_put *put, struct store_upload **ret,
                                            struct err *err);
must_check enum err_code store_upload_write(struct store_upload *upload, struct span bytes, struct err *err);
/* On success *ret has etag and version_id. The upload is freed in both cases. */
must_check enum err_code store_upload_commit(struct store_upload *upload, struct store_object *ret, struct err *err);
/* Removes every trace; accepts NULL; frees. */
void store_upload_abort(struct store_upload *upload);

struct store_get {
	const char *key;
	const char *version_id; /* NULL: the latest */
	bool has_range;
	uint64_t first, length; /* stored bytes; cut at the object's end */
	const struct store_cancel *cancel;
};
/* Opens the object and gives its head. A ranged get pins nothing: use the version or the etag it returned.
 * ERR_NOT_FOUND; ERR_INVALID: the range starts beyond the end. */
must_check enum err_code store_download_begin(struct store *store, const struct store_get *get,
                                              struct store_download **ret, struct store_object *ret_object,
                                              struct err *err);
/* Reads up to len bytes; 0 at the end. ERR_CORRUPT when fewer bytes came than the head promised. */
must_check enum err_code store_download_read(struct store_download *download, uint8_t *out, size_t len, size_t *ret_len,
                                             struct err *err);
void store_download_end(struct store_download *download); /* accepts NULL; may be called at any point */

/* The head only. */
must_check enum err_code store_head(struct store *store, const char *key, const char *version_id,
                                    struct store_object *ret, struct err *err);
/* ERR_NOT_FOUND when there is no such object (directory), ERR_OK in both cases on S3. */
must_check enum err_code store_remove(struct store *store, const char *key, const char *version_id, struct err *err);

/* Gives an object other metadata, whole or not at all; its bytes and content type stay. `seen` is its head, and the
 * object must still be that one: ERR_PRECONDITION when it has been replaced, ERR_NOT_FOUND when it is gone. No upload
 * and no removal through this store comes in between. Fills *ret_version ("" without versions, the caller frees it): a
 * bucket that keeps versions keeps the one before. ERR_EXHAUSTED: larger than S3 copies in one piece (5 GiB). */
must_check enum err_code store_replace_meta(struct store *store, const char *key, const struct store_object *seen,
                                            const struct store_meta *meta, size_t n_meta,
                                            const struct store_cancel *cancel, char **ret_version, struct err *err);

/* A URL with which whoever has it gets the object (a GET) for so many seconds from now. *ret_url is the caller's to
 * free, and to keep out of every log. ERR_UNIMPLEMENTED: not this kind of store. */
must_check enum err_code store_presign(struct store *store, const char *key, const char *version_id, unsigned seconds,
                                       char **ret_url, struct err *err);

/* Removes what uploads left behind that were broken off more than 24 hours ago and never finished or aborted: by us,
 * as far as can be told (same identity, same kind of checksums). *ret_removed counts them. Once after start is enough.
 */
must_check enum err_code store_sweep(struct store *store, const struct store_cancel *cancel, unsigned *ret_removed,
                                     struct err *err);

struct store_entry {
	const char *key;
	uint64_t size; /* stored bytes */
	int64_t modified_ms;
};
/* Every object below the prefix, in ascending byte order of the keys, beyond 1,000 too. The callback returns false to
 * stop. */
must_check enum err_code store_list(struct store *store, const char *prefix, const struct store_cancel *cancel,
                                    bool (*each)(const struct store_entry *entry, void *user), void *user,
                                    struct err *err);

#endif
