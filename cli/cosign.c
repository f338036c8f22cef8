/* twokey cosign */
#include "cli/use.h"
#include "common/pb.h"
#include "twokey/v1/gatekeeper.pb-c.h"

#define METHOD "/twokey.v1.Gatekeeper/CoSign"

int cli_cosign(int argc, char **argv)
{
	struct cli_use use = {0};
	int code = cli_use_begin(
	    &use, CLI_USE_OUTPUT,
	    "Asks a gatekeeper for the second signature on a vendor's envelope. Prints a DSSE envelope with two.", argc,
	    argv);
	ProtobufCMessage *message = NULL;
	if (code == CLI_OK) {
		Twokey__V1__CoSignRequest request = TWOKEY__V1__CO_SIGN_REQUEST__INIT;
		request.envelope = envelope_to_pb(&use.envelope, &use.view);
		code = cli_use_prove(&use, METHOD, &request.proof);
		if (code == CLI_OK)
			code =
			    cli_call(&use.connection, METHOD, &request.base, &twokey__v1__co_sign_response__descriptor, &message);
	}
	if (code == CLI_OK)
		code = cli_write_envelope_pb(use.output, ((const Twokey__V1__CoSignResponse *)message)->envelope);
	pb_free(message);
	cli_use_end(&use);
	return code;
}
