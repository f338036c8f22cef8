/* twokey audit search */
#include <inttypes.h>
#include <stdio.h>

#include "cli/audit.h"

struct options {
	struct cli_connection connection;
	struct audit_request request;
	bool json;
};

enum { OPT_LIMIT = 0x200, OPT_BEFORE, OPT_FROM, OPT_OLDEST, OPT_WAIT, OPT_COUNT, OPT_JSON };

static const struct argp_option options[] = {
    {"limit", OPT_LIMIT, "N", 0, "at most so many, newest first; default 100", 2},
    {"before", OPT_BEFORE, "INDEX", 0, "only records below this index: the next page", 2},
    {"from", OPT_FROM, "INDEX", 0, "only this record and later ones", 2},
    {"oldest-first", OPT_OLDEST, NULL, 0, "in the order in which they were written", 2},
    {"wait-for", OPT_WAIT, "INDEX", 0, "wait until this record can be found", 2},
    {"count", OPT_COUNT, NULL, 0, "also count all that match", 2},
    {"json", OPT_JSON, NULL, 0, "one JSON object per line, with every field", 2},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	Twokey__V1__SearchRequest *message = &given->request.message;
	switch (key) {
	case OPT_LIMIT:
		message->limit = (uint32_t)cli_number(state, arg);
		return 0;
	case OPT_BEFORE:
		message->cursor_case = TWOKEY__V1__SEARCH_REQUEST__CURSOR_BEFORE_INDEX;
		message->before_index = cli_number(state, arg);
		return 0;
	case OPT_FROM:
		message->start_case = TWOKEY__V1__SEARCH_REQUEST__START_FROM_INDEX;
		message->from_index = cli_number(state, arg);
		return 0;
	case OPT_WAIT:
		message->freshness_case = TWOKEY__V1__SEARCH_REQUEST__FRESHNESS_WAIT_FOR_INDEX;
		message->wait_for_index = cli_number(state, arg);
		return 0;
	case OPT_OLDEST:
		message->oldest_first = true;
		return 0;
	case OPT_COUNT:
		message->count = true;
		return 0;
	case OPT_JSON:
		given->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int show(const Twokey__V1__Record *record, void *user)
{
	audit_print(record, ((const struct options *)user)->json);
	return CLI_OK;
}

static void end(const Twokey__V1__SearchTail *tail, void *user)
{
	if (((const struct options *)user)->request.message.count)
		fprintf(stderr, "%" PRIu64 " of %" PRIu64 " records that match\n", tail->returned, tail->total);
	if (tail->indexed < tail->committed)
		fprintf(stderr, "twokey: the newest %" PRIu64 " records are not searchable yet\n",
		        tail->committed - tail->indexed);
}

int audit_search_command(int argc, char **argv)
{
	struct options given = {0};
	audit_request_init(&given.request);
	const struct cli_part parts[] = {
	    {audit_request_options, audit_request_parse, &given.request}, {options, parse, &given}, {0}};
	cli_parse_parts(parts, "",
	                "Searches a deployment's record, newest first. Needs a client certificate with the role auditor or "
	                "operator.",
	                &given.connection, argc, argv);
	const struct audit_sink sink = {show, end, &given};
	int code = cli_connect(&given.connection);
	if (code == CLI_OK)
		code = audit_ask(&given.connection, AUDIT_SERVICE "Search", &given.request.message.base, &sink);
	cli_disconnect(&given.connection);
	return code;
}
