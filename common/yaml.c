#include "common/yaml.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "common/text.h"
#include "common/yaml_internal.h"

#define FILE_MAX   ((size_t)4 << 20)
#define FIELDS_MAX 64 /* per table */

/* The document as a stream of events; `event` is the current one. */
struct reader {
	const char *name;
	struct err *err;
	yaml_parser_t parser;
	yaml_event_t event;
};

static struct yaml_mark mark_of(const yaml_mark_t *mark)
{
	return (struct yaml_mark){(unsigned)mark->line + 1, (unsigned)mark->column + 1};
}

static struct yaml_mark here(const struct reader *reader)
{
	return mark_of(&reader->event.start_mark);
}

__attribute__((format(printf, 3, 4))) static enum err_code fail(const struct reader *reader, struct yaml_mark mark,
                                                                const char *fmt, ...)
{
	char text[sizeof((struct err *)NULL)->text];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	return err_set(reader->err, ERR_INVALID, 0, "%s:%u:%u: %s", reader->name, mark.line, mark.column, text);
}

static enum err_code fail_syntax(const struct reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;
	bool unmarked = parser->error == YAML_READER_ERROR || parser->error == YAML_MEMORY_ERROR;
	const char *problem = parser->problem ? parser->problem : "out of memory";
	const char *hint =
	    strstr(problem, "cannot start any token") ? " (indent with spaces; quote text with @, % or `)" : "";
	return fail(reader, mark_of(unmarked ? &parser->mark : &parser->problem_mark), "not YAML: %s%s", problem, hint);
}

/* What gives a document a second reading, or a small file a large one. */
static const char *refused_feature(const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_ALIAS_EVENT:
		return "aliases (*name) are not allowed: write the value out";
	case YAML_SCALAR_EVENT:
		return event->data.scalar.anchor ? "anchors (&name) are not allowed"
		       : event->data.scalar.tag  ? "tags (!name) are not allowed"
		                                 : NULL;
	case YAML_SEQUENCE_START_EVENT:
		return event->data.sequence_start.anchor ? "anchors (&name) are not allowed"
		       : event->data.sequence_start.tag  ? "tags (!name) are not allowed"
		                                         : NULL;
	case YAML_MAPPING_START_EVENT:
		return event->data.mapping_start.anchor ? "anchors (&name) are not allowed"
		       : event->data.mapping_start.tag  ? "tags (!name) are not allowed"
		                                        : NULL;
	default:
		return NULL;
	}
}

static enum err_code next(struct reader *reader)
{
	yaml_event_delete(&reader->event);
	if (!yaml_parser_parse(&reader->parser, &reader->event))
		return fail_syntax(reader);
	const char *refused = refused_feature(&reader->event);
	return refused ? fail(reader, here(reader), "%s", refused) : ERR_OK;
}

static struct yaml_scalar scalar_of(const struct reader *reader)
{
	const yaml_event_t *event = &reader->event;
	return (struct yaml_scalar){
	    .text = span_of(event->data.scalar.value, event->data.scalar.length),
	    .plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE,
	    .mark = here(reader),
	};
}

static enum err_code fail_kind(const struct reader *reader, const struct yaml_field *field)
{
	autobuf struct buf wanted = {0};
	yaml_describe(field, &wanted);
	return fail(reader, here(reader), "\"%s\" must be %s", field->name, buf_cstr(&wanted));
}

static enum err_code bind_scalar(struct reader *reader, const struct yaml_field *field, void *slot)
{
	if (reader->event.type != YAML_SCALAR_EVENT)
		return fail_kind(reader, field);
	struct yaml_scalar scalar = scalar_of(reader);
	autobuf struct buf why = {0};
	if (!yaml_scalar_bind(field, &scalar, slot, &why))
		return fail(reader, scalar.mark, "\"%s\" %s", field->name, buf_cstr(&why));
	return ERR_OK;
}

/* Room for one more zeroed element at the end of *array. */
static void *grow(void **array, size_t n, size_t size)
{
	bool full = n == 0 || (n >= 4 && (n & (n - 1)) == 0);
	if (full) {
		char *larger = xcalloc(n < 4 ? 4 : 2 * n, size);
		if (n > 0)
			memcpy(larger, *array, n * size);
		free(*array);
		*array = larger;
	}
	return (char *)*array + n * size;
}

static void free_strings(struct yaml_strings *strings)
{
	for (size_t i = 0; i < strings->n; i++)
		free(strings->items[i]);
	free(strings->items);
	free(strings->marks);
	*strings = (struct yaml_strings){0};
}

