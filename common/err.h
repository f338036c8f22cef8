/* Errors: one closed set of categories for every room, and an optional detail that the caller owns.
 *
 * Functions that can fail return `enum err_code` and take a last argument `struct err *err`, which may be NULL. The
 * detail is written on failure only. There is no thread-local state: work changes threads. */
#ifndef TWOKEY_COMMON_ERR_H
#define TWOKEY_COMMON_ERR_H

#include <stdarg.h>

/* name, gRPC status (https://grpc.github.io/grpc/core/md_doc_statuscodes.html), text */
#define ERR_CODES(X)                                                                                                   \
	X(OK, 0, "ok")                                                                                                     \
	X(CANCELLED, 1, "cancelled")                                                                                       \
	X(INVALID, 3, "invalid argument")                                                                                  \
	X(DEADLINE, 4, "deadline exceeded")                                                                                \
	X(NOT_FOUND, 5, "not found")                                                                                       \
	X(EXISTS, 6, "already exists")                                                                                     \
	X(DENIED, 7, "permission denied")                                                                                  \
	X(EXHAUSTED, 8, "resource exhausted")                                                                              \
	X(PRECONDITION, 9, "failed precondition")                                                                          \
	X(UNIMPLEMENTED, 12, "not offered here")                                                                           \
	X(INTERNAL, 13, "internal error")                                                                                  \
	X(UNAVAILABLE, 14, "unavailable")                                                                                  \
	X(CORRUPT, 15, "data is corrupt")                                                                                  \
	X(UNAUTHENTICATED, 16, "unauthenticated")

enum err_code {
#define X(name, grpc, text) ERR_##name = (grpc),
	ERR_CODES(X)
#undef X
};

/* What went wrong, for a person. `native` is the number of the layer below (CK_RV, HTTP status, CURLcode, SQLite
 * result, errno), 0 when there is none. `text` never holds a secret. */
struct err {
	enum err_code code;
	long native;
	char text[320];
};

#define must_check __attribute__((warn_unused_result))

/* Fills *err (when not NULL) and returns `code`, so that a failure is one line: return err_set(err, ERR_X, ...). */
enum err_code err_set(struct err *err, enum err_code code, long native, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
#ifdef __clang_analyzer__ /* it does not look into err.c, and must know that a failure is one */
#define err_set(err, code, ...) ((void)(err_set)(err, code, __VA_ARGS__), (code))
#endif

/* Puts "prefix: " before the text that *err already has; returns err's code. Nothing happens when err is NULL. */
void err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "NOT_FOUND"; the category's own words. Never NULL. */
const char *err_name(enum err_code code);
const char *err_text(enum err_code code);

#endif
