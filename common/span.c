#include "common/span.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *checked(void *ptr)
{
	if (!ptr) {
		fputs("twokey: out of memory\n", stderr);
		abort();
	}
	return ptr;
}

void *xcalloc(size_t n, size_t size)
{
	return checked(calloc(n ? n : 1, size ? size : 1));
}

char *xstrdup(const char *s)
{
	return (char *)checked(strdup(s));
}

char *xstrndup(const char *s, size_t len)
{
	return (char *)checked(strndup(s, len));
}

char *xasprintf(const char *fmt, ...)
{
	char *out = NULL;
	va_list args;
	va_start(args, fmt);
	int len = vasprintf(&out, fmt, args);
	va_end(args);
	return (char *)checked(len < 0 ? NULL : out);
}

void buf_done(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){.max = buf->max};
}

void buf_clear(struct buf *buf)
{
	buf->len = 0;
	buf->failed = false;
}

uint8_t *buf_reserve(struct buf *buf, size_t len)
{
	size_t max = buf->max ? buf->max : BUF_MAX_DEFAULT;
	if (buf->failed || len > max || buf->len > max - len) {
		buf->failed = true;
		return NULL;
	}
	size_t need = buf->len + len;
	if (need > buf->cap || !buf->data) {
		size_t cap = buf->cap ? buf->cap : 64;
		while (cap < need)
			cap *= 2;
		buf->data = (uint8_t *)checked(realloc(buf->data, cap));
		buf->cap = cap;
	}
	return buf->data + buf->len;
}

void buf_append(struct buf *buf, struct span bytes)
{
	if (bytes.len == 0)
		return;
	uint8_t *to = buf_reserve(buf, bytes.len);
	if (!to)
		return;
	memcpy(to, bytes.ptr, bytes.len);
	buf->len += bytes.len;
}

void buf_append_str(struct buf *buf, const char *s)
{
	buf_append(buf, span_str(s));
}

void buf_append_byte(struct buf *buf, uint8_t byte)
{
	buf_append(buf, span_of(&byte, 1));
}

static void append_be(struct buf *buf, uint64_t v, unsigned bytes)
{
	uint8_t out[8];
	for (unsigned i = 0; i < bytes; i++)
		out[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
	buf_append(buf, span_of(out, bytes));
}

void buf_append_u32be(struct buf *buf, uint32_t v)
{
	append_be(buf, v, 4);
}

void buf_append_u64be(struct buf *buf, uint64_t v)
{
	append_be(buf, v, 8);
}

void buf_printf(struct buf *buf, const char *fmt, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, fmt);
	int len = vasprintf(&text, fmt, args);
	va_end(args);
	checked(len < 0 ? NULL : text);
	buf_append(buf, span_of(text, (size_t)len));
	free(text);
}

const char *buf_cstr(struct buf *buf)
{
	size_t len = buf->len;
	/* The NUL may stand one byte beyond the maximum: it is no content. */
	if (!buf->data || buf->len == buf->cap) {
		buf->data = (uint8_t *)checked(realloc(buf->data, len + 1));
		buf->cap = len + 1;
	}
	buf->data[len] = 0;
	return (const char *)buf->data;
}

void free_cleanup_(void *ptr_to_ptr)
{
	void *ptr;
	memcpy(&ptr, ptr_to_ptr, sizeof ptr);
	free(ptr);
}

void fd_cleanup_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
