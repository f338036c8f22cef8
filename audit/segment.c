#include "audit/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ZEROS = 1 << 20, NAME_DIGITS = 20 };

const struct audit_io audit_io_system = {.write = pwrite, .sync = fdatasync, .allocate = posix_fallocate};

void audit_segments_done(struct audit_segments *segments)
{
	free(segments->items);
	*segments = (struct audit_segments){0};
}

void audit_segments_add(struct audit_segments *segments, const struct audit_header *header)
{
	if (segments->n == segments->cap) {
		struct audit_segments larger = {.n = segments->n, .cap = segments->cap ? 2 * segments->cap : 16};
		larger.items = xcalloc(larger.cap, sizeof(*larger.items));
		if (segments->n)
			memcpy(larger.items, segments->items, segments->n * sizeof(*larger.items));
		free(segments->items);
		*segments = larger;
	}
	segments->items[segments->n++] = *header;
}

char *audit_segment_path(const char *directory, uint64_t number)
{
	return xasprintf("%s/log/%020" PRIu64 ".seg", directory, number);
}

static enum err_code sync_directory(const char *path, struct err *err)
{
	autofd int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	return ERR_OK;
}

static enum err_code make_one(const char *path, struct err *err)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	return ERR_OK;
}

enum err_code audit_directory_make(const char *directory, struct err *err)
{
	autofree char *log = xasprintf("%s/log", directory);
	autofree char *parent = xasprintf("%s/..", directory);
	enum err_code code = make_one(directory, err);
	if (code == ERR_OK)
		code = make_one(log, err);
	if (code == ERR_OK)
		code = sync_directory(directory, err);
	if (code == ERR_OK)
		code = sync_directory(parent, err);
	return code;
}

enum err_code audit_directory_lock(const char *directory, int *ret_fd, struct err *err)
{
	autofree char *path = xasprintf("%s/lock", directory);
	*ret_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*ret_fd < 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	if (flock(*ret_fd, LOCK_EX | LOCK_NB) != 0)
		return err_set(err, errno == EWOULDBLOCK ? ERR_PRECONDITION : ERR_UNAVAILABLE, errno,
		               "%s: another process has this record open", path);
	return ERR_OK;
}

static bool name_number(const char *name, uint64_t *ret)
{
	if (strlen(name) != NAME_DIGITS + 4 || strcmp(name + NAME_DIGITS, ".seg") != 0 ||
	    strspn(name, "0123456789") != NAME_DIGITS)
		return false;
	*ret = strtoull(name, NULL, 10);
	return true;
}

/* Numbers run from 0 without a gap: how many, and whether that holds. */
static enum err_code count_segments(const char *directory, uint64_t *ret, struct err *err)
{
	autofree char *path = xasprintf("%s/log", directory);
	DIR *dir = opendir(path);
	if (!dir)
		return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	uint64_t n = 0, top = 0, number;
	for (struct dirent *entry; (entry = readdir(dir));)
		if (name_number(entry->d_name, &number)) {
			n++;
			top = number > top ? number : top;
		}
	closedir(dir);
	if (n && top + 1 != n)
		return err_set(err, ERR_CORRUPT, 0, "%s: %" PRIu64 " segments are missing below segment %" PRIu64, path,
		               top + 1 - n, top);
	*ret = n;
	return ERR_OK;
}

enum err_code audit_segment_list(const char *directory, struct audit_segments *ret, struct err *err)
{
	uint64_t n = 0;
	struct audit_segments segments = {0};
	enum err_code code = count_segments(directory, &n, err);
	for (uint64_t number = 0; code == ERR_OK && number < n; number++) {
		autofd int fd = -1;
		struct audit_header header;
		code = audit_segment_open(directory, number, false, &fd, &header, err);
		if (code != ERR_OK)
			break;
		if (number && header.first_index < segments.items[number - 1].first_index)
			code = err_set(err, ERR_CORRUPT, 0, "segment %" PRIu64 " begins before its predecessor", number);
		audit_segments_add(&segments, &header);
	}
	if (code != ERR_OK)
		audit_segments_done(&segments);
	else
		*ret = segments;
	return code;
}

static enum err_code read_header(int fd, uint64_t number, struct audit_header *ret, struct err *err)
{
	uint8_t bytes[AUDIT_HEADER_BYTES];
	size_t len = 0;
	struct stat st;
	enum err_code code = audit_read_some(fd, bytes, sizeof(bytes), 0, &len, err);
	if (code != ERR_OK)
		return code;
	if (len != sizeof(bytes) || !audit_header_decode(bytes, ret) || ret->segment != number)
		return err_set(err, ERR_CORRUPT, 0, "segment %" PRIu64 ": its header does not verify", number);
	if (fstat(fd, &st) != 0 || (uint64_t)st.st_size != ret->bytes)
		return err_set(err, ERR_CORRUPT, 0, "segment %" PRIu64 ": the file has another size than its header says",
		               number);
	return ERR_OK;
}

