/* A copy of a bucket in a folder, only to be read: each object is a file whose path below the folder is its key. Its
 * metadata stand where copying tools leave them:
 *
 *	KEY.head.json                        what `aws s3api head-object` (or get-object) printed: {"Metadata": {...}, ...}
 *	extended attributes user.NAME        rclone copy --metadata
 *	extended attribute user.metadata     a JSON object: the folder of a versitygw
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/text.h"
#include "s3client/directory.h"
#include "s3client/wait.h"

#define HEAD_SUFFIX    ".head.json"
#define HEAD_MAX       ((size_t)64 << 10)
#define ATTRIBUTES_MAX ((size_t)64 << 10)
#define FOLDERS_OPEN   16

struct copy_store {
	struct store base;
	char *path; /* of the folder */
};

struct copy_download {
	struct store_download base;
	int fd;
	struct wait wait;
	uint64_t at, left;
};

static struct copy_store *copy_of(struct store *store)
{
	return (struct copy_store *)store;
}

/* ---- metadata ---- */

static void add_json(const json_t *meta, struct store_object *object)
{
	const char *name;
	json_t *value;
	json_object_foreach((json_t *)(uintptr_t)meta, name, value)
	{
		if (json_is_string(value) && !store_object_meta(object, name))
			store_object_add_meta(object, name, json_string_value(value));
	}
}

static void add_json_text(struct span text, const char *member, struct store_object *object)
{
	json_t *root = json_loadb((const char *)text.ptr, text.len, 0, NULL);
	const json_t *meta = member ? json_object_get(root, member) : root;
	if (json_is_object(meta))
		add_json(meta, object);
	json_decref(root);
}

static void add_attribute(int fd, const char *name, struct store_object *object)
{
	char value[HEAD_MAX];
	ssize_t len = strncmp(name, "user.", 5) == 0 ? fgetxattr(fd, name, value, sizeof value - 1) : -1;
	if (len < 0)
		return;
	value[len] = 0;
	if (strcmp(name, "user.metadata") == 0)
		add_json_text(span_of(value, (size_t)len), NULL, object);
	else if (!store_object_meta(object, name + 5))
		store_object_add_meta(object, name + 5, value);
}

static void add_attributes(int fd, struct store_object *object)
{
	autofree char *names = xcalloc(1, ATTRIBUTES_MAX);
	ssize_t len = flistxattr(fd, names, ATTRIBUTES_MAX - 1);
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1)
		add_attribute(fd, names + at, object);
}

static void add_head_file(const char *path, struct store_object *object)
{
	autofree char *name = xasprintf("%s" HEAD_SUFFIX, path);
	autobuf struct buf text = {.max = HEAD_MAX};
	if (text_read_file(name, HEAD_MAX, &text, NULL) == ERR_OK)
		add_json_text(buf_span(&text), "Metadata", object);
}

/* ---- objects ---- */

static enum err_code open_object(struct copy_store *store, const char *key, int *ret_fd, struct store_object *ret,
                                 struct err *err)
{
	struct stat st;
	autofree char *path = xasprintf("%s/%s", store->path, key);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		return directory_fail(errno, key, err);
	if (!S_ISREG(st.st_mode)) {
		close(fd);
		return err_set(err, ERR_NOT_FOUND, 0, "%s is no file", key);
	}
	struct store_object object = {.size = (uint64_t)st.st_size,
	                              .content_type = xstrdup(STORE_CONTENT_TYPE),
	                              .etag = xstrdup(""),
	                              .version_id = xstrdup(""),
	                              .modified_ms = (int64_t)st.st_mtim.tv_sec * 1000};
	add_head_file(path, &object);
	add_attributes(fd, &object);
	*ret = object;
	*ret_fd = fd;
	return ERR_OK;
}

static enum err_code head(struct store *store, const char *key, const char *version_id, struct store_object *ret,
                          struct err *err)
{
	(void)version_id;
	int fd = -1;
	enum err_code code = open_object(copy_of(store), key, &fd, ret, err);
	if (code == ERR_OK)
		close(fd);
	return code;
}

