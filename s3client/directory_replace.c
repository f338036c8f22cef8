/* An object's file is written anew with another head, and takes the old one's place. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "s3client/directory.h"
#include "s3client/directory_key.h"
#include "s3client/wait.h"

#define PIECE ((size_t)16 << 20) /* between two looks whether anybody still waits */

/* The content, as the file system does it best: shared blocks where it can. */
static enum err_code copy_content(int from, int to, uint64_t size, const struct wait *wait, struct err *err)
{
	off_t in = DIRECTORY_HEAD_BYTES, out = DIRECTORY_HEAD_BYTES;
	enum err_code code = ERR_OK;
	while (code == ERR_OK && size > 0) {
		ssize_t n = copy_file_range(from, &in, to, &out, size < PIECE ? (size_t)size : PIECE, 0);
		if (n < 0)
			return directory_fail(errno, "copying", err);
		if (n == 0)
			return err_set(err, ERR_CORRUPT, 0, "directory: the object's file is cut off");
		size -= (uint64_t)n;
		code = wait_check(wait, err);
	}
	return code;
}

static enum err_code write_copy(const struct store_put *put, const struct store_object *seen, const char *etag,
                                int from, int to, struct err *err)
{
	const struct wait wait = {put->cancel, NULL};
	uint8_t head[DIRECTORY_HEAD_BYTES];
	struct put_copy copy;
	put_copy_init(&copy, put);
	directory_head_write(&copy, etag, seen->size, head);
	put_copy_done(&copy);
	if (pwrite(to, head, sizeof head, 0) != (ssize_t)sizeof head)
		return directory_fail(errno, "writing", err);
	enum err_code code = copy_content(from, to, seen->size, &wait, err);
	if (code == ERR_OK && fsync(to) != 0)
		code = directory_fail(errno, "flushing", err);
	return code;
}

/* Opens the object when it is still the one that was seen. */
static enum err_code open_seen(struct directory_store *store, const char *path, const struct store_object *seen,
                               int *ret_fd, struct err *err)
{
	struct store_object now = {0};
	int fd = openat(store->objects_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return directory_fail(errno, "opening the object", err);
	enum err_code code = directory_head_read(fd, &now, err);
	if (code == ERR_OK && strcmp(now.etag, seen->etag) != 0)
		code = err_set(err, ERR_PRECONDITION, 0, "directory: the object has been replaced meanwhile");
	store_object_done(&now);
	if (code != ERR_OK)
		close(fd);
	else
		*ret_fd = fd;
	return code;
}

static enum err_code put_in_place(struct directory_store *store, const char *name, const char *path, struct err *err)
{
	const char *slash = strrchr(path, '/');
	autofree char *folder = slash ? xstrndup(path, (size_t)(slash - path)) : xstrdup(".");
	autofd int fd = openat(store->objects_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || renameat(store->tmp_fd, name, store->objects_fd, path) != 0)
		return directory_fail(errno, "placing the object", err);
	return fsync(fd) == 0 ? ERR_OK : directory_fail(errno, "flushing", err);
}

enum err_code directory_replace_meta(struct store *base, const struct store_put *put, const struct store_object *seen,
                                     char **ret_version, struct err *err)
{
	struct directory_store *store = directory_of(base);
	autobuf struct buf path = {0};
	char name[DIRECTORY_ETAG_MAX];
	autofd int from = -1, to = -1;
	directory_key_path(put->key, &path);
	enum err_code code = open_seen(store, buf_cstr(&path), seen, &from, err);
	if (code == ERR_OK)
		code = directory_temp_open(store, name, &to, err);
	if (code != ERR_OK)
		return code;
	code = write_copy(put, seen, name, from, to, err);
	if (code == ERR_OK)
		code = put_in_place(store, name, buf_cstr(&path), err);
	if (code != ERR_OK)
		unlinkat(store->tmp_fd, name, 0);
	else
		*ret_version = xstrdup("");
	return code;
}
