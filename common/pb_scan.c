#include "common/pb_scan.h"

#include <inttypes.h>

#include "common/text.h"

#define FIELDS_MAX    256 /* per message type, of ours */
#define TAG_BYTES_MAX 5

struct scan {
	bool strict;
	struct err *err;
};

/* One value off the wire: `number` for varints, `bytes` for the rest. */
struct value {
	unsigned wire;
	uint64_t number;
	struct span bytes;
};

struct seen {
	uint64_t bits[FIELDS_MAX / 64];
};

static const uint8_t wire_of_type[] = {
    [PROTOBUF_C_TYPE_INT32] = PROTOBUF_C_WIRE_TYPE_VARINT,
    [PROTOBUF_C_TYPE_SINT32] = PROTOBUF_C_WIRE_TYPE_VARINT,
    [PROTOBUF_C_TYPE_SFIXED32] = PROTOBUF_C_WIRE_TYPE_32BIT,
    [PROTOBUF_C_TYPE_INT64] = PROTOBUF_C_WIRE_TYPE_VARINT,
    [PROTOBUF_C_TYPE_SINT64] = PROTOBUF_C_WIRE_TYPE_VARINT,
    [PROTOBUF_C_TYPE_SFIXED64] = PROTOBUF_C_WIRE_TYPE_64BIT,
    [PROTOBUF_C_TYPE_UINT32] = PROTOBUF_C_WIRE_TYPE_VARINT,
    [PROTOBUF_C_TYPE_FIXED32] = PROTOBUF_C_WIRE_TYPE_32BIT,
    [PROTOBUF_C_TYPE_UINT64] = PROTOBUF_C_WIRE_TYPE_VARINT,
    [PROTOBUF_C_TYPE_FIXED64] = PROTOBUF_C_WIRE_TYPE_64BIT,
    [PROTOBUF_C_TYPE_FLOAT] = PROTOBUF_C_WIRE_TYPE_32BIT,
    [PROTOBUF_C_TYPE_DOUBLE] = PROTOBUF_C_WIRE_TYPE_64BIT,
    [PROTOBUF_C_TYPE_BOOL] = PROTOBUF_C_WIRE_TYPE_VARINT,
    [PROTOBUF_C_TYPE_ENUM] = PROTOBUF_C_WIRE_TYPE_VARINT,
    [PROTOBUF_C_TYPE_STRING] = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
    [PROTOBUF_C_TYPE_BYTES] = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
    [PROTOBUF_C_TYPE_MESSAGE] = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
};

bool pb_take_varint(struct span *in, uint64_t *ret)
{
	uint64_t value = 0;
	for (size_t i = 0; i < in->len && i < 10; i++) {
		uint8_t byte = in->ptr[i];
		if (i == 9 && byte > 1)
			return false; /* beyond 64 bits */
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte < 0x80) {
			*in = span_of(in->ptr + i + 1, in->len - i - 1);
			*ret = value;
			return true;
		}
	}
	return false;
}

static bool take_bytes(struct span *in, uint64_t len, struct span *ret)
{
	if (len > in->len)
		return false;
	*ret = span_of(in->ptr, (size_t)len);
	*in = span_of(in->ptr + len, in->len - (size_t)len);
	return true;
}

/* Field numbers are 29 bits, and 0 is none. */
static bool take_tag(struct span *in, uint32_t *ret_field, unsigned *ret_wire)
{
	uint64_t tag;
	size_t before = in->len;
	if (!pb_take_varint(in, &tag) || before - in->len > TAG_BYTES_MAX || tag > UINT32_MAX || tag >> 3 == 0)
		return false;
	*ret_field = (uint32_t)(tag >> 3);
	*ret_wire = (unsigned)(tag & 7);
	return true;
}

static bool take_value(struct span *in, unsigned wire, struct value *ret)
{
	*ret = (struct value){.wire = wire};
	switch (wire) {
	case PROTOBUF_C_WIRE_TYPE_VARINT:
		return pb_take_varint(in, &ret->number);
	case PROTOBUF_C_WIRE_TYPE_64BIT:
		return take_bytes(in, 8, &ret->bytes);
	case PROTOBUF_C_WIRE_TYPE_32BIT:
		return take_bytes(in, 4, &ret->bytes);
	case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
		return pb_take_varint(in, &ret->number) && take_bytes(in, ret->number, &ret->bytes);
	default: /* groups, and two numbers that mean nothing */
		return false;
	}
}

static enum err_code refuse(const struct scan *scan, const ProtobufCMessageDescriptor *type,
                            const ProtobufCFieldDescriptor *field, const char *why)
{
	return err_set(scan->err, ERR_INVALID, 0, "%s%s%s: %s", type->name, field ? "." : "", field ? field->name : "",
	               why);
}

static bool test_and_set(struct seen *seen, size_t index)
{
	uint64_t bit = (uint64_t)1 << (index % 64);
	bool was = seen->bits[index / 64] & bit;
	seen->bits[index / 64] |= bit;
	return was;
}

