#include "rpc/status.h"

#include <stdlib.h>

#include "common/pb.h"
#include "common/text.h"
#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"

#define ERROR_INFO_TYPE "type.googleapis.com/google.rpc.ErrorInfo"
#define UNPACK_BUDGET   (64 << 10)

void rpc_status_clean(const char *message, char *out)
{
	size_t len = message ? strnlen(message, RPC_STATUS_MESSAGE_MAX - 1) : 0;
	/* Do not cut through a character. */
	if (len == RPC_STATUS_MESSAGE_MAX - 1)
		while (len > 0 && ((uint8_t)message[len] & 0xc0) == 0x80)
			len--;
	bool utf8 = text_utf8(span_of(message, len));
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)message[i];
		out[i] = (char)(c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8) ? '?' : c);
	}
	out[len] = '\0';
}

static size_t pack_metadata(const struct rpc_error_info *info, Google__Rpc__ErrorInfo__MetadataEntry *entries,
                            Google__Rpc__ErrorInfo__MetadataEntry **pointers)
{
	size_t n = 0;
	for (size_t i = 0; i < info->n_metadata && i < 4; i++) {
		if (!info->metadata_key[i] || !info->metadata_value[i] || !text_utf8(span_str(info->metadata_value[i])))
			continue;
		google__rpc__error_info__metadata_entry__init(&entries[n]);
		entries[n].key = (char *)info->metadata_key[i];
		entries[n].value = (char *)info->metadata_value[i];
		pointers[n] = &entries[n];
		n++;
	}
	return n;
}

static void pack_info(const struct rpc_error_info *info, struct buf *out)
{
	Google__Rpc__ErrorInfo__MetadataEntry entries[4];
	Google__Rpc__ErrorInfo__MetadataEntry *pointers[4];
	Google__Rpc__ErrorInfo message = GOOGLE__RPC__ERROR_INFO__INIT;
	message.reason = (char *)(info->reason ? info->reason : "");
	message.domain = (char *)(info->domain ? info->domain : "");
	message.n_metadata = pack_metadata(info, entries, pointers);
	message.metadata = pointers;
	pb_pack(&message.base, out);
}

void rpc_status_pack(enum err_code code, const char *message, const struct rpc_error_info *info, struct buf *out)
{
	autobuf struct buf packed = {0};
	pack_info(info, &packed);
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	any.type_url = (char *)ERROR_INFO_TYPE;
	any.value = (ProtobufCBinaryData){.len = packed.len, .data = packed.data};
	Google__Protobuf__Any *details[] = {&any};
	Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
	status.code = (int32_t)code;
	status.message = (char *)message;
	status.n_details = 1;
	status.details = details;
	pb_pack(&status.base, out);
}

static void take_text(char **to, const char *from)
{
	free(*to);
	*to = xstrdup(from);
}

static void unpack_info(const Google__Protobuf__Any *any, struct rpc_status *status)
{
	ProtobufCMessage *message = NULL;
	if (strcmp(any->type_url, ERROR_INFO_TYPE) != 0 ||
	    pb_unpack(&google__rpc__error_info__descriptor, span_of(any->value.data, any->value.len), PB_LENIENT,
	              UNPACK_BUDGET, &message, NULL) != ERR_OK)
		return;
	const Google__Rpc__ErrorInfo *info = (const Google__Rpc__ErrorInfo *)message;
	take_text(&status->reason, info->reason);
	for (size_t i = 0; i < info->n_metadata; i++)
		if (strcmp(info->metadata[i]->key, "record") == 0)
			take_text(&status->record, info->metadata[i]->value);
	pb_free(message);
}

void rpc_status_unpack(struct span bytes, struct rpc_status *status)
{
	ProtobufCMessage *message = NULL;
	if (pb_unpack(&google__rpc__status__descriptor, bytes, PB_LENIENT, UNPACK_BUDGET, &message, NULL) != ERR_OK)
		return;
	const Google__Rpc__Status *details = (const Google__Rpc__Status *)message;
	for (size_t i = 0; i < details->n_details; i++)
		unpack_info(details->details[i], status);
	pb_free(message);
}

enum err_code rpc_status_code(grpc_status_code status)
{
	switch ((int)status) {
#define X(name, grpc, text)                                                                                            \
	case (grpc):                                                                                                       \
		return ERR_##name;
		ERR_CODES(X)
#undef X
	case GRPC_STATUS_ABORTED:
		return ERR_UNAVAILABLE;
	case GRPC_STATUS_OUT_OF_RANGE:
		return ERR_INVALID;
	default:
		return ERR_INTERNAL;
	}
}

void rpc_status_done(struct rpc_status *status)
{
	free(status->message);
	free(status->reason);
	free(status->record);
	*status = (struct rpc_status){0};
}
