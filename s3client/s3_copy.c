/* An object is copied onto itself, with other metadata: S3 has no other way to change them. */
#include <stdlib.h>

#include "s3client/s3_upload.h"

#define COPY_MAX ((uint64_t)5 << 30) /* CopyObject's own limit */

/* "/bucket/key?versionId=...", encoded as in a URL. */
static void copy_source(const struct s3_store *store, const char *key, const char *version_id, struct buf *out)
{
	buf_append_byte(out, '/');
	sigv4_encode(span_str(store->bucket), false, out);
	buf_append_byte(out, '/');
	sigv4_encode(span_str(key), true, out);
	if (version_id && version_id[0] && strcmp(version_id, "null") != 0) {
		buf_append_str(out, "?versionId=");
		sigv4_encode(span_str(version_id), false, out);
	}
}

/* The source must be what was seen; `guarded`: so must the target, for writers who are not in this process. */
static enum err_code copy(struct s3_store *store, const struct store_put *put, const struct store_object *seen,
                          bool guarded, char **ret_version, struct err *err)
{
	autobuf struct buf source = {0}, etag = {0};
	copy_source(store, put->key, seen->version_id, &source);
	buf_printf(&etag, "\"%s\"", seen->etag);
	struct s3_put_headers headers;
	s3_put_headers_init(&headers, store, put->content_type, put->meta, put->n_meta);
	s3_put_headers_add(&headers, "x-amz-copy-source", buf_cstr(&source));
	s3_put_headers_add(&headers, "x-amz-copy-source-if-match", buf_cstr(&etag));
	s3_put_headers_add(&headers, "x-amz-metadata-directive", "REPLACE");
	if (guarded)
		s3_put_headers_add(&headers, "if-match", buf_cstr(&etag));
	const struct s3_call call = {.operation = "CopyObject",
	                             .method = "PUT",
	                             .key = put->key,
	                             .headers = headers.pairs,
	                             .n_headers = headers.n,
	                             .cancel = put->cancel};
	struct s3_reply reply = {0};
	enum err_code code = s3_send(store, &call, &reply, err);
	if (code == ERR_OK) {
		const char *version = http_header(reply.exchange, "x-amz-version-id");
		*ret_version = xstrdup(version ? version : "");
	}
	s3_reply_done(&reply);
	s3_put_headers_done(&headers);
	return code;
}

enum err_code s3_replace_meta(struct store *base, const struct store_put *put, const struct store_object *seen,
                              char **ret_version, struct err *err)
{
	struct s3_store *store = s3_of(base);
	if (seen->size > COPY_MAX)
		return err_set(err, ERR_EXHAUSTED, 0, "S3 copies at most 5 GiB in one piece");
	enum err_code code = copy(store, put, seen, true, ret_version, err);
	if (code == ERR_UNIMPLEMENTED) /* an S3 that knows no condition on the target */
		code = copy(store, put, seen, false, ret_version, err);
	if (code != ERR_EXISTS)
		return code;
	return err_set(err, ERR_PRECONDITION, 412, "the object has been replaced meanwhile");
}