/* All members of a oneof count as its first one. */
static size_t repetition_index(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field)
{
	if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
		return (size_t)(field - type->fields);
	size_t i = 0;
	while (!(type->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ||
	       type->fields[i].quantifier_offset != field->quantifier_offset)
		i++;
	return i;
}

/* protobuf-c does not merge repeated submessages as the specification has it, and mixes up members of a oneof: so
 * these may not be repeated even in requests. */
static bool repetition_allowed(const struct scan *scan, const ProtobufCFieldDescriptor *field)
{
	return !scan->strict && field->type != PROTOBUF_C_TYPE_MESSAGE && !(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF);
}

static bool fits(const ProtobufCFieldDescriptor *field, uint64_t number)
{
	int64_t value = (int64_t)number;
	switch (field->type) {
	case PROTOBUF_C_TYPE_BOOL:
		return number <= 1;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_SINT32:
		return number <= UINT32_MAX;
	case PROTOBUF_C_TYPE_INT32:
		return value >= INT32_MIN && value <= INT32_MAX;
	case PROTOBUF_C_TYPE_ENUM:
		return value >= INT32_MIN && value <= INT32_MAX &&
		       protobuf_c_enum_descriptor_get_value(field->descriptor, (int)value) != NULL;
	default:
		return true;
	}
}

static bool packed_fits(const struct scan *scan, const ProtobufCFieldDescriptor *field, struct span bytes)
{
	switch (wire_of_type[field->type]) {
	case PROTOBUF_C_WIRE_TYPE_32BIT:
		return bytes.len % 4 == 0;
	case PROTOBUF_C_WIRE_TYPE_64BIT:
		return bytes.len % 8 == 0;
	default:
		while (bytes.len > 0) {
			uint64_t number;
			if (!pb_take_varint(&bytes, &number) || (scan->strict && !fits(field, number)))
				return false;
		}
		return true;
	}
}

static enum err_code scan_message(const struct scan *scan, const ProtobufCMessageDescriptor *type, struct span bytes,
                                  unsigned depth);

static enum err_code scan_length_prefixed(const struct scan *scan, const ProtobufCMessageDescriptor *type,
                                          const ProtobufCFieldDescriptor *field, struct span bytes, unsigned depth)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_BYTES:
		return ERR_OK;
	case PROTOBUF_C_TYPE_STRING:
		return text_utf8(bytes) ? ERR_OK : refuse(scan, type, field, "not UTF-8 text without NUL");
	case PROTOBUF_C_TYPE_MESSAGE:
		if (depth >= PB_NESTING_MAX)
			return refuse(scan, type, field, "nested too deeply");
		return scan_message(scan, field->descriptor, bytes, depth + 1);
	default:
		if (field->label != PROTOBUF_C_LABEL_REPEATED)
			return refuse(scan, type, field, "wrong wire type");
		return packed_fits(scan, field, bytes) ? ERR_OK : refuse(scan, type, field, "bad packed values");
	}
}

static enum err_code scan_field(const struct scan *scan, const ProtobufCMessageDescriptor *type,
                                const ProtobufCFieldDescriptor *field, const struct value *value, unsigned depth)
{
	if (value->wire == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
		return scan_length_prefixed(scan, type, field, value->bytes, depth);
	if (value->wire != wire_of_type[field->type])
		return refuse(scan, type, field, "wrong wire type");
	if (scan->strict && value->wire == PROTOBUF_C_WIRE_TYPE_VARINT && !fits(field, value->number))
		return refuse(scan, type, field, "value out of range");
	return ERR_OK;
}

static enum err_code scan_message(const struct scan *scan, const ProtobufCMessageDescriptor *type, struct span bytes,
                                  unsigned depth)
{
	struct seen seen = {0};
	while (bytes.len > 0) {
		uint32_t number;
		struct value value;
		unsigned wire;
		if (!take_tag(&bytes, &number, &wire) || !take_value(&bytes, wire, &value))
			return refuse(scan, type, NULL, "not protobuf wire format");
		const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(type, number);
		if (!field && scan->strict)
			return err_set(scan->err, ERR_INVALID, 0, "%s: unknown field %" PRIu32, type->name, number);
		if (!field)
			continue;
		if (field->label != PROTOBUF_C_LABEL_REPEATED && test_and_set(&seen, repetition_index(type, field)) &&
		    !repetition_allowed(scan, field))
			return refuse(scan, type, field, "given more than once");
		enum err_code code = scan_field(scan, type, field, &value, depth);
		if (code != ERR_OK)
			return code;
	}
	return ERR_OK;
}

enum err_code pb_scan(const ProtobufCMessageDescriptor *type, struct span bytes, enum pb_strictness strictness,
                      struct err *err)
{
	const struct scan scan = {.strict = strictness == PB_STRICT, .err = err};
	return scan_message(&scan, type, bytes, 0);
}
