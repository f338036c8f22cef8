/* twokey policy restrictions */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cli/policy.h"
#include "cli/record_json.h"
#include "common/clock.h"
#include "common/pb.h"
#include "common/text.h"

#define OPT_JSON 0x100

struct options {
	struct cli_connection connection;
	bool json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	(void)arg;
	if (key != OPT_JSON)
		return ARGP_ERR_UNKNOWN;
	((struct options *)state->input)->json = true;
	return 0;
}

static const char *scope_name(const Twokey__V1__Restriction *restriction)
{
	return record_enum_name(&twokey__v1__restriction_scope__descriptor, (int)restriction->scope);
}

static void name_of(const Twokey__V1__Restriction *restriction, struct buf *out)
{
	if (restriction->bucket[0])
		buf_printf(out, "%s/", restriction->bucket);
	if (restriction->transaction_id.len == 16) {
		char hex[33];
		text_hex(span_of(restriction->transaction_id.data, 16), hex);
		buf_append_str(out, hex);
	}
	buf_append_str(out, restriction->name);
}

static void show_what(const Twokey__V1__Restriction *restriction)
{
	char time[CLOCK_TEXT_MAX];
	switch (restriction->what_case) {
	case TWOKEY__V1__RESTRICTION__WHAT_EXPIRES_AT:
		cli_format_time(restriction->expires_at, time);
		printf("expires %s", time);
		break;
	case TWOKEY__V1__RESTRICTION__WHAT_USERS:
		fputs("only for", stdout);
		for (size_t i = 0; i < restriction->users->n_users; i++) {
			fputs(i ? ", " : " ", stdout);
			cli_print(stdout, restriction->users->users[i]);
		}
		if (restriction->users->n_users == 0)
			fputs(" nobody", stdout);
		break;
	case TWOKEY__V1__RESTRICTION__WHAT_LOCKDOWN:
		fputs("lockdown", stdout);
		break;
	default:
		fputs("revoked", stdout);
	}
}

static void show_text(const Twokey__V1__Restriction *restriction)
{
	autobuf struct buf name = {0};
	char since[CLOCK_TEXT_MAX];
	name_of(restriction, &name);
	cli_format_time(restriction->since, since);
	printf("%-11s ", scope_name(restriction));
	cli_print(stdout, buf_cstr(&name));
	fputs("  ", stdout);
	show_what(restriction);
	printf("  since %s by ", since);
	cli_print(stdout, restriction->who);
	fputs(": ", stdout);
	cli_print(stdout, restriction->why);
	printf(" (record %" PRIu64 ")\n", restriction->record);
}

static void add_what(json_t *line, const Twokey__V1__Restriction *restriction)
{
	char time[CLOCK_TEXT_MAX];
	json_t *users;
	switch (restriction->what_case) {
	case TWOKEY__V1__RESTRICTION__WHAT_EXPIRES_AT:
		cli_format_time(restriction->expires_at, time);
		json_object_set_new(line, "expires_at", json_string(time));
		break;
	case TWOKEY__V1__RESTRICTION__WHAT_USERS:
		users = json_array();
		for (size_t i = 0; i < restriction->users->n_users; i++)
			json_array_append_new(users, json_string(restriction->users->users[i]));
		json_object_set_new(line, "users", users);
		break;
	case TWOKEY__V1__RESTRICTION__WHAT_LOCKDOWN:
		json_object_set_new(line, "lockdown", json_true());
		break;
	default:
		json_object_set_new(line, "revoked", json_true());
	}
}

static void show_json(const Twokey__V1__Restriction *restriction)
{
	char since[CLOCK_TEXT_MAX], hex[33] = "";
	cli_format_time(restriction->since, since);
	json_t *line =
	    json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "scope", scope_name(restriction), "name", restriction->name, "who",
	              restriction->who, "why", restriction->why, "since", since, "record", (json_int_t)restriction->record);
	if (restriction->bucket[0])
		json_object_set_new(line, "bucket", json_string(restriction->bucket));
	if (restriction->transaction_id.len == 16) {
		text_hex(span_of(restriction->transaction_id.data, 16), hex);
		json_object_set_new(line, "transaction_id", json_string(hex));
	}
	add_what(line, restriction);
	json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(line);
}

static int show_pages(struct rpc_stream *stream, bool json)
{
	for (;;) {
		ProtobufCMessage *message = NULL;
		int code = cli_next(stream, &twokey__v1__list_restrictions_response__descriptor, &message);
		if (code != CLI_OK || !message)
			return code;
		const Twokey__V1__ListRestrictionsResponse *page = (const Twokey__V1__ListRestrictionsResponse *)message;
		for (size_t i = 0; i < page->n_restrictions; i++)
			(json ? show_json : show_text)(page->restrictions[i]);
		pb_free(message);
	}
}

int policy_restrictions(int argc, char **argv)
{
	static const struct argp_option options[] = {{"json", OPT_JSON, NULL, 0, "one JSON object per line", 1}, {0}};
	struct options given = {0};
	cli_parse(options, parse, NULL, "Lists what is restricted right now, with who did it and why.", &given.connection,
	          &given, argc, argv);
	Twokey__V1__ListRestrictionsRequest request = TWOKEY__V1__LIST_RESTRICTIONS_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	int code = cli_connect(&given.connection);
	if (code == CLI_OK)
		code = cli_open_stream(&given.connection, POLICY_SERVICE "ListRestrictions", &request.base, true, &stream);
	if (code == CLI_OK) {
		int shown = show_pages(stream, given.json);
		code = cli_end_stream(stream);
		if (code == CLI_OK)
			code = shown;
	}
	cli_disconnect(&given.connection);
	return code;
}
