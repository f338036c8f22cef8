/* Presign: a URL with which its bearer gets one object straight from the bucket. Only of objects that are not sealed,
 * and only where a rule says so. */
#include <stdlib.h>

#include "common/pb.h"
#include "seal/seal.h"
#include "server/admit.h"
#include "server/limits.h"
#include "server/methods.h"
#include "server/transfer.h"

struct presigning {
	struct transfer transfer;
	struct store_object object;
	char *url;
	int64_t expires_ms;
	enum reason refusal;
};

/* A URL obeys no constraint but time, so what it cannot promise is not given away. */
static enum reason check(struct request *request)
{
	const Twokey__V1__Constraints *constraints = request->transaction->constraints;
	if (request->presign_s == 0) {
		err_set(&request->detail, ERR_DENIED, 0, "the rule has no `presign`");
		return REASON_PRESIGN_DENIED;
	}
	if (constraints && (constraints->range || constraints->n_networks || constraints->holder_key_sha256.len)) {
		err_set(&request->detail, ERR_DENIED, 0, "a URL keeps to no range, network or holder key");
		return REASON_PRESIGN_DENIED;
	}
	return REASON_NONE;
}

static enum err_code presign(struct presigning *presigning, struct err *err)
{
	struct request *request = presigning->transfer.request;
	const Twokey__V1__Constraints *constraints = request->transaction->constraints;
	const char *version = constraints && constraints->version_id[0] ? constraints->version_id : NULL;
	const char *key = request->transaction->object;
	struct store *store = request->bucket->store;
	enum err_code code = store_head(store, key, version, &presigning->object, err);
	if (code == ERR_OK && store_object_meta(&presigning->object, SEAL_META_FORMAT)) {
		presigning->refusal = REASON_OBJECT_SEALED;
		code = err_set(err, ERR_PRECONDITION, 0, "the object is sealed");
	}
	presigning->expires_ms = request_now_ms(request) + (int64_t)request->presign_s * 1000;
	if (code == ERR_OK)
		code = store_presign(store, key, version, request->presign_s, &presigning->url, err);
	if (code == ERR_UNIMPLEMENTED)
		presigning->refusal = REASON_PRESIGN_DENIED;
	return code;
}

static void answer(struct presigning *presigning)
{
	struct request *request = presigning->transfer.request;
	struct envelope_view view;
	Google__Protobuf__Timestamp expires = transaction_timestamp(presigning->expires_ms);
	Twokey__V1__PresignResponse response = TWOKEY__V1__PRESIGN_RESPONSE__INIT;
	response.url = presigning->url;
	response.expires_at = &expires;
	response.size = presigning->object.size;
	response.envelope = envelope_to_pb(&request->envelope, &view);
	response.record = request->record;
	limits_charge(request, presigning->object.size); /* as if it were fetched whole */
	request_answer(request, &response.base);
}

static void presign_object(struct request *request)
{
	struct presigning presigning = {0};
	transfer_init(&presigning.transfer, request);
	enum err_code code = presign(&presigning, &request->detail);
	if (code == ERR_OK && transfer_go_on(&presigning.transfer, &request->detail) != ERR_OK)
		code = ERR_CANCELLED;
	if (code != ERR_OK)
		transfer_fail(&presigning.transfer, presigning.refusal ? presigning.refusal : request_reason_of(request, code));
	else if (transfer_presigned(&presigning.transfer, presigning.object.version_id))
		answer(&presigning);
	free(presigning.url);
	store_object_done(&presigning.object);
	transfer_done(&presigning.transfer);
}

void svc_presign(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__presign_request__descriptor);
	const Twokey__V1__PresignRequest *asked = (const Twokey__V1__PresignRequest *)message;
	if (message && admit(request, asked->envelope, asked->proof, TWOKEY__V1__OPERATION__OPERATION_GET)) {
		enum reason reason = check(request);
		if (reason != REASON_NONE)
			request_refuse(request, reason);
		else if (admit_spend(request))
			presign_object(request);
	}
	pb_free(message);
}
