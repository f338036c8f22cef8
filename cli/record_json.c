#include "cli/record_json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/cli.h"
#include "common/clock.h"
#include "common/text.h"

/* protoc's convention: every value starts with the enum's name in capitals, "_" between its words and behind it. */
static const char *without_prefix(const ProtobufCEnumDescriptor *type, const char *name)
{
	size_t len = strlen(type->short_name);
	for (const char *p = type->short_name + 1; *p; p++)
		len += isupper((unsigned char)*p) != 0;
	return name + len + 1;
}

const char *record_enum_name(const ProtobufCEnumDescriptor *type, int value)
{
	const ProtobufCEnumValue *found = value ? protobuf_c_enum_descriptor_get_value(type, value) : NULL;
	return found ? without_prefix(type, found->name) : "";
}

int record_enum_value(const ProtobufCEnumDescriptor *type, const char *name)
{
	for (unsigned i = 0; i < type->n_values; i++)
		if (strcasecmp(without_prefix(type, type->values[i].name), name) == 0)
			return type->values[i].value;
	return 0;
}

static json_t *bytes_json(const ProtobufCBinaryData *bytes)
{
	if (bytes->len == 0)
		return NULL;
	autofree char *hex = xcalloc(bytes->len * 2 + 1, 1);
	text_hex(span_of(bytes->data, bytes->len), hex);
	return json_string(hex);
}

static json_t *time_json(const Google__Protobuf__Timestamp *time)
{
	if (!time)
		return NULL;
	char text[CLOCK_TEXT_MAX];
	cli_format_time(time, text);
	return json_string(text);
}

/* A field's value as JSON, NULL when it is empty. Walks the descriptor: a field that audit.proto gains is shown at
 * once. */
static json_t *field_json(const Twokey__V1__Record *record, const ProtobufCFieldDescriptor *field)
{
	const void *at = (const char *)record + field->offset;
	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING: {
		const char *text = *(char *const *)at;
		return text && text[0] ? json_string(text) : NULL;
	}
	case PROTOBUF_C_TYPE_BYTES:
		return bytes_json((const ProtobufCBinaryData *)at);
	case PROTOBUF_C_TYPE_MESSAGE:
		return time_json(*(Google__Protobuf__Timestamp *const *)at);
	case PROTOBUF_C_TYPE_ENUM: {
		const char *name = record_enum_name((const ProtobufCEnumDescriptor *)field->descriptor, *(const int *)at);
		return name[0] ? json_string(name) : NULL;
	}
	case PROTOBUF_C_TYPE_UINT64:
		return *(const uint64_t *)at ? json_integer((json_int_t) * (const uint64_t *)at) : NULL;
	case PROTOBUF_C_TYPE_UINT32:
		return *(const uint32_t *)at ? json_integer(*(const uint32_t *)at) : NULL;
	case PROTOBUF_C_TYPE_BOOL:
		return *(const protobuf_c_boolean *)at ? json_true() : NULL;
	default:
		return NULL;
	}
}

json_t *record_json(const Twokey__V1__Record *record)
{
	json_t *out = json_object();
	json_object_set_new(out, "index", json_integer((json_int_t)record->index));
	const ProtobufCMessageDescriptor *type = &twokey__v1__record__descriptor;
	for (unsigned i = 0; i < type->n_fields; i++) {
		json_t *value = field_json(record, &type->fields[i]);
		if (value && strcmp(type->fields[i].name, "index") != 0)
			json_object_set_new(out, type->fields[i].name, value);
		else
			json_decref(value);
	}
	return out;
}
