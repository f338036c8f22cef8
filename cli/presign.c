/* twokey presign */
#include <stdio.h>

#include "cli/use.h"
#include "common/clock.h"
#include "common/pb.h"
#include "twokey/v1/gatekeeper.pb-c.h"

#define METHOD "/twokey.v1.Gatekeeper/Presign"

int cli_presign(int argc, char **argv)
{
	struct cli_use use = {0};
	int code = cli_use_begin(&use, 0,
	                         "Asks for a URL with which its bearer gets the object straight from the bucket, for at "
	                         "most a minute. Only of objects that are not sealed, and only where a rule says so.",
	                         argc, argv);
	ProtobufCMessage *message = NULL;
	if (code == CLI_OK) {
		Twokey__V1__PresignRequest request = TWOKEY__V1__PRESIGN_REQUEST__INIT;
		request.envelope = envelope_to_pb(&use.envelope, &use.view);
		code = cli_use_prove(&use, METHOD, &request.proof);
		if (code == CLI_OK)
			code =
			    cli_call(&use.connection, METHOD, &request.base, &twokey__v1__presign_response__descriptor, &message);
	}
	if (code == CLI_OK) {
		cli_print(stdout, ((const Twokey__V1__PresignResponse *)message)->url);
		putchar('\n');
	}
	pb_free(message);
	cli_use_end(&use);
	return code;
}
