/* twokey serve */
#include <stdio.h>

#include "cli/cli.h"
#include "server/server.h"

struct options {
	const char *config;
	bool check;
};

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "the deployment's configuration (docs/CONFIGURATION.md)", 0},
    {"check", 'C', NULL, 0, "validate the configuration, the rules, the token's keys and the buckets, and stop", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case 'c':
		given->config = arg;
		return 0;
	case 'C':
		given->check = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "no arguments are expected, only options");
		return 0;
	case ARGP_KEY_END:
		if (!given->config)
			argp_error(state, "--config FILE is needed");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cli_serve(int argc, char **argv)
{
	struct options given = {0};
	cli_parse(
	    options, parse, NULL,
	    "Runs a deployment until SIGTERM or SIGINT, then drains. Logs to stderr; the line \"serving\" has the address.",
	    NULL, &given, argc, argv);
	struct config config;
	struct err err = {0};
	enum err_code code = config_load(given.config, &config, &err);
	if (code == ERR_OK)
		code = given.check ? server_check(&config, &err) : server_run(&config, &err);
	if (code == ERR_OK && given.check)
		printf("%s: everything is in order\n", given.config);
	config_done(&config);
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}
