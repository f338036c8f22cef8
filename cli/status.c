/* twokey status */
#include <stdio.h>

#include "cli/cli.h"
#include "common/pb.h"
#include "grpc/health/v1/health.pb-c.h"

static error_t parse(int key, char *arg, struct argp_state *state)
{
	(void)arg;
	if (key != ARGP_KEY_ARG)
		return ARGP_ERR_UNKNOWN;
	argp_error(state, "no arguments are expected, only options");
	return 0;
}

int cli_status(int argc, char **argv)
{
	struct cli_connection connection = {0};
	cli_parse(NULL, parse, NULL, "Asks a deployment whether it is serving (grpc.health.v1). Exit code 0: yes; 4: no.",
	          &connection, NULL, argc, argv);
	int code = cli_connect(&connection);
	if (code != CLI_OK)
		return code;
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	ProtobufCMessage *message = NULL;
	code = cli_call(&connection, "/grpc.health.v1.Health/Check", &request.base,
	                &grpc__health__v1__health_check_response__descriptor, &message);
	if (code == CLI_OK) {
		const Grpc__Health__V1__HealthCheckResponse *response = (const Grpc__Health__V1__HealthCheckResponse *)message;
		const bool serving = response->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
		puts(serving ? "serving" : "not serving: its log says why");
		code = serving ? CLI_OK : CLI_UNAVAILABLE;
	}
	pb_free(message);
	cli_disconnect(&connection);
	return code;
}
