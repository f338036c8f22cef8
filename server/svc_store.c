/* Store: plain bytes come from the client, sealed bytes go into the bucket; nothing is visible before everything has
 * been checked. */
#include "common/pb.h"
#include "server/admit.h"
#include "server/methods.h"
#include "server/transfer.h"

#define CHUNK_FIELD      2 /* StoreRequest.chunk */
#define TAIL_BUDGET      ((size_t)64 << 10)
#define CONTENT_TYPE_MAX 256
#define CONTENT_TYPE     "application/octet-stream"

struct storing {
	struct transfer transfer;
	const char *content_type;
	struct hsm_key *kek;
	struct sealer *sealer;
	struct store_upload *upload;
	struct buf sealed;
};

static const Twokey__V1__Constraints *constraints_of(const struct storing *storing)
{
	static const Twokey__V1__Constraints none = TWOKEY__V1__CONSTRAINTS__INIT;
	const Twokey__V1__Constraints *constraints = storing->transfer.request->transaction->constraints;
	return constraints ? constraints : &none;
}

/* May the plain content be this long, so far (or, at the end, in all)? */
static bool length_fits(const struct storing *storing, uint64_t bytes, bool at_end)
{
	const Twokey__V1__Constraints *constraints = constraints_of(storing);
	switch (constraints->length_case) {
	case TWOKEY__V1__CONSTRAINTS__LENGTH_EXACT_BYTES:
		return at_end ? bytes == constraints->exact_bytes : bytes <= constraints->exact_bytes;
	case TWOKEY__V1__CONSTRAINTS__LENGTH_MAX_BYTES:
		return bytes <= constraints->max_bytes;
	default:
		return true;
	}
}

