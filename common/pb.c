#include "common/pb.h"

#include <malloc.h>

#include "common/pb_scan.h"

/* An allocator over malloc that stops at a budget. It counts only while unpacking, so what it made is freed by the
 * system allocator. */
struct budget {
	size_t limit, used; /* bytes; the last block's rounding may take used a little over */
	bool exceeded;
};

static void *budget_alloc(void *user, size_t size)
{
	struct budget *budget = user;
	if (budget->used > budget->limit || size > budget->limit - budget->used) {
		budget->exceeded = true;
		return NULL;
	}
	void *memory = malloc(size ? size : 1);
	if (memory)
		budget->used += malloc_usable_size(memory);
	return memory;
}

static void budget_free(void *user, void *memory)
{
	struct budget *budget = user;
	if (memory)
		budget->used -= malloc_usable_size(memory);
	free(memory);
}

enum err_code pb_unpack(const ProtobufCMessageDescriptor *type, struct span bytes, enum pb_strictness strictness,
                        size_t budget_bytes, ProtobufCMessage **ret, struct err *err)
{
	enum err_code code = pb_scan(type, bytes, strictness, err);
	if (code != ERR_OK)
		return code;

	struct budget budget = {.limit = budget_bytes};
	ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
	ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, bytes.len, bytes.ptr);
	if (message) {
		*ret = message;
		return ERR_OK;
	}
	if (budget.exceeded)
		return err_set(err, ERR_EXHAUSTED, 0, "%s: needs more than %zu bytes of memory", type->name, budget_bytes);
	return err_set(err, ERR_INVALID, 0, "%s: cannot be unpacked", type->name);
}

void pb_free(ProtobufCMessage *message)
{
	protobuf_c_message_free_unpacked(message, NULL);
}

void pb_pack(const ProtobufCMessage *message, struct buf *out)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint8_t *at = len ? buf_reserve(out, len) : NULL;
	if (at)
		out->len += protobuf_c_message_pack(message, at);
}

bool pb_single_bytes_field(struct span bytes, uint32_t field, struct span *ret)
{
	uint64_t tag, len;
	struct span rest = bytes;
	if (!pb_take_varint(&rest, &tag) || tag != ((uint64_t)field << 3 | PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED))
		return false;
	if (!pb_take_varint(&rest, &len) || len != rest.len)
		return false;
	*ret = rest;
	return true;
}

static void append_varint(struct buf *out, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		buf_append_byte(out, (uint8_t)(value | 0x80));
	buf_append_byte(out, (uint8_t)value);
}

void pb_append_bytes_header(struct buf *out, uint32_t field, size_t len)
{
	append_varint(out, (uint64_t)field << 3 | PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED);
	append_varint(out, len);
}
