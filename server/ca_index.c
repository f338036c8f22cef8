#include "server/ca_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/text.h"

#define INDEX_MAX ((size_t)256 << 20)
#define FIELDS    6
#define TIME_MAX  20

void ca_serial_format(const uint8_t serial[IDENTITY_SERIAL_BYTES], char *out)
{
	for (size_t i = 0; i < IDENTITY_SERIAL_BYTES; i++, out += 2)
		snprintf(out, 3, "%02X", serial[i]);
}

static void format_time(int64_t ms, char out[TIME_MAX])
{
	const time_t seconds = (time_t)(ms / 1000);
	struct tm tm;
	gmtime_r(&seconds, &tm);
	strftime(out, TIME_MAX, "%Y%m%d%H%M%SZ", &tm);
}

static bool parse_time(const char *text, size_t len, int64_t *ret_ms)
{
	struct tm tm = {0};
	autofree char *copy = xstrndup(text, len);
	const char *end = strptime(copy, len == 13 ? "%y%m%d%H%M%SZ" : "%Y%m%d%H%M%SZ", &tm);
	if (!end || *end || (len != 13 && len != 15))
		return false;
	*ret_ms = (int64_t)timegm(&tm) * 1000;
	return true;
}

static bool parse_revocation(const char *text, struct ca_issued *entry)
{
	const size_t len = strcspn(text, ",");
	entry->why = xstrdup(text[len] ? text + len + 1 : "");
	return text[0] == '\0' || parse_time(text, len, &entry->revoked_ms);
}

static bool parse_line(char *line, struct ca_issued *entry)
{
	char *fields[FIELDS];
	uint8_t serial[IDENTITY_SERIAL_BYTES];
	*entry = (struct ca_issued){0};
	for (size_t i = 0; i < FIELDS; i++)
		if (!(fields[i] = strsep(&line, "\t")))
			return false;
	if (line || !text_unhex(fields[3], serial, sizeof serial) || strncmp(fields[5], "/CN=", 4) != 0 ||
	    !parse_time(fields[1], strlen(fields[1]), &entry->expires_ms) || !parse_revocation(fields[2], entry))
		return false;
	ca_serial_format(serial, entry->serial);
	entry->identity = xstrdup(fields[5] + 4);
	return strcmp(fields[0], entry->revoked_ms ? "R" : "V") == 0 || (!entry->revoked_ms && strcmp(fields[0], "E") == 0);
}

static void entry_done(struct ca_issued *entry)
{
	free(entry->identity);
	free(entry->why);
}

static void append(struct ca_index *index, const struct ca_issued *entry)
{
	if ((index->n & (index->n - 1)) == 0) {
		struct ca_issued *more = xcalloc(index->n ? 2 * index->n : 1, sizeof *more);
		if (index->n)
			memcpy(more, index->entries, index->n * sizeof *more);
		free(index->entries);
		index->entries = more;
	}
	index->entries[index->n++] = *entry;
}

void ca_index_add(struct ca_index *index, const struct ca_issued *entry)
{
	struct ca_issued copy = *entry;
	copy.identity = xstrdup(entry->identity);
	copy.why = xstrdup(entry->why);
	append(index, &copy);
}

enum err_code ca_index_read(const char *path, struct ca_index *ret, struct err *err)
{
	autobuf struct buf text = {.max = INDEX_MAX + 1};
	enum err_code code = text_read_file(path, INDEX_MAX, &text, err);
	unsigned number = 0;
	char *rest = code == ERR_OK ? (char *)buf_cstr(&text) : NULL;
	*ret = (struct ca_index){0};
	for (char *line; code == ERR_OK && (line = strsep(&rest, "\n"));) {
		struct ca_issued entry;
		number++;
		if (!*line)
			continue;
		if (parse_line(line, &entry)) {
			append(ret, &entry);
		} else {
			entry_done(&entry);
			code =
			    err_set(err, ERR_CORRUPT, 0, "%s:%u: not a line of an index as openssl-ca(1) keeps it", path, number);
		}
	}
	if (code != ERR_OK)
		ca_index_done(ret);
	return code;
}

void ca_index_done(struct ca_index *index)
{
	for (size_t i = 0; i < index->n; i++)
		entry_done(&index->entries[i]);
	free(index->entries);
	*index = (struct ca_index){0};
}

enum err_code ca_index_write(const char *path, const struct ca_index *index, struct err *err)
{
	autobuf struct buf text = {.max = INDEX_MAX};
	for (size_t i = 0; i < index->n; i++) {
		const struct ca_issued *entry = &index->entries[i];
		char expires[TIME_MAX], revoked[TIME_MAX] = "";
		format_time(entry->expires_ms, expires);
		if (entry->revoked_ms)
			format_time(entry->revoked_ms, revoked);
		buf_printf(&text, "%s\t%s\t%s%s%s\t%s\tunknown\t/CN=%s\n", entry->revoked_ms ? "R" : "V", expires, revoked,
		           entry->why[0] ? "," : "", entry->why, entry->serial, entry->identity);
	}
	if (text.failed)
		return err_set(err, ERR_EXHAUSTED, 0, "%s would be too large", path);
	return text_write_file(path, buf_span(&text), 0644, err);
}
