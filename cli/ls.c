/* twokey ls */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/use.h"
#include "common/clock.h"
#include "common/pb.h"
#include "twokey/v1/gatekeeper.pb-c.h"

#define METHOD "/twokey.v1.Gatekeeper/List"

static void show_json(const Twokey__V1__ObjectEntry *entry, const char *modified)
{
	json_t *line = json_pack("{s:s, s:I, s:I, s:s}", "object", entry->object, "size", (json_int_t)entry->size,
	                         "stored_size", (json_int_t)entry->stored_size, "modified", modified);
	if (line)
		json_dumpf(line, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(line);
}

static void show(const Twokey__V1__ObjectEntry *entry, bool json)
{
	char modified[CLOCK_TEXT_MAX];
	cli_format_time(entry->modified, modified);
	if (json) {
		show_json(entry, modified);
		return;
	}
	printf("%14" PRIu64 "  %s  ", entry->size, modified);
	cli_print(stdout, entry->object);
	putchar('\n');
}

/* Shows all pages; *ret_whole when the last one came, with its tail. */
static int show_pages(struct cli_use *use, struct rpc_stream *stream, bool *ret_whole)
{
	for (;;) {
		ProtobufCMessage *message = NULL;
		int code = cli_next(stream, &twokey__v1__list_response__descriptor, &message);
		if (code != CLI_OK || !message)
			return code;
		const Twokey__V1__ListResponse *page = (const Twokey__V1__ListResponse *)message;
		for (size_t i = 0; i < page->n_objects; i++)
			show(page->objects[i], use->json);
		if (page->tail) {
			*ret_whole = true;
			code = cli_use_receipt(use, page->tail->receipt);
		}
		pb_free(message);
		if (code != CLI_OK)
			return code;
	}
}

int cli_ls(int argc, char **argv)
{
	struct cli_use use = {0};
	int code = cli_use_begin(&use, CLI_USE_JSON | CLI_USE_RECEIPT,
	                         "Lists the objects below the prefix that an envelope names.", argc, argv);
	struct rpc_stream *stream = NULL;
	if (code == CLI_OK) {
		Twokey__V1__ListRequest request = TWOKEY__V1__LIST_REQUEST__INIT;
		request.envelope = envelope_to_pb(&use.envelope, &use.view);
		code = cli_use_prove(&use, METHOD, &request.proof);
		if (code == CLI_OK)
			code = cli_open_stream(&use.connection, METHOD, &request.base, true, &stream);
	}
	if (code == CLI_OK) {
		bool whole = false;
		int shown = show_pages(&use, stream, &whole);
		code = cli_end_stream(stream);
		if (code == CLI_OK)
			code = shown;
		if (code == CLI_OK && !whole)
			code = cli_fail(&(struct err){.code = ERR_CORRUPT, .text = "the listing ended without its tail"});
	}
	cli_use_end(&use);
	return code;
}
