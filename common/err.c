#include "common/err.h"

#include <stdio.h>
#include <string.h>

#undef err_set /* what clang's analyzer is shown */

/* Text that was cut may end within a UTF-8 character: it goes into records, which are valid UTF-8 or refused. */
static void end_at_character(char *text)
{
	size_t len = strlen(text), start = len;
	while (start > 0 && len - start < 4 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start == 0 || (unsigned char)text[start - 1] < 0xc0)
		return;
	unsigned char lead = (unsigned char)text[start - 1];
	size_t whole = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
	if (len - (start - 1) < whole)
		text[start - 1] = 0;
}

enum err_code err_set(struct err *err, enum err_code code, long native, const char *fmt, ...)
{
	if (!err)
		return code;
	err->code = code;
	err->native = native;
	va_list args;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, args);
	va_end(args);
	end_at_character(err->text);
	return code;
}

void err_prefix(struct err *err, const char *fmt, ...)
{
	if (!err)
		return;
	char prefix[sizeof err->text];
	va_list args;
	va_start(args, fmt);
	int used = vsnprintf(prefix, sizeof prefix, fmt, args);
	va_end(args);
	if (used < 0 || (size_t)used + 2 >= sizeof prefix)
		return;
	snprintf(prefix + used, sizeof prefix - (size_t)used, ": %.*s", (int)(sizeof prefix - (size_t)used - 3), err->text);
	memcpy(err->text, prefix, sizeof prefix);
	end_at_character(err->text);
}

static const struct {
	enum err_code code;
	const char *name, *text;
} codes[] = {
#define X(name, grpc, text) {ERR_##name, #name, text},
    ERR_CODES(X)
#undef X
};

#define N_CODES (sizeof codes / sizeof codes[0])

const char *err_name(enum err_code code)
{
	for (size_t i = 0; i < N_CODES; i++)
		if (codes[i].code == code)
			return codes[i].name;
	return "UNKNOWN";
}

const char *err_text(enum err_code code)
{
	for (size_t i = 0; i < N_CODES; i++)
		if (codes[i].code == code)
			return codes[i].text;
	return "unknown error";
}
