/* twokey rm */
#include "cli/use.h"
#include "common/pb.h"
#include "twokey/v1/gatekeeper.pb-c.h"

#define METHOD "/twokey.v1.Gatekeeper/Remove"

int cli_rm(int argc, char **argv)
{
	struct cli_use use = {0};
	int code = cli_use_begin(&use, CLI_USE_RECEIPT, "Removes the object that an envelope names.", argc, argv);
	ProtobufCMessage *message = NULL;
	if (code == CLI_OK) {
		Twokey__V1__RemoveRequest request = TWOKEY__V1__REMOVE_REQUEST__INIT;
		request.envelope = envelope_to_pb(&use.envelope, &use.view);
		code = cli_use_prove(&use, METHOD, &request.proof);
		if (code == CLI_OK)
			code = cli_call(&use.connection, METHOD, &request.base, &twokey__v1__remove_response__descriptor, &message);
	}
	if (code == CLI_OK)
		code = cli_use_receipt(&use, ((const Twokey__V1__RemoveResponse *)message)->receipt);
	pb_free(message);
	cli_use_end(&use);
	return code;
}
