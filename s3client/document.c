/* One document by HTTPS: small, without credentials. */
#include "s3client/http.h"

#define TIMEOUT_MS 5000

enum err_code s3_document_get(const struct s3_document *document, struct buf *out, struct err *err)
{
	const struct http_options options = {.ca_file = document->ca_file,
	                                     .proxy = document->proxy,
	                                     .connect_timeout_ms = TIMEOUT_MS,
	                                     .stall_timeout_ms = TIMEOUT_MS};
	const struct sigv4_pair accept = {"accept", "application/json"};
	const struct store_cancel cancel = {.deadline_ms = clock_now_ms(NULL) + TIMEOUT_MS};
	const struct http_request request = {
	    .method = "GET", .url = document->url, .headers = &accept, .n_headers = 1, .wait = {.cancel = &cancel}};
	struct http_pool *pool = http_pool_new(&options);
	struct http_exchange *exchange = NULL;
	enum err_code code = http_begin(pool, &request, &exchange, err);
	if (code == ERR_OK && http_status(exchange) != 200)
		code = err_set(err, ERR_UNAVAILABLE, http_status(exchange), "answered %ld", http_status(exchange));
	if (code == ERR_OK)
		code = http_read_all(exchange, out, err);
	http_end(exchange);
	http_pool_free(pool);
	if (code != ERR_OK)
		err_prefix(err, "%s", document->url);
	return code;
}
