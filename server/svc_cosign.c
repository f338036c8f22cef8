/* CoSign: the customer's signature on exactly the transaction that the vendor signed. Spends no use. */
#include "common/pb.h"
#include "server/admit.h"
#include "server/methods.h"

static void answer(struct request *request)
{
	struct envelope_view view;
	Twokey__V1__CoSignResponse response = TWOKEY__V1__CO_SIGN_RESPONSE__INIT;
	response.envelope = envelope_to_pb(&request->envelope, &view);
	response.record = request->record;
	request_answer(request, &response.base);
}

void svc_cosign(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__co_sign_request__descriptor);
	if (message) {
		const Twokey__V1__CoSignRequest *asked = (const Twokey__V1__CoSignRequest *)message;
		if (admit(request, asked->envelope, asked->proof, TWOKEY__V1__OPERATION__OPERATION_UNSPECIFIED) &&
		    admit_cosign(request))
			answer(request);
	}
	pb_free(message);
}
