#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "s3client/directory.h"
#include "s3client/directory_key.h"
#include "s3client/wait.h"

/* Names of one folder, in memory while it is walked; no descriptor stays open on the way down. */
struct name {
	char *name; /* in the file system */
	char *part; /* of the key; a folder's ends in a slash, and that is what puts it in its place */
	enum directory_kind kind;
};
struct names {
	struct name *items;
	size_t n, cap;
};

struct tree_walk {
	struct directory_store *store;
	const char *prefix;
	struct wait wait;
	store_each *each;
	void *user;
	struct buf path; /* below objects/, of the folder that is walked: "" or "a/b/" */
	struct buf key;  /* what it stands for */
	bool stopped;
};

static void names_add(struct names *names, const char *name)
{
	autobuf struct buf part = {0};
	enum directory_kind kind = directory_key_name(name, &part);
	if (kind == DIRECTORY_FOREIGN)
		return;
	if (names->n == names->cap) {
		size_t cap = names->cap ? names->cap * 2 : 64;
		struct name *items = xcalloc(cap, sizeof *items);
		if (names->n > 0)
			memcpy(items, names->items, names->n * sizeof *items);
		free(names->items);
		names->items = items;
		names->cap = cap;
	}
	names->items[names->n++] = (struct name){xstrdup(name), xstrdup(buf_cstr(&part)), kind};
}

static void names_done(struct names *names)
{
	for (size_t i = 0; i < names->n; i++) {
		free(names->items[i].name);
		free(names->items[i].part);
	}
	free(names->items);
}

static int by_part(const void *a, const void *b)
{
	return strcmp(((const struct name *)a)->part, ((const struct name *)b)->part);
}

static enum err_code read_names(struct tree_walk *walk, struct names *names, struct err *err)
{
	const char *path = walk->path.len ? buf_cstr(&walk->path) : ".";
	int fd = openat(walk->store->objects_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return errno == ENOENT ? ERR_OK : directory_fail(errno, "listing", err); /* it was removed meanwhile */
	errno = 0;
	for (struct dirent *entry; (entry = readdir(dir)); errno = 0) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			names_add(names, entry->d_name);
	}
	int failed = errno;
	closedir(dir);
	if (failed)
		return directory_fail(failed, "listing", err);
	if (names->n > 1)
		qsort(names->items, names->n, sizeof names->items[0], by_part);
	return ERR_OK;
}

static void emit(struct tree_walk *walk)
{
	struct stat st;
	if (fstatat(walk->store->objects_fd, buf_cstr(&walk->path), &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
		return;
	/* A damaged file is listed too: what cannot be read should not look as if it were not there. */
	uint64_t size = st.st_size > DIRECTORY_HEAD_BYTES ? (uint64_t)st.st_size - DIRECTORY_HEAD_BYTES : 0;
	struct store_entry entry = {.key = buf_cstr(&walk->key),
	                            .size = size,
	                            .modified_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000};
	walk->stopped = !walk->each(&entry, walk->user);
}

/* Is the key below the prefix, or can one be that starts with it? */
static bool concerns(struct tree_walk *walk, enum directory_kind kind)
{
	size_t prefix_len = strlen(walk->prefix), len = walk->key.len;
	if (kind != DIRECTORY_OBJECT && len < prefix_len)
		prefix_len = len;
	return len >= prefix_len && memcmp(walk->key.data, walk->prefix, prefix_len) == 0;
}

static enum err_code walk_folder(struct tree_walk *walk, struct err *err);

/* Depth is limited by the 1,024 bytes of a key, whatever else is in the directory. */
static enum err_code walk_name(struct tree_walk *walk, const struct name *name, struct err *err)
{
	size_t path_len = walk->path.len, key_len = walk->key.len;
	enum err_code code = ERR_OK;
	buf_append_str(&walk->path, name->name);
	buf_append_str(&walk->key, name->part);
	if (walk->key.len <= STORE_KEY_MAX && concerns(walk, name->kind)) {
		if (name->kind == DIRECTORY_OBJECT) {
			if (walk->key.len > 0) /* "" is no key */
				emit(walk);
		} else {
			buf_append_byte(&walk->path, '/');
			code = walk_folder(walk, err);
		}
	}
	walk->path.len = path_len;
	walk->key.len = key_len;
	return code;
}

static enum err_code walk_folder(struct tree_walk *walk, struct err *err)
{
	struct names names = {0};
	enum err_code code = read_names(walk, &names, err);
	for (size_t i = 0; i < names.n && code == ERR_OK && !walk->stopped; i++) {
		code = wait_check(&walk->wait, err);
		if (code == ERR_OK)
			code = walk_name(walk, &names.items[i], err);
	}
	names_done(&names);
	return code;
}

enum err_code directory_list(struct store *store, const char *prefix, const struct store_cancel *cancel,
                             store_each *each, void *user, struct err *err)
{
	struct tree_walk walk = {
	    .store = directory_of(store), .prefix = prefix, .wait = {cancel, NULL}, .each = each, .user = user};
	enum err_code code = walk_folder(&walk, err);
	buf_done(&walk.path);
	buf_done(&walk.key);
	return code;
}
