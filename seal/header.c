/* The header: what stands beside a sealed object as metadata. It is the bucket's word until the tag, the commitment and
 * the segments have been checked. */
#include <stdio.h>

#include "common/text.h"
#include "seal/internal.h"

static bool lower_hex(const char *text, size_t least, size_t most)
{
	size_t len = strlen(text);
	return len >= least && len <= most && strspn(text, "0123456789abcdef") == len;
}

static bool is_format(const char *text)
{
	return strcmp(text, SEAL_FORMAT) == 0;
}

static bool is_object_id(const char *text)
{
	return lower_hex(text, 2 * SEAL_OBJECT_ID_BYTES, 2 * SEAL_OBJECT_ID_BYTES);
}

static bool is_kek(const char *text)
{
	return lower_hex(text, 1, 64);
}

static bool is_wrapped(const char *text)
{
	autobuf struct buf bytes = {.max = 128};
	return strlen(text) == SEAL_WRAPPED_BYTES / 3 * 4 && text_unbase64(span_str(text), &bytes) &&
	       bytes.len == SEAL_WRAPPED_BYTES;
}

static bool is_commitment(const char *text)
{
	return lower_hex(text, 2 * SEAL_COMMITMENT_BYTES, 2 * SEAL_COMMITMENT_BYTES);
}

static const struct {
	const char *name;
	size_t offset, size;
	bool (*holds)(const char *text);
} fields[] = {
#define FIELD(name, member, holds)                                                                                     \
	{                                                                                                                  \
		name, offsetof(struct seal_header, member), sizeof((struct seal_header *)0)->member, holds                     \
	}
    FIELD(SEAL_META_FORMAT, format, is_format),
    FIELD(SEAL_META_OBJECT_ID, object_id, is_object_id),
    FIELD(SEAL_META_KEK, kek_id, is_kek),
    FIELD(SEAL_META_WRAPPED, wrapped, is_wrapped),
    FIELD(SEAL_META_COMMITMENT, commitment, is_commitment),
#undef FIELD
};

enum err_code seal_header_read(const char *(*lookup)(void *user, const char *name), void *user, struct seal_header *ret,
                               struct err *err)
{
	struct seal_header header = {0};
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
		const char *value = lookup(user, fields[i].name);
		if (!value)
			return err_set(err, ERR_CORRUPT, 0, "the object has no metadata \"%s\"", fields[i].name);
		if (strlen(value) >= fields[i].size || !fields[i].holds(value))
			return err_set(err, ERR_CORRUPT, 0, "the object's metadata \"%s\" is not of its form", fields[i].name);
		memcpy((char *)&header + fields[i].offset, value, strlen(value) + 1);
	}
	*ret = header;
	return ERR_OK;
}
