#include "s3client/directory_key.h"

#include "common/text.h"

static bool stands_for_itself(uint8_t c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || (c == '.' && !first);
}

static void append_encoded(struct span bytes, struct buf *out)
{
	for (size_t i = 0; i < bytes.len; i++) {
		if (stands_for_itself(bytes.ptr[i], i == 0))
			buf_append_byte(out, bytes.ptr[i]);
		else
			buf_printf(out, "%%%02x", bytes.ptr[i]);
	}
}

static void append_folder(struct span bytes, struct buf *out)
{
	if (bytes.len == 0)
		buf_append_byte(out, '%');
	append_encoded(bytes, out);
}

static void append_component(struct span bytes, bool last, struct buf *out)
{
	for (; bytes.len >= DIRECTORY_PIECE_BYTES;
	     bytes = span_of(bytes.ptr + DIRECTORY_PIECE_BYTES, bytes.len - DIRECTORY_PIECE_BYTES)) {
		append_encoded(span_of(bytes.ptr, DIRECTORY_PIECE_BYTES), out);
		buf_append_str(out, "+/");
	}
	if (last) {
		append_encoded(bytes, out);
		buf_append_byte(out, '=');
	} else {
		append_folder(bytes, out);
		buf_append_byte(out, '/');
	}
}

void directory_key_path(const char *key, struct buf *out)
{
	for (const char *slash; (slash = strchr(key, '/')); key = slash + 1)
		append_component(span_of(key, (size_t)(slash - key)), false, out);
	append_component(span_str(key), true, out);
}

static bool decode(struct span name, struct buf *out)
{
	for (size_t i = 0; i < name.len; i++) {
		uint8_t byte = name.ptr[i];
		if (byte == '%') {
			if (i + 2 >= name.len)
				return false;
			const char hex[3] = {(char)name.ptr[i + 1], (char)name.ptr[i + 2], 0};
			if (!text_unhex(hex, &byte, 1) || byte == 0 || byte == '/')
				return false;
			i += 2;
		}
		buf_append_byte(out, byte);
	}
	return true;
}

static enum directory_kind kind_of(char last)
{
	return last == '=' ? DIRECTORY_OBJECT : last == '+' ? DIRECTORY_PIECE : DIRECTORY_FOLDER;
}

enum directory_kind directory_key_name(const char *name, struct buf *out)
{
	size_t len = strlen(name);
	if (len == 0)
		return DIRECTORY_FOREIGN;
	enum directory_kind kind = kind_of(name[len - 1]);
	autobuf struct buf bytes = {0}, again = {0};
	bool nothing = strcmp(name, "%") == 0;
	if (!nothing && !decode(span_of(name, kind == DIRECTORY_FOLDER ? len : len - 1), &bytes))
		return DIRECTORY_FOREIGN;
	/* Only the one spelling that is made here counts. */
	if (kind == DIRECTORY_FOLDER)
		append_folder(buf_span(&bytes), &again);
	else
		append_encoded(buf_span(&bytes), &again);
	bool full = bytes.len == DIRECTORY_PIECE_BYTES, fits = bytes.len < DIRECTORY_PIECE_BYTES;
	if (strncmp(buf_cstr(&again), name, again.len) != 0 || !(kind == DIRECTORY_PIECE ? full : fits))
		return DIRECTORY_FOREIGN;
	if (kind == DIRECTORY_FOLDER)
		buf_append_byte(&bytes, '/');
	buf_append(out, buf_span(&bytes));
	return kind;
}
