/* What a kind of store implements. store.c has checked every argument before one of these is called, copies nothing,
 * and passes on no call after an upload has failed. */
#ifndef TWOKEY_S3CLIENT_STORE_H
#define TWOKEY_S3CLIENT_STORE_H

#include <pthread.h>

#include "s3client/s3client.h"

#define STORE_KEY_MAX          1024
#define STORE_META_BYTES_MAX   2048
#define STORE_CONTENT_TYPE_MAX 256
#define STORE_CONTENT_TYPE     "application/octet-stream" /* when none was given */

typedef bool store_each(const struct store_entry *entry, void *user);

struct store_ops {
	void (*free)(struct store *store);
	enum err_code (*check)(struct store *store, struct err *err);
	enum err_code (*upload_begin)(struct store *store, const struct store_put *put, struct store_upload **ret,
	                              struct err *err);
	enum err_code (*upload_write)(struct store_upload *upload, struct span bytes, struct err *err);
	/* Does not free. After a failure upload_abort is called. */
	enum err_code (*upload_commit)(struct store_upload *upload, struct store_object *ret, struct err *err);
	/* Removes what is there and frees; after a successful commit it only frees. */
	void (*upload_abort)(struct store_upload *upload);
	enum err_code (*download_begin)(struct store *store, const struct store_get *get, struct store_download **ret,
	                                struct store_object *ret_object, struct err *err);
	enum err_code (*download_read)(struct store_download *download, uint8_t *out, size_t len, size_t *ret_len,
	                               struct err *err);
	void (*download_end)(struct store_download *download);
	enum err_code (*head)(struct store *store, const char *key, const char *version_id, struct store_object *ret,
	                      struct err *err);
	enum err_code (*remove)(struct store *store, const char *key, const char *version_id, struct err *err);
	/* `put` has the new metadata and the object's own content type; overwrite is meant. */
	enum err_code (*replace_meta)(struct store *store, const struct store_put *put, const struct store_object *seen,
	                              char **ret_version, struct err *err);
	/* NULL: it has no URLs. */
	enum err_code (*presign)(struct store *store, const char *key, const char *version_id, unsigned seconds,
	                         char **ret_url, struct err *err);
	/* NULL: nothing can be left behind. */
	enum err_code (*sweep)(struct store *store, const struct store_cancel *cancel, unsigned *ret_removed,
	                       struct err *err);
	enum err_code (*list)(struct store *store, const char *prefix, const struct store_cancel *cancel, store_each *each,
	                      void *user, struct err *err);
};

/* First member of each kind's own structs. */
#define STORE_STRIPES 64
struct store {
	const struct store_ops *ops;
	/* By key: held for writing while an object's metadata is replaced, for reading by what changes objects. */
	pthread_rwlock_t stripes[STORE_STRIPES];
};
void store_init(struct store *store, const struct store_ops *ops);
void store_done(struct store *store);

struct store_upload {
	const struct store_ops *ops;
	pthread_rwlock_t *stripe;
	enum err_code failed; /* of an earlier write; ERR_OK: none */
};
struct store_download {
	const struct store_ops *ops;
};

/* What an upload keeps of a struct store_put. */
struct put_copy {
	char *key, *content_type;
	struct store_meta meta[STORE_META_MAX];
	size_t n_meta;
	bool overwrite;
	const struct store_cancel *cancel;
};
void put_copy_init(struct put_copy *copy, const struct store_put *put);
void put_copy_done(struct put_copy *copy);

/* An unsigned decimal number and nothing else. */
bool store_parse_u64(const char *text, uint64_t *ret);
/* Adds a pair; false when it is full. */
bool store_object_add_meta(struct store_object *object, const char *name, const char *value);
/* The length that is read of an object of `size` bytes. ERR_INVALID when the range starts beyond the end. */
must_check enum err_code store_range_cut(const struct store_get *get, uint64_t size, uint64_t *ret_first,
                                         uint64_t *ret_length, struct err *err);

#endif
