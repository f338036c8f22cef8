#include "audit/record.h"

#include <stdlib.h>

#include "common/text.h"

enum { TEXT_MAX = 1024, BYTES_MAX = 64, CUT_MARK = 3 };

/* Text fields with another limit than TEXT_MAX. All limits together stay below AUDIT_RECORD_MAX. */
static const struct {
	const char *name;
	size_t max;
} limits[] = {
    {"detail", 2048}, {"purpose", 2048}, {"consent_text", 2048}, {"identity", 2048}, {"vendor_keys", 4096},
    {"reason", 256},  {"country", 256},  {"address", 256},       {"key_id", 256},    {"access_key_id", 256},
};

static size_t text_limit(const char *name)
{
	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits); i++)
		if (strcmp(limits[i].name, name) == 0)
			return limits[i].max;
	return TEXT_MAX;
}

/* A copy that fits and is UTF-8. */
static char *tame(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);
	bool cut = len > max;
	if (cut) {
		len = max - CUT_MARK;
		while (len && ((uint8_t)text[len] & 0xc0) == 0x80)
			len--;
	}
	char *copy = xcalloc(1, len + CUT_MARK + 1);
	memcpy(copy, text, len);
	if (!text_utf8(span_of(copy, len)))
		for (size_t i = 0; i < len; i++)
			if ((uint8_t)copy[i] >= 0x80)
				copy[i] = '?';
	if (cut)
		memcpy(copy + len, "...", CUT_MARK);
	return copy;
}

static bool text_fits(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);
	return len <= max && text_utf8(span_of(text, len));
}

enum { FIELDS_MAX = 128 };

/* Replaces what does not fit in a shallow copy; the replacements are in `owned`. */
static enum err_code tame_fields(Twokey__V1__Record *copy, char **owned, struct err *err)
{
	const ProtobufCMessageDescriptor *type = copy->base.descriptor;
	for (unsigned i = 0; i < type->n_fields && i < FIELDS_MAX; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];
		uint8_t *member = (uint8_t *)copy + field->offset;
		if (field->type == PROTOBUF_C_TYPE_STRING) {
			char **text = (char **)(void *)member;
			if (*text && !text_fits(*text, text_limit(field->name)))
				*text = owned[i] = tame(*text, text_limit(field->name));
		} else if (field->type == PROTOBUF_C_TYPE_BYTES) {
			const ProtobufCBinaryData *bytes = (const ProtobufCBinaryData *)(const void *)member;
			if (bytes->len > BYTES_MAX)
				return err_set(err, ERR_INVALID, 0, "record: %s has %zu bytes", field->name, bytes->len);
		}
	}
	return ERR_OK;
}

static bool event_spends(Twokey__V1__Event event)
{
	return event == TWOKEY__V1__EVENT__EVENT_FETCH || event == TWOKEY__V1__EVENT__EVENT_STORE ||
	       event == TWOKEY__V1__EVENT__EVENT_LIST || event == TWOKEY__V1__EVENT__EVENT_REMOVE;
}

bool audit_record_grants(const Twokey__V1__Record *record)
{
	return record->decision == TWOKEY__V1__DECISION__DECISION_GRANTED &&
	       (event_spends(record->event) || record->event == TWOKEY__V1__EVENT__EVENT_COSIGN ||
	        record->event == TWOKEY__V1__EVENT__EVENT_AUTHORIZE);
}

bool audit_record_changes_state(const Twokey__V1__Record *record)
{
	return record->decision == TWOKEY__V1__DECISION__DECISION_GRANTED &&
	       (record->event == TWOKEY__V1__EVENT__EVENT_RESTRICTION ||
	        (record->event == TWOKEY__V1__EVENT__EVENT_KEY && record->key_action));
}

bool audit_record_begins(const Twokey__V1__Record *record)
{
	return record->decision == TWOKEY__V1__DECISION__DECISION_GRANTED && event_spends(record->event);
}

bool audit_record_ends(const Twokey__V1__Record *record)
{
	return record->event == TWOKEY__V1__EVENT__EVENT_COMPLETION;
}

/* What is in memory and what a restart would rebuild must be the same. */
static enum err_code check_use(const Twokey__V1__Record *record, const struct audit_use *use, struct err *err)
{
	bool granted = record->decision == TWOKEY__V1__DECISION__DECISION_GRANTED;
	bool carries = granted && (event_spends(record->event) || record->event == TWOKEY__V1__EVENT__EVENT_COSIGN);
	if (carries != (use != NULL))
		return err_set(err, ERR_INVALID, 0, "record: a granted use and its state belong together");
	if (use && (use->spend != event_spends(record->event) || use->max_uses < 1))
		return err_set(err, ERR_INVALID, 0, "record: the use does not fit the event");
	return ERR_OK;
}

static void set_timestamp(Google__Protobuf__Timestamp *out, int64_t ms)
{
	out->seconds = ms / 1000 - (ms % 1000 < 0);
	out->nanos = (int32_t)((ms - out->seconds * 1000) * 1000000);
}

