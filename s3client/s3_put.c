#include <stdlib.h>

#include "common/text.h"
#include "s3client/s3_upload.h"
#include "s3client/wait.h"

/* How often, and with which pause at first, it is asked whether an object is ours. */
#define LOOKS   5
#define LOOK_MS 200U

/* ---- headers ---- */

void s3_put_headers_add(struct s3_put_headers *headers, const char *name, const char *value)
{
	if (headers->n < S3_PUT_HEADERS_MAX)
		headers->pairs[headers->n++] = (struct sigv4_pair){name, value};
}

void s3_put_headers_init(struct s3_put_headers *headers, const struct s3_store *store, const char *content_type,
                         const struct store_meta *meta, size_t n_meta)
{
	*headers = (struct s3_put_headers){0};
	s3_put_headers_add(headers, "content-type", content_type);
	if (store->sse)
		s3_put_headers_add(headers, "x-amz-server-side-encryption", store->sse);
	for (size_t i = 0; i < n_meta; i++) {
		char *name = xasprintf("x-amz-meta-%s", meta[i].name);
		headers->names[headers->n_names++] = name;
		s3_put_headers_add(headers, name, meta[i].value);
	}
}

void s3_put_headers_done(struct s3_put_headers *headers)
{
	for (size_t i = 0; i < headers->n_names; i++)
		free(headers->names[i]);
}

/* ---- was it us? ---- */

static bool same_object(const struct s3_upload *upload, const struct store_object *object)
{
	if (object->size != upload->total || strcmp(object->content_type, upload->put.content_type) != 0 ||
	    object->n_meta != upload->put.n_meta)
		return false;
	for (size_t i = 0; i < upload->put.n_meta; i++) {
		const char *value = store_object_meta(object, upload->put.meta[i].name);
		if (!value || strcmp(value, upload->put.meta[i].value) != 0)
			return false;
	}
	return true;
}

/* What a HEAD says, which has its own attempts; `false` in *ret_ours when another object, or none, is there. */
static enum err_code look(struct s3_upload *upload, const char *sha256, bool *ret_ours, struct store_object *ret)
{
	struct store_object object = {0};
	autofree char *stored = NULL;
	enum err_code code =
	    s3_head_object(upload->store, upload->put.key, NULL, upload->put.cancel, &object, &stored, NULL);
	*ret_ours = code == ERR_OK && stored && strcmp(stored, sha256) == 0 && same_object(upload, &object);
	if (*ret_ours)
		*ret = object;
	else
		store_object_done(&object);
	return code;
}

enum err_code s3_upload_was_done(struct s3_upload *upload, const char *sha256, enum err_code otherwise,
                                 struct store_object *ret, struct err *err)
{
	const struct wait wait = {upload->put.cancel, upload->store->clock};
	enum err_code code = ERR_OK;
	for (int i = 0; i < LOOKS; i++) {
		bool ours = false;
		code = look(upload, sha256, &ours, ret);
		if (ours)
			return ERR_OK;
		if (code != ERR_UNAVAILABLE)
			break;
		code = wait_sleep(&wait, LOOK_MS << i, err);
		if (code != ERR_OK)
			return code;
		code = ERR_UNAVAILABLE;
	}
	if (code == ERR_UNAVAILABLE)
		return err_set(err, code, 0, "an object is there; whether it is this one could not be found out");
	return code == ERR_CANCELLED || code == ERR_DEADLINE ? code : otherwise; /* err has its text */
}

/* ---- one PUT ---- */

static void read_put(const struct s3_reply *reply, const struct s3_upload *upload, struct store_object *ret)
{
	const char *version = http_header(reply->exchange, "x-amz-version-id");
	ret->size = upload->total;
	ret->content_type = xstrdup(upload->put.content_type);
	ret->etag = s3_unquote(http_header(reply->exchange, "etag"));
	ret->version_id = xstrdup(version ? version : "");
	ret->modified_ms = clock_now_ms(upload->store->clock);
}

