#include "s3client/store.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "common/text.h"

/* ---- arguments ---- */

static enum err_code check_key(const char *key, struct err *err)
{
	size_t len = key ? strlen(key) : 0;
	if (len == 0 || len > STORE_KEY_MAX)
		return err_set(err, ERR_INVALID, 0, "an object key has 1 to %d bytes, not %zu", STORE_KEY_MAX, len);
	if (!text_utf8(span_str(key)))
		return err_set(err, ERR_INVALID, 0, "an object key is UTF-8; this one is not");
	return ERR_OK;
}

/* Blanks at either end would be lost on the way: they are no part of a header's value. */
static bool is_header_value(const char *value)
{
	size_t len = strlen(value);
	for (size_t i = 0; i < len; i++) {
		if (value[i] < 0x20 || value[i] > 0x7e)
			return false;
	}
	return len == 0 || (value[0] != ' ' && value[len - 1] != ' ');
}

static bool is_meta_name(const char *name)
{
	return name[0] && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")] == 0;
}

static enum err_code check_meta(const struct store_meta *meta, size_t n, struct err *err)
{
	if (n > STORE_META_MAX)
		return err_set(err, ERR_INVALID, 0, "at most %d metadata, not %zu", STORE_META_MAX, n);
	size_t total = 0;
	for (size_t i = 0; i < n; i++) {
		if (!is_meta_name(meta[i].name) || !is_header_value(meta[i].value))
			return err_set(err, ERR_INVALID, 0, "a metadata name is [a-z0-9-]+, a value printable ASCII");
		for (size_t j = 0; j < i; j++) {
			if (strcmp(meta[i].name, meta[j].name) == 0)
				return err_set(err, ERR_INVALID, 0, "metadata %.64s stands twice", meta[i].name);
		}
		total += strlen(meta[i].name) + strlen(meta[i].value);
	}
	if (total > STORE_META_BYTES_MAX)
		return err_set(err, ERR_INVALID, 0, "at most %d bytes of metadata, not %zu", STORE_META_BYTES_MAX, total);
	return ERR_OK;
}

static enum err_code check_put(const struct store_put *put, struct err *err)
{
	enum err_code code = check_key(put->key, err);
	if (code != ERR_OK)
		return code;
	const char *type = put->content_type;
	if (type && (strlen(type) > STORE_CONTENT_TYPE_MAX || !is_header_value(type)))
		return err_set(err, ERR_INVALID, 0, "a content type is printable ASCII of at most %d bytes",
		               STORE_CONTENT_TYPE_MAX);
	return check_meta(put->meta, put->n_meta, err);
}

/* "" means the latest, as NULL does. */
static const char *version_or_null(const char *version_id)
{
	return version_id && version_id[0] ? version_id : NULL;
}

/* ---- what the kinds of store share ---- */

void put_copy_init(struct put_copy *copy, const struct store_put *put)
{
	const char *type = put->content_type && put->content_type[0] ? put->content_type : STORE_CONTENT_TYPE;
	*copy = (struct put_copy){.key = xstrdup(put->key),
	                          .content_type = xstrdup(type),
	                          .n_meta = put->n_meta,
	                          .overwrite = put->overwrite,
	                          .cancel = put->cancel};
	for (size_t i = 0; i < put->n_meta; i++)
		copy->meta[i] = (struct store_meta){xstrdup(put->meta[i].name), xstrdup(put->meta[i].value)};
}

void put_copy_done(struct put_copy *copy)
{
	free(copy->key);
	free(copy->content_type);
	for (size_t i = 0; i < copy->n_meta; i++) {
		free((char *)copy->meta[i].name);
		free((char *)copy->meta[i].value);
	}
	*copy = (struct put_copy){0};
}

bool store_parse_u64(const char *text, uint64_t *ret)
{
	if (!isdigit((unsigned char)text[0]))
		return false;
	char *end;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno == 0 && *end == 0;
}

bool store_object_add_meta(struct store_object *object, const char *name, const char *value)
{
	if (object->n_meta == STORE_META_MAX)
		return false;
	object->meta[object->n_meta].name = xstrdup(name);
	object->meta[object->n_meta].value = xstrdup(value);
	object->n_meta++;
	return true;
}

enum err_code store_range_cut(const struct store_get *get, uint64_t size, uint64_t *ret_first, uint64_t *ret_length,
                              struct err *err)
{
	*ret_first = 0;
	*ret_length = size;
	if (!get->has_range)
		return ERR_OK;
	if (get->first >= size)
		return err_set(err, ERR_INVALID, 0, "the range starts at byte %llu of an object of %llu bytes",
		               (unsigned long long)get->first, (unsigned long long)size);
	*ret_first = get->first;
	*ret_length = get->length < size - get->first ? get->length : size - get->first;
	return ERR_OK;
}

void store_object_done(struct store_object *object)
{
	free(object->content_type);
	free(object->etag);
	free(object->version_id);
	for (size_t i = 0; i < object->n_meta; i++) {
		free(object->meta[i].name);
		free(object->meta[i].value);
	}
	*object = (struct store_object){0};
}

const char *store_object_meta(const struct store_object *object, const char *name)
{
	for (size_t i = 0; i < object->n_meta; i++) {
		if (strcmp(object->meta[i].name, name) == 0)
			return object->meta[i].value;
	}
	return NULL;
}

void store_init(struct store *store, const struct store_ops *ops)
{
	store->ops = ops;
	for (size_t i = 0; i < STORE_STRIPES; i++)
		pthread_rwlock_init(&store->stripes[i], NULL);
}

