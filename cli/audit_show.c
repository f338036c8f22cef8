/* twokey audit show */
#include <stdio.h>
#include <string.h>

#include "cli/audit.h"
#include "cli/record_json.h"
#include "common/pb.h"

struct options {
	struct cli_connection connection;
	Twokey__V1__GetRecordRequest request;
	bool json, given;
};

enum { OPT_JSON = 0x200 };

static const struct argp_option options[] = {{"json", OPT_JSON, NULL, 0, "as one line of JSON", 2}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_JSON:
		given->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (given->given)
			argp_error(state, "one record at a time");
		given->request.index = cli_number(state, arg);
		given->given = true;
		return 0;
	case ARGP_KEY_END:
		if (!given->given)
			argp_error(state, "say which record, by its index");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print(const Twokey__V1__Record *record)
{
	const char *name;
	json_t *value, *fields = record_json(record);
	json_object_foreach(fields, name, value)
	{
		printf("%-20s ", name);
		if (json_is_string(value))
			cli_print(stdout, json_string_value(value));
		else
			json_dumpf(value, stdout, JSON_ENCODE_ANY);
		putchar('\n');
	}
	json_decref(fields);
}

int audit_show_command(int argc, char **argv)
{
	struct options given = {.request = TWOKEY__V1__GET_RECORD_REQUEST__INIT};
	cli_parse(options, parse, "INDEX", "Shows one record, with every field that it has.", &given.connection, &given,
	          argc, argv);
	ProtobufCMessage *answer = NULL;
	int code = cli_connect(&given.connection);
	if (code == CLI_OK)
		code = cli_call(&given.connection, AUDIT_SERVICE "Get", &given.request.base, &twokey__v1__record__descriptor,
		                &answer);
	if (code == CLI_OK && given.json)
		audit_print((const Twokey__V1__Record *)answer, true);
	else if (code == CLI_OK)
		print((const Twokey__V1__Record *)answer);
	pb_free(answer);
	cli_disconnect(&given.connection);
	return code;
}
