#include "s3client/s3_xml.h"

#include <ctype.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/text.h"
#include "s3client/store.h"
#include "s3client/xml.h"

#define KEY_BYTES_MAX       1024
#define UPLOAD_ID_BYTES_MAX 2048
#define ETAG_BYTES_MAX      256

/* ---- <Error> ---- */

bool s3_copy_word(const char *text, char *out, size_t size)
{
	size_t len = strlen(text);
	if (len == 0 || len >= size)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)text[i]) && text[i] != '.' && text[i] != '-')
			return false;
	}
	memcpy(out, text, len + 1);
	return true;
}

static bool on_error_element(const char *path, const char *text, void *user)
{
	struct s3_error *error = user;
	if (strcmp(path, "Error/Code") == 0)
		s3_copy_word(text, error->code, sizeof error->code);
	else if (strcmp(path, "Error/Region") == 0)
		s3_copy_word(text, error->region, sizeof error->region);
	return true;
}

bool s3_xml_error(struct span document, struct s3_error *ret)
{
	*ret = (struct s3_error){0};
	if (xml_walk(document, on_error_element, ret, NULL) != ERR_OK)
		*ret = (struct s3_error){0};
	return ret->code[0] != 0;
}

/* ---- ListBucketResult ---- */

struct list_walk {
	struct s3_list_page page;
	struct s3_list_entry entry; /* the <Contents> that is open */
	bool is_list, truncated, url_encoded;
};

static bool push_entry(struct list_walk *walk)
{
	if (!walk->entry.key)
		return false;
	struct s3_list_page *page = &walk->page;
	if (page->n == page->cap) {
		size_t cap = page->cap ? page->cap * 2 : 256;
		struct s3_list_entry *entries = xcalloc(cap, sizeof entries[0]);
		if (page->n > 0)
			memcpy(entries, page->entries, page->n * sizeof entries[0]);
		free(page->entries);
		page->entries = entries;
		page->cap = cap;
	}
	page->entries[page->n++] = walk->entry;
	walk->entry = (struct s3_list_entry){0};
	return true;
}

static bool set_once(char **field, const char *text)
{
	if (*field)
		return false;
	*field = xstrdup(text);
	return true;
}

static bool set_modified(struct s3_list_entry *entry, const char *text)
{
	return clock_parse(text, &entry->modified_ms);
}

static bool on_list_element(const char *path, const char *text, void *user)
{
	struct list_walk *walk = user;
	if (strcmp(path, "ListBucketResult/Contents/Key") == 0)
		return set_once(&walk->entry.key, text);
	if (strcmp(path, "ListBucketResult/Contents/Size") == 0)
		return store_parse_u64(text, &walk->entry.size);
	if (strcmp(path, "ListBucketResult/Contents/LastModified") == 0)
		return set_modified(&walk->entry, text);
	if (strcmp(path, "ListBucketResult/Contents") == 0)
		return push_entry(walk);
	if (strcmp(path, "ListBucketResult/NextContinuationToken") == 0)
		return set_once(&walk->page.next_token, text);
	if (strcmp(path, "ListBucketResult/IsTruncated") == 0)
		walk->truncated = strcmp(text, "true") == 0;
	else if (strcmp(path, "ListBucketResult/EncodingType") == 0)
		walk->url_encoded = strcmp(text, "url") == 0;
	else if (strcmp(path, "ListBucketResult") == 0)
		walk->is_list = true;
	return true;
}

bool s3_url_decode(char *text)
{
	char *to = text;
	for (const char *from = text; *from; from++) {
		uint8_t byte = (uint8_t)(*from == '+' ? ' ' : *from);
		if (*from == '%') {
			const char hex[3] = {from[1], from[1] ? from[2] : 0, 0};
			if (!text_unhex(hex, &byte, 1) || byte == 0)
				return false;
			from += 2;
		}
		*to++ = (char)byte;
	}
	*to = 0;
	return true;
}

static enum err_code finish_list(struct list_walk *walk, struct err *err)
{
	if (!walk->is_list)
		return err_set(err, ERR_CORRUPT, 0, "the answer is no list of objects");
	if (walk->truncated && (!walk->page.next_token || !walk->page.next_token[0]))
		return err_set(err, ERR_CORRUPT, 0, "the list is cut off and says not how to go on");
	for (size_t i = 0; i < walk->page.n; i++) {
		char *key = walk->page.entries[i].key;
		if (walk->url_encoded && !s3_url_decode(key))
			return err_set(err, ERR_CORRUPT, 0, "the list holds a key that cannot be decoded");
		if (!key[0] || strlen(key) > KEY_BYTES_MAX || !text_utf8(span_str(key)))
			return err_set(err, ERR_CORRUPT, 0, "the list holds what cannot be a key");
	}
	if (!walk->truncated) {
		free(walk->page.next_token);
		walk->page.next_token = NULL;
	}
	return ERR_OK;
}

enum err_code s3_xml_list(struct span document, struct s3_list_page *ret, struct err *err)
{
	struct list_walk walk = {0};
	enum err_code code = xml_walk(document, on_list_element, &walk, err);
	if (code == ERR_OK)
		code = finish_list(&walk, err);
	free(walk.entry.key);
	if (code != ERR_OK)
		s3_list_page_done(&walk.page);
	*ret = walk.page;
	return code;
}

void s3_list_page_done(struct s3_list_page *page)
{
	for (size_t i = 0; i < page->n; i++)
		free(page->entries[i].key);
	free(page->entries);
	free(page->next_token);
	*page = (struct s3_list_page){0};
}

/* ---- one text out of a document ---- */

struct one_text {
	const char *path;
	size_t max;
	char *value;
};

static bool on_one_text(const char *path, const char *text, void *user)
{
	struct one_text *one = user;
	if (strcmp(path, one->path) != 0)
		return true;
	return text[0] && strlen(text) <= one->max && set_once(&one->value, text);
}

static enum err_code read_one(struct span document, struct one_text *one, char **ret, struct err *err)
{
	enum err_code code = xml_walk(document, on_one_text, one, err);
	if (code == ERR_OK && !one->value)
		code = err_set(err, ERR_CORRUPT, 0, "the answer has no %s", one->path);
	if (code != ERR_OK) {
		free(one->value);
		return code;
	}
	*ret = one->value;
	return ERR_OK;
}

enum err_code s3_xml_upload_id(struct span document, char **ret, struct err *err)
{
	struct one_text one = {.path = "InitiateMultipartUploadResult/UploadId", .max = UPLOAD_ID_BYTES_MAX};
	return read_one(document, &one, ret, err);
}

enum err_code s3_xml_completed(struct span document, char **ret_etag, struct err *err)
{
	struct one_text one = {.path = "CompleteMultipartUploadResult/ETag", .max = ETAG_BYTES_MAX};
	return read_one(document, &one, ret_etag, err);
}
