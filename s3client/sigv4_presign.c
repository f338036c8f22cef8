#include "s3client/sigv4_presign.h"

#include <stdio.h>

#define PARAMETERS_MAX 8

enum err_code sigv4_presign(const struct sigv4_presign *asked, struct day_key *day_key, struct buf *out,
                            struct err *err)
{
	autobuf struct buf credential = {0}, canonical = {0}, to_sign = {0};
	char seconds[16], signature[65];
	snprintf(seconds, sizeof seconds, "%u", asked->seconds);
	buf_printf(&credential, "%s/", asked->access_key_id);
	sigv4_scope_text(&asked->scope, &credential);
	struct sigv4_pair query[PARAMETERS_MAX] = {{"X-Amz-Algorithm", "AWS4-HMAC-SHA256"},
	                                           {"X-Amz-Credential", buf_cstr(&credential)},
	                                           {"X-Amz-Date", asked->scope.timestamp},
	                                           {"X-Amz-Expires", seconds},
	                                           {"X-Amz-SignedHeaders", "host"}};
	size_t n = 5;
	if (asked->token)
		query[n++] = (struct sigv4_pair){"X-Amz-Security-Token", asked->token};
	if (asked->version_id)
		query[n++] = (struct sigv4_pair){"versionId", asked->version_id};
	const struct sigv4_pair host = {"host", asked->host};
	const struct sigv4_request request = {.method = "GET",
	                                      .path = span_str(asked->path),
	                                      .query = query,
	                                      .n_query = n,
	                                      .headers = &host,
	                                      .n_headers = 1,
	                                      .payload_hash = "UNSIGNED-PAYLOAD"};
	sigv4_canonical_request(&request, &canonical);
	sigv4_string_to_sign(&asked->scope, buf_span(&canonical), &to_sign);
	enum err_code code = day_key_sign(day_key, &asked->scope, buf_span(&to_sign), signature, err);
	if (code != ERR_OK)
		return code;
	sigv4_encode(span_str(asked->path), true, out);
	buf_append_byte(out, '?');
	sigv4_canonical_query(query, n, out);
	buf_printf(out, "&X-Amz-Signature=%s", signature);
	return ERR_OK;
}
