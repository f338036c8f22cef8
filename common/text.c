#include "common/text.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void text_hex(struct span bytes, char *out)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < bytes.len; i++) {
		*out++ = digits[bytes.ptr[i] >> 4];
		*out++ = digits[bytes.ptr[i] & 15];
	}
	*out = 0;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool text_unhex(const char *hex, uint8_t *out, size_t out_len)
{
	if (strlen(hex) != 2 * out_len)
		return false;
	for (size_t i = 0; i < out_len; i++) {
		int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

void text_base64(struct span bytes, struct buf *out)
{
	if (bytes.len == 0 || bytes.len > BUF_MAX_DEFAULT)
		return;
	size_t need = (bytes.len + 2) / 3 * 4;
	uint8_t *to = buf_reserve(out, need + 1);
	if (!to)
		return;
	EVP_EncodeBlock(to, bytes.ptr, (int)bytes.len);
	out->len += need;
}

static int base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	if (c == '/' || c == '_')
		return 63;
	return -1;
}

bool text_unbase64(struct span text, struct buf *out)
{
	size_t len = text.len;
	size_t padding = 0;
	while (padding < 2 && len > 0 && text.ptr[len - 1] == '=') {
		len--;
		padding++;
	}
	if (len % 4 == 1 || (padding && (len + padding) % 4 != 0))
		return false;
	uint32_t bits = 0;
	unsigned n_bits = 0;
	for (size_t i = 0; i < len; i++) {
		int value = base64_value(text.ptr[i]);
		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			buf_append_byte(out, (uint8_t)(bits >> n_bits));
		}
	}
	/* Left-over bits must be zero: one text for each value. */
	return (bits & ((1U << n_bits) - 1)) == 0 && !out->failed;
}

/* Length of the well-formed sequence at p (RFC 3629 section 4), 0 when there is none. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
	static const struct {
		uint8_t first_min, first_max, second_min, second_max;
		size_t len;
	} forms[] = {
	    {0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
	    {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
	    {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		if (p[0] < forms[i].first_min || p[0] > forms[i].first_max)
			continue;
		size_t len = forms[i].len;
		if (len > left || (len > 1 && (p[1] < forms[i].second_min || p[1] > forms[i].second_max)))
			return 0;
		for (size_t k = 2; k < len; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return len;
	}
	return 0;
}

bool text_utf8(struct span bytes)
{
	for (size_t at = 0; at < bytes.len;) {
		size_t len = utf8_sequence(bytes.ptr + at, bytes.len - at);
		if (len == 0)
			return false;
		at += len;
	}
	return true;
}

void text_sha256(struct span bytes, uint8_t out[32])
{
	static const uint8_t nothing;
	if (!EVP_Digest(bytes.ptr ? bytes.ptr : &nothing, bytes.len, out, NULL, EVP_sha256(), NULL))
		abort(); /* libcrypto without SHA-256: nothing could be trusted */
}

enum err_code text_read_file(const char *path, size_t max, struct buf *out, struct err *err)
{
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	size_t start = out->len;
	for (;;) {
		uint8_t chunk[16384];
		ssize_t got = read(fd, chunk, sizeof chunk);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
		if (got == 0)
			return ERR_OK;
		buf_append(out, span_of(chunk, (size_t)got));
		if (out->failed || out->len - start > max)
			return err_set(err, ERR_EXHAUSTED, 0, "%s: larger than %zu bytes", path, max);
	}
}

static bool write_all(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t put = write(fd, bytes.ptr, bytes.len);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return false;
		bytes.ptr += put;
		bytes.len -= (size_t)put;
	}
	return true;
}

static bool sync_directory_of(const char *path)
{
	autofree char *copy = xstrdup(path);
	char *slash = strrchr(copy, '/');
	if (slash)
		slash[slash == copy] = 0;
	autofd int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && fsync(fd) == 0;
}

/* Nothing takes the place of a device or a pipe. */
static bool is_special(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

static enum err_code write_special(const char *path, struct span bytes, struct err *err)
{
	autofd int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (fd >= 0 && write_all(fd, bytes))
		return ERR_OK;
	return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
}

enum err_code text_write_file(const char *path, struct span bytes, unsigned mode, struct err *err)
{
	if (is_special(path))
		return write_special(path, bytes, err);
	autofree char *temporary = xasprintf("%s.XXXXXX", path);
	autofd int fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	if (fchmod(fd, mode) < 0 || !write_all(fd, bytes) || fsync(fd) < 0 || rename(temporary, path) < 0 ||
	    !sync_directory_of(path)) {
		int saved = errno;
		unlink(temporary);
		return err_set(err, ERR_UNAVAILABLE, saved, "%s: %s", path, strerror(saved));
	}
	return ERR_OK;
}
