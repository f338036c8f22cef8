/* twokey audit export */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/audit.h"
#include "cli/ocsf.h"
#include "cli/record_json.h"

struct options {
	struct cli_connection connection;
	struct audit_request request;
	const char *format;
	void (*print)(struct options *given, const Twokey__V1__Record *record);
	struct ocsf_chain chain;
	uint64_t shown, left_out;
	bool more;
};

enum { OPT_FORMAT = 0x200, OPT_FROM, PAGE = 10000 };

static const struct argp_option options[] = {
    {"format", OPT_FORMAT, "jsonl|csv|ocsf", 0, "default: jsonl", 2},
    {"from", OPT_FROM, "INDEX", 0, "only this record and later ones: continue an export", 2},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_FORMAT:
		given->format = arg;
		return 0;
	case OPT_FROM:
		given->request.message.from_index = cli_number(state, arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void print_json(struct options *given, const Twokey__V1__Record *record)
{
	(void)given;
	audit_print(record, true);
}

static void print_ocsf(struct options *given, const Twokey__V1__Record *record)
{
	json_t *event = ocsf_event(record, &given->chain);
	given->left_out += !event;
	if (!event)
		return;
	json_dumpf(event, stdout, JSON_COMPACT | JSON_SORT_KEYS);
	putchar('\n');
	json_decref(event);
}

/* RFC 4180. What a spreadsheet would take for a formula gets an apostrophe: user agents and names are other people's.
 */
static void print_cell(const char *text)
{
	bool formula = text[0] && strchr("=+-@\t\r", text[0]);
	if (!formula && !strpbrk(text, ",\"\r\n")) {
		fputs(text, stdout);
		return;
	}
	fputs(formula ? "\"'" : "\"", stdout);
	for (; *text; text++) {
		if (*text == '"')
			putchar('"');
		putchar(*text);
	}
	putchar('"');
}

static void print_value(const json_t *value)
{
	if (json_is_string(value))
		print_cell(json_string_value(value));
	else if (json_is_integer(value))
		printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_true(value))
		fputs("true", stdout);
}

/* Every field of a record is a column. */
static void print_csv(struct options *given, const Twokey__V1__Record *record)
{
	const ProtobufCMessageDescriptor *type = &twokey__v1__record__descriptor;
	if (given->shown == 1)
		for (unsigned i = 0; i < type->n_fields; i++)
			printf("%s%s", type->fields[i].name, i + 1 < type->n_fields ? "," : "\r\n");
	json_t *fields = record_json(record);
	for (unsigned i = 0; i < type->n_fields; i++) {
		print_value(json_object_get(fields, type->fields[i].name));
		fputs(i + 1 < type->n_fields ? "," : "\r\n", stdout);
	}
	json_decref(fields);
}

static const struct {
	const char *name;
	void (*print)(struct options *given, const Twokey__V1__Record *record);
} formats[] = {{"jsonl", print_json}, {"csv", print_csv}, {"ocsf", print_ocsf}};

static bool choose_format(struct options *given)
{
	for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
		if (strcmp(formats[i].name, given->format) == 0)
			given->print = formats[i].print;
	return given->print != NULL;
}

static int take(const Twokey__V1__Record *record, void *user)
{
	struct options *given = (struct options *)user;
	given->shown++;
	given->print(given, record);
	given->request.message.from_index = record->index + 1;
	return ferror(stdout) ? CLI_FAILED : CLI_OK;
}

static void end(const Twokey__V1__SearchTail *tail, void *user)
{
	((struct options *)user)->more = tail->more;
}

static int export(struct options *given)
{
	const struct audit_sink sink = {take, end, given};
	Twokey__V1__SearchRequest *message = &given->request.message;
	message->start_case = TWOKEY__V1__SEARCH_REQUEST__START_FROM_INDEX;
	message->oldest_first = true;
	message->limit = PAGE;
	int code;
	do {
		given->more = false;
		code = audit_ask(&given->connection, AUDIT_SERVICE "Search", &message->base, &sink);
	} while (code == CLI_OK && given->more);
	if (code == CLI_OK && (fflush(stdout) != 0 || ferror(stdout)))
		code = cli_usage("stdout: it cannot be written");
	if (given->left_out)
		fprintf(stderr,
		        "twokey: %" PRIu64 " records tell of no access to the bucket and are no OCSF datastore activity\n",
		        given->left_out);
	return code;
}

int audit_export_command(int argc, char **argv)
{
	struct options given = {.format = "jsonl"};
	audit_request_init(&given.request);
	const struct cli_part parts[] = {
	    {audit_request_options, audit_request_parse, &given.request}, {options, parse, &given}, {0}};
	cli_parse_parts(
	    parts, "",
	    "Writes all records that match to stdout, oldest first: JSON lines, CSV, or OCSF Datastore Activity "
	    "(class 6005) as JSON lines.",
	    &given.connection, argc, argv);
	if (!choose_format(&given))
		return cli_usage("a format is jsonl, csv or ocsf");
	given.chain.uid = given.connection.server;
	int code = cli_connect(&given.connection);
	if (code == CLI_OK)
		code = export(&given);
	cli_disconnect(&given.connection);
	return code;
}
