/* Remove: one object goes, with a receipt. */
#include "common/pb.h"
#include "server/admit.h"
#include "server/methods.h"
#include "server/transfer.h"

static void answer(struct transfer *transfer)
{
	struct request *request = transfer->request;
	struct envelope_view envelope, receipt;
	Twokey__V1__RemoveResponse response = TWOKEY__V1__REMOVE_RESPONSE__INIT;
	response.envelope = envelope_to_pb(&request->envelope, &envelope);
	response.receipt = envelope_to_pb(&transfer->receipt, &receipt);
	response.record = request->record;
	request_answer(request, &response.base);
}

static void remove_object(struct request *request)
{
	const Twokey__V1__Constraints *constraints = request->transaction->constraints;
	const char *version = constraints && constraints->version_id[0] ? constraints->version_id : NULL;
	struct transfer transfer;
	transfer_init(&transfer, request);
	if (version)
		transfer.version_id = xstrdup(version);
	enum err_code code = store_remove(request->bucket->store, request->transaction->object, version, &request->detail);
	if (code != ERR_OK)
		transfer_fail(&transfer, request_reason_of(request, code));
	else if (transfer_complete(&transfer))
		answer(&transfer);
	transfer_done(&transfer);
}

void svc_remove(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__remove_request__descriptor);
	if (message) {
		const Twokey__V1__RemoveRequest *asked = (const Twokey__V1__RemoveRequest *)message;
		if (admit(request, asked->envelope, asked->proof, TWOKEY__V1__OPERATION__OPERATION_DELETE) &&
		    admit_spend(request))
			remove_object(request);
	}
	pb_free(message);
}
