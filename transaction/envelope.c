/* DSSE envelopes in memory and as protobuf, and the bytes that are signed. */
#include "common/pb.h"
#include "common/text.h"
#include "transaction/internal.h"

/* Memory for an unpacked message: its bytes once, and room for the structs of a few signatures. */
#define UNPACK_BUDGET (2 * TRANSACTION_ENVELOPE_MAX)
#define JSON_MAX      (2 * TRANSACTION_ENVELOPE_MAX)

void envelope_done(struct envelope *envelope)
{
	for (size_t i = 0; i < envelope->n_signatures; i++) {
		buf_done(&envelope->signatures[i].sig);
		free(envelope->signatures[i].keyid);
	}
	buf_done(&envelope->payload);
	free(envelope->type);
	*envelope = (struct envelope){0};
}

/* "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body; lengths in decimal */
void envelope_pae(const char *type, struct span body, struct buf *out)
{
	buf_printf(out, "DSSEv1 %zu %s %zu ", strlen(type), type, body.len);
	buf_append(out, body);
}

void envelope_digest(const char *type, struct span body, uint8_t out[32])
{
	autobuf struct buf pae = {0};
	envelope_pae(type, body, &pae);
	text_sha256(buf_span(&pae), out);
}

void envelope_new(const char *type, struct span payload, struct envelope *ret)
{
	*ret = (struct envelope){.type = xstrdup(type)};
	buf_append(&ret->payload, payload);
	envelope_digest(type, payload, ret->digest);
}

struct envelope_signature *envelope_add_signature(struct envelope *envelope)
{
	if (envelope->n_signatures == TRANSACTION_SIGNATURES_MAX)
		return NULL;
	return &envelope->signatures[envelope->n_signatures++];
}

enum err_code envelope_check(const struct envelope *envelope, struct err *err)
{
	if (!envelope->type || !*envelope->type)
		return err_set(err, ERR_INVALID, 0, "the envelope has no payload type");
	if (envelope->payload.len == 0)
		return err_set(err, ERR_INVALID, 0, "the envelope has no payload");
	for (size_t i = 0; i < envelope->n_signatures; i++)
		if (envelope->signatures[i].sig.len == 0)
			return err_set(err, ERR_INVALID, 0, "signature %zu of the envelope is empty", i);
	struct envelope_view view;
	if (protobuf_c_message_get_packed_size(&envelope_to_pb(envelope, &view)->base) > TRANSACTION_ENVELOPE_MAX)
		return err_set(err, ERR_EXHAUSTED, 0, "the envelope is larger than %zu bytes", TRANSACTION_ENVELOPE_MAX);
	return ERR_OK;
}

static void copy_message(const Twokey__V1__Envelope *message, struct envelope *ret)
{
	envelope_new(message->payload_type, span_of(message->payload.data, message->payload.len), ret);
	for (size_t i = 0; i < message->n_signatures; i++) {
		const Twokey__V1__Signature *from = message->signatures[i];
		struct envelope_signature *to = envelope_add_signature(ret);
		buf_append(&to->sig, span_of(from->sig.data, from->sig.len));
		to->keyid = xstrdup(from->keyid);
	}
}

enum err_code envelope_from_pb(const Twokey__V1__Envelope *message, struct envelope *ret, struct err *err)
{
	if (!message)
		return err_set(err, ERR_INVALID, 0, "there is no envelope");
	if (message->n_signatures > TRANSACTION_SIGNATURES_MAX)
		return err_set(err, ERR_EXHAUSTED, 0, "the envelope has more than %d signatures", TRANSACTION_SIGNATURES_MAX);
	if (protobuf_c_message_get_packed_size(&message->base) > TRANSACTION_ENVELOPE_MAX)
		return err_set(err, ERR_EXHAUSTED, 0, "the envelope is larger than %zu bytes", TRANSACTION_ENVELOPE_MAX);
	struct envelope envelope;
	copy_message(message, &envelope);
	enum err_code code = envelope_check(&envelope, err);
	if (code) {
		envelope_done(&envelope);
		return code;
	}
	*ret = envelope;
	return ERR_OK;
}

static enum err_code parse_pb(struct span bytes, struct envelope *ret, struct err *err)
{
	ProtobufCMessage *message = NULL;
	enum err_code code = pb_unpack(&twokey__v1__envelope__descriptor, bytes, PB_STRICT, UNPACK_BUDGET, &message, err);
	if (code)
		return code;
	code = envelope_from_pb((Twokey__V1__Envelope *)message, ret, err);
	pb_free(message);
	return code;
}

enum err_code envelope_parse(struct span bytes, struct envelope *ret, struct err *err)
{
	/* '{' would be a protobuf tag of field 15 with a wire type (group) that no message of ours has. */
	bool json = bytes.len && bytes.ptr[0] == '{';
	size_t max = json ? JSON_MAX : TRANSACTION_ENVELOPE_MAX;
	if (bytes.len > max)
		return err_set(err, ERR_EXHAUSTED, 0, "the envelope is larger than %zu bytes", max);
	return json ? envelope_parse_json(bytes, ret, err) : parse_pb(bytes, ret, err);
}

Twokey__V1__Envelope *envelope_to_pb(const struct envelope *envelope, struct envelope_view *storage)
{
	twokey__v1__envelope__init(&storage->message);
	storage->message.payload = (ProtobufCBinaryData){envelope->payload.len, envelope->payload.data};
	storage->message.payload_type = envelope->type;
	storage->message.n_signatures = envelope->n_signatures;
	storage->message.signatures = storage->pointers;
	for (size_t i = 0; i < envelope->n_signatures; i++) {
		const struct envelope_signature *from = &envelope->signatures[i];
		Twokey__V1__Signature *to = storage->pointers[i] = &storage->signatures[i];
		twokey__v1__signature__init(to);
		to->sig = (ProtobufCBinaryData){from->sig.len, from->sig.data};
		to->keyid = from->keyid;
	}
	return &storage->message;
}
