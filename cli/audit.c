/* twokey audit search */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/record_json.h"
#include "common/clock.h"
#include "common/pb.h"
#include "common/text.h"
#include "twokey/v1/audit.pb-c.h"

struct options {
	struct cli_connection connection;
	Twokey__V1__SearchRequest request;
	Google__Protobuf__Timestamp from, until;
	uint8_t transaction[16];
	bool json, command;
};

enum {
	OPT_SINCE = 0x100,
	OPT_UNTIL,
	OPT_OBJECT,
	OPT_PREFIX,
	OPT_BUCKET,
	OPT_SUBJECT,
	OPT_ACCOUNT,
	OPT_DECISION,
	OPT_REASON,
	OPT_EVENT,
	OPT_OPERATION,
	OPT_ADDRESS,
	OPT_TRANSACTION,
	OPT_TEXT,
	OPT_RULE,
	OPT_LIMIT,
	OPT_BEFORE,
	OPT_WAIT,
	OPT_JSON,
};

static const struct argp_option options[] = {
    {"since", OPT_SINCE, "TIME", 0, "not before this time, such as 2026-11-21 or 2026-11-21T18:20:00Z", 1},
    {"until", OPT_UNTIL, "TIME", 0, "before this time", 1},
    {"object", OPT_OBJECT, "KEY", 0, "exactly this object", 1},
    {"prefix", OPT_PREFIX, "PREFIX", 0, "objects below this prefix", 1},
    {"bucket", OPT_BUCKET, "NAME", 0, NULL, 1},
    {"subject", OPT_SUBJECT, "WHO", 0, "the end user", 1},
    {"account", OPT_ACCOUNT, "NAME", 0, "the tenant", 1},
    {"decision", OPT_DECISION, "granted|denied", 0, NULL, 1},
    {"reason", OPT_REASON, "REASON", 0, "such as NETWORK_DENIED", 1},
    {"event", OPT_EVENT, "EVENT", 0, "such as FETCH or COMPLETION", 1},
    {"operation", OPT_OPERATION, "get|put|list|delete", 0, NULL, 1},
    {"address", OPT_ADDRESS, "ADDRESS", 0, "the client's network address", 1},
    {"transaction", OPT_TRANSACTION, "HEX", 0, "the transaction's id", 1},
    {"rule", OPT_RULE, "NAME", 0, "the rule that decided", 1},
    {"text", OPT_TEXT, "WORDS", 0, "every word occurs in object, purpose, user agent, reason or detail", 1},
    {"limit", OPT_LIMIT, "N", 0, "at most so many, newest first; default 100", 2},
    {"before", OPT_BEFORE, "INDEX", 0, "only records below this index: the next page", 2},
    {"wait-for", OPT_WAIT, "INDEX", 0, "wait until this record can be found", 2},
    {"json", OPT_JSON, NULL, 0, "one JSON object per line, with every field", 2},
    {0}};

/* Options that are plain strings of the request. */
static const struct {
	int key;
	size_t offset;
} strings[] = {
    {OPT_OBJECT, offsetof(Twokey__V1__SearchRequest, object)},
    {OPT_PREFIX, offsetof(Twokey__V1__SearchRequest, object_prefix)},
    {OPT_BUCKET, offsetof(Twokey__V1__SearchRequest, bucket)},
    {OPT_SUBJECT, offsetof(Twokey__V1__SearchRequest, subject)},
    {OPT_ACCOUNT, offsetof(Twokey__V1__SearchRequest, account)},
    {OPT_REASON, offsetof(Twokey__V1__SearchRequest, reason)},
    {OPT_ADDRESS, offsetof(Twokey__V1__SearchRequest, address)},
    {OPT_RULE, offsetof(Twokey__V1__SearchRequest, rule)},
    {OPT_TEXT, offsetof(Twokey__V1__SearchRequest, text)},
};

static void parse_time(struct argp_state *state, const char *text, Google__Protobuf__Timestamp *storage,
                       Google__Protobuf__Timestamp **field)
{
	int64_t ms = 0;
	if (!clock_parse(text, &ms))
		argp_error(state, "`%s` is no time such as 2026-11-21 or 2026-11-21T18:20:00Z", text);
	*storage = transaction_timestamp(ms);
	*field = storage;
}

static int parse_enum(struct argp_state *state, const ProtobufCEnumDescriptor *type, const char *name)
{
	int value = record_enum_value(type, name);
	if (!value)
		argp_error(state, "there is no %s `%s`", type->short_name, name);
	return value;
}

static uint64_t parse_number(struct argp_state *state, const char *text)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 10);
	if (end == text || *end || text[0] == '-')
		argp_error(state, "`%s` is no number", text);
	return value;
}