static enum reason check_content_type(struct request *request, const char *content_type)
{
	if (strlen(content_type) > CONTENT_TYPE_MAX)
		return REASON_MALFORMED;
	for (const char *p = content_type; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			return REASON_MALFORMED; /* it becomes a header of the bucket's */
	const Twokey__V1__Constraints *constraints = request->transaction->constraints;
	if (constraints && constraints->content_type[0] && strcmp(constraints->content_type, content_type) != 0)
		return REASON_CONTENT_MISMATCH;
	return REASON_NONE;
}

static enum err_code begin(struct storing *storing, struct err *err)
{
	const struct request *request = storing->transfer.request;
	const struct seal_context context = transfer_seal_context(&storing->transfer);
	struct seal_header header;
	enum err_code code = seal_begin(request->deployment->hsm, storing->kek, &context, request->object_id,
	                                &storing->sealer, &header, err);
	if (code != ERR_OK)
		return code;
	transfer_note_object(&storing->transfer, &header, NULL);
	const struct store_meta meta[] = {
	    {SEAL_META_FORMAT, header.format},   {SEAL_META_OBJECT_ID, header.object_id},   {SEAL_META_KEK, header.kek_id},
	    {SEAL_META_WRAPPED, header.wrapped}, {SEAL_META_COMMITMENT, header.commitment},
	};
	const struct store_put put = {
	    .key = request->transaction->object,
	    .content_type = storing->content_type,
	    .meta = meta,
	    .n_meta = sizeof meta / sizeof meta[0],
	    .overwrite = constraints_of(storing)->overwrite,
	    .cancel = &storing->transfer.cancel,
	};
	return store_upload_begin(request->bucket->store, &put, &storing->upload, err);
}

static enum err_code write_sealed(struct storing *storing, struct err *err)
{
	enum err_code code = store_upload_write(storing->upload, buf_span(&storing->sealed), err);
	buf_clear(&storing->sealed);
	return code;
}

static enum reason write_chunk(struct storing *storing, struct span chunk)
{
	struct request *request = storing->transfer.request;
	if (!length_fits(storing, storing->transfer.bytes + chunk.len, false)) {
		err_set(&request->detail, ERR_PRECONDITION, 0, "more bytes than the transaction allows");
		return REASON_CONTENT_MISMATCH;
	}
	enum err_code code = transfer_go_on(&storing->transfer, &request->detail);
	if (code != ERR_OK)
		return request_reason_of(request, code);
	transfer_count(&storing->transfer, chunk);
	code = seal_update(storing->sealer, chunk, &storing->sealed, &request->detail);
	if (code == ERR_OK)
		code = write_sealed(storing, &request->detail);
	return code == ERR_OK ? REASON_NONE : request_reason_of(request, code);
}

/* What the client says it has sent is what has arrived. */
static enum reason check_tail(struct storing *storing, const Twokey__V1__StoreTail *tail)
{
	struct request *request = storing->transfer.request;
	transfer_hash(&storing->transfer);
	const uint8_t *sha256 = storing->transfer.sha256;
	if (tail->bytes == storing->transfer.bytes &&
	    (tail->sha256.len == 0 || (tail->sha256.len == 32 && memcmp(tail->sha256.data, sha256, 32) == 0)))
		return REASON_NONE;
	err_set(&request->detail, ERR_PRECONDITION, 0, "what arrived is not what the tail says was sent");
	return REASON_CONTENT_MISMATCH;
}

/* A message that is no chunk: the tail, or a mistake. */
static enum reason take_tail(struct storing *storing, struct span message)
{
	struct request *request = storing->transfer.request;
	ProtobufCMessage *unpacked = NULL;
	enum reason reason = REASON_MALFORMED;
	if (pb_unpack(&twokey__v1__store_request__descriptor, message, PB_LENIENT, TAIL_BUDGET, &unpacked,
	              &request->detail) == ERR_OK) {
		const Twokey__V1__StoreRequest *last = (const Twokey__V1__StoreRequest *)unpacked;
		if (last->part_case == TWOKEY__V1__STORE_REQUEST__PART_TAIL)
			reason = check_tail(storing, last->tail);
		else
			err_set(&request->detail, ERR_INVALID, 0, "a chunk or the tail was expected");
	}
	pb_free(unpacked);
	return reason;
}

/* One message. *ret_end: the client has half-closed. */
static enum reason receive(struct storing *storing, struct buf *message, bool *ret_end)
{
	struct request *request = storing->transfer.request;
	enum err_code code = rpc_recv(request->call, message, ret_end, &request->detail);
	if (code == ERR_EXHAUSTED)
		return REASON_TOO_LARGE;
	return code == ERR_OK ? REASON_NONE : request_reason_of(request, ERR_CANCELLED);
}

/* Everything up to the tail and the half-close after it. An end alone proves nothing: a stream that was cut may look
 * like one that its client has closed. */
static enum reason pump(struct storing *storing)
{
	autobuf struct buf message = {0};
	bool whole = false;
	for (;;) {
		bool end = false;
		enum reason reason = receive(storing, &message, &end);
		if (reason != REASON_NONE)
			return reason;
		if (end)
			return whole ? REASON_NONE : REASON_UPLOAD_INCOMPLETE;
		struct span chunk;
		if (whole)
			reason = REASON_MALFORMED; /* nothing follows the tail */
		else if (pb_single_bytes_field(buf_span(&message), CHUNK_FIELD, &chunk))
			reason = write_chunk(storing, chunk);
		else
			reason = take_tail(storing, buf_span(&message));
		if (reason != REASON_NONE)
			return reason;
		whole = storing->transfer.hashed; /* by the tail */
	}
}

static enum reason check_content(struct storing *storing)
{
	struct request *request = storing->transfer.request;
	if (!length_fits(storing, storing->transfer.bytes, true)) {
		err_set(&request->detail, ERR_PRECONDITION, 0, "fewer bytes than the transaction promised");
		return REASON_CONTENT_MISMATCH;
	}
	const Twokey__V1__Constraints *constraints = constraints_of(storing);
	if (!constraints->content_sha256.len)
		return REASON_NONE;
	transfer_hash(&storing->transfer);
	if (memcmp(constraints->content_sha256.data, storing->transfer.sha256, sizeof storing->transfer.sha256) == 0)
		return REASON_NONE;
	err_set(&request->detail, ERR_PRECONDITION, 0, "the content's SHA-256 is not the transaction's");
	return REASON_CONTENT_MISMATCH;
}

static enum err_code commit(struct storing *storing, struct err *err)
{
	enum err_code code = transfer_go_on(&storing->transfer, err);
	if (code == ERR_OK)
		code = seal_final(storing->sealer, &storing->sealed, err);
	if (code == ERR_OK)
		code = write_sealed(storing, err);
	if (code != ERR_OK)
		return code;
	struct store_object object = {0};
	code = store_upload_commit(storing->upload, &object, err);
	storing->upload = NULL;
	if (code == ERR_OK && object.version_id && object.version_id[0])
		storing->transfer.version_id = xstrdup(object.version_id);
	store_object_done(&object);
	return code;
}

static void answer(struct storing *storing)
{
	if (!transfer_complete(&storing->transfer))
		return;
	struct request *request = storing->transfer.request;
	struct envelope_view envelope, receipt;
	Twokey__V1__StoreResponse response = TWOKEY__V1__STORE_RESPONSE__INIT;
	response.bytes = storing->transfer.bytes;
	response.sha256 = (ProtobufCBinaryData){sizeof storing->transfer.sha256, storing->transfer.sha256};
	response.version_id = storing->transfer.version_id ? storing->transfer.version_id : (char *)"";
	response.envelope = envelope_to_pb(&request->envelope, &envelope);
	response.receipt = envelope_to_pb(&storing->transfer.receipt, &receipt);
	response.record = request->record;
	request_answer(request, &response.base);
}

static void store_object(struct request *request, const char *content_type)
{
	struct storing storing = {.content_type = content_type[0] ? content_type : CONTENT_TYPE};
	transfer_init(&storing.transfer, request);
	unsigned generation;
	storing.kek = keys_hold(request->deployment->keys, request->bucket->kek, &generation);
	enum err_code code = begin(&storing, &request->detail);
	enum reason reason = code == ERR_OK ? pump(&storing) : request_reason_of(request, code);
	if (reason == REASON_NONE)
		reason = check_content(&storing);
	if (reason == REASON_NONE) {
		code = commit(&storing, &request->detail);
		reason = code == ERR_OK ? REASON_NONE : request_reason_of(request, code);
	}
	if (reason == REASON_NONE) {
		answer(&storing);
	} else {
		store_upload_abort(storing.upload);
		transfer_fail(&storing.transfer, reason);
	}
	keys_give_back(request->deployment->keys, request->bucket->kek, generation);
	seal_free(storing.sealer);
	buf_done(&storing.sealed);
	transfer_done(&storing.transfer);
}

static void admit_and_store(struct request *request, const Twokey__V1__StoreHead *head)
{
	if (!admit(request, head->envelope, head->proof, TWOKEY__V1__OPERATION__OPERATION_PUT))
		return;
	enum reason reason = check_content_type(request, head->content_type);
	uint8_t object_id[SEAL_OBJECT_ID_BYTES];
	if (reason == REASON_NONE && seal_object_id(request->deployment->hsm, object_id, &request->detail) != ERR_OK)
		reason = REASON_TOKEN_UNAVAILABLE;
	request->object_id = object_id;
	if (reason != REASON_NONE)
		request_refuse(request, reason);
	else if (admit_spend(request))
		store_object(request, head->content_type);
}

void svc_store(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__store_request__descriptor);
	if (message) {
		const Twokey__V1__StoreRequest *first = (const Twokey__V1__StoreRequest *)message;
		if (first->part_case == TWOKEY__V1__STORE_REQUEST__PART_HEAD) {
			admit_and_store(request, first->head);
		} else {
			err_set(&request->detail, ERR_INVALID, 0, "the first message is no head");
			request_refuse(request, REASON_MALFORMED);
		}
	}
	pb_free(message);
}
