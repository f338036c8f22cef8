#include "s3client/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "s3client/directory_key.h"
#include "s3client/wait.h"

struct directory_download {
	struct store_download base;
	int fd; /* held open: what replaces or removes the object does not touch what is read here */
	struct wait wait;
	uint64_t at, left;
};

/* ---- reading ---- */

static enum err_code open_object(struct directory_store *store, const char *key, const char *version_id, int *ret_fd,
                                 struct store_object *ret, struct err *err)
{
	if (version_id)
		return err_set(err, ERR_NOT_FOUND, 0, "directory: no versions are kept");
	autobuf struct buf path = {0};
	directory_key_path(key, &path);
	int fd = openat(store->objects_fd, buf_cstr(&path), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? err_set(err, ERR_NOT_FOUND, errno, "directory: no such object")
		                                           : directory_fail(errno, "opening the object", err);
	enum err_code code = directory_head_read(fd, ret, err);
	if (code != ERR_OK) {
		close(fd);
		return code;
	}
	*ret_fd = fd;
	return ERR_OK;
}

static enum err_code head(struct store *store, const char *key, const char *version_id, struct store_object *ret,
                          struct err *err)
{
	int fd = -1;
	enum err_code code = open_object(directory_of(store), key, version_id, &fd, ret, err);
	if (code == ERR_OK)
		close(fd);
	return code;
}

static enum err_code download_begin(struct store *store, const struct store_get *get, struct store_download **ret,
                                    struct store_object *ret_object, struct err *err)
{
	struct store_object object = {0};
	struct wait wait = {get->cancel, NULL};
	int fd = -1;
	enum err_code code = wait_check(&wait, err);
	if (code == ERR_OK)
		code = open_object(directory_of(store), get->key, get->version_id, &fd, &object, err);
	if (code != ERR_OK)
		return code;
	uint64_t first, length;
	code = store_range_cut(get, object.size, &first, &length, err);
	if (code != ERR_OK) {
		close(fd);
		store_object_done(&object);
		return code;
	}
	struct directory_download *download = xcalloc(1, sizeof *download);
	*download = (struct directory_download){{store->ops}, fd, wait, DIRECTORY_HEAD_BYTES + first, length};
	*ret_object = object;
	*ret = &download->base;
	return ERR_OK;
}

static enum err_code download_read(struct store_download *base, uint8_t *out, size_t len, size_t *ret_len,
                                   struct err *err)
{
	struct directory_download *download = (struct directory_download *)base;
	*ret_len = 0;
	enum err_code code = wait_check(&download->wait, err);
	if (code != ERR_OK)
		return code;
	if (len > download->left)
		len = (size_t)download->left;
	if (len == 0)
		return ERR_OK;
	ssize_t n = pread(download->fd, out, len, (off_t)download->at);
	if (n < 0)
		return directory_fail(errno, "reading", err);
	if (n == 0)
		return err_set(err, ERR_CORRUPT, 0, "directory: the object's file is cut off");
	download->at += (uint64_t)n;
	download->left -= (uint64_t)n;
	*ret_len = (size_t)n;
	return ERR_OK;
}

static void download_end(struct store_download *base)
{
	struct directory_download *download = (struct directory_download *)base;
	close(download->fd);
	free(download);
}

/* ---- removing ---- */

/* Flushes the folder of the file; *ret_slash is where its name begins in the path, NULL at the top. */
static int flush_folder(struct directory_store *store, char *path, char **ret_slash)
{
	*ret_slash = strrchr(path, '/');
	if (*ret_slash)
		**ret_slash = 0;
	autofd int fd = openat(store->objects_fd, *ret_slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Nothing is left to flush in a folder that somebody removed, since it was empty. */
	return fd < 0 ? (errno == ENOENT ? 0 : -1) : fsync(fd);
}

static void remove_empty_folders(struct directory_store *store, char *path)
{
	while (unlinkat(store->objects_fd, path, AT_REMOVEDIR) == 0) {
		char *slash = strrchr(path, '/');
		if (!slash)
			break;
		*slash = 0;
	}
}

static enum err_code remove_object(struct store *base, const char *key, const char *version_id, struct err *err)
{
	struct directory_store *store = directory_of(base);
	if (version_id)
		return err_set(err, ERR_NOT_FOUND, 0, "directory: no versions are kept");
	autobuf struct buf encoded = {0};
	directory_key_path(key, &encoded);
	autofree char *path = xstrdup(buf_cstr(&encoded));
	if (unlinkat(store->objects_fd, path, 0) != 0)
		return errno == ENOENT || errno == ENOTDIR ? err_set(err, ERR_NOT_FOUND, errno, "directory: no such object")
		                                           : directory_fail(errno, "removing the object", err);
	char *slash;
	if (flush_folder(store, path, &slash) != 0)
		return directory_fail(errno, "flushing", err);
	if (slash)
		remove_empty_folders(store, path);
	return ERR_OK;
}

/* ---- the store ---- */

/* Writable is what matters: reading fails by itself. */
static enum err_code check(struct store *base, struct err *err)
{
	struct directory_store *store = directory_of(base);
	char name[DIRECTORY_ETAG_MAX];
	int fd = -1;
	enum err_code code = directory_temp_open(store, name, &fd, err);
	if (code != ERR_OK)
		return code;
	unlinkat(store->tmp_fd, name, 0);
	close(fd);
	return ERR_OK;
}

static void free_store(struct store *base)
{
	struct directory_store *store = directory_of(base);
	if (store->objects_fd >= 0)
		close(store->objects_fd);
	if (store->tmp_fd >= 0)
		close(store->tmp_fd);
	store_done(base);
	free(store);
}

static const struct store_ops directory_ops = {
    .free = free_store,
    .check = check,
    .upload_begin = directory_upload_begin,
    .upload_write = directory_upload_write,
    .upload_commit = directory_upload_commit,
    .upload_abort = directory_upload_abort,
    .download_begin = download_begin,
    .download_read = download_read,
    .download_end = download_end,
    .head = head,
    .remove = remove_object,
    .replace_meta = directory_replace_meta,
    .list = directory_list,
};

/* Opens the folder, and makes it when it is missing; then its parent is flushed. */
static int open_made(int parent, const char *name)
{
	bool made = mkdirat(parent, name, 0700) == 0;
	if (!made && errno != EEXIST)
		return -1;
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	autofd int above = fd >= 0 && made ? openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (above >= 0 && fsync(above) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

enum err_code store_open_directory(const char *path, struct store **ret, struct err *err)
{
	if (!path || !path[0])
		return err_set(err, ERR_INVALID, 0, "directory: a path is needed");
	autofd int root = open_made(AT_FDCWD, path);
	if (root < 0)
		return directory_fail(errno, path, err);
	struct directory_store *store = xcalloc(1, sizeof *store);
	store_init(&store->base, &directory_ops);
	store->objects_fd = open_made(root, "objects");
	store->tmp_fd = open_made(root, "tmp");
	if (store->objects_fd < 0 || store->tmp_fd < 0) {
		int saved = errno;
		free_store(&store->base);
		return directory_fail(saved, path, err);
	}
	directory_temp_clean(store);
	*ret = &store->base;
	return ERR_OK;
}
