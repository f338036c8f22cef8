#include "server/web_store.h"

#include <stdlib.h>

#include <jansson.h>

#include "common/pb.h"
#include "common/text.h"
#include "twokey/v1/gatekeeper.pb-c.h"

#define ENVELOPE_HEADER "x-twokey-envelope"
#define PROOF_HEADER    "x-twokey-holder-proof"
#define HEADER_MAX      ((size_t)32 << 10) /* an envelope of 16 KiB, in base64 */
#define UNPACK_BUDGET   ((size_t)256 << 10)
#define CHUNK_FIELD     2 /* StoreRequest.chunk */

static const char *const headers[] = {ENVELOPE_HEADER, PROOF_HEADER, NULL};

/* A message, serialised, in base64 of either alphabet. */
static enum err_code header_unpack(const char *name, const char *value, const ProtobufCMessageDescriptor *type,
                                   ProtobufCMessage **ret, struct err *err)
{
	autobuf struct buf bytes = {.max = HEADER_MAX};
	if (strlen(value) > HEADER_MAX)
		return err_set(err, ERR_EXHAUSTED, 0, "the header %s is too long", name);
	if (!text_unbase64(span_str(value), &bytes))
		return err_set(err, ERR_INVALID, 0, "the header %s is no base64", name);
	enum err_code code = pb_unpack(type, buf_span(&bytes), PB_LENIENT, UNPACK_BUDGET, ret, err);
	if (code != ERR_OK)
		err_prefix(err, "the header %s", name);
	return code;
}

static enum err_code head(const struct rpc_call *call, struct buf *out, struct err *err)
{
	const char *envelope = rpc_metadata(call, ENVELOPE_HEADER), *proof = rpc_metadata(call, PROOF_HEADER);
	const char *content_type = rpc_metadata(call, "content-type");
	ProtobufCMessage *unpacked_envelope = NULL, *unpacked_proof = NULL;
	if (!envelope)
		return err_set(err, ERR_INVALID, 0, "there is no header " ENVELOPE_HEADER);
	enum err_code code =
	    header_unpack(ENVELOPE_HEADER, envelope, &twokey__v1__envelope__descriptor, &unpacked_envelope, err);
	if (code == ERR_OK && proof)
		code = header_unpack(PROOF_HEADER, proof, &twokey__v1__holder_proof__descriptor, &unpacked_proof, err);
	if (code == ERR_OK) {
		Twokey__V1__StoreHead first = TWOKEY__V1__STORE_HEAD__INIT;
		first.envelope = (Twokey__V1__Envelope *)unpacked_envelope;
		first.proof = (Twokey__V1__HolderProof *)unpacked_proof;
		first.content_type = (char *)(content_type ? content_type : "");
		Twokey__V1__StoreRequest request = TWOKEY__V1__STORE_REQUEST__INIT;
		request.part_case = TWOKEY__V1__STORE_REQUEST__PART_HEAD;
		request.head = &first;
		pb_pack(&request.base, out);
	}
	pb_free(unpacked_envelope);
	pb_free(unpacked_proof);
	return code;
}

static void chunk(struct span bytes, struct buf *out)
{
	pb_append_bytes_header(out, CHUNK_FIELD, bytes.len);
	buf_append(out, bytes);
}

/* HTTP itself tells a body that has come whole from one that was cut. */
static void tail(uint64_t bytes, struct buf *out)
{
	Twokey__V1__StoreTail last = TWOKEY__V1__STORE_TAIL__INIT;
	last.bytes = bytes;
	Twokey__V1__StoreRequest request = TWOKEY__V1__STORE_REQUEST__INIT;
	request.part_case = TWOKEY__V1__STORE_REQUEST__PART_TAIL;
	request.tail = &last;
	pb_pack(&request.base, out);
}

/* ---- the answer, in protobuf's JSON mapping ---- */

static json_t *bytes_json(ProtobufCBinaryData bytes)
{
	autobuf struct buf text = {0};
	text_base64(span_of(bytes.data, bytes.len), &text);
	return json_string(buf_cstr(&text));
}

static json_t *number_json(uint64_t n)
{
	autofree char *text = xasprintf("%llu", (unsigned long long)n);
	return json_string(text);
}

static json_t *envelope_json(const Twokey__V1__Envelope *envelope)
{
	json_t *signatures = json_array();
	for (size_t i = 0; i < envelope->n_signatures; i++)
		json_array_append_new(signatures, json_pack("{s:s, s:o}", "keyid", envelope->signatures[i]->keyid, "sig",
		                                            bytes_json(envelope->signatures[i]->sig)));
	return json_pack("{s:o, s:s, s:o}", "payload", bytes_json(envelope->payload), "payloadType", envelope->payload_type,
	                 "signatures", signatures);
}

static enum err_code answer(struct span message, struct buf *json, struct err *err)
{
	ProtobufCMessage *unpacked = NULL;
	enum err_code code =
	    pb_unpack(&twokey__v1__store_response__descriptor, message, PB_LENIENT, UNPACK_BUDGET, &unpacked, err);
	if (code != ERR_OK)
		return code;
	const Twokey__V1__StoreResponse *response = (const Twokey__V1__StoreResponse *)unpacked;
	json_t *root = json_pack("{s:o, s:o, s:s, s:o, s:o, s:o}", "bytes", number_json(response->bytes), "sha256",
	                         bytes_json(response->sha256), "versionId", response->version_id, "envelope",
	                         envelope_json(response->envelope), "receipt", envelope_json(response->receipt), "record",
	                         number_json(response->record));
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	if (text)
		buf_append_str(json, text);
	else
		code = err_set(err, ERR_INTERNAL, 0, "the response cannot be written as JSON");
	free(text);
	json_decref(root);
	pb_free(unpacked);
	return code;
}

const struct rpc_put web_store_put = {.head = head, .chunk = chunk, .tail = tail, .answer = answer, .headers = headers};
