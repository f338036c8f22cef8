#include <stdlib.h>

#include "common/text.h"
#include "s3client/s3_upload.h"
#include "s3client/xml.h"

#define ABORT_MS ((int64_t)10000) /* clean-up after a failure does not hold its caller for longer */

/* To the caller it is the object that is found or not found: an upload that vanished is none of its business. */
static enum err_code fail_gone(enum err_code code, struct err *err)
{
	if (code != ERR_NOT_FOUND)
		return code;
	return err_set(err, ERR_UNAVAILABLE, 404, "S3 has forgotten the multipart upload; start again");
}

enum err_code s3_multipart_open(struct s3_upload *upload, struct err *err)
{
	struct s3_put_headers headers;
	s3_put_headers_init(&headers, upload->store, upload->put.content_type, upload->put.meta, upload->put.n_meta);
	s3_put_headers_add(&headers, "x-amz-checksum-algorithm", "SHA256");
	struct sigv4_pair query = {"uploads", ""};
	struct s3_call call = {.operation = "CreateMultipartUpload",
	                       .method = "POST",
	                       .key = upload->put.key,
	                       .query = &query,
	                       .n_query = 1,
	                       .headers = headers.pairs,
	                       .n_headers = headers.n,
	                       .cancel = upload->put.cancel};
	struct s3_reply reply = {0};
	enum err_code code = s3_send(upload->store, &call, &reply, err);
	if (code == ERR_OK)
		code = s3_xml_upload_id(buf_span(&reply.body), &upload->upload_id, err);
	s3_reply_done(&reply);
	s3_put_headers_done(&headers);
	return code;
}

/* Room for one more; its ETag comes when it is sent. */
static unsigned next_number(struct s3_upload *upload)
{
	if (upload->n_sent == upload->cap_sent) {
		unsigned cap = upload->cap_sent ? upload->cap_sent * 2 : 16;
		struct s3_sent_part *sent = xcalloc(cap, sizeof *sent);
		if (upload->n_sent > 0)
			memcpy(sent, upload->sent, upload->n_sent * sizeof *sent);
		free(upload->sent);
		upload->sent = sent;
		upload->cap_sent = cap;
	}
	return ++upload->n_sent;
}

enum err_code s3_multipart_send(struct s3_upload *upload, bool last, struct err *err)
{
	if (upload->n_sent == S3_PARTS_MAX)
		return err_set(err, ERR_EXHAUSTED, 0, "an S3 object has at most %u parts", S3_PARTS_MAX);
	enum err_code code = upload->upload_id ? ERR_OK : s3_multipart_open(upload, err);
	struct s3_part_job *job = &upload->jobs[upload->n_sent % S3_JOBS];
	if (code == ERR_OK)
		code = s3_part_job_wait(upload, job, err);
	if (code == ERR_OK) {
		s3_part_job_start(upload, job, next_number(upload), !last);
		if (last)
			code = s3_part_jobs_wait(upload, err);
		else if (!job->threaded)
			code = s3_part_job_wait(upload, job, err);
	}
	return fail_gone(code, err);
}

/* ---- the end ---- */

static void completion(const struct s3_upload *upload, struct buf *xml)
{
	buf_append_str(xml, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (unsigned i = 0; i < upload->n_sent; i++) {
		buf_append_str(xml, "<Part><ChecksumSHA256>");
		text_base64(span_of(upload->sent[i].sha256, 32), xml);
		buf_append_str(xml, "</ChecksumSHA256><ETag>");
		xml_escape(upload->sent[i].etag, xml);
		buf_printf(xml, "</ETag><PartNumber>%u</PartNumber></Part>", i + 1);
	}
	buf_append_str(xml, "</CompleteMultipartUpload>");
}

/* What S3 keeps as the checksum of such an object: the hash of the parts' hashes, and how many they are. */
static void composite_checksum(const struct s3_upload *upload, struct buf *out)
{
	autobuf struct buf hashes = {0};
	for (unsigned i = 0; i < upload->n_sent; i++)
		buf_append(&hashes, span_of(upload->sent[i].sha256, 32));
	uint8_t digest[32];
	text_sha256(buf_span(&hashes), digest);
	text_base64(span_of(digest, sizeof digest), out);
	buf_printf(out, "-%u", upload->n_sent);
}

static enum err_code read_completed(const struct s3_reply *reply, const struct s3_upload *upload,
                                    struct store_object *ret, struct err *err)
{
	autofree char *etag = NULL;
	enum err_code code = s3_xml_completed(buf_span(&reply->body), &etag, err);
	if (code != ERR_OK)
		return code;
	const char *version = http_header(reply->exchange, "x-amz-version-id");
	ret->size = upload->total;
	ret->content_type = xstrdup(upload->put.content_type);
	ret->etag = s3_unquote(etag);
	ret->version_id = xstrdup(version ? version : "");
	ret->modified_ms = clock_now_ms(upload->store->clock);
	return ERR_OK;
}

/* The answer to the attempt that did it was lost: the next is told that the upload is gone, or the object there. */
static enum err_code was_completed(struct s3_upload *upload, enum err_code code, struct store_object *ret,
                                   struct err *err)
{
	autobuf struct buf sha256 = {0};
	composite_checksum(upload, &sha256);
	return s3_upload_was_done(upload, buf_cstr(&sha256), code, ret, err);
}

enum err_code s3_multipart_complete(struct s3_upload *upload, struct store_object *ret, struct err *err)
{
	autobuf struct buf xml = {0};
	completion(upload, &xml);
	const struct sigv4_pair query = {"uploadId", upload->upload_id};
	const struct sigv4_pair headers[] = {{"content-type", "application/xml"}, {"if-none-match", "*"}};
	struct s3_call call = {.operation = "CompleteMultipartUpload",
	                       .method = "POST",
	                       .key = upload->put.key,
	                       .query = &query,
	                       .n_query = 1,
	                       .headers = headers,
	                       .n_headers = upload->put.overwrite ? 1 : 2,
	                       .body = buf_span(&xml),
	                       .cancel = upload->put.cancel};
	struct s3_reply reply = {0};
	enum err_code code = s3_send(upload->store, &call, &reply, err);
	if (code == ERR_OK)
		code = read_completed(&reply, upload, ret, err);
	else if (code == ERR_EXISTS || code == ERR_NOT_FOUND)
		code = was_completed(upload, code, ret, err);
	s3_reply_done(&reply);
	if (code == ERR_OK) {
		free(upload->upload_id); /* nothing is left to abort */
		upload->upload_id = NULL;
	}
	return fail_gone(code, err);
}

static bool past(void *user)
{
	const int64_t *until_us = user;
	return clock_monotonic_us() > *until_us;
}

void s3_multipart_abort(struct s3_upload *upload)
{
	s3_part_jobs_stop(upload);
	/* Not the caller's cancellation: that may be why we are here. */
	int64_t until_us = clock_monotonic_us() + ABORT_MS * 1000;
	struct store_cancel cancel = {.cancelled = past, .user = &until_us};
	const char *key = upload->put.key;
	if (s3_abort_upload(upload->store, key, upload->upload_id, &cancel, NULL) != ERR_OK || upload->loose)
		s3_abandon_later(upload->store, key, upload->upload_id);
}