static void free_list(const struct yaml_type *item, struct yaml_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		yaml_free(item, (char *)list->items + i * item->size);
	free(list->items);
	*list = (struct yaml_list){0};
}

/* Frees what one field owns and leaves it empty. */
static void free_value(const struct yaml_field *field, void *slot)
{
	switch (field->kind) {
	case YAML_STRING:
		free(*(char **)slot);
		*(char **)slot = NULL;
		break;
	case YAML_STRINGS:
		free_strings(slot);
		break;
	case YAML_LIST:
		free_list(field->item, slot);
		break;
	case YAML_MAP:
		yaml_free(field->item, slot);
		break;
	default:
		break;
	}
}

static enum err_code add_string(struct reader *reader, const struct yaml_field *field, struct yaml_strings *strings)
{
	const struct yaml_field item = {.name = field->name, .kind = YAML_STRING, .hint = field->hint};
	char *text = NULL;
	struct yaml_mark mark = here(reader);
	if (reader->event.type != YAML_SCALAR_EVENT)
		return fail_kind(reader, field);
	enum err_code code = bind_scalar(reader, &item, &text);
	if (code != ERR_OK)
		return code;
	void *items = strings->items, *marks = strings->marks;
	*(char **)grow(&items, strings->n, sizeof text) = text;
	*(struct yaml_mark *)grow(&marks, strings->n, sizeof mark) = mark;
	strings->items = items;
	strings->marks = marks;
	strings->n++;
	return ERR_OK;
}

static enum err_code bind_map(struct reader *reader, const struct yaml_type *type, void *out);

static enum err_code add_struct(struct reader *reader, const struct yaml_field *field, struct yaml_list *list)
{
	if (reader->event.type != YAML_MAPPING_START_EVENT)
		return fail_kind(reader, field);
	void *item = grow(&list->items, list->n, field->item->size);
	list->n++; /* yaml_free sees the half-filled one as well */
	return bind_map(reader, field->item, item);
}

static enum err_code check_count(const struct reader *reader, const struct yaml_field *field, struct yaml_mark mark,
                                 size_t n)
{
	if (n < field->min)
		return fail(reader, mark, "\"%s\" needs at least %u %s", field->name, (unsigned)field->min,
		            field->min == 1 ? "entry" : "entries");
	if (field->max && n > field->max)
		return fail(reader, mark, "\"%s\" has %zu entries, more than %u", field->name, n, (unsigned)field->max);
	return ERR_OK;
}

static enum err_code bind_sequence(struct reader *reader, const struct yaml_field *field, void *slot)
{
	struct yaml_mark mark = here(reader);
	size_t n = 0;
	for (;;) {
		enum err_code code = next(reader);
		if (code != ERR_OK)
			return code;
		if (reader->event.type == YAML_SEQUENCE_END_EVENT)
			return check_count(reader, field, mark, n);
		code = field->kind == YAML_STRINGS ? add_string(reader, field, slot) : add_struct(reader, field, slot);
		if (code != ERR_OK)
			return code;
		n++;
	}
}

static bool is_sequence(const struct reader *reader)
{
	return reader->event.type == YAML_SEQUENCE_START_EVENT;
}

/* Reads one value; its last event is the current one afterwards. */
static enum err_code bind_value(struct reader *reader, const struct yaml_field *field, void *slot)
{
	switch (field->kind) {
	case YAML_MAP:
		if (reader->event.type != YAML_MAPPING_START_EVENT)
			return fail_kind(reader, field);
		return bind_map(reader, field->item, slot);
	case YAML_LIST:
		free_value(field, slot); /* a default */
		return is_sequence(reader) ? bind_sequence(reader, field, slot) : fail_kind(reader, field);
	case YAML_STRINGS:
		free_value(field, slot);
		return is_sequence(reader) ? bind_sequence(reader, field, slot) : add_string(reader, field, slot);
	default:
		return bind_scalar(reader, field, slot);
	}
}

static enum err_code fail_unknown_key(const struct reader *reader, const struct yaml_type *type)
{
	const char *names[FIELDS_MAX];
	size_t n = 0;
	for (const struct yaml_field *field = type->fields; field->name && n < FIELDS_MAX; field++)
		names[n++] = field->name;
	struct yaml_scalar key = scalar_of(reader);
	autobuf struct buf text = {0};
	yaml_quote(key.text, &text);
	yaml_suggest(key.text, names, n, &text);
	return fail(reader, key.mark, "unknown key %s", buf_cstr(&text));
}

