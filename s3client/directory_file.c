#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "s3client/directory.h"

#define MAGIC "twokey object 1\n"

static const struct {
	int value;
	enum err_code code;
} errnos[] = {
    {ENOENT, ERR_NOT_FOUND}, {ENOTDIR, ERR_NOT_FOUND}, {EEXIST, ERR_EXISTS},    {ENOSPC, ERR_EXHAUSTED},
    {EDQUOT, ERR_EXHAUSTED}, {EFBIG, ERR_EXHAUSTED},   {EMFILE, ERR_EXHAUSTED}, {ENFILE, ERR_EXHAUSTED},
    {EACCES, ERR_DENIED},    {EPERM, ERR_DENIED},      {EROFS, ERR_DENIED},     {ELOOP, ERR_CORRUPT},
};

enum err_code directory_fail(int errno_value, const char *what, struct err *err)
{
	enum err_code code = ERR_UNAVAILABLE;
	for (size_t i = 0; i < sizeof errnos / sizeof errnos[0]; i++) {
		if (errnos[i].value == errno_value)
			code = errnos[i].code;
	}
	return err_set(err, code, errno_value, "directory: %s: %s", what, strerror(errno_value));
}

void directory_head_write(const struct put_copy *put, const char *etag, uint64_t size,
                          uint8_t ret_head[DIRECTORY_HEAD_BYTES])
{
	autobuf struct buf text = {0};
	buf_printf(&text, MAGIC "size %llu\netag %s\ncontent-type %s\n", (unsigned long long)size, etag, put->content_type);
	for (size_t i = 0; i < put->n_meta; i++)
		buf_printf(&text, "meta %s %s\n", put->meta[i].name, put->meta[i].value);
	memset(ret_head, 0, DIRECTORY_HEAD_BYTES);
	memcpy(ret_head, text.data, text.len < DIRECTORY_HEAD_BYTES ? text.len : DIRECTORY_HEAD_BYTES - 1);
}

static bool set_once(char **field, const char *text)
{
	if (*field)
		return false;
	*field = xstrdup(text);
	return true;
}

static bool read_line(char *line, struct store_object *object, bool *has_size)
{
	char *value = strchr(line, ' ');
	if (!value)
		return false;
	*value++ = 0;
	if (strcmp(line, "size") == 0) {
		*has_size = true;
		return store_parse_u64(value, &object->size);
	}
	if (strcmp(line, "etag") == 0)
		return set_once(&object->etag, value);
	if (strcmp(line, "content-type") == 0)
		return set_once(&object->content_type, value);
	char *meta_value = strchr(value, ' ');
	if (strcmp(line, "meta") != 0 || !meta_value)
		return false;
	*meta_value++ = 0;
	return store_object_add_meta(object, value, meta_value);
}

static bool parse_head(char *text, struct store_object *object)
{
	if (strncmp(text, MAGIC, strlen(MAGIC)) != 0)
		return false;
	bool has_size = false;
	char *next = text + strlen(MAGIC);
	for (char *line; next && *next;) {
		line = strsep(&next, "\n");
		if (!next || !read_line(line, object, &has_size))
			return false;
	}
	return has_size && object->etag && object->content_type;
}

enum err_code directory_head_read(int fd, struct store_object *ret, struct err *err)
{
	char text[DIRECTORY_HEAD_BYTES + 1];
	struct stat st;
	ssize_t len = pread(fd, text, DIRECTORY_HEAD_BYTES, 0);
	if (len < 0 || fstat(fd, &st) != 0)
		return directory_fail(errno, "reading an object's head", err);
	struct store_object object = {.version_id = xstrdup("")};
	text[len] = 0;
	bool whole = len == DIRECTORY_HEAD_BYTES && S_ISREG(st.st_mode) && parse_head(text, &object) &&
	             object.size == (uint64_t)st.st_size - DIRECTORY_HEAD_BYTES;
	if (!whole) {
		store_object_done(&object);
		return err_set(err, ERR_CORRUPT, 0, "directory: the object's file is damaged or cut off");
	}
	object.modified_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
	*ret = object;
	return ERR_OK;
}
