#include <inttypes.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/yaml_internal.h"

#define NAMES_MAX 64
#define VALUE_MAX 64 /* bytes of a number, a name or a time */

static void describe_range(const struct yaml_field *field, const char *what, struct buf *out)
{
	buf_append_str(out, what);
	if (field->max)
		buf_printf(out, " from %" PRIu64 " to %" PRIu64, field->min, field->max);
	else if (field->min)
		buf_printf(out, " from %" PRIu64 " up", field->min);
}

static void describe_names(const struct yaml_field *field, struct buf *out)
{
	for (const struct yaml_name *name = field->names; name->name; name++)
		buf_printf(out, "%s%s", name == field->names ? "one of " : ", ", name->name);
}

void yaml_describe(const struct yaml_field *field, struct buf *out)
{
	static const char *const words[] = {
	    [YAML_STRING] = "text",
	    [YAML_BOOL] = "true or false",
	    [YAML_TIME] = "a time such as 2026-11-21T18:20:00Z, or a date",
	    [YAML_STRINGS] = "a list of texts, or one text",
	    [YAML_MAP] = "a group of indented `key: value` lines",
	    [YAML_LIST] = "a list of groups of `key: value` lines, each starting with `- `",
	};
	if (field->hint)
		buf_append_str(out, field->hint);
	else if (field->kind == YAML_UINT)
		describe_range(field, "a number", out);
	else if (field->kind == YAML_ENUM)
		describe_names(field, out);
	else
		buf_append_str(out, words[field->kind]);
}

/* Decimal without a leading zero (octal to some readers), then perhaps a unit. */
static bool parse_uint(const char *text, uint64_t *ret)
{
	static const struct {
		const char *unit;
		unsigned shift;
	} units[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};

	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 19 || (digits > 1 && text[0] == '0'))
		return false;
	uint64_t value = strtoull(text, NULL, 10);
	const char *unit = text + digits;
	unit += *unit == ' ';
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (strcmp(unit, units[i].unit) != 0)
			continue;
		*ret = value << units[i].shift;
		return *ret >> units[i].shift == value;
	}
	return false;
}

static bool bind_uint(const struct yaml_field *field, const char *text, void *slot)
{
	uint64_t value;
	if (!parse_uint(text, &value) || value < field->min || (field->max && value > field->max))
		return false;
	memcpy(slot, &value, sizeof value);
	return true;
}

static bool bind_bool(const struct yaml_field *field, const char *text, void *slot)
{
	(void)field;
	bool value = strcmp(text, "true") == 0;
	if (!value && strcmp(text, "false") != 0)
		return false;
	memcpy(slot, &value, sizeof value);
	return true;
}

static bool bind_enum(const struct yaml_field *field, const char *text, void *slot)
{
	for (const struct yaml_name *name = field->names; name->name; name++) {
		if (strcmp(name->name, text) != 0)
			continue;
		memcpy(slot, &name->value, sizeof name->value);
		return true;
	}
	return false;
}

static bool bind_time(const struct yaml_field *field, const char *text, void *slot)
{
	(void)field;
	int64_t ms;
	if (!clock_parse(text, &ms))
		return false;
	memcpy(slot, &ms, sizeof ms);
	return true;
}

static bool bind_string(const struct yaml_scalar *scalar, char **slot, struct buf *why)
{
	if (memchr(scalar->text.ptr, 0, scalar->text.len)) {
		buf_append_str(why, "must not contain a NUL character");
		return false;
	}
	free(*slot);
	*slot = xstrndup((const char *)scalar->text.ptr, scalar->text.len);
	return true;
}

static void suggest_name(const struct yaml_field *field, struct span word, struct buf *why)
{
	const char *names[NAMES_MAX];
	size_t n = 0;
	for (const struct yaml_name *name = field->names; name->name && n < NAMES_MAX; name++)
		names[n++] = name->name;
	yaml_suggest(word, names, n, why);
}

static bool is_null(const struct yaml_scalar *scalar)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
	for (size_t i = 0; scalar->plain && i < sizeof nulls / sizeof nulls[0]; i++)
		if (span_eq(scalar->text, span_str(nulls[i])))
			return true;
	return false;
}

bool yaml_scalar_bind(const struct yaml_field *field, const struct yaml_scalar *scalar, void *slot, struct buf *why)
{
	static bool (*const binders[])(const struct yaml_field *, const char *, void *) = {
	    [YAML_BOOL] = bind_bool, [YAML_UINT] = bind_uint, [YAML_ENUM] = bind_enum, [YAML_TIME] = bind_time};

	if (is_null(scalar)) {
		buf_append_str(why, "has no value; it must be ");
		yaml_describe(field, why);
		return false;
	}
	if (field->kind == YAML_STRING)
		return bind_string(scalar, slot, why);

	char text[VALUE_MAX];
	bool quoted_number = !scalar->plain && (field->kind == YAML_UINT || field->kind == YAML_BOOL);
	bool usable = scalar->text.len < sizeof text && !memchr(scalar->text.ptr, 0, scalar->text.len) && !quoted_number;
	if (usable) {
		memcpy(text, scalar->text.ptr, scalar->text.len);
		text[scalar->text.len] = '\0';
		if (binders[field->kind](field, text, slot))
			return true;
	}
	buf_append_str(why, "must be ");
	yaml_describe(field, why);
	buf_append_str(why, quoted_number ? ", without quotes, not " : ", not ");
	yaml_quote(scalar->text, why);
	if (field->kind == YAML_ENUM)
		suggest_name(field, scalar->text, why);
	return false;
}
