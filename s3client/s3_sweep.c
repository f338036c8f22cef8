/* Multipart uploads that nobody will finish: a process that was killed could not abort its own. Their parts cost money
 * and are seen by no listing of objects.
 *
 * Whose they are, S3 tells by the identity that began them. Our own name for it is not known, so one is begun, looked
 * at, and aborted: only when there is something old enough to ask for. */
#include <stdlib.h>

#include "s3client/s3_upload.h"

#define STALE_MS  ((int64_t)24 * 60 * 60 * 1000)
#define PAGES_MAX 1000U

struct sweep {
	struct s3_store *store;
	const struct store_cancel *cancel;
	char *identity; /* ours; NULL: not known yet */
	unsigned removed;
};

static enum err_code list(const struct sweep *sweep, const char *prefix, const struct s3_upload_page *after,
                          struct s3_upload_page *ret, struct err *err)
{
	const struct sigv4_pair query[] = {{"encoding-type", "url"},
	                                   {"prefix", prefix},
	                                   {"uploads", ""},
	                                   {"key-marker", after->next_key},
	                                   {"upload-id-marker", after->next_upload_id}};
	struct s3_call call = {.operation = "ListMultipartUploads",
	                       .method = "GET",
	                       .query = query,
	                       .n_query = after->next_key ? 5 : 3,
	                       .cancel = sweep->cancel};
	struct s3_reply reply = {0};
	enum err_code code = s3_send(sweep->store, &call, &reply, err);
	if (code == ERR_OK)
		code = s3_xml_uploads(buf_span(&reply.body), ret, err);
	s3_reply_done(&reply);
	return code;
}

static enum err_code find_identity(struct sweep *sweep, const struct s3_upload *probe, struct err *err)
{
	struct s3_upload_page page = {0};
	enum err_code code = list(sweep, probe->put.key, &(struct s3_upload_page){0}, &page, err);
	for (size_t i = 0; i < page.n && !sweep->identity; i++) {
		if (strcmp(page.entries[i].upload_id, probe->upload_id) == 0)
			sweep->identity = xstrdup(page.entries[i].initiator);
	}
	s3_upload_page_done(&page);
	if (code == ERR_OK && !sweep->identity)
		code = err_set(err, ERR_UNAVAILABLE, 0, "ListMultipartUploads: S3 does not list an upload that was just begun");
	return code;
}

static enum err_code learn_identity(struct sweep *sweep, const char *key, struct err *err)
{
	const struct store_put put = {.key = key, .cancel = sweep->cancel};
	struct store_upload *base = NULL;
	enum err_code code = s3_upload_begin(&sweep->store->base, &put, &base, err);
	if (code != ERR_OK)
		return code;
	struct s3_upload *probe = (struct s3_upload *)base;
	code = s3_multipart_open(probe, err);
	if (code == ERR_OK)
		code = find_identity(sweep, probe, err);
	s3_upload_abort(base);
	return code;
}

static enum err_code remove_upload(struct sweep *sweep, const struct s3_open_upload *entry, struct err *err)
{
	enum err_code code = s3_abort_upload(sweep->store, entry->key, entry->upload_id, sweep->cancel, err);
	if (code == ERR_OK)
		sweep->removed++;
	return code;
}

static enum err_code look_at(struct sweep *sweep, const struct s3_open_upload *entry, struct err *err)
{
	int64_t now_ms = clock_now_ms(sweep->store->clock) + atomic_load(&sweep->store->clock_offset_ms);
	if (!entry->sha256 || now_ms - entry->initiated_ms < STALE_MS)
		return ERR_OK;
	enum err_code code = sweep->identity ? ERR_OK : learn_identity(sweep, entry->key, err);
	if (code == ERR_OK && strcmp(sweep->identity, entry->initiator) == 0)
		code = remove_upload(sweep, entry, err);
	return code;
}

enum err_code s3_sweep(struct store *store, const struct store_cancel *cancel, unsigned *ret_removed, struct err *err)
{
	struct sweep sweep = {.store = s3_of(store), .cancel = cancel};
	struct s3_upload_page page = {0};
	enum err_code code = ERR_OK;
	for (unsigned pages = 0; code == ERR_OK && pages < PAGES_MAX && (pages == 0 || page.next_key); pages++) {
		struct s3_upload_page next = {0};
		code = list(&sweep, "", &page, &next, err);
		s3_upload_page_done(&page);
		page = next;
		for (size_t i = 0; i < page.n && code == ERR_OK; i++)
			code = look_at(&sweep, &page.entries[i], err);
	}
	s3_upload_page_done(&page);
	free(sweep.identity);
	*ret_removed = sweep.removed;
	return code;
}
