#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/text.h"
#include "s3client/directory.h"
#include "s3client/directory_key.h"
#include "s3client/wait.h"

#define ATTEMPTS 100 /* against others that remove the folder just made, or take the name just drawn */

struct directory_upload {
	struct store_upload base;
	struct directory_store *store;
	struct put_copy put;
	int fd;
	char name[DIRECTORY_ETAG_MAX]; /* in tmp/, and the ETag; "" once it was renamed */
	uint64_t size;
};

/* ---- tmp/ ---- */

/* The lock says that the writer lives, whatever its process id or container. */
static bool lock_new(int fd)
{
	struct stat st;
	return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0;
}

enum err_code directory_temp_open(struct directory_store *store, char ret_name[DIRECTORY_ETAG_MAX], int *ret_fd,
                                  struct err *err)
{
	for (int i = 0; i < ATTEMPTS; i++) {
		uint8_t random[16];
		if (getrandom(random, sizeof random, 0) != sizeof random)
			return directory_fail(errno, "drawing a name", err);
		text_hex(span_of(random, sizeof random), ret_name);
		int fd = openat(store->tmp_fd, ret_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd >= 0 && lock_new(fd)) {
			*ret_fd = fd;
			return ERR_OK;
		}
		if (fd < 0 && errno != EEXIST)
			return errno == ENOENT ? err_set(err, ERR_UNAVAILABLE, errno, "directory: it has been removed")
			                       : directory_fail(errno, "creating a file", err);
		if (fd >= 0)
			close(fd); /* somebody's clean-up came between: it removes the file */
	}
	return err_set(err, ERR_UNAVAILABLE, 0, "directory: no new file can be had");
}

void directory_temp_clean(struct directory_store *store)
{
	int copy = openat(store->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir)
		return;
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (entry->d_name[0] == '.')
			continue;
		autofd int fd = openat(store->tmp_fd, entry->d_name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			unlinkat(store->tmp_fd, entry->d_name, 0);
	}
	closedir(dir);
}

/* ---- writing ---- */

enum err_code directory_upload_begin(struct store *store, const struct store_put *put, struct store_upload **ret,
                                     struct err *err)
{
	struct wait wait = {put->cancel, NULL};
	enum err_code code = wait_check(&wait, err);
	if (code != ERR_OK)
		return code;
	struct directory_upload *upload = xcalloc(1, sizeof *upload);
	upload->base.ops = store->ops;
	upload->store = directory_of(store);
	code = directory_temp_open(upload->store, upload->name, &upload->fd, err);
	if (code != ERR_OK) {
		free(upload);
		return code;
	}
	put_copy_init(&upload->put, put);
	*ret = &upload->base;
	return ERR_OK;
}

static enum err_code write_at(int fd, struct span bytes, uint64_t at, struct err *err)
{
	while (bytes.len > 0) {
		ssize_t n = pwrite(fd, bytes.ptr, bytes.len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return directory_fail(errno, "writing", err);
		bytes = span_of(bytes.ptr + n, bytes.len - (size_t)n);
		at += (uint64_t)n;
	}
	return ERR_OK;
}

enum err_code directory_upload_write(struct store_upload *base, struct span bytes, struct err *err)
{
	struct directory_upload *upload = (struct directory_upload *)base;
	struct wait wait = {upload->put.cancel, NULL};
	enum err_code code = wait_check(&wait, err);
	if (code == ERR_OK)
		code = write_at(upload->fd, bytes, DIRECTORY_HEAD_BYTES + upload->size, err);
	if (code == ERR_OK)
		upload->size += bytes.len;
	return code;
}

/* ---- making it visible ---- */

/* Opens the folder, and makes it when it is missing. A new name in a folder is durable once the folder is flushed;
 * where another writer has just made it, the journal that our own flush writes out holds that too. */
static int enter_folder(int parent, const char *name)
{
	if (mkdirat(parent, name, 0700) == 0) {
		if (fsync(parent) != 0)
			return -1;
	} else if (errno != EEXIST) {
		return -1;
	}
	return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The folder that holds the file of `path`; *ret_leaf points into path. */
static int open_folder(int objects_fd, char *path, char **ret_leaf)
{
	int fd = openat(objects_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (char *slash; fd >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
		*slash = 0;
		int next = enter_folder(fd, path);
		int saved = errno;
		close(fd);
		errno = saved;
		fd = next;
	}
	*ret_leaf = path;
	return fd;
}

/* 0, or -1 with errno. */
static int rename_new(int from_fd, const char *from, int to_fd, const char *to)
{
	if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	/* A file system without it has links all the same; they refuse an existing name too. */
	if (linkat(from_fd, from, to_fd, to, 0) != 0)
		return -1;
	return unlinkat(from_fd, from, 0);
}

static int place(struct directory_upload *upload, const char *path)
{
	autofree char *copy = xstrdup(path);
	char *leaf;
	autofd int folder = open_folder(upload->store->objects_fd, copy, &leaf);
	if (folder < 0)
		return -1;
	int from = upload->store->tmp_fd;
	int failed = upload->put.overwrite ? renameat(from, upload->name, folder, leaf)
	                                   : rename_new(from, upload->name, folder, leaf);
	return failed ? -1 : fsync(folder);
}

static enum err_code place_or_retry(struct directory_upload *upload, struct err *err)
{
	autobuf struct buf path = {0};
	directory_key_path(upload->put.key, &path);
	for (int i = 0; i < ATTEMPTS; i++) {
		if (place(upload, buf_cstr(&path)) == 0)
			return ERR_OK;
		if (errno == EEXIST)
			return err_set(err, ERR_EXISTS, EEXIST, "directory: the object is there already");
		if (errno != ENOENT) /* a folder on the way was empty, and somebody who removed an object took it along */
			return directory_fail(errno, "placing the object", err);
	}
	return err_set(err, ERR_UNAVAILABLE, ENOENT, "directory: the object's folder does not stay");
}

enum err_code directory_upload_commit(struct store_upload *base, struct store_object *ret, struct err *err)
{
	struct directory_upload *upload = (struct directory_upload *)base;
	struct wait wait = {upload->put.cancel, NULL};
	enum err_code code = wait_check(&wait, err);
	if (code != ERR_OK)
		return code;
	uint8_t head[DIRECTORY_HEAD_BYTES];
	directory_head_write(&upload->put, upload->name, upload->size, head);
	code = write_at(upload->fd, span_of(head, sizeof head), 0, err);
	if (code == ERR_OK && fsync(upload->fd) != 0)
		code = directory_fail(errno, "flushing", err);
	struct store_object object = {0};
	if (code == ERR_OK)
		code = directory_head_read(upload->fd, &object, err);
	if (code == ERR_OK)
		code = place_or_retry(upload, err);
	if (code != ERR_OK) {
		store_object_done(&object);
		return code;
	}
	upload->name[0] = 0;
	*ret = object;
	return ERR_OK;
}

void directory_upload_abort(struct store_upload *base)
{
	struct directory_upload *upload = (struct directory_upload *)base;
	if (upload->name[0])
		unlinkat(upload->store->tmp_fd, upload->name, 0);
	close(upload->fd);
	put_copy_done(&upload->put);
	free(upload);
}