enum err_code audit_record_encode(const Twokey__V1__Record *record, const struct audit_use *use, struct buf *out,
                                  struct err *err)
{
	enum err_code code = check_use(record, use, err);
	if (code != ERR_OK)
		return code;
	Twokey__V1__Record copy = *record;
	Google__Protobuf__Timestamp expires_at = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	struct audit_use fields;
	copy.index = 0;
	copy.time = NULL;
	copy.base.n_unknown_fields = 0;
	if (use) {
		fields = *use;
		copy.transaction_id = (ProtobufCBinaryData){sizeof(fields.transaction_id), fields.transaction_id};
		copy.transaction_sha256 = (ProtobufCBinaryData){sizeof(fields.transaction_sha256), fields.transaction_sha256};
		copy.uses = use->max_uses;
		set_timestamp(&expires_at, use->expires_at_ms);
		copy.expires_at = &expires_at;
	}
	char *owned[FIELDS_MAX] = {0};
	code = tame_fields(&copy, owned, err);
	size_t size = code == ERR_OK ? twokey__v1__record__get_packed_size(&copy) : 0;
	if (code == ERR_OK && size > AUDIT_RECORD_MAX - AUDIT_PREFIX_MAX)
		code = err_set(err, ERR_INVALID, 0, "record: %zu bytes are too many", size);
	uint8_t *room = code == ERR_OK ? buf_reserve(out, size + 1) : NULL;
	if (room)
		out->len += twokey__v1__record__pack(&copy, room);
	for (size_t i = 0; i < FIELDS_MAX; i++)
		free(owned[i]);
	return code;
}

static size_t put_varint(uint8_t *out, uint64_t v)
{
	size_t n = 0;
	for (; v >= 0x80; v >>= 7)
		out[n++] = (uint8_t)(v | 0x80);
	out[n++] = (uint8_t)v;
	return n;
}

/* A varint field; proto3 leaves zeros out. */
static size_t put_field(uint8_t *out, uint8_t tag, uint64_t v)
{
	if (v == 0)
		return 0;
	out[0] = tag;
	return 1 + put_varint(out + 1, v);
}

size_t audit_record_prefix(uint64_t index, int64_t time_ms, uint8_t *out)
{
	Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	set_timestamp(&time, time_ms);
	size_t n = put_field(out, 0x08, index);
	uint8_t *inner = out + n + 2;
	size_t inner_len = put_field(inner, 0x08, (uint64_t)time.seconds);
	inner_len += put_field(inner + inner_len, 0x10, (uint64_t)time.nanos);
	out[n] = 0x12;
	out[n + 1] = (uint8_t)inner_len;
	return n + 2 + inner_len;
}

bool audit_record_index(struct span record, uint64_t *ret)
{
	uint64_t v = 0;
	if (record.len == 0)
		return false;
	if (record.ptr[0] != 0x08) {
		*ret = 0;
		return record.ptr[0] == 0x12;
	}
	for (size_t i = 1, shift = 0; i < record.len && shift < 64; i++, shift += 7) {
		v |= (uint64_t)(record.ptr[i] & 0x7f) << shift;
		if (record.ptr[i] < 0x80) {
			*ret = v;
			return true;
		}
	}
	return false;
}

static size_t skip_varint(struct span bytes, size_t at)
{
	while (at < bytes.len && bytes.ptr[at] >= 0x80)
		at++;
	return at + 1;
}

Twokey__V1__Event audit_record_event(struct span record)
{
	size_t at = 0;
	if (record.len && record.ptr[0] == 0x08)
		at = skip_varint(record, 1);
	if (at + 1 < record.len && record.ptr[at] == 0x12)
		at += 2 + record.ptr[at + 1];
	if (at + 1 >= record.len || record.ptr[at] != 0x18)
		return TWOKEY__V1__EVENT__EVENT_UNSPECIFIED;
	return (Twokey__V1__Event)record.ptr[at + 1]; /* below 128, hence one byte */
}

Twokey__V1__Record *audit_record_decode(struct span bytes)
{
	return twokey__v1__record__unpack(NULL, bytes.len, bytes.ptr);
}

static int64_t timestamp_ms(const Google__Protobuf__Timestamp *time)
{
	return time ? time->seconds * 1000 + time->nanos / 1000000 : 0;
}

int64_t audit_record_time_ms(const Twokey__V1__Record *record)
{
	return timestamp_ms(record->time);
}

bool audit_record_use(const Twokey__V1__Record *record, struct audit_use *ret)
{
	bool spend = event_spends(record->event);
	if (record->decision != TWOKEY__V1__DECISION__DECISION_GRANTED ||
	    !(spend || record->event == TWOKEY__V1__EVENT__EVENT_COSIGN) ||
	    record->transaction_id.len != sizeof(ret->transaction_id) ||
	    record->transaction_sha256.len != sizeof(ret->transaction_sha256))
		return false;
	*ret = (struct audit_use){
	    .max_uses = record->uses,
	    .expires_at_ms = timestamp_ms(record->expires_at),
	    .spend = spend,
	};
	memcpy(ret->transaction_id, record->transaction_id.data, sizeof(ret->transaction_id));
	memcpy(ret->transaction_sha256, record->transaction_sha256.data, sizeof(ret->transaction_sha256));
	return true;
}
