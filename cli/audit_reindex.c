/* twokey audit reindex */
#include <inttypes.h>
#include <stdio.h>

#include "audit/audit.h"
#include "cli/audit.h"

struct options {
	const char *directory;
	struct cli_progress progress;
	uint64_t records;
};

static const struct argp_option options[] = {{0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case ARGP_KEY_ARG:
		if (given->directory)
			argp_error(state, "one directory");
		given->directory = arg;
		return 0;
	case ARGP_KEY_END:
		if (!given->directory)
			argp_error(state, "say which ledger's index: its directory");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void show(uint64_t indexed, uint64_t committed, void *user)
{
	struct options *given = (struct options *)user;
	given->progress.total = given->records = committed;
	cli_progress_show(&given->progress, indexed);
}

int audit_reindex_command(int argc, char **argv)
{
	struct options given = {0};
	cli_parse(
	    options, parse, "DIRECTORY",
	    "Makes the search index of the ledger in DIRECTORY anew. Beside a running server it removes the index only: "
	    "the server makes a new one.",
	    NULL, &given, argc, argv);
	struct err err = {0};
	bool running = false;
	cli_progress_init(&given.progress, "reindex", 0);
	enum err_code code = audit_reindex(given.directory, show, &given, &running, &err);
	cli_progress_end(&given.progress);
	if (code != ERR_OK)
		return cli_fail(&err);
	if (running)
		puts("removed; the server that has this ledger open makes a new one now");
	else
		printf("%" PRIu64 " records can be searched\n", given.records);
	return CLI_OK;
}
