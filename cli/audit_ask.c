/* Asking a server for records, and showing them. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/audit.h"
#include "cli/record_json.h"
#include "common/clock.h"
#include "common/pb.h"

/* *ret_enough: the sink wants no more, and has said why. */
static int take_pages(struct rpc_stream *stream, const struct audit_sink *sink, bool *ret_enough)
{
	for (;;) {
		ProtobufCMessage *message = NULL;
		int code = cli_next(stream, &twokey__v1__search_response__descriptor, &message);
		if (code != CLI_OK || !message)
			return code;
		const Twokey__V1__SearchResponse *page = (const Twokey__V1__SearchResponse *)message;
		for (size_t i = 0; code == CLI_OK && i < page->n_records; i++)
			code = sink->record(page->records[i], sink->user);
		if (page->tail && sink->tail)
			sink->tail(page->tail, sink->user);
		pb_free(message);
		*ret_enough = code != CLI_OK;
		if (code != CLI_OK)
			return code;
	}
}

int audit_ask(struct cli_connection *connection, const char *method, const ProtobufCMessage *request,
              const struct audit_sink *sink)
{
	struct rpc_stream *stream = NULL;
	int code = cli_open_stream(connection, method, request, true, &stream);
	if (code != CLI_OK)
		return code;
	bool enough = false;
	int taken = take_pages(stream, sink, &enough);
	if (enough) {
		rpc_stream_free(stream);
		return taken;
	}
	code = cli_end_stream(stream);
	return code == CLI_OK ? taken : code;
}

static const char *or_dash(const char *text)
{
	return text && text[0] ? text : "-";
}

static void print_text(const Twokey__V1__Record *record)
{
	char time[CLOCK_TEXT_MAX];
	cli_format_time(record->time, time);
	const char *verdict = record->outcome[0] ? record->outcome : record->reason;
	printf("%8" PRIu64 "  %s  %-10s  %-7s  %-22s  ", record->index, time,
	       record_enum_name(&twokey__v1__event__descriptor, record->event),
	       or_dash(record_enum_name(&twokey__v1__decision__descriptor, record->decision)), or_dash(verdict));
	cli_print(stdout, or_dash(record->subject[0] ? record->subject : record->identity));
	printf("  %s%s%s  ", or_dash(record->address), record->country[0] ? " " : "", record->country);
	if (record->bucket[0]) {
		cli_print(stdout, record->bucket);
		putchar('/');
	}
	cli_print(stdout, or_dash(record->object));
	putchar('\n');
}

void audit_print(const Twokey__V1__Record *record, bool json)
{
	if (!json) {
		print_text(record);
		return;
	}
	json_t *line = record_json(record);
	json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(line);
}
