/* YAML files bound to C structs by tables: unknown keys, repeated keys, wrong types and missing values are errors with
 * file, line and column, and say what would be right. Anchors, aliases and tags are refused: a configuration has one
 * reading. Thread-safe.
 *
 *	static const struct yaml_field fields[] = {
 *		YAML_FIELD(struct conf, listen, YAML_STRING, .required = true),
 *		YAML_FIELD(struct conf, buckets, YAML_LIST, .item = &bucket_type),
 *		{0},
 *	};
 */
#ifndef TWOKEY_COMMON_YAML_H
#define TWOKEY_COMMON_YAML_H

#include "common/err.h"
#include "common/span.h"

struct yaml_type;

/* Where a value stood, for errors found later. 1-based. */
struct yaml_mark {
	unsigned line;
	unsigned column;
};

enum yaml_kind {
	YAML_STRING,  /* char *, owned */
	YAML_BOOL,    /* bool */
	YAML_UINT,    /* uint64_t within .min .. .max (max 0: no limit); sizes may end in KiB, MiB, GiB */
	YAML_ENUM,    /* int, from .names */
	YAML_TIME,    /* int64_t, milliseconds since 1970, from RFC 3339 */
	YAML_STRINGS, /* struct yaml_strings: a list of strings, or one string; .min .. .max of them (max 0: no limit) */
	YAML_MAP,     /* an embedded struct described by .item */
	YAML_LIST,    /* struct yaml_list of structs described by .item; .min .. .max of them (max 0: no limit) */
};

struct yaml_strings {
	char **items; /* owned */
	struct yaml_mark *marks;
	size_t n;
};

struct yaml_list {
	void *items; /* owned array of .item->size structs */
	size_t n;
};

struct yaml_name {
	const char *name; /* NULL ends the list */
	int value;
};

struct yaml_field {
	const char *name; /* key in the file; NULL ends the table */
	enum yaml_kind kind;
	size_t offset;
	bool required;
	uint64_t min, max;
	const struct yaml_name *names;
	const struct yaml_type *item;
	const char *hint; /* "an absolute path": what would be right, shown in errors */
};

#define YAML_FIELD(type, member, kind_, ...)                                                                           \
	{                                                                                                                  \
		.name = #member, .kind = (kind_), .offset = offsetof(type, member), __VA_ARGS__                                \
	}

struct yaml_type {
	size_t size;
	const struct yaml_field *fields;
	size_t mark_offset; /* of a struct yaml_mark in the struct that gets the position; 0: none */
};

/* Fills *out (already zeroed, or holding defaults) from the text of one document. On failure *out is left half-filled:
 * call yaml_free in both cases. `name` is the file's name for errors. ERR_INVALID with "name:line:column: ..."
 * otherwise. */
must_check enum err_code yaml_parse(const char *name, struct span text, const struct yaml_type *type, void *out,
                                    struct err *err);
/* Reads a file of at most 4 MiB and parses it. */
must_check enum err_code yaml_load(const char *path, const struct yaml_type *type, void *out, struct err *err);
/* Frees everything that the table owns inside *out, and zeroes it. The linker sees another name: libyaml exports a
 * yaml_free of its own, calls it through the symbol table, and would get ours. */
void yaml_free(const struct yaml_type *type, void *out) __asm__("twokey_yaml_free");

/* The name that is nearest to the word, when it is near enough to have been meant; else NULL. */
const char *yaml_nearest(struct span word, const char *const *names, size_t n);

#endif