static enum err_code put_object(struct s3_upload *upload, struct store_object *ret, struct err *err)
{
	struct span body = span_of(upload->part.data, upload->part.len);
	autobuf struct buf sha256 = {0};
	uint8_t digest[32];
	text_sha256(body, digest);
	text_base64(span_of(digest, sizeof digest), &sha256);
	struct s3_put_headers headers;
	s3_put_headers_init(&headers, upload->store, upload->put.content_type, upload->put.meta, upload->put.n_meta);
	s3_put_headers_add(&headers, "x-amz-checksum-sha256", buf_cstr(&sha256));
	if (!upload->put.overwrite)
		s3_put_headers_add(&headers, "if-none-match", "*");
	struct s3_call call = {.operation = "PutObject",
	                       .method = "PUT",
	                       .key = upload->put.key,
	                       .headers = headers.pairs,
	                       .n_headers = headers.n,
	                       .body = body,
	                       .sha256 = digest,
	                       .cancel = upload->put.cancel};
	struct s3_reply reply = {0};
	enum err_code code = s3_send(upload->store, &call, &reply, err);
	if (code == ERR_OK)
		read_put(&reply, upload, ret);
	else if (code == ERR_EXISTS)
		code = s3_upload_was_done(upload, buf_cstr(&sha256), code, ret, err);
	s3_reply_done(&reply);
	s3_put_headers_done(&headers);
	return code;
}

/* ---- the upload ---- */

enum err_code s3_upload_begin(struct store *store, const struct store_put *put, struct store_upload **ret,
                              struct err *err)
{
	struct wait wait = {put->cancel, s3_of(store)->clock};
	enum err_code code = wait_check(&wait, err);
	if (code != ERR_OK)
		return code;
	struct s3_upload *upload = xcalloc(1, sizeof *upload);
	upload->base.ops = store->ops;
	upload->store = s3_of(store);
	atomic_init(&upload->stop, false);
	put_copy_init(&upload->put, put);
	*ret = &upload->base;
	return ERR_OK;
}

/* A full part goes out when the next byte comes: what fits one part stays a single PUT, and the last is never empty. */
static enum err_code write_some(struct s3_upload *upload, struct span bytes, size_t *ret_taken, struct err *err)
{
	uint64_t limit = s3_part_size(upload->store->part_bytes, upload->n_sent + 1);
	if (upload->part.len < limit)
		return part_append(&upload->part, limit, bytes, ret_taken, err);
	*ret_taken = 0;
	return s3_multipart_send(upload, false, err);
}

enum err_code s3_upload_write(struct store_upload *base, struct span bytes, struct err *err)
{
	struct s3_upload *upload = (struct s3_upload *)base;
	struct wait wait = {upload->put.cancel, upload->store->clock};
	enum err_code code = wait_check(&wait, err);
	if (code == ERR_OK && bytes.len > S3_OBJECT_MAX - upload->total)
		code = err_set(err, ERR_EXHAUSTED, 0, "an S3 object has at most 5 TiB");
	if (code == ERR_OK)
		upload->total += bytes.len;
	while (code == ERR_OK && bytes.len > 0) {
		size_t taken = 0;
		code = write_some(upload, bytes, &taken, err);
		bytes = span_of(bytes.ptr + taken, bytes.len - taken);
	}
	return code;
}

enum err_code s3_upload_commit(struct store_upload *base, struct store_object *ret, struct err *err)
{
	struct s3_upload *upload = (struct s3_upload *)base;
	if (!upload->upload_id)
		return put_object(upload, ret, err);
	enum err_code code = s3_multipart_send(upload, true, err);
	return code == ERR_OK ? s3_multipart_complete(upload, ret, err) : code;
}

void s3_upload_abort(struct store_upload *base)
{
	struct s3_upload *upload = (struct s3_upload *)base;
	if (upload->upload_id)
		s3_multipart_abort(upload);
	s3_part_jobs_done(upload);
	for (unsigned i = 0; i < upload->n_sent; i++)
		free(upload->sent[i].etag);
	free(upload->sent);
	free(upload->upload_id);
	part_done(&upload->part);
	put_copy_done(&upload->put);
	free(upload);
}
