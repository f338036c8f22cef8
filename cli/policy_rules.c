/* twokey policy check, get, reload, explain, replay. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/policy.h"
#include "common/clock.h"
#include "common/pb.h"
#include "common/text.h"
#include "policy/policy.h"

#define RULES_MAX ((size_t)3 << 20)

struct options {
	struct cli_connection connection;
	const char *file, *why, *output;
	Twokey__V1__HypotheticalRequest request;
	Google__Protobuf__Timestamp time;
	char *bucket;
	uint32_t days, limit;
	bool has_operation, has_object, json;
};

enum {
	OPT_WHY = 0x100,
	OPT_OUTPUT,
	OPT_ACCOUNT,
	OPT_SUBJECT,
	OPT_VENDOR_KEY,
	OPT_ADDRESS,
	OPT_TIME,
	OPT_PURPOSE,
	OPT_CONSENT,
	OPT_ID_TOKEN,
	OPT_COUNTRY,
	OPT_DAYS,
	OPT_LIMIT,
	OPT_JSON,
};

static uint32_t number(struct argp_state *state, const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);
	if (end == text || *end || text[0] == '-' || value > UINT32_MAX)
		argp_error(state, "`%s` is no number", text);
	return (uint32_t)value;
}

/* ---- check ---- */

static error_t parse_file(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_DAYS:
		given->days = number(state, arg);
		return 0;
	case OPT_LIMIT:
		given->limit = number(state, arg);
		return 0;
	case OPT_JSON:
		given->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (given->file)
			argp_error(state, "one rule file");
		given->file = arg;
		return 0;
	case ARGP_KEY_END:
		if (!given->file)
			argp_error(state, "say which rule file");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int policy_check(int argc, char **argv)
{
	static const struct argp_option options[] = {{0}};
	struct options given = {0};
	cli_parse(options, parse_file, "FILE", "Is a rule file in order? Says file, line and column of the first mistake.",
	          NULL, &given, argc, argv);
	struct policy *policy = NULL;
	struct err err = {0};
	if (policy_load(given.file, &policy, &err) != ERR_OK)
		return cli_fail(&err);
	printf("%s: in order, %zu rules\n", given.file, policy_count(policy));
	policy_free(policy);
	return CLI_OK;
}

/* ---- get ---- */

static error_t parse_plain(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_WHY:
		given->why = arg;
		return 0;
	case OPT_OUTPUT:
		given->output = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int show_rules(const Twokey__V1__GetRulesResponse *rules, const char *output)
{
	struct err err = {0};
	struct span text = span_of(rules->text.data, rules->text.len);
	if (output && strcmp(output, "-") != 0) {
		if (text_write_file(output, text, 0644, &err) != ERR_OK)
			return cli_fail(&err);
	} else if (fwrite(text.ptr, 1, text.len, stdout) != text.len || fflush(stdout) != 0) {
		perror("twokey: stdout");
		return CLI_FAILED;
	}
	char time[CLOCK_TEXT_MAX], hex[65] = "";
	cli_format_time(rules->loaded_at, time);
	if (rules->sha256.len == 32)
		text_hex(span_of(rules->sha256.data, rules->sha256.len), hex);
	fprintf(stderr, "%u rules, loaded %s, SHA-256 %s\n", rules->rules, time, hex);
	if (rules->trouble[0]) {
		fputs("the file that is there now was refused: ", stderr);
		cli_print(stderr, rules->trouble);
		fputc('\n', stderr);
	}
	return CLI_OK;
}

int policy_get(int argc, char **argv)
{
	static const struct argp_option options[] = {
	    {"output", OPT_OUTPUT, "FILE", 0, "write the rules there instead of to the standard output", 1}, {0}};
	struct options given = {0};
	cli_parse(options, parse_plain, NULL, "Prints the rule file that is in force, and when it was loaded.",
	          &given.connection, &given, argc, argv);
	Twokey__V1__GetRulesRequest request = TWOKEY__V1__GET_RULES_REQUEST__INIT;
	ProtobufCMessage *message = NULL;
	int code = policy_call(&given.connection, POLICY_SERVICE "Get", &request.base,
	                       &twokey__v1__get_rules_response__descriptor, &message);
	if (code == CLI_OK)
		code = show_rules((const Twokey__V1__GetRulesResponse *)message, given.output);
	pb_free(message);
	return code;
}

/* ---- reload ---- */

int policy_reload(int argc, char **argv)
{
	static const struct argp_option options[] = {{"why", OPT_WHY, "TEXT", 0, "the reason, for the record", 1}, {0}};
	struct options given = {.why = ""};
	cli_parse(
	    options, parse_plain, NULL,
	    "Reads the gatekeeper's rule file, and the vendor_keys of its configuration, again. Both are taken whole or "
	    "refused whole; then the old ones go on.",
	    &given.connection, &given, argc, argv);
	Twokey__V1__ReloadRequest request = TWOKEY__V1__RELOAD_REQUEST__INIT;
	request.why = (char *)given.why;
	ProtobufCMessage *message = NULL;
	int code = policy_call(&given.connection, POLICY_SERVICE "Reload", &request.base,
	                       &twokey__v1__reload_response__descriptor, &message);
	if (code == CLI_OK) {
		const Twokey__V1__ReloadResponse *done = (const Twokey__V1__ReloadResponse *)message;
		printf("%u rules in force%s (record %" PRIu64 ")\n", done->rules, done->changed ? "" : ", as before",
		       done->record);
		printf("vendor keys%s:\n%s", done->vendor_keys_changed ? "" : ", as before", done->vendor_keys);
	}
	pb_free(message);
	return code;
}

/* ---- explain ---- */

static void set_object(struct argp_state *state, struct options *given, const char *arg)
{
	const char *slash = strchr(arg, '/');
	if (!slash || slash == arg)
		argp_error(state, "`%s` is no BUCKET/KEY", arg);
	given->bucket = xstrndup(arg, (size_t)(slash - arg));
	given->request.bucket = given->bucket;
	given->request.object = (char *)slash + 1;
	given->has_object = true;
}

static void set_operation(struct argp_state *state, struct options *given, const char *arg)
{
	given->request.operation = transaction_operation_from_name(arg);
	if (given->request.operation == TWOKEY__V1__OPERATION__OPERATION_UNSPECIFIED)
		argp_error(state, "operations are get, put, list and delete, not `%s`", arg);
	given->has_operation = true;
}

static void set_time(struct argp_state *state, struct options *given, const char *arg)
{
	int64_t ms;
	if (!clock_parse(arg, &ms))
		argp_error(state, "`%s` is no time such as 2026-11-21T18:20:00Z", arg);
	given->time = transaction_timestamp(ms);
	given->request.time = &given->time;
}

static error_t parse_request(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_ACCOUNT:
		given->request.account = arg;
		return 0;
	case OPT_SUBJECT:
		given->request.subject = arg;
		return 0;
	case OPT_VENDOR_KEY:
		given->request.vendor_key = arg;
		return 0;
	case OPT_ADDRESS:
		given->request.address = arg;
		return 0;
	case OPT_COUNTRY:
		given->request.country = arg;
		return 0;
	case OPT_TIME:
		set_time(state, given, arg);
		return 0;
	case OPT_PURPOSE:
		given->request.has_purpose = true;
		return 0;
	case OPT_CONSENT:
		given->request.has_consent = true;
		return 0;
	case OPT_ID_TOKEN:
		given->request.has_id_token = true;
		return 0;
	case OPT_JSON:
		given->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (given->has_object)
			argp_error(state, "one operation on one object");
		if (given->has_operation)
			set_object(state, given, arg);
		else
			set_operation(state, given, arg);
		return 0;
	case ARGP_KEY_END:
		if (!given->has_object)
			argp_error(state, "say what is asked: OPERATION BUCKET/KEY");
		if (!given->request.address[0])
			argp_error(state, "say from where: --address ADDRESS");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void show_verdict(const Twokey__V1__RuleVerdict *verdict)
{
	printf("  %-24s %-5s  %s", verdict->rule, verdict->allow ? "allow" : "deny",
	       verdict->decides   ? "decides"
	       : verdict->matches ? "matches as well, but comes later"
	                          : "does not match: ");
	puts(verdict->matches ? "" : verdict->failed);
}

static void show_explanation(const Twokey__V1__Explanation *explanation)
{
	bool allowed = explanation->allowed && !explanation->restriction[0];
	printf("%s", allowed ? "allowed" : "denied");
	if (explanation->restriction[0])
		printf(": %s, a restriction, before any rule", explanation->restriction);
	else if (!allowed)
		printf(": %s", explanation->reason);
	printf("; the rules %s this by \"%s\"", explanation->allowed ? "allow" : "deny", explanation->rule);
	if (explanation->country[0])
		printf("; country %s", explanation->country);
	putchar('\n');
	for (size_t i = 0; i < explanation->n_rules; i++)
		show_verdict(explanation->rules[i]);
}

static json_t *explanation_json(const Twokey__V1__Explanation *explanation)
{
	json_t *rules = json_array();
	for (size_t i = 0; i < explanation->n_rules; i++) {
		const Twokey__V1__RuleVerdict *verdict = explanation->rules[i];
		json_array_append_new(rules, json_pack("{s:s, s:b, s:b, s:b, s:s}", "rule", verdict->rule, "allow",
		                                       verdict->allow, "matches", verdict->matches, "decides", verdict->decides,
		                                       "failed", verdict->failed));
	}
	return json_pack("{s:b, s:s, s:s, s:s, s:s, s:o}", "allowed", explanation->allowed, "reason", explanation->reason,
	                 "rule", explanation->rule, "restriction", explanation->restriction, "country",
	                 explanation->country, "rules", rules);
}

static void print_json(json_t *line)
{
	json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(line);
}

/* ---- replay ---- */

static void show_difference(const Twokey__V1__Difference *difference)
{
	char time[CLOCK_TEXT_MAX];
	cli_format_time(difference->time, time);
	printf("%8" PRIu64 "  %s  %s by %s -> %s by %s%s%s  %s  ", difference->record, time,
	       difference->allowed_then ? "allowed" : "denied", difference->rule_then,
	       difference->allowed_now ? "allowed" : "denied", difference->rule_now, difference->reason_now[0] ? ": " : "",
	       difference->reason_now, transaction_operation_name(difference->operation));
	cli_print(stdout, difference->bucket);
	putchar('/');
	cli_print(stdout, difference->object);
	fputs("  ", stdout);
	cli_print(stdout, difference->subject);
	printf("  %s\n", difference->address);
}

static json_t *difference_json(const Twokey__V1__Difference *difference)
{
	char time[CLOCK_TEXT_MAX];
	cli_format_time(difference->time, time);
	return json_pack("{s:I, s:s, s:b, s:s, s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "record",
	                 (json_int_t)difference->record, "time", time, "allowed_then", difference->allowed_then,
	                 "rule_then", difference->rule_then, "allowed_now", difference->allowed_now, "rule_now",
	                 difference->rule_now, "reason_now", difference->reason_now, "operation",
	                 transaction_operation_name(difference->operation), "bucket", difference->bucket, "object",
	                 difference->object, "account", difference->account, "subject", difference->subject, "address",
	                 difference->address, "vendor_key", difference->vendor_key);
}

static void show_summary(const Twokey__V1__ReplaySummary *summary)
{
	char since[CLOCK_TEXT_MAX];
	cli_format_time(summary->since, since);
	printf("%" PRIu64 " decisions since %s: %" PRIu64 " that were granted would be denied, %" PRIu64
	       " that were denied would be allowed",
	       summary->replayed, since, summary->now_denied, summary->now_allowed);
	if (summary->sent < summary->now_denied + summary->now_allowed)
		printf("; the first %" PRIu64 " are shown", summary->sent);
	putchar('\n');
}

static json_t *summary_json(const Twokey__V1__ReplaySummary *summary)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "replayed", (json_int_t)summary->replayed, "now_denied",
	                 (json_int_t)summary->now_denied, "now_allowed", (json_int_t)summary->now_allowed, "sent",
	                 (json_int_t)summary->sent);
}

/* ---- both ---- */

static void show_part(const Twokey__V1__ExplainResponse *response, bool json)
{
	switch (response->part_case) {
	case TWOKEY__V1__EXPLAIN_RESPONSE__PART_EXPLANATION:
		if (json)
			print_json(explanation_json(response->explanation));
		else
			show_explanation(response->explanation);
		break;
	case TWOKEY__V1__EXPLAIN_RESPONSE__PART_DIFFERENCE:
		if (json)
			print_json(difference_json(response->difference));
		else
			show_difference(response->difference);
		break;
	case TWOKEY__V1__EXPLAIN_RESPONSE__PART_SUMMARY:
		if (json)
			print_json(summary_json(response->summary));
		else
			show_summary(response->summary);
		break;
	default:
		break;
	}
}

static int explain(struct options *given, const Twokey__V1__ExplainRequest *request)
{
	struct rpc_stream *stream = NULL;
	int code = cli_connect(&given->connection);
	if (code == CLI_OK)
		code = cli_open_stream(&given->connection, POLICY_SERVICE "Explain", &request->base, true, &stream);
	if (code == CLI_OK) {
		ProtobufCMessage *message = NULL;
		int shown;
		while ((shown = cli_next(stream, &twokey__v1__explain_response__descriptor, &message)) == CLI_OK && message) {
			show_part((const Twokey__V1__ExplainResponse *)message, given->json);
			pb_free(message);
		}
		code = cli_end_stream(stream);
		if (code == CLI_OK)
			code = shown;
	}
	cli_disconnect(&given->connection);
	return code;
}

int policy_explain_request(int argc, char **argv)
{
	static const struct argp_option options[] = {
	    {"address", OPT_ADDRESS, "ADDRESS", 0, "the client's network address (required)", 1},
	    {"subject", OPT_SUBJECT, "WHO", 0, "the end user", 1},
	    {"account", OPT_ACCOUNT, "NAME", 0, "the tenant", 1},
	    {"vendor-key", OPT_VENDOR_KEY, "NAME", 0, "the vendor key that signs, by its name in the configuration", 1},
	    {"time", OPT_TIME, "TIME", 0, "when; default: now", 1},
	    {"country", OPT_COUNTRY, "CC", 0, "as if the address were there; default: what the database says", 1},
	    {"purpose", OPT_PURPOSE, NULL, 0, "the transaction says its purpose", 1},
	    {"consent", OPT_CONSENT, NULL, 0, "the transaction says who consented", 1},
	    {"id-token", OPT_ID_TOKEN, NULL, 0, "the end user is proved by an ID token", 1},
	    {"json", OPT_JSON, NULL, 0, "as JSON", 2},
	    {0}};
	struct options given = {.request = TWOKEY__V1__HYPOTHETICAL_REQUEST__INIT};
	cli_parse(
	    options, parse_request, "OPERATION BUCKET/KEY",
	    "Which rule decides on a request that nobody made, and why do the others not? OPERATION is get, put, list "
	    "or delete.",
	    &given.connection, &given, argc, argv);
	Twokey__V1__ExplainRequest request = TWOKEY__V1__EXPLAIN_REQUEST__INIT;
	request.what_case = TWOKEY__V1__EXPLAIN_REQUEST__WHAT_REQUEST;
	request.request = &given.request;
	int code = explain(&given, &request);
	free(given.bucket);
	return code;
}

int policy_replay(int argc, char **argv)
{
	static const struct argp_option options[] = {
	    {"days", OPT_DAYS, "N", 0, "how far back; default 30", 1},
	    {"limit", OPT_LIMIT, "N", 0, "show at most so many differences; default 1000", 1},
	    {"json", OPT_JSON, NULL, 0, "one JSON object per line; the last is the summary", 2},
	    {0}};
	struct options given = {0};
	cli_parse(
	    options, parse_file, "FILE",
	    "Tries a new rule file on the gatekeeper's record before it goes live: which past grants would be denied, "
	    "and the other way round?",
	    &given.connection, &given, argc, argv);
	autobuf struct buf text = {0};
	struct err err = {0};
	if (text_read_file(given.file, RULES_MAX, &text, &err) != ERR_OK)
		return cli_fail(&err);
	Twokey__V1__Replay replay = TWOKEY__V1__REPLAY__INIT;
	replay.rules = (ProtobufCBinaryData){text.len, text.data};
	replay.days = given.days;
	replay.limit = given.limit;
	Twokey__V1__ExplainRequest request = TWOKEY__V1__EXPLAIN_REQUEST__INIT;
	request.what_case = TWOKEY__V1__EXPLAIN_REQUEST__WHAT_REPLAY;
	request.replay = &replay;
	return explain(&given, &request);
}
