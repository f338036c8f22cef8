#include <curl/curl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "s3client/s3.h"

#define RESUMES_MAX    5
#define CHECKSUM_CHARS 44 /* base64 of a SHA-256; one of parts has "-N" after it, and says nothing of the whole */

struct s3_download {
	struct store_download base;
	struct s3_reply reply; /* its exchange is NULL for a range of no bytes */
	uint64_t promised, left;
	struct s3_store *store;
	const struct store_cancel *cancel;
	char *key, *version_id; /* version_id: NULL: the latest */
	char *etag;             /* as S3 said it; NULL: it said none */
	uint64_t end;           /* the byte behind the last one, in the object */
	unsigned resumed;
	EVP_MD_CTX *hash; /* NULL: S3 keeps no checksum that could be compared */
	char checksum[CHECKSUM_CHARS + 1];
};

/* ---- S3's own checksum of the whole object ---- */

static void checksum_begin(struct s3_download *download)
{
	const char *text = http_header(download->reply.exchange, "x-amz-checksum-sha256");
	if (!text || strlen(text) != CHECKSUM_CHARS)
		return;
	memcpy(download->checksum, text, CHECKSUM_CHARS);
	download->hash = EVP_MD_CTX_new();
	if (!download->hash || !EVP_DigestInit_ex(download->hash, EVP_sha256(), NULL))
		abort(); /* libcrypto without SHA-256 */
}

static enum err_code checksum_end(struct s3_download *download, struct err *err)
{
	uint8_t digest[32];
	autobuf struct buf text = {0};
	EVP_DigestFinal_ex(download->hash, digest, NULL);
	text_base64(span_of(digest, sizeof digest), &text);
	if (strcmp(buf_cstr(&text), download->checksum) == 0)
		return ERR_OK;
	return err_set(err, ERR_CORRUPT, 0, "GetObject: the bytes are not those whose checksum S3 keeps");
}

/* ---- opening ---- */

/* "bytes=5-9"; S3 knows no offset beyond INT64_MAX, and cuts at the object's end. */
static void range_text(const struct store_get *get, char out[64])
{
	uint64_t last = get->length - 1 > INT64_MAX - get->first ? INT64_MAX : get->first + get->length - 1;
	snprintf(out, 64, "bytes=%llu-%llu", (unsigned long long)get->first, (unsigned long long)last);
}

/* The answer is the range that was asked for, neither the whole object nor another part of it. */
static bool is_range(const struct http_exchange *exchange, const struct store_get *get, uint64_t length)
{
	const char *text = http_header(exchange, "content-range");
	char expected[64];
	snprintf(expected, sizeof expected, "bytes %llu-%llu/", (unsigned long long)get->first,
	         (unsigned long long)(get->first + length - 1));
	return http_status(exchange) == 206 && text && strncmp(text, expected, strlen(expected)) == 0;
}

static enum err_code check_length(const struct http_exchange *exchange, const struct store_get *get,
                                  const struct store_object *object, uint64_t *ret_length, struct err *err)
{
	uint64_t first, sent;
	enum err_code code = store_range_cut(get, object->size, &first, ret_length, err);
	if (code != ERR_OK)
		return code;
	const char *text = http_header(exchange, "content-length");
	if (!text || !store_parse_u64(text, &sent) || sent != *ret_length)
		return err_set(err, ERR_CORRUPT, 0, "GetObject: S3 sends another length than it says");
	if (get->has_range && !is_range(exchange, get, *ret_length))
		return err_set(err, ERR_CORRUPT, 0, "GetObject: S3 sends another range than asked for");
	return ERR_OK;
}

static enum err_code open_object(struct s3_store *store, const struct store_get *get, struct s3_download *download,
                                 struct store_object *ret_object, struct err *err)
{
	char range[64] = "";
	if (get->has_range)
		range_text(get, range);
	struct sigv4_pair version = {"versionId", get->version_id};
	struct sigv4_pair range_header = {"range", range}, checksum_header = {"x-amz-checksum-mode", "ENABLED"};
	struct s3_call call = {.operation = "GetObject",
	                       .method = "GET",
	                       .key = get->key,
	                       .query = &version,
	                       .n_query = get->version_id ? 1 : 0,
	                       .headers = get->has_range ? &range_header : &checksum_header,
	                       .n_headers = 1,
	                       .cancel = get->cancel,
	                       .stream = true};
	enum err_code code = s3_send(store, &call, &download->reply, err);
	if (code != ERR_OK)
		return code;
	code = s3_object_read(download->reply.exchange, ret_object, err);
	if (code != ERR_OK)
		return code;
	code = check_length(download->reply.exchange, get, ret_object, &download->promised, err);
	if (code != ERR_OK)
		store_object_done(ret_object);
	else if (!get->has_range)
		checksum_begin(download);
	return code;
}

/* HTTP has no range of no bytes. */
static enum err_code open_nothing(struct s3_store *store, const struct store_get *get, struct store_object *ret_object,
                                  struct err *err)
{
	enum err_code code = s3_head_object(store, get->key, get->version_id, get->cancel, ret_object, NULL, err);
	if (code != ERR_OK)
		return code;
	uint64_t first, length;
	code = store_range_cut(get, ret_object->size, &first, &length, err);
	if (code != ERR_OK)
		store_object_done(ret_object);
	return code;
}

