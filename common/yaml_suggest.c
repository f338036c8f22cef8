#include "common/yaml_internal.h"

#define WORD_MAX  40 /* longer words get no suggestion */
#define QUOTE_MAX 40 /* bytes of a file's text that an error repeats */

void yaml_quote(struct span text, struct buf *out)
{
	size_t len = text.len < QUOTE_MAX ? text.len : QUOTE_MAX;
	while (len > 0 && len < text.len && (text.ptr[len] & 0xc0) == 0x80)
		len--; /* not in the middle of a character */
	buf_append_byte(out, '"');
	for (size_t i = 0; i < len; i++)
		buf_append_byte(out, text.ptr[i] < 0x20 || text.ptr[i] == 0x7f ? '?' : text.ptr[i]);
	buf_append_str(out, len < text.len ? "...\"" : "\"");
}

static size_t least(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;
	return ab < c ? ab : c;
}

/* Optimal string alignment: letters added, left out, exchanged, or two neighbours swapped. */
static size_t distance(const uint8_t *a, size_t a_len, const char *b, size_t b_len)
{
	size_t rows[3][WORD_MAX + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2];
	for (size_t j = 0; j <= b_len; j++)
		above[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t exchange = a[i - 1] != (uint8_t)b[j - 1];
			row[j] = least(above[j] + 1, row[j - 1] + 1, above[j - 1] + exchange);
			bool swapped = i > 1 && j > 1 && a[i - 1] == (uint8_t)b[j - 2] && a[i - 2] == (uint8_t)b[j - 1];
			if (swapped && before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		size_t *oldest = before;
		before = above;
		above = row;
		row = oldest;
	}
	return above[b_len];
}

const char *yaml_nearest(struct span word, const char *const *names, size_t n)
{
	const char *best = NULL;
	size_t best_distance = (word.len + 2) / 3 + 1;
	if (word.len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(names[i]);
		size_t d = len > WORD_MAX ? SIZE_MAX : distance(word.ptr, word.len, names[i], len);
		if (d < best_distance && d < len) {
			best = names[i];
			best_distance = d;
		}
	}
	return best;
}

void yaml_suggest(struct span word, const char *const *names, size_t n, struct buf *out)
{
	const char *near = yaml_nearest(word, names, n);
	if (near) {
		buf_printf(out, "; did you mean \"%s\"?", near);
		return;
	}
	for (size_t i = 0; i < n; i++)
		buf_printf(out, "%s%s", i ? ", " : "; known: ", names[i]);
}
