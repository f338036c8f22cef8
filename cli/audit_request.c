/* Which records are meant: the options that search, tail, export and report share. */
#include <string.h>

#include "cli/audit.h"
#include "cli/record_json.h"
#include "common/pb.h"
#include "common/text.h"

enum {
	OPT_SINCE = 0x100,
	OPT_UNTIL,
	OPT_OBJECT,
	OPT_PREFIX,
	OPT_BUCKET,
	OPT_SUBJECT,
	OPT_IDENTITY,
	OPT_ACCOUNT,
	OPT_DECISION,
	OPT_REASON,
	OPT_EVENT,
	OPT_OPERATION,
	OPT_ADDRESS,
	OPT_NETWORK,
	OPT_COUNTRY,
	OPT_TRANSACTION,
	OPT_TEXT,
	OPT_RULE,
	OPT_WHY,
};

const struct argp_option audit_request_options[] = {
    {"since", OPT_SINCE, "TIME", 0, "not before this time, such as 2026-11-21 or 2026-11-21T18:20:00Z", 1},
    {"until", OPT_UNTIL, "TIME", 0, "before this time", 1},
    {"object", OPT_OBJECT, "KEY", 0, "exactly this object", 1},
    {"prefix", OPT_PREFIX, "PREFIX", 0, "objects below this prefix", 1},
    {"bucket", OPT_BUCKET, "NAME", 0, NULL, 1},
    {"subject", OPT_SUBJECT, "WHO", 0, "the end user", 1},
    {"identity", OPT_IDENTITY, "NAME", 0, "the client certificate's", 1},
    {"account", OPT_ACCOUNT, "NAME", 0, "the tenant", 1},
    {"decision", OPT_DECISION, "granted|denied", 0, NULL, 1},
    {"reason", OPT_REASON, "REASON", 0, "such as NETWORK_DENIED", 1},
    {"event", OPT_EVENT, "EVENT", 0, "such as FETCH or COMPLETION", 1},
    {"operation", OPT_OPERATION, "get|put|list|delete", 0, NULL, 1},
    {"address", OPT_ADDRESS, "ADDRESS", 0, "the client's network address", 1},
    {"network", OPT_NETWORK, "CIDR", 0, "addresses in this network, such as 192.0.2.0/24", 1},
    {"country", OPT_COUNTRY, "CODE", 0, "the address's country, such as DE", 1},
    {"transaction", OPT_TRANSACTION, "HEX", 0, "the transaction's id", 1},
    {"rule", OPT_RULE, "NAME", 0, "the rule that decided", 1},
    {"text", OPT_TEXT, "WORDS", 0, "every word occurs in object, purpose, user agent, reason, detail or why", 1},
    {"why", OPT_WHY, "TEXT", 0, "why this is looked at, for the record", 3},
    {0}};

static const struct cli_string strings[] = {{OPT_OBJECT, offsetof(Twokey__V1__SearchRequest, object)},
                                            {OPT_PREFIX, offsetof(Twokey__V1__SearchRequest, object_prefix)},
                                            {OPT_BUCKET, offsetof(Twokey__V1__SearchRequest, bucket)},
                                            {OPT_SUBJECT, offsetof(Twokey__V1__SearchRequest, subject)},
                                            {OPT_IDENTITY, offsetof(Twokey__V1__SearchRequest, identity)},
                                            {OPT_ACCOUNT, offsetof(Twokey__V1__SearchRequest, account)},
                                            {OPT_REASON, offsetof(Twokey__V1__SearchRequest, reason)},
                                            {OPT_ADDRESS, offsetof(Twokey__V1__SearchRequest, address)},
                                            {OPT_NETWORK, offsetof(Twokey__V1__SearchRequest, network)},
                                            {OPT_COUNTRY, offsetof(Twokey__V1__SearchRequest, country)},
                                            {OPT_RULE, offsetof(Twokey__V1__SearchRequest, rule)},
                                            {OPT_TEXT, offsetof(Twokey__V1__SearchRequest, text)},
                                            {OPT_WHY, offsetof(Twokey__V1__SearchRequest, why)},
                                            {0}};

void audit_request_init(struct audit_request *request)
{
	memset(request, 0, sizeof *request);
	twokey__v1__search_request__init(&request->message);
}

static int parse_enum(struct argp_state *state, const ProtobufCEnumDescriptor *type, const char *name)
{
	int value = record_enum_value(type, name);
	if (!value)
		argp_error(state, "there is no %s `%s`", type->short_name, name);
	return value;
}

error_t audit_request_parse(int key, char *arg, struct argp_state *state)
{
	struct audit_request *given = (struct audit_request *)state->input;
	Twokey__V1__SearchRequest *message = &given->message;
	switch (key) {
	case OPT_SINCE:
		given->from = cli_time(state, arg);
		message->from = &given->from;
		return 0;
	case OPT_UNTIL:
		given->until = cli_time(state, arg);
		message->until = &given->until;
		return 0;
	case OPT_DECISION:
		message->decision = (Twokey__V1__Decision)parse_enum(state, &twokey__v1__decision__descriptor, arg);
		return 0;
	case OPT_EVENT:
		message->event = (Twokey__V1__Event)parse_enum(state, &twokey__v1__event__descriptor, arg);
		return 0;
	case OPT_OPERATION:
		message->operation = (Twokey__V1__Operation)parse_enum(state, &twokey__v1__operation__descriptor, arg);
		return 0;
	case OPT_TRANSACTION:
		if (!text_unhex(arg, given->transaction, sizeof given->transaction))
			argp_error(state, "a transaction's id has 32 hex digits");
		message->transaction_id = (ProtobufCBinaryData){sizeof given->transaction, given->transaction};
		return 0;
	default:
		return cli_keep_string(strings, message, key, arg) ? 0 : ARGP_ERR_UNKNOWN;
	}
}
