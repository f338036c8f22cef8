/* Text forms of bytes, and what counts as text. Thread-safe. */
#ifndef TWOKEY_COMMON_TEXT_H
#define TWOKEY_COMMON_TEXT_H

#include "common/err.h"
#include "common/span.h"

/* Lower-case hex; `out` has 2 * len + 1 bytes. */
void text_hex(struct span bytes, char *out);
/* Exactly out_len bytes from hex of either case; false otherwise. */
bool text_unhex(const char *hex, uint8_t *out, size_t out_len);
/* RFC 4648 section 4, padded. */
void text_base64(struct span bytes, struct buf *out);
/* RFC 4648 section 4 or 5, with or without padding; no blanks or line ends. False when it is neither. */
bool text_unbase64(struct span text, struct buf *out);
/* Well-formed UTF-8 (RFC 3629): no surrogates, no overlong forms, nothing above U+10FFFF; no NUL. */
bool text_utf8(struct span bytes);
/* SHA-256 in one call. */
void text_sha256(struct span bytes, uint8_t out[32]);
/* A whole file of at most max bytes. ERR_NOT_FOUND, ERR_EXHAUSTED (larger than max) or ERR_UNAVAILABLE otherwise. */
must_check enum err_code text_read_file(const char *path, size_t max, struct buf *out, struct err *err);
/* Writes a file whole: to a temporary name beside it, fsync, rename, fsync of the directory. A device or a pipe is
 * written to. */
must_check enum err_code text_write_file(const char *path, struct span bytes, unsigned mode, struct err *err);

#endif
