#include "s3client/s3.h"

#include <ctype.h>
#include <stdlib.h>

#define PART_BYTES_DEFAULT ((uint64_t)8 << 20)
#define PART_BYTES_MIN     ((uint64_t)5 << 20)
#define PART_BYTES_MAX     ((uint64_t)1 << 30)
#define BACKGROUND_PARTS   16U
#define CONNECT_TIMEOUT_MS 5000
#define STALL_TIMEOUT_MS   30000

static void free_store(struct store *base)
{
	struct s3_store *store = s3_of(base);
	http_pool_free(store->pool);
	credentials_free(store->credentials);
	free(store->bucket);
	free(store->sse);
	s3_places_done(&store->places);
	s3_abandon_done(&store->abandon);
	free(store->bucket_path);
	free(store->object_path);
	store_done(base);
	free(store);
}

static const struct store_ops s3_ops = {
    .free = free_store,
    .check = s3_check,
    .upload_begin = s3_upload_begin,
    .upload_write = s3_upload_write,
    .upload_commit = s3_upload_commit,
    .upload_abort = s3_upload_abort,
    .download_begin = s3_download_begin,
    .download_read = s3_download_read,
    .download_end = s3_download_end,
    .head = s3_head,
    .remove = s3_remove,
    .replace_meta = s3_replace_meta,
    .presign = s3_presign,
    .list = s3_list,
    .sweep = s3_sweep,
};

/* ---- options ---- */

static bool is_word(const char *text, const char *also, size_t max)
{
	if (!text || !text[0] || strlen(text) > max)
		return false;
	for (; *text; text++) {
		if (!isalnum((unsigned char)*text) && !strchr(also, *text))
			return false;
	}
	return true;
}

static enum err_code check_options(const struct s3_options *options, struct err *err)
{
	if (!options->endpoint)
		return err_set(err, ERR_INVALID, 0, "S3: an endpoint is needed");
	if (!is_word(options->region, "-", 63))
		return err_set(err, ERR_INVALID, 0, "S3: a region is letters, digits and dashes");
	if (!is_word(options->bucket, ".-_", 255) || options->bucket[0] == '.')
		return err_set(err, ERR_INVALID, 0, "S3: a bucket's name is letters, digits, dots and dashes");
	if (!options->role && (!is_word(options->credentials.access_key_id, "-_.", 128) || !options->credentials.date_key))
		return err_set(err, ERR_INVALID, 0, "S3: an access key id and its secret are needed");
	if (options->sse && strcmp(options->sse, "AES256") != 0 && strcmp(options->sse, "aws:kms") != 0)
		return err_set(err, ERR_INVALID, 0, "S3: server-side encryption is AES256 or aws:kms");
	uint64_t part = options->part_bytes;
	if (part != 0 && (part < PART_BYTES_MIN || part > PART_BYTES_MAX))
		return err_set(err, ERR_INVALID, 0, "S3: a part has 5 MiB to 1 GiB");
	return ERR_OK;
}

enum err_code store_open_s3(const struct s3_options *options, struct store **ret, struct err *err)
{
	enum err_code code = check_options(options, err);
	if (code != ERR_OK)
		return code;
	struct s3_store *store = xcalloc(1, sizeof *store);
	store_init(&store->base, &s3_ops);
	store->bucket = xstrdup(options->bucket);
	store->sse = options->sse ? xstrdup(options->sse) : NULL;
	store->part_bytes = options->part_bytes ? options->part_bytes : PART_BYTES_DEFAULT;
	store->clock = options->clock;
	store->bucket_path = options->path_style ? xasprintf("/%s", store->bucket) : xstrdup("/");
	store->object_path = options->path_style ? xasprintf("/%s/", store->bucket) : xstrdup("/");
	atomic_store(&store->retry_tokens, S3_RETRY_TOKENS);
	store->jobs_max = options->background_parts ? options->background_parts : BACKGROUND_PARTS;
	s3_abandon_init(&store->abandon);
	struct http_options http = {
	    .ca_file = options->ca_file,
	    .proxy = options->proxy,
	    .connect_timeout_ms = options->connect_timeout_ms ? options->connect_timeout_ms : CONNECT_TIMEOUT_MS,
	    .stall_timeout_ms = options->stall_timeout_ms ? options->stall_timeout_ms : STALL_TIMEOUT_MS};
	store->pool = http_pool_new(&http);
	code = s3_places_init(&store->places, options, err);
	if (code == ERR_OK)
		code = credentials_open(options, &store->credentials, err);
	if (code != ERR_OK) {
		free_store(&store->base);
		return code;
	}
	*ret = &store->base;
	return ERR_OK;
}
