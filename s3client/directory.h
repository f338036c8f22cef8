/* The directory kind of store: what its files share.
 *
 *	<path>/objects/...  one file per object, named by directory_key.h
 *	<path>/tmp/...      uploads under way, each locked (flock) by its writer
 *
 * A file is a head of 4,096 bytes, then the content. The head is lines of text, filled up with zero bytes:
 *
 *	twokey object 1
 *	size 1234
 *	etag 0123456789abcdef0123456789abcdef
 *	content-type text/plain
 *	meta name value
 */
#ifndef TWOKEY_S3CLIENT_DIRECTORY_H
#define TWOKEY_S3CLIENT_DIRECTORY_H

#include <sys/stat.h>

#include "s3client/store.h"

#define DIRECTORY_HEAD_BYTES 4096
#define DIRECTORY_ETAG_MAX   33

struct directory_store {
	struct store base;
	int objects_fd, tmp_fd;
};

static inline struct directory_store *directory_of(struct store *store)
{
	return (struct directory_store *)store;
}

/* ---- directory_file.c ---- */

/* errno as one of our categories, with "directory: <what>: <strerror>". */
enum err_code directory_fail(int errno_value, const char *what, struct err *err);
void directory_head_write(const struct put_copy *put, const char *etag, uint64_t size,
                          uint8_t ret_head[DIRECTORY_HEAD_BYTES]);
/* The head of an open file; ERR_CORRUPT when it is none, or the file's length is not what it says. */
must_check enum err_code directory_head_read(int fd, struct store_object *ret, struct err *err);

/* ---- directory_put.c ---- */

/* A new locked file in tmp/. */
must_check enum err_code directory_temp_open(struct directory_store *store, char ret_name[DIRECTORY_ETAG_MAX],
                                             int *ret_fd, struct err *err);
/* Removes the files in tmp/ whose writers are gone. */
void directory_temp_clean(struct directory_store *store);

enum err_code directory_upload_begin(struct store *store, const struct store_put *put, struct store_upload **ret,
                                     struct err *err);
enum err_code directory_upload_write(struct store_upload *upload, struct span bytes, struct err *err);
enum err_code directory_upload_commit(struct store_upload *upload, struct store_object *ret, struct err *err);
void directory_upload_abort(struct store_upload *upload);
enum err_code directory_replace_meta(struct store *store, const struct store_put *put, const struct store_object *seen,
                                     char **ret_version, struct err *err);

/* ---- directory_list.c ---- */

enum err_code directory_list(struct store *store, const char *prefix, const struct store_cancel *cancel,
                             store_each *each, void *user, struct err *err);

#endif