void store_done(struct store *store)
{
	for (size_t i = 0; i < STORE_STRIPES; i++)
		pthread_rwlock_destroy(&store->stripes[i]);
}

static pthread_rwlock_t *stripe_of(struct store *store, const char *key)
{
	uint32_t hash = 2166136261U; /* FNV-1a: whoever makes names meet makes one wait for another */
	for (; *key; key++)
		hash = (hash ^ (uint8_t)*key) * 16777619U;
	return &store->stripes[hash % STORE_STRIPES];
}

/* ---- dispatch ---- */

void store_free(struct store *store)
{
	if (store)
		store->ops->free(store);
}

enum err_code store_check(struct store *store, struct err *err)
{
	return store->ops->check(store, err);
}

enum err_code store_upload_begin(struct store *store, const struct store_put *put, struct store_upload **ret,
                                 struct err *err)
{
	enum err_code code = check_put(put, err);
	if (code == ERR_OK)
		code = store->ops->upload_begin(store, put, ret, err);
	if (code == ERR_OK)
		(*ret)->stripe = stripe_of(store, put->key);
	return code;
}

enum err_code store_upload_write(struct store_upload *upload, struct span bytes, struct err *err)
{
	if (upload->failed != ERR_OK)
		return err_set(err, upload->failed, 0, "the upload has failed before");
	upload->failed = upload->ops->upload_write(upload, bytes, err);
	return upload->failed;
}

enum err_code store_upload_commit(struct store_upload *upload, struct store_object *ret, struct err *err)
{
	enum err_code code = upload->failed;
	struct store_object object = {0};
	struct err why = {0}; /* also of a failure that turned out to be none */
	if (code != ERR_OK) {
		err_set(&why, code, 0, "the upload has failed before");
	} else {
		pthread_rwlock_rdlock(upload->stripe);
		code = upload->ops->upload_commit(upload, &object, &why);
		pthread_rwlock_unlock(upload->stripe);
	}
	upload->ops->upload_abort(upload);
	if (code == ERR_OK)
		*ret = object;
	else if (err)
		*err = why;
	return code;
}

void store_upload_abort(struct store_upload *upload)
{
	if (upload)
		upload->ops->upload_abort(upload);
}

enum err_code store_download_begin(struct store *store, const struct store_get *get, struct store_download **ret,
                                   struct store_object *ret_object, struct err *err)
{
	enum err_code code = check_key(get->key, err);
	if (code != ERR_OK)
		return code;
	struct store_get checked = *get;
	checked.version_id = version_or_null(get->version_id);
	return store->ops->download_begin(store, &checked, ret, ret_object, err);
}

enum err_code store_download_read(struct store_download *download, uint8_t *out, size_t len, size_t *ret_len,
                                  struct err *err)
{
	return download->ops->download_read(download, out, len, ret_len, err);
}

void store_download_end(struct store_download *download)
{
	if (download)
		download->ops->download_end(download);
}

enum err_code store_head(struct store *store, const char *key, const char *version_id, struct store_object *ret,
                         struct err *err)
{
	enum err_code code = check_key(key, err);
	return code != ERR_OK ? code : store->ops->head(store, key, version_or_null(version_id), ret, err);
}

enum err_code store_remove(struct store *store, const char *key, const char *version_id, struct err *err)
{
	enum err_code code = check_key(key, err);
	if (code != ERR_OK)
		return code;
	pthread_rwlock_t *stripe = stripe_of(store, key);
	pthread_rwlock_rdlock(stripe);
	code = store->ops->remove(store, key, version_or_null(version_id), err);
	pthread_rwlock_unlock(stripe);
	return code;
}

enum err_code store_replace_meta(struct store *store, const char *key, const struct store_object *seen,
                                 const struct store_meta *meta, size_t n_meta, const struct store_cancel *cancel,
                                 char **ret_version, struct err *err)
{
	const struct store_put put = {.key = key,
	                              .content_type = seen->content_type,
	                              .meta = meta,
	                              .n_meta = n_meta,
	                              .overwrite = true,
	                              .cancel = cancel};
	enum err_code code = check_put(&put, err);
	if (code != ERR_OK)
		return code;
	pthread_rwlock_t *stripe = stripe_of(store, key);
	pthread_rwlock_wrlock(stripe);
	code = store->ops->replace_meta(store, &put, seen, ret_version, err);
	pthread_rwlock_unlock(stripe);
	return code;
}

enum err_code store_presign(struct store *store, const char *key, const char *version_id, unsigned seconds,
                            char **ret_url, struct err *err)
{
	enum err_code code = check_key(key, err);
	if (code != ERR_OK)
		return code;
	if (!store->ops->presign)
		return err_set(err, ERR_UNIMPLEMENTED, 0, "this kind of store has no URLs");
	return store->ops->presign(store, key, version_or_null(version_id), seconds, ret_url, err);
}

enum err_code store_sweep(struct store *store, const struct store_cancel *cancel, unsigned *ret_removed,
                          struct err *err)
{
	*ret_removed = 0;
	return store->ops->sweep ? store->ops->sweep(store, cancel, ret_removed, err) : ERR_OK;
}

enum err_code store_list(struct store *store, const char *prefix, const struct store_cancel *cancel, store_each *each,
                         void *user, struct err *err)
{
	if (!prefix)
		prefix = "";
	if (strlen(prefix) > STORE_KEY_MAX || !text_utf8(span_str(prefix)))
		return err_set(err, ERR_INVALID, 0, "a prefix is UTF-8 of at most %d bytes", STORE_KEY_MAX);
	return store->ops->list(store, prefix, cancel, each, user, err);
}
