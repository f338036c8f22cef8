#include <curl/curl.h>
#include <stdlib.h>

#include "s3client/s3.h"

#define META_PREFIX "x-amz-meta-"

char *s3_unquote(const char *etag)
{
	if (!etag)
		return xstrdup("");
	size_t len = strlen(etag);
	bool quoted = len >= 2 && etag[0] == '"' && etag[len - 1] == '"';
	return quoted ? xstrndup(etag + 1, len - 2) : xstrdup(etag);
}

/* "bytes 5-9/100" gives 100. */
static bool total_of_range(const char *content_range, uint64_t *ret)
{
	const char *slash = content_range ? strchr(content_range, '/') : NULL;
	return slash && store_parse_u64(slash + 1, ret);
}

static bool read_size(const struct http_exchange *exchange, uint64_t *ret)
{
	if (http_status(exchange) == 206)
		return total_of_range(http_header(exchange, "content-range"), ret);
	const char *length = http_header(exchange, "content-length");
	return length && store_parse_u64(length, ret);
}

static char *copy_header(const struct http_exchange *exchange, const char *name, const char *otherwise)
{
	const char *value = http_header(exchange, name);
	return xstrdup(value ? value : otherwise);
}

enum err_code s3_object_read(const struct http_exchange *exchange, struct store_object *ret, struct err *err)
{
	struct store_object object = {0};
	if (!read_size(exchange, &object.size))
		return err_set(err, ERR_CORRUPT, http_status(exchange), "S3 does not say how long the object is");
	object.content_type = copy_header(exchange, "content-type", STORE_CONTENT_TYPE);
	object.etag = s3_unquote(http_header(exchange, "etag"));
	object.version_id = copy_header(exchange, "x-amz-version-id", "");
	const char *modified = http_header(exchange, "last-modified");
	time_t seconds = modified ? curl_getdate(modified, NULL) : -1;
	object.modified_ms = seconds < 0 ? 0 : (int64_t)seconds * 1000;
	const char *name, *value;
	for (size_t cursor = 0; http_header_next(exchange, &cursor, &name, &value);) {
		if (strncmp(name, META_PREFIX, strlen(META_PREFIX)) == 0)
			store_object_add_meta(&object, name + strlen(META_PREFIX), value);
	}
	*ret = object;
	return ERR_OK;
}

enum err_code s3_head_object(struct s3_store *store, const char *key, const char *version_id,
                             const struct store_cancel *cancel, struct store_object *ret, char **ret_sha256,
                             struct err *err)
{
	struct sigv4_pair version = {"versionId", version_id};
	struct sigv4_pair checksum = {"x-amz-checksum-mode", "ENABLED"};
	struct s3_call call = {.operation = "HeadObject",
	                       .method = "HEAD",
	                       .key = key,
	                       .query = &version,
	                       .n_query = version_id ? 1 : 0,
	                       .headers = &checksum,
	                       .n_headers = ret_sha256 ? 1 : 0,
	                       .cancel = cancel};
	struct s3_reply reply = {0};
	enum err_code code = s3_send(store, &call, &reply, err);
	if (code == ERR_OK)
		code = s3_object_read(reply.exchange, ret, err);
	if (code == ERR_OK && ret_sha256) {
		const char *sha256 = http_header(reply.exchange, "x-amz-checksum-sha256");
		*ret_sha256 = sha256 ? xstrdup(sha256) : NULL;
	}
	s3_reply_done(&reply);
	return code;
}

enum err_code s3_head(struct store *store, const char *key, const char *version_id, struct store_object *ret,
                      struct err *err)
{
	return s3_head_object(s3_of(store), key, version_id, NULL, ret, NULL, err);
}

enum err_code s3_remove(struct store *store, const char *key, const char *version_id, struct err *err)
{
	struct sigv4_pair version = {"versionId", version_id};
	struct s3_call call = {
	    .operation = "DeleteObject", .method = "DELETE", .key = key, .query = &version, .n_query = version_id ? 1 : 0};
	struct s3_reply reply = {0};
	struct err local = {0};
	enum err_code code = s3_send(s3_of(store), &call, &reply, &local);
	s3_reply_done(&reply);
	if (code == ERR_OK || code == ERR_NOT_FOUND) /* some servers tell; S3 itself does not */
		return ERR_OK;
	return err_set(err, code, local.native, "%s", local.text);
}

/* A list of one, and not HeadBucket: its refusal has a body that says why. */
enum err_code s3_check(struct store *store, struct err *err)
{
	const struct sigv4_pair query[] = {{"list-type", "2"}, {"max-keys", "1"}};
	struct s3_call call = {.operation = "ListObjectsV2", .method = "GET", .query = query, .n_query = 2};
	struct s3_reply reply = {0};
	enum err_code code = s3_send(s3_of(store), &call, &reply, err);
	s3_reply_done(&reply);
	if (code == ERR_OK)
		s3_abandon_now(s3_of(store), NULL);
	return code;
}
