/* The second word of a command line. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static void help(FILE *out, const char *family, const char *about, const struct cli_command *commands)
{
	fprintf(out, "Usage: twokey %s COMMAND [OPTION...]\n%s\n\n", family, about);
	for (const struct cli_command *command = commands; command->name; command++)
		fprintf(out, "  %-13s %s\n", command->name, command->what);
	fprintf(out, "\n`twokey %s COMMAND --help` tells more of each.\n", family);
}

int cli_dispatch(const char *family, const char *about, const struct cli_command *commands, int argc, char **argv)
{
	if (argc < 2) {
		help(stderr, family, about, commands);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "-?") == 0) {
		help(stdout, family, about, commands);
		return CLI_OK;
	}
	for (const struct cli_command *command = commands; command->name; command++) {
		if (strcmp(argv[1], command->name) != 0)
			continue;
		char name[64];
		snprintf(name, sizeof name, "twokey %s %s", family, command->name);
		argv[1] = name;
		return command->run(argc - 1, argv + 1);
	}
	return cli_usage("there is no command `%s %s`; `twokey %s --help` lists them", family, argv[1], family);
}
