/* twokey key: finds the command and hands over. */
#include "cli/key.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
    {"list", key_list, "every key in the token, and how it is protected"},
    {"new", key_new, "make the next generation of a key, beside the ones that are there"},
    {"status", key_status, "which generations a running deployment has, and which is current"},
    {"use", key_use, "make a generation the current one, while serving"},
    {"retire", key_retire, "take an old generation out of use, when nothing needs it any more"},
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void help(FILE *out)
{
	fputs(
	    "Usage: twokey key COMMAND [OPTION...]\n"
	    "Looks at a deployment's keys and replaces them. `list` and `new` work on the token, on the deployment's own\n"
	    "machine; the others talk to the running server, and need a client certificate with the role operator.\n\n",
	    out);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].what);
	fputs("\n`twokey key COMMAND --help` tells more of each.\n", out);
}

int cli_key(int argc, char **argv)
{
	if (argc < 2) {
		help(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "-?") == 0) {
		help(stdout);
		return CLI_OK;
	}
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		char name[64];
		snprintf(name, sizeof name, "twokey key %s", commands[i].name);
		argv[1] = name;
		return commands[i].run(argc - 1, argv + 1);
	}
	return cli_usage("there is no command `key %s`; `twokey key --help` lists them", argv[1]);
}
