#include "s3client/s3_part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define FIRST_BYTES    ((size_t)64 << 10)
#define HEAP_BYTES_MAX ((size_t)64 << 20)
#define PART_BYTES_MAX ((uint64_t)5 << 30) /* S3's */
#define DOUBLE_EVERY   900U

uint64_t s3_part_size(uint64_t part_bytes, unsigned number)
{
	for (unsigned i = DOUBLE_EVERY; i < number && part_bytes < PART_BYTES_MAX; i += DOUBLE_EVERY)
		part_bytes *= 2;
	return part_bytes < PART_BYTES_MAX ? part_bytes : PART_BYTES_MAX;
}

static enum err_code grow_heap(struct part *part, size_t need, uint64_t limit, struct err *err)
{
	size_t cap = part->cap ? part->cap : FIRST_BYTES;
	while (cap < need)
		cap *= 2;
	if (cap > limit)
		cap = (size_t)limit;
	uint8_t *data = realloc(part->data, cap);
	if (!data)
		return err_set(err, ERR_EXHAUSTED, ENOMEM, "no memory for a part of %zu bytes", cap);
	part->data = data;
	part->cap = cap;
	return ERR_OK;
}

static int open_unlinked(size_t size)
{
	const char *folder = getenv("TMPDIR");
	autofree char *path = xasprintf("%s/twokey-part-XXXXXX", folder && folder[0] ? folder : "/var/tmp");
	int fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -1;
	unlink(path);
	/* All the room now: a full disk is an error here, and SIGBUS once it is mapped. */
	errno = posix_fallocate(fd, 0, (off_t)size);
	if (errno != 0) {
		int saved = errno;
		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static enum err_code move_to_file(struct part *part, size_t size, struct err *err)
{
	autofd int fd = open_unlinked(size);
	void *map = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_set(err, ERR_EXHAUSTED, errno, "no room for a part of %zu bytes: %s", size, strerror(errno));
	struct part moved = {.data = map, .len = part->len, .cap = size, .mapped = true};
	if (part->len > 0)
		memcpy(moved.data, part->data, part->len);
	part_done(part);
	*part = moved;
	return ERR_OK;
}

enum err_code part_append(struct part *part, uint64_t limit, struct span bytes, size_t *ret_taken, struct err *err)
{
	size_t room = (size_t)limit - part->len, take = bytes.len < room ? bytes.len : room;
	enum err_code code = ERR_OK;
	if (part->len + take > part->cap)
		code = part->len + take > HEAP_BYTES_MAX ? move_to_file(part, (size_t)limit, err)
		                                         : grow_heap(part, part->len + take, limit, err);
	if (code != ERR_OK)
		return code;
	if (take > 0)
		memcpy(part->data + part->len, bytes.ptr, take);
	part->len += take;
	*ret_taken = take;
	return ERR_OK;
}

void part_clear(struct part *part)
{
	part->len = 0;
}

void part_done(struct part *part)
{
	if (part->mapped)
		munmap(part->data, part->cap);
	else
		free(part->data);
	*part = (struct part){0};
}