/* The current event is a key. `lines` remembers where each field stood. */
static enum err_code bind_entry(struct reader *reader, const struct yaml_type *type, void *out, unsigned *lines)
{
	if (reader->event.type != YAML_SCALAR_EVENT)
		return fail(reader, here(reader), "a key must be plain text");
	struct yaml_scalar key = scalar_of(reader);
	const struct yaml_field *field = type->fields;
	while (field->name && !span_eq(key.text, span_str(field->name)))
		field++;
	if (!field->name)
		return fail_unknown_key(reader, type);
	assert(field - type->fields < FIELDS_MAX);
	unsigned *line = &lines[field - type->fields];
	if (*line)
		return fail(reader, key.mark, "key \"%s\" is repeated; the first is in line %u", field->name, *line);
	*line = key.mark.line;
	enum err_code code = next(reader);
	return code == ERR_OK ? bind_value(reader, field, (char *)out + field->offset) : code;
}

static enum err_code check_required(const struct reader *reader, const struct yaml_type *type, struct yaml_mark mark,
                                    const unsigned *lines)
{
	for (const struct yaml_field *field = type->fields; field->name; field++) {
		if (!field->required || lines[field - type->fields])
			continue;
		autobuf struct buf wanted = {0};
		yaml_describe(field, &wanted);
		return fail(reader, mark, "key \"%s\" is missing; it takes %s", field->name, buf_cstr(&wanted));
	}
	return ERR_OK;
}

static enum err_code bind_map(struct reader *reader, const struct yaml_type *type, void *out)
{
	unsigned lines[FIELDS_MAX] = {0};
	struct yaml_mark mark = here(reader);
	if (type->mark_offset)
		memcpy((char *)out + type->mark_offset, &mark, sizeof mark);
	for (;;) {
		enum err_code code = next(reader);
		if (code != ERR_OK)
			return code;
		if (reader->event.type == YAML_MAPPING_END_EVENT)
			return check_required(reader, type, mark, lines);
		code = bind_entry(reader, type, out, lines);
		if (code != ERR_OK)
			return code;
	}
}

/* Stream and document start, one mapping, document and stream end. */
static enum err_code bind_document(struct reader *reader, const struct yaml_type *type, void *out)
{
	enum err_code code = next(reader);
	if (code == ERR_OK)
		code = next(reader);
	if (code == ERR_OK && reader->event.type == YAML_STREAM_END_EVENT)
		return fail(reader, here(reader), "the file has no content");
	if (code == ERR_OK)
		code = next(reader);
	if (code == ERR_OK && reader->event.type != YAML_MAPPING_START_EVENT)
		return fail(reader, here(reader), "the file must consist of `key: value` lines");
	if (code == ERR_OK)
		code = bind_map(reader, type, out);
	if (code == ERR_OK)
		code = next(reader);
	if (code == ERR_OK)
		code = next(reader);
	if (code == ERR_OK && reader->event.type != YAML_STREAM_END_EVENT)
		return fail(reader, here(reader), "the file must hold one document only");
	return code;
}

enum err_code yaml_parse(const char *name, struct span text, const struct yaml_type *type, void *out, struct err *err)
{
	if (text.len > FILE_MAX)
		return err_set(err, ERR_INVALID, 0, "%s: larger than %zu bytes", name, FILE_MAX);
	struct reader reader = {.name = name, .err = err};
	if (!yaml_parser_initialize(&reader.parser))
		return err_set(err, ERR_INTERNAL, 0, "%s: out of memory", name);
	yaml_parser_set_input_string(&reader.parser, text.len ? text.ptr : (const uint8_t *)"", text.len);
	enum err_code code = bind_document(&reader, type, out);
	yaml_event_delete(&reader.event);
	yaml_parser_delete(&reader.parser);
	return code;
}

enum err_code yaml_load(const char *path, const struct yaml_type *type, void *out, struct err *err)
{
	autobuf struct buf text = {0};
	enum err_code code = text_read_file(path, FILE_MAX, &text, err);
	return code == ERR_OK ? yaml_parse(path, buf_span(&text), type, out, err) : code;
}

void yaml_free(const struct yaml_type *type, void *out)
{
	for (const struct yaml_field *field = type->fields; field->name; field++)
		free_value(field, (char *)out + field->offset);
	memset(out, 0, type->size);
}
