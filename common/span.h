/* Views and owned bytes. Not thread-safe; one owner at a time. */
#ifndef TWOKEY_COMMON_SPAN_H
#define TWOKEY_COMMON_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes. */
struct span {
	const uint8_t *ptr;
	size_t len;
};

static inline struct span span_of(const void *ptr, size_t len)
{
	return (struct span){(const uint8_t *)ptr, len};
}

static inline struct span span_str(const char *s)
{
	return (struct span){(const uint8_t *)s, s ? strlen(s) : 0};
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Owned bytes with a hard maximum. Appending past `max` sets `failed` and changes nothing more: check `failed` once,
 * at the end. A zeroed struct is an empty buffer whose maximum is BUF_MAX_DEFAULT. Out of memory aborts. */
struct buf {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max; /* bytes; 0 means BUF_MAX_DEFAULT */
	bool failed;
};

#define BUF_MAX_DEFAULT ((size_t)64 << 20)

void buf_done(struct buf *buf);  /* frees the bytes; the struct is empty again, its max kept */
void buf_clear(struct buf *buf); /* forgets the bytes, keeps the memory */
void buf_append(struct buf *buf, struct span bytes);
void buf_append_str(struct buf *buf, const char *s);
void buf_append_byte(struct buf *buf, uint8_t byte);
void buf_append_u32be(struct buf *buf, uint32_t v);
void buf_append_u64be(struct buf *buf, uint64_t v);
void buf_printf(struct buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Room for len more bytes at the end, or NULL when over the maximum; the caller fills it and adds to buf->len. */
uint8_t *buf_reserve(struct buf *buf, size_t len);
/* The bytes as a NUL-terminated string; the NUL is not counted in len. "" when empty. */
const char *buf_cstr(struct buf *buf);

static inline struct span buf_span(const struct buf *buf)
{
	return (struct span){buf->data, buf->len};
}

/* malloc family that aborts when memory is out; for small sizes that no peer chose. */
void *xcalloc(size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t len);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Scope clean-up for locals: `autobuf struct buf b = {0};` `autofree char *s = NULL;` */
static inline void buf_cleanup_(struct buf *buf)
{
	buf_done(buf);
}
void free_cleanup_(void *ptr_to_ptr);
void fd_cleanup_(int *fd);
#define autobuf  __attribute__((cleanup(buf_cleanup_)))
#define autofree __attribute__((cleanup(free_cleanup_)))
#define autofd   __attribute__((cleanup(fd_cleanup_))) /* closes when >= 0 */

#endif
