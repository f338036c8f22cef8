/* ListMultipartUploadsResult */
#include <stdlib.h>

#include "common/clock.h"
#include "s3client/s3_xml.h"
#include "s3client/xml.h"

#define ENTRIES_MAX 10000 /* S3 sends 1,000 a page */

struct walk {
	struct s3_upload_page page;
	struct s3_open_upload entry; /* the <Upload> that is open */
	bool is_list, truncated, url_encoded;
};

static void entry_done(struct s3_open_upload *entry)
{
	free(entry->key);
	free(entry->upload_id);
	free(entry->initiator);
	*entry = (struct s3_open_upload){0};
}

void s3_upload_page_done(struct s3_upload_page *page)
{
	for (size_t i = 0; i < page->n; i++)
		entry_done(&page->entries[i]);
	free(page->entries);
	free(page->next_key);
	free(page->next_upload_id);
	*page = (struct s3_upload_page){0};
}

static bool push(struct walk *walk)
{
	struct s3_upload_page *page = &walk->page;
	if (!walk->entry.key || !walk->entry.upload_id || page->n == ENTRIES_MAX)
		return false;
	if (page->n == page->cap) {
		size_t cap = page->cap ? page->cap * 2 : 64;
		struct s3_open_upload *entries = xcalloc(cap, sizeof entries[0]);
		if (page->n > 0)
			memcpy(entries, page->entries, page->n * sizeof entries[0]);
		free(page->entries);
		page->entries = entries;
		page->cap = cap;
	}
	if (!walk->entry.initiator)
		walk->entry.initiator = xstrdup("");
	page->entries[page->n++] = walk->entry;
	walk->entry = (struct s3_open_upload){0};
	return true;
}

static bool set_once(char **field, const char *text)
{
	if (*field)
		return false;
	*field = xstrdup(text);
	return true;
}

static bool on_element(const char *path, const char *text, void *user)
{
	struct walk *walk = user;
	const struct {
		const char *path;
		char **field;
	} texts[] = {{"ListMultipartUploadsResult/Upload/Key", &walk->entry.key},
	             {"ListMultipartUploadsResult/Upload/UploadId", &walk->entry.upload_id},
	             {"ListMultipartUploadsResult/Upload/Initiator/ID", &walk->entry.initiator},
	             {"ListMultipartUploadsResult/NextKeyMarker", &walk->page.next_key},
	             {"ListMultipartUploadsResult/NextUploadIdMarker", &walk->page.next_upload_id}};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		if (strcmp(path, texts[i].path) == 0)
			return set_once(texts[i].field, text);
	}
	if (strcmp(path, "ListMultipartUploadsResult/Upload/Initiated") == 0)
		return clock_parse(text, &walk->entry.initiated_ms);
	if (strcmp(path, "ListMultipartUploadsResult/Upload/ChecksumAlgorithm") == 0)
		walk->entry.sha256 = strcmp(text, "SHA256") == 0;
	else if (strcmp(path, "ListMultipartUploadsResult/Upload") == 0)
		return push(walk);
	else if (strcmp(path, "ListMultipartUploadsResult/IsTruncated") == 0)
		walk->truncated = strcmp(text, "true") == 0;
	else if (strcmp(path, "ListMultipartUploadsResult/EncodingType") == 0)
		walk->url_encoded = strcmp(text, "url") == 0;
	else if (strcmp(path, "ListMultipartUploadsResult") == 0)
		walk->is_list = true;
	return true;
}

static enum err_code finish(struct walk *walk, struct err *err)
{
	struct s3_upload_page *page = &walk->page;
	if (!walk->is_list)
		return err_set(err, ERR_CORRUPT, 0, "the answer is no list of uploads");
	bool decoded = true;
	for (size_t i = 0; walk->url_encoded && i < page->n; i++)
		decoded = s3_url_decode(page->entries[i].key) && decoded;
	if (walk->url_encoded && page->next_key)
		decoded = s3_url_decode(page->next_key) && decoded;
	if (!decoded)
		return err_set(err, ERR_CORRUPT, 0, "the list holds a key that cannot be decoded");
	if (walk->truncated && (!page->next_key || !page->next_upload_id))
		return err_set(err, ERR_CORRUPT, 0, "the list is cut off and says not how to go on");
	if (!walk->truncated) {
		free(page->next_key);
		free(page->next_upload_id);
		page->next_key = page->next_upload_id = NULL;
	}
	return ERR_OK;
}

enum err_code s3_xml_uploads(struct span document, struct s3_upload_page *ret, struct err *err)
{
	struct walk walk = {0};
	enum err_code code = xml_walk(document, on_element, &walk, err);
	if (code == ERR_OK)
		code = finish(&walk, err);
	entry_done(&walk.entry);
	if (code != ERR_OK)
		s3_upload_page_done(&walk.page);
	*ret = walk.page;
	return code;
}
