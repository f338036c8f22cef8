#include "audit/tile_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/text.h"

enum { WAITING_MAX = 64 };

struct waiting {
	char *temporary, *path; /* owned */
	bool full;
};

struct audit_tile_writer {
	char *root, *folder; /* owned; the folder has what is not named yet */
	struct waiting waiting[WAITING_MAX];
	size_t n;
	uint64_t serial;
};

static enum err_code disk_error(const char *path, struct err *err)
{
	return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
}

static enum err_code remove_files(const char *folder, struct err *err)
{
	DIR *listing = opendir(folder);
	if (!listing)
		return errno == ENOENT ? ERR_OK : disk_error(folder, err);
	for (struct dirent *entry; (entry = readdir(listing));) {
		if (entry->d_name[0] == '.')
			continue;
		autofree char *path = xasprintf("%s/%s", folder, entry->d_name);
		unlink(path);
	}
	closedir(listing);
	return ERR_OK;
}

enum err_code audit_tile_writer_new(const char *root, struct audit_tile_writer **ret, struct err *err)
{
	struct audit_tile_writer *writer = xcalloc(1, sizeof(*writer));
	writer->root = xstrdup(root);
	writer->folder = xasprintf("%s/tile.new", root);
	enum err_code code = remove_files(writer->folder, err);
	if (code == ERR_OK && mkdir(writer->folder, 0700) != 0 && errno != EEXIST)
		code = disk_error(writer->folder, err);
	if (code != ERR_OK) {
		audit_tile_writer_free(writer);
		return code;
	}
	*ret = writer;
	return ERR_OK;
}

static void forget(struct audit_tile_writer *writer)
{
	for (size_t i = 0; i < writer->n; i++) {
		unlink(writer->waiting[i].temporary); /* gone already when it was named */
		free(writer->waiting[i].temporary);
		free(writer->waiting[i].path);
	}
	writer->n = 0;
}

void audit_tile_writer_free(struct audit_tile_writer *writer)
{
	if (!writer)
		return;
	forget(writer);
	free(writer->root);
	free(writer->folder);
	free(writer);
}

/* ERR_NOT_FOUND: there is no such file yet. */
static enum err_code compare(const char *path, struct span bytes, struct err *err)
{
	autobuf struct buf there = {0};
	enum err_code code = text_read_file(path, AUDIT_TILE_BYTES_MAX, &there, err);
	if (code == ERR_OK && !span_eq(buf_span(&there), bytes))
		code = err_set(err, ERR_CORRUPT, 0, "%s is not what the log says", path);
	return code;
}

static enum err_code write_file(const char *path, struct span bytes, struct err *err)
{
	autofd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return disk_error(path, err);
	for (size_t done = 0; done < bytes.len;) {
		ssize_t n = write(fd, bytes.ptr + done, bytes.len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return disk_error(path, err);
		done += (size_t)n;
	}
	/* The disk begins now; the flush waits for it. */
	sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	return ERR_OK;
}

enum err_code audit_tile_writer_put(struct audit_tile_writer *writer, int level, uint64_t index, unsigned width,
                                    struct span bytes, struct err *err)
{
	autofree char *name = audit_tile_path(level, index, width);
	autofree char *path = xasprintf("%s/%s", writer->root, name);
	enum err_code code = compare(path, bytes, err);
	if (code != ERR_NOT_FOUND)
		return code;
	code = writer->n == WAITING_MAX ? audit_tile_writer_flush(writer, err) : ERR_OK;
	if (code != ERR_OK)
		return code;
	autofree char *temporary = xasprintf("%s/%llu", writer->folder, (unsigned long long)writer->serial++);
	code = write_file(temporary, bytes, err);
	if (code != ERR_OK)
		return code;
	writer->waiting[writer->n++] = (struct waiting){temporary, path, width == AUDIT_TILE_WIDTH};
	temporary = path = NULL;
	return ERR_OK;
}

static enum err_code sync_path(const char *path, int flags, struct err *err)
{
	autofd int fd = open(path, flags | O_CLOEXEC);
	return fd >= 0 && fsync(fd) == 0 ? ERR_OK : disk_error(path, err);
}

static enum err_code make_folders(const struct audit_tile_writer *writer, char *path, struct err *err)
{
	for (char *slash = path + strlen(writer->root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		bool made = mkdir(path, 0700) == 0;
		int failure = made || errno == EEXIST ? 0 : errno;
		char *above = made ? strrchr(path, '/') : NULL;
		enum err_code code = ERR_OK;
		if (above) {
			*above = '\0';
			code = sync_path(path, O_RDONLY | O_DIRECTORY, err);
			*above = '/';
		}
		if (failure)
			code = err_set(err, ERR_UNAVAILABLE, failure, "%s: %s", path, strerror(failure));
		*slash = '/';
		if (code != ERR_OK)
			return code;
	}
	return ERR_OK;
}

static enum err_code sync_folder_of(char *path, struct err *err)
{
	char *slash = strrchr(path, '/');
	*slash = '\0';
	enum err_code code = sync_path(path, O_RDONLY | O_DIRECTORY, err);
	*slash = '/';
	return code;
}

static bool same_folder(const char *a, const char *b)
{
	size_t len = (size_t)(strrchr(a, '/') - a);
	return strncmp(a, b, len + 1) == 0 && strrchr(b, '/') == b + len;
}

static void remove_partial(const struct waiting *waiting)
{
	autofree char *folder = xasprintf("%s.p", waiting->path);
	if (rmdir(folder) == 0 || errno == ENOENT)
		return;
	if (remove_files(folder, NULL) == ERR_OK)
		rmdir(folder);
}

static enum err_code name_all(struct audit_tile_writer *writer, struct err *err)
{
	enum err_code code = ERR_OK;
	for (size_t i = 0; code == ERR_OK && i < writer->n; i++) {
		struct waiting *waiting = &writer->waiting[i];
		code = make_folders(writer, waiting->path, err);
		if (code == ERR_OK && rename(waiting->temporary, waiting->path) != 0)
			code = disk_error(waiting->path, err);
	}
	for (size_t i = 0; code == ERR_OK && i < writer->n; i++)
		if (i + 1 == writer->n || !same_folder(writer->waiting[i].path, writer->waiting[i + 1].path))
			code = sync_folder_of(writer->waiting[i].path, err);
	return code;
}

enum err_code audit_tile_writer_flush(struct audit_tile_writer *writer, struct err *err)
{
	enum err_code code = ERR_OK;
	for (size_t i = 0; code == ERR_OK && i < writer->n; i++)
		code = sync_path(writer->waiting[i].temporary, O_RDONLY, err);
	if (code == ERR_OK)
		code = name_all(writer, err);
	for (size_t i = 0; code == ERR_OK && i < writer->n; i++)
		if (writer->waiting[i].full)
			remove_partial(&writer->waiting[i]);
	forget(writer);
	return code;
}
