/* HTTP/1.1 exchanges over kept-alive connections: pull style, so that the reader sets the pace. The pool is
 * thread-safe; an exchange belongs to one thread. Redirects are not followed (a signature covers the host). */
#ifndef TWOKEY_S3CLIENT_HTTP_H
#define TWOKEY_S3CLIENT_HTTP_H

#include "s3client/sigv4.h"
#include "s3client/wait.h"

struct http_pool;
struct http_exchange;

struct http_options {
	const char *ca_file;         /* PEM; NULL: the system's */
	const char *proxy;           /* URL; NULL: none, whatever the environment says */
	unsigned connect_timeout_ms; /* both are set, never 0 */
	unsigned stall_timeout_ms;
};
struct http_pool *http_pool_new(const struct http_options *options);
void http_pool_free(struct http_pool *pool); /* every exchange has ended; accepts NULL */
/* The kept connections' handles; for tests. */
size_t http_pool_idle(struct http_pool *pool);

/* Borrowed until http_end: body and wait. */
struct http_request {
	const char *method, *url;
	const struct sigv4_pair *headers;
	size_t n_headers;
	struct span body; /* sent with PUT and POST */
	struct wait wait;
};

/* Sends and waits for the head of the answer. ERR_UNAVAILABLE: no answer came, another attempt may help;
 * ERR_PRECONDITION: it will not (the certificate is not trusted); ERR_CANCELLED; ERR_DEADLINE. */
must_check enum err_code http_begin(struct http_pool *pool, const struct http_request *request,
                                    struct http_exchange **ret, struct err *err);
long http_status(const struct http_exchange *exchange);
/* The value of the first such header, or NULL; `name` is lower case. */
const char *http_header(const struct http_exchange *exchange, const char *name);
/* Visits the headers in their order: false after the last. *cursor starts at 0. */
bool http_header_next(const struct http_exchange *exchange, size_t *cursor, const char **ret_name,
                      const char **ret_value);
/* Up to len bytes of the body; 0 at its end. Errors as above; ERR_UNAVAILABLE when the body broke off. */
must_check enum err_code http_read(struct http_exchange *exchange, uint8_t *out, size_t len, size_t *ret_len,
                                   struct err *err);
/* The rest of the body; over the buffer's maximum is ERR_CORRUPT. */
must_check enum err_code http_read_all(struct http_exchange *exchange, struct buf *out, struct err *err);
/* At any point; a connection with bytes outstanding is closed. Accepts NULL. */
void http_end(struct http_exchange *exchange);

#endif