static enum err_code download_begin(struct store *store, const struct store_get *get, struct store_download **ret,
                                    struct store_object *ret_object, struct err *err)
{
	int fd = -1;
	struct store_object object = {0};
	uint64_t first, length;
	enum err_code code = open_object(copy_of(store), get->key, &fd, &object, err);
	if (code != ERR_OK)
		return code;
	code = store_range_cut(get, object.size, &first, &length, err);
	if (code != ERR_OK) {
		close(fd);
		store_object_done(&object);
		return code;
	}
	struct copy_download *download = xcalloc(1, sizeof *download);
	*download = (struct copy_download){{store->ops}, fd, {get->cancel, NULL}, first, length};
	*ret = &download->base;
	*ret_object = object;
	return ERR_OK;
}

static enum err_code download_read(struct store_download *base, uint8_t *out, size_t len, size_t *ret_len,
                                   struct err *err)
{
	struct copy_download *download = (struct copy_download *)base;
	enum err_code code = wait_check(&download->wait, err);
	if (code != ERR_OK)
		return code;
	ssize_t n = pread(download->fd, out, len < download->left ? len : (size_t)download->left, (off_t)download->at);
	if (n < 0)
		return directory_fail(errno, "reading", err);
	if (n == 0 && download->left > 0)
		return err_set(err, ERR_CORRUPT, 0, "the file was cut off while it was read");
	download->at += (uint64_t)n;
	download->left -= (uint64_t)n;
	*ret_len = (size_t)n;
	return ERR_OK;
}

static void download_end(struct store_download *base)
{
	struct copy_download *download = (struct copy_download *)base;
	close(download->fd);
	free(download);
}

/* ---- listing ---- */

struct names {
	char **items;
	size_t n, cap;
	size_t skip; /* bytes of the folder's path and its slash */
};
static _Thread_local struct names *found; /* nftw hands on no pointer */

static bool is_head_file(const char *path)
{
	size_t len = strlen(path), suffix = strlen(HEAD_SUFFIX);
	if (len <= suffix || strcmp(path + len - suffix, HEAD_SUFFIX) != 0)
		return false;
	autofree char *object = xstrndup(path, len - suffix);
	return access(object, F_OK) == 0;
}

static void grow(struct names *names)
{
	size_t cap = names->cap ? names->cap * 2 : 256;
	char **items = xcalloc(cap, sizeof items[0]);
	if (names->n > 0)
		memcpy(items, names->items, names->n * sizeof items[0]);
	free(names->items);
	names->items = items;
	names->cap = cap;
}

static int note_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)ftw;
	if (type != FTW_F || !S_ISREG(st->st_mode) || is_head_file(path))
		return 0;
	if (found->n == found->cap)
		grow(found);
	found->items[found->n++] = xstrdup(path + found->skip);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum err_code list(struct store *base, const char *prefix, const struct store_cancel *cancel, store_each *each,
                          void *user, struct err *err)
{
	struct copy_store *store = copy_of(base);
	struct names names = {.skip = strlen(store->path) + 1};
	(void)cancel;
	found = &names;
	int failed = nftw(store->path, note_file, FOLDERS_OPEN, FTW_PHYS);
	found = NULL;
	if (names.n > 1)
		qsort(names.items, names.n, sizeof names.items[0], by_name);
	bool go_on = failed == 0;
	for (size_t i = 0; i < names.n; i++) {
		const struct store_entry entry = {.key = names.items[i]};
		if (go_on && strncmp(entry.key, prefix, strlen(prefix)) == 0)
			go_on = each(&entry, user);
		free(names.items[i]);
	}
	free(names.items);
	return failed == 0 ? ERR_OK : directory_fail(errno, store->path, err);
}

/* ---- the store ---- */

static void free_store(struct store *base)
{
	store_done(base);
	free(copy_of(base)->path);
	free(base);
}

static const struct store_ops copy_ops = {
    .free = free_store,
    .download_begin = download_begin,
    .download_read = download_read,
    .download_end = download_end,
    .head = head,
    .list = list,
};

enum err_code store_open_copy(const char *path, struct store **ret, struct err *err)
{
	autofree char *objects = xasprintf("%s/objects", path), *tmp = xasprintf("%s/tmp", path);
	struct stat st;
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
		return err_set(err, ERR_NOT_FOUND, errno, "%s: there is no such folder", path);
	if (access(objects, F_OK) == 0 && access(tmp, F_OK) == 0)
		return store_open_directory(path, ret, err);
	struct copy_store *store = xcalloc(1, sizeof *store);
	store_init(&store->base, &copy_ops);
	store->path = xstrdup(path);
	*ret = &store->base;
	return ERR_OK;
}