/* What going on after a break takes. */
static void remember(struct s3_download *download, struct s3_store *store, const struct store_get *get)
{
	const char *etag = download->reply.exchange ? http_header(download->reply.exchange, "etag") : NULL;
	download->store = store;
	download->cancel = get->cancel;
	download->key = xstrdup(get->key);
	download->version_id = get->version_id ? xstrdup(get->version_id) : NULL;
	download->etag = etag && etag[0] ? xstrdup(etag) : NULL;
	download->end = (get->has_range ? get->first : 0) + download->promised;
}

enum err_code s3_download_begin(struct store *store, const struct store_get *get, struct store_download **ret,
                                struct store_object *ret_object, struct err *err)
{
	if (get->has_range && get->first > INT64_MAX)
		return err_set(err, ERR_INVALID, 0, "GetObject: no object reaches byte %llu", (unsigned long long)get->first);
	struct s3_download *download = xcalloc(1, sizeof *download);
	download->base.ops = store->ops;
	struct store_object object = {0};
	enum err_code code = get->has_range && get->length == 0 ? open_nothing(s3_of(store), get, &object, err)
	                                                        : open_object(s3_of(store), get, download, &object, err);
	if (code != ERR_OK) {
		s3_download_end(&download->base);
		return code;
	}
	download->left = download->promised;
	remember(download, s3_of(store), get);
	*ret_object = object;
	*ret = &download->base;
	return ERR_OK;
}

/* A body that ends or breaks off is a short object to whoever reads it. A stall is not: nothing is known then. */
static enum err_code fail_short(const struct s3_download *download, enum err_code code, const struct err *why,
                                struct err *err)
{
	if (code != ERR_OK && (code != ERR_UNAVAILABLE || why->native == CURLE_OPERATION_TIMEDOUT))
		return err_set(err, code, why->native, "GetObject: %s", why->text);
	return err_set(err, ERR_CORRUPT, why->native, "GetObject: %llu bytes came instead of %llu%s%s",
	               (unsigned long long)(download->promised - download->left), (unsigned long long)download->promised,
	               why->text[0] ? ": " : "", why->text);
}

/* Asks for the rest of the same object: If-Match, so that it is no other that has come in its place. */
static bool resume(struct s3_download *download)
{
	if (!download->etag || download->resumed == RESUMES_MAX)
		return false;
	download->resumed++;
	const struct store_get rest = {
	    .has_range = true, .first = download->end - download->left, .length = download->left};
	char range[64] = "";
	range_text(&rest, range);
	const struct sigv4_pair version = {"versionId", download->version_id};
	const struct sigv4_pair headers[] = {{"range", range}, {"if-match", download->etag}};
	const struct s3_call call = {.operation = "GetObject",
	                             .method = "GET",
	                             .key = download->key,
	                             .query = &version,
	                             .n_query = download->version_id ? 1 : 0,
	                             .headers = headers,
	                             .n_headers = 2,
	                             .cancel = download->cancel,
	                             .stream = true};
	struct s3_reply reply = {0};
	bool good = s3_send(download->store, &call, &reply, NULL) == ERR_OK && is_range(reply.exchange, &rest, rest.length);
	const char *etag = good ? http_header(reply.exchange, "etag") : NULL;
	if (!etag || strcmp(etag, download->etag) != 0) {
		s3_reply_done(&reply);
		return false;
	}
	s3_reply_done(&download->reply);
	download->reply = reply;
	return true;
}

/* Reads at least a byte, over a new connection when the old one broke. */
static enum err_code read_some(struct s3_download *download, uint8_t *out, size_t len, size_t *ret_len, struct err *err)
{
	for (;;) {
		struct err why = {0};
		enum err_code code = http_read(download->reply.exchange, out, len, ret_len, &why);
		if (code == ERR_OK && *ret_len > 0)
			return ERR_OK;
		bool broken = code == ERR_OK || code == ERR_UNAVAILABLE;
		if (broken && resume(download))
			continue;
		const struct wait wait = {download->cancel, download->store->clock};
		enum err_code given_up = wait_check(&wait, err);
		return given_up != ERR_OK ? given_up : fail_short(download, code, &why, err);
	}
}

/* After the last byte libcurl has to see the end of the exchange, or the connection is not kept. */
static void finish(struct s3_download *download)
{
	uint8_t none;
	size_t len;
	enum err_code ignored = http_read(download->reply.exchange, &none, 1, &len, NULL);
	(void)ignored;
}

enum err_code s3_download_read(struct store_download *base, uint8_t *out, size_t len, size_t *ret_len, struct err *err)
{
	struct s3_download *download = (struct s3_download *)base;
	*ret_len = 0;
	if (len > download->left)
		len = (size_t)download->left;
	if (len == 0)
		return ERR_OK;
	enum err_code code = read_some(download, out, len, ret_len, err);
	if (code != ERR_OK)
		return code;
	if (download->hash)
		EVP_DigestUpdate(download->hash, out, *ret_len);
	download->left -= *ret_len;
	if (download->left > 0)
		return ERR_OK;
	finish(download);
	code = download->hash ? checksum_end(download, err) : ERR_OK;
	if (code != ERR_OK)
		*ret_len = 0; /* the end is not handed out */
	return code;
}

void s3_download_end(struct store_download *base)
{
	struct s3_download *download = (struct s3_download *)base;
	s3_reply_done(&download->reply);
	EVP_MD_CTX_free(download->hash);
	free(download->key);
	free(download->version_id);
	free(download->etag);
	free(download);
}
