/* twokey audit tail */
#include <stdio.h>

#include "cli/audit.h"

struct options {
	struct cli_connection connection;
	struct audit_request request;
	uint64_t left; /* records to show; 0: no end */
	bool json;
};

enum { OPT_FROM = 0x200, OPT_COUNT, OPT_JSON };

static const struct argp_option options[] = {
    {"from", OPT_FROM, "INDEX", 0, "begin with this record; default: with the next that is written", 2},
    {"count", OPT_COUNT, "N", 0, "end after so many records", 2},
    {"json", OPT_JSON, NULL, 0, "one JSON object per line, with every field", 2},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_FROM:
		given->request.message.start_case = TWOKEY__V1__SEARCH_REQUEST__START_FROM_INDEX;
		given->request.message.from_index = cli_number(state, arg);
		return 0;
	case OPT_COUNT:
		given->left = cli_number(state, arg);
		return 0;
	case OPT_JSON:
		given->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

enum { ENOUGH = -1 }; /* no exit code */

static int show(const Twokey__V1__Record *record, void *user)
{
	struct options *given = (struct options *)user;
	audit_print(record, given->json);
	fflush(stdout);
	return given->left && --given->left == 0 ? ENOUGH : CLI_OK;
}

static int follow(struct options *given)
{
	Twokey__V1__TailRequest request = TWOKEY__V1__TAIL_REQUEST__INIT;
	request.matching = &given->request.message;
	const struct audit_sink sink = {.record = show, .user = given};
	return audit_ask(&given->connection, AUDIT_SERVICE "Tail", &request.base, &sink);
}

int audit_tail_command(int argc, char **argv)
{
	struct options given = {0};
	audit_request_init(&given.request);
	const struct cli_part parts[] = {
	    {audit_request_options, audit_request_parse, &given.request}, {options, parse, &given}, {0}};
	cli_parse_parts(parts, "", "Shows records as they are written, until interrupted.", &given.connection, argc, argv);
	int code = cli_connect(&given.connection);
	if (code == CLI_OK)
		code = follow(&given);
	cli_disconnect(&given.connection);
	return code == ENOUGH ? CLI_OK : code;
}
