/* The handles that carry exchanges; private to http*.c. */
#ifndef TWOKEY_S3CLIENT_HTTP_POOL_H
#define TWOKEY_S3CLIENT_HTTP_POOL_H

#include <curl/curl.h>

#include "s3client/http.h"

/* A multi handle holds the connection cache, so that the pair is what keeps a connection alive. */
struct http_handle {
	CURLM *multi;
	CURL *easy;
	struct http_handle *next;
};

const struct http_options *http_pool_options(const struct http_pool *pool);
struct http_handle *http_pool_take(struct http_pool *pool);
/* The easy handle is no longer part of the multi handle. */
void http_pool_give_back(struct http_pool *pool, struct http_handle *handle);

#endif