enum err_code audit_segment_open(const char *directory, uint64_t number, bool writable, int *ret_fd,
                                 struct audit_header *ret, struct err *err)
{
	autofree char *path = audit_segment_path(directory, number);
	autofd int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno == ENOENT ? ERR_CORRUPT : ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	enum err_code code = read_header(fd, number, ret, err);
	if (code != ERR_OK)
		return code;
	*ret_fd = fd;
	fd = -1;
	return ERR_OK;
}

static enum err_code write_zeros(int fd, uint64_t bytes, const struct audit_io *io, struct err *err)
{
	autofree uint8_t *zeros = xcalloc(1, ZEROS);
	enum err_code code = ERR_OK;
	for (uint64_t at = 0; code == ERR_OK && at < bytes; at += ZEROS)
		code = audit_write_all(io, fd, span_of(zeros, bytes - at < ZEROS ? bytes - at : ZEROS), at, err);
	return code;
}

enum err_code audit_segment_prepare(const char *directory, uint64_t bytes, const struct audit_io *io, struct err *err)
{
	autofree char *path = xasprintf("%s/log/next", directory);
	autofd int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	int rc = io->allocate(fd, 0, (off_t)bytes);
	if (rc != 0)
		return err_set(err, ERR_UNAVAILABLE, rc, "%s: %s", path, strerror(rc));
	/* Written out, not only allocated: a flush then changes no metadata, and costs a third. */
	enum err_code code = write_zeros(fd, bytes, io, err);
	if (code == ERR_OK && io->sync(fd) != 0)
		code = err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	return code;
}

static enum err_code write_header(int fd, struct audit_header *header, const struct audit_io *io, struct err *err)
{
	uint8_t bytes[AUDIT_HEADER_BYTES];
	struct stat st;
	if (fstat(fd, &st) != 0 || getrandom(header->salt, sizeof(header->salt), 0) != sizeof(header->salt))
		return err_set(err, ERR_UNAVAILABLE, errno, "segment %" PRIu64 ": %s", header->segment, strerror(errno));
	header->bytes = (uint64_t)st.st_size;
	audit_header_encode(header, bytes);
	enum err_code code = audit_write_all(io, fd, span_of(bytes, sizeof(bytes)), 0, err);
	if (code == ERR_OK && io->sync(fd) != 0)
		code = err_set(err, ERR_UNAVAILABLE, errno, "segment %" PRIu64 ": %s", header->segment, strerror(errno));
	return code;
}

enum err_code audit_segment_activate(const char *directory, struct audit_header *header, const struct audit_io *io,
                                     int *ret_fd, struct err *err)
{
	autofree char *log = xasprintf("%s/log", directory);
	autofree char *next = xasprintf("%s/next", log);
	autofree char *path = audit_segment_path(directory, header->segment);
	autofd int fd = open(next, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", next, strerror(errno));
	enum err_code code = write_header(fd, header, io, err);
	if (code != ERR_OK)
		return code;
	if (access(path, F_OK) == 0)
		return err_set(err, ERR_UNAVAILABLE, EEXIST, "%s: there is such a segment already", path);
	if (rename(next, path) != 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	code = sync_directory(log, err);
	if (code != ERR_OK) {
		/* Not known to be there after a crash: taken back, so that another attempt finds no such file. */
		if (unlink(path) != 0)
			return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
		return code;
	}
	*ret_fd = fd;
	fd = -1;
	return ERR_OK;
}

void audit_segment_discard_next(const char *directory)
{
	autofree char *path = xasprintf("%s/log/next", directory);
	unlink(path);
}

enum err_code audit_file_check(const char *path, int fd, struct err *err)
{
	struct stat open_file, named_file;
	if (fstat(fd, &open_file) != 0 || stat(path, &named_file) != 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	if (open_file.st_dev != named_file.st_dev || open_file.st_ino != named_file.st_ino || open_file.st_nlink == 0)
		return err_set(err, ERR_UNAVAILABLE, 0, "%s: the file was replaced", path);
	return ERR_OK;
}

enum err_code audit_write_all(const struct audit_io *io, int fd, struct span bytes, uint64_t offset, struct err *err)
{
	while (bytes.len) {
		ssize_t n = io->write(fd, bytes.ptr, bytes.len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(err, ERR_UNAVAILABLE, n < 0 ? errno : ENOSPC, "writing the log: %s",
			               strerror(n < 0 ? errno : ENOSPC));
		bytes = span_of(bytes.ptr + n, bytes.len - (size_t)n);
		offset += (uint64_t)n;
	}
	return ERR_OK;
}

enum err_code audit_read_some(int fd, void *out, size_t len, uint64_t offset, size_t *ret_len, struct err *err)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(fd, (uint8_t *)out + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, ERR_UNAVAILABLE, errno, "reading the log: %s", strerror(errno));
		if (n == 0)
			break;
		done += (size_t)n;
	}
	*ret_len = done;
	return ERR_OK;
}
