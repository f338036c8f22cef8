/* twokey key rewrap: puts a bucket's data keys under the current KEK, while the gatekeeper serves. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/key.h"
#include "common/pb.h"

#define ATTEMPTS 5 /* in a row, at a connection that breaks: it goes on where it was */

struct options {
	struct cli_connection connection;
	const char *bucket, *why, *after;
};

struct outcome {
	uint64_t objects, rewrapped, failed, not_sealed;
	uint64_t record;
	bool complete, moved;
	char last[1025];
};

enum { OPT_WHY = 0x100, OPT_AFTER };

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_WHY:
		given->why = arg;
		return 0;
	case OPT_AFTER:
		given->after = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (given->bucket)
			argp_error(state, "too many arguments");
		given->bucket = arg;
		return 0;
	case ARGP_KEY_END:
		if (!given->bucket)
			argp_error(state, "say which bucket");
		if (!given->why || !given->why[0])
			argp_error(state, "say why: --why TEXT");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void take(struct outcome *outcome, const struct outcome *before, const Twokey__V1__RewrapResponse *told)
{
	outcome->objects = before->objects + told->objects;
	outcome->rewrapped = before->rewrapped + told->rewrapped;
	outcome->failed = before->failed + told->failed;
	outcome->not_sealed = before->not_sealed + told->not_sealed;
	outcome->record = told->record;
	outcome->complete = told->complete;
	outcome->moved = outcome->moved || told->last[0];
	if (told->last[0])
		snprintf(outcome->last, sizeof outcome->last, "%s", told->last);
}

static int follow(struct rpc_stream *stream, struct outcome *outcome, struct cli_progress *progress)
{
	const struct outcome before = *outcome;
	int code = CLI_OK;
	for (bool more = true; more;) {
		ProtobufCMessage *message = NULL;
		code = cli_next(stream, &twokey__v1__rewrap_response__descriptor, &message);
		more = code == CLI_OK && message;
		if (more) {
			take(outcome, &before, (const Twokey__V1__RewrapResponse *)message);
			cli_progress_show(progress, outcome->objects);
		}
		pb_free(message);
	}
	return code;
}

static int attempt(struct options *given, struct outcome *outcome, struct cli_progress *progress)
{
	Twokey__V1__RewrapRequest request = TWOKEY__V1__REWRAP_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	request.bucket = (char *)given->bucket;
	request.why = (char *)given->why;
	request.after = outcome->last;
	outcome->moved = false;
	int code = cli_open_stream(&given->connection, KEY_SERVICE "Rewrap", &request.base, true, &stream);
	if (code != CLI_OK)
		return code;
	int followed = follow(stream, outcome, progress);
	cli_progress_end(progress);
	code = cli_end_stream(stream);
	return code != CLI_OK ? code : followed;
}

static int rewrap(struct options *given)
{
	struct outcome outcome = {0};
	struct cli_progress progress;
	int code = CLI_UNAVAILABLE;
	if (given->after)
		snprintf(outcome.last, sizeof outcome.last, "%s", given->after);
	cli_progress_init(&progress, "re-wrapping data keys", 0);
	for (unsigned failed = 0; code == CLI_UNAVAILABLE && failed < ATTEMPTS; failed = outcome.moved ? 0 : failed + 1) {
		if (failed > 0)
			sleep(1U << failed);
		code = attempt(given, &outcome, &progress);
	}
	printf("%" PRIu64 " objects looked at, %" PRIu64 " re-wrapped, %" PRIu64 " failed, %" PRIu64
	       " not sealed by a gatekeeper (record %" PRIu64 ")\n",
	       outcome.objects, outcome.rewrapped, outcome.failed, outcome.not_sealed, outcome.record);
	if (!outcome.complete && outcome.last[0]) {
		fputs("not finished; go on with --after ", stdout);
		cli_print(stdout, outcome.last);
		putchar('\n');
	}
	return code == CLI_OK && outcome.failed > 0 ? CLI_FAILED : code;
}

int key_rewrap(int argc, char **argv)
{
	static const struct argp_option options[] = {
	    {"why", OPT_WHY, "TEXT", 0, "the reason, for the record (required)", 1},
	    {"after", OPT_AFTER, "OBJECT", 0, "go on behind this object; default: from the first", 1},
	    {0}};
	struct options given = {0};
	cli_parse(
	    options, parse, "BUCKET",
	    "Wraps the data keys of a bucket's objects under the current KEK, one after another, while everything goes "
	    "on. Objects keep their bytes and ids. It can be cut off and repeated at any time: what is done is left "
	    "alone. Afterwards `twokey key retire kek` can take the old KEK out of use.",
	    &given.connection, &given, argc, argv);
	int code = cli_connect(&given.connection);
	if (code == CLI_OK)
		code = rewrap(&given);
	cli_disconnect(&given.connection);
	return code;
}
