/* Private to common/: what the parts of the YAML binder share. */
#ifndef TWOKEY_COMMON_YAML_INTERNAL_H
#define TWOKEY_COMMON_YAML_INTERNAL_H

#include "common/yaml.h"

/* One scalar of the document. Borrowed from the parser. */
struct yaml_scalar {
	struct span text;
	bool plain; /* written without quotes */
	struct yaml_mark mark;
};

/* What a field takes, in words: `a number from 1 to 1024`. */
void yaml_describe(const struct yaml_field *field, struct buf *out);
/* Converts a scalar into the field's member at `slot`, freeing what was there. False when it does not fit: *why then
 * holds the rest of the sentence `"port" ...`. */
bool yaml_scalar_bind(const struct yaml_field *field, const struct yaml_scalar *scalar, void *slot, struct buf *why);
/* Appends the text in double quotes, made printable and cut when long. */
void yaml_quote(struct span text, struct buf *out);
/* Appends `; did you mean "listen"?`, or else `; known: listen, ...`. */
void yaml_suggest(struct span word, const char *const *names, size_t n, struct buf *out);

#endif