static bool parse_string(struct options *given, int key, char *arg)
{
	for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
		if (strings[i].key != key)
			continue;
		memcpy((char *)&given->request + strings[i].offset, &arg, sizeof arg);
		return true;
	}
	return false;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	Twokey__V1__SearchRequest *request = &given->request;
	switch (key) {
	case OPT_SINCE:
		parse_time(state, arg, &given->from, &request->from);
		return 0;
	case OPT_UNTIL:
		parse_time(state, arg, &given->until, &request->until);
		return 0;
	case OPT_DECISION:
		request->decision = (Twokey__V1__Decision)parse_enum(state, &twokey__v1__decision__descriptor, arg);
		return 0;
	case OPT_EVENT:
		request->event = (Twokey__V1__Event)parse_enum(state, &twokey__v1__event__descriptor, arg);
		return 0;
	case OPT_OPERATION:
		request->operation = (Twokey__V1__Operation)parse_enum(state, &twokey__v1__operation__descriptor, arg);
		return 0;
	case OPT_TRANSACTION:
		if (!text_unhex(arg, given->transaction, sizeof given->transaction))
			argp_error(state, "a transaction's id has 32 hex digits");
		request->transaction_id = (ProtobufCBinaryData){sizeof given->transaction, given->transaction};
		return 0;
	case OPT_LIMIT:
		request->limit = (uint32_t)parse_number(state, arg);
		return 0;
	case OPT_BEFORE:
		request->cursor_case = TWOKEY__V1__SEARCH_REQUEST__CURSOR_BEFORE_INDEX;
		request->before_index = parse_number(state, arg);
		return 0;
	case OPT_WAIT:
		request->freshness_case = TWOKEY__V1__SEARCH_REQUEST__FRESHNESS_WAIT_FOR_INDEX;
		request->wait_for_index = parse_number(state, arg);
		return 0;
	case OPT_JSON:
		given->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (given->command || strcmp(arg, "search") != 0)
			argp_error(state, "the only command is `search`");
		given->command = true;
		return 0;
	case ARGP_KEY_END:
		if (!given->command)
			argp_error(state, "usage: twokey audit search [OPTION...]");
		return 0;
	default:
		return parse_string(given, key, arg) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

static const char *or_dash(const char *text)
{
	return text && text[0] ? text : "-";
}

static void show_text(const Twokey__V1__Record *record)
{
	char time[CLOCK_TEXT_MAX];
	cli_format_time(record->time, time);
	const char *verdict = record->outcome[0] ? record->outcome : record->reason;
	printf("%8" PRIu64 "  %s  %-10s  %-7s  %-22s  ", record->index, time,
	       record_enum_name(&twokey__v1__event__descriptor, record->event),
	       or_dash(record_enum_name(&twokey__v1__decision__descriptor, record->decision)), or_dash(verdict));
	cli_print(stdout, or_dash(record->subject[0] ? record->subject : record->identity));
	printf("  %s  ", or_dash(record->address));
	if (record->bucket[0]) {
		cli_print(stdout, record->bucket);
		putchar('/');
	}
	cli_print(stdout, or_dash(record->object));
	putchar('\n');
}

static void show(const Twokey__V1__Record *record, bool json)
{
	if (!json) {
		show_text(record);
		return;
	}
	json_t *line = record_json(record);
	json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(line);
}

static int show_pages(const struct options *given, struct rpc_stream *stream)
{
	for (;;) {
		ProtobufCMessage *message = NULL;
		int code = cli_next(stream, &twokey__v1__search_response__descriptor, &message);
		if (code != CLI_OK || !message)
			return code;
		const Twokey__V1__SearchResponse *page = (const Twokey__V1__SearchResponse *)message;
		for (size_t i = 0; i < page->n_records; i++)
			show(page->records[i], given->json);
		if (page->tail && page->tail->indexed < page->tail->committed)
			fprintf(stderr, "twokey: the newest %" PRIu64 " records are not searchable yet\n",
			        page->tail->committed - page->tail->indexed);
		pb_free(message);
	}
}

int cli_audit(int argc, char **argv)
{
	struct options given = {.request = TWOKEY__V1__SEARCH_REQUEST__INIT};
	cli_parse(
	    options, parse, "search",
	    "Searches a deployment's record, newest first. Needs a client certificate with the role auditor or operator.",
	    &given.connection, &given, argc, argv);
	int code = cli_connect(&given.connection);
	struct rpc_stream *stream = NULL;
	if (code == CLI_OK)
		code = cli_open_stream(&given.connection, "/twokey.v1.Audit/Search", &given.request.base, true, &stream);
	if (code == CLI_OK) {
		int shown = show_pages(&given, stream);
		code = cli_end_stream(stream);
		if (code == CLI_OK)
			code = shown;
	}
	cli_disconnect(&given.connection);
	return code;
}
