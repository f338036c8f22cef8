/* twokey: finds the command and hands over. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
    {"serve", cli_serve, "run a deployment: a vendor or a gatekeeper"},
    {"init", cli_init, "make the keys that a deployment's token lacks"},
    {"ca", cli_ca, "an authority of one's own: issue and revoke client certificates"},
    {"key", cli_key, "look at keys, and replace them while serving"},
    {"token", cli_token, "what can a token do, and how fast?"},
    {"status", cli_status, "is a deployment serving?"},
    {"holder", cli_holder, "make a data client's own key pair"},
    {"authorize", cli_authorize, "vendor: sign a transaction"},
    {"cosign", cli_cosign, "gatekeeper: add the second signature"},
    {"store", cli_store, "put a file into the bucket"},
    {"fetch", cli_fetch, "get an object out of the bucket"},
    {"ls", cli_ls, "list objects"},
    {"rm", cli_rm, "remove an object"},
    {"presign", cli_presign, "a URL for an object that is not sealed"},
    {"audit", cli_audit, "search, follow and export the record"},
    {"receipt", cli_receipt, "check what a gatekeeper has signed for"},
    {"policy", cli_policy, "look at rules, try them, take things back"},
    {"unseal", cli_unseal, "recover objects from a copy of a bucket, offline"},
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void help(FILE *out)
{
	fputs("Usage: twokey COMMAND [OPTION...]\n"
	      "Guards an S3 bucket with two keys: a vendor signs, the customer's gatekeeper checks, co-signs, and moves "
	      "the bytes.\n\n",
	      out);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].what);
	fputs("\n`twokey COMMAND --help` tells more of each.\n\n"
	      "Commands that talk to a deployment take --server, --ca, --cert and --key, or the environment's "
	      "TWOKEY_SERVER,\n"
	      "TWOKEY_CA, TWOKEY_CERT and TWOKEY_KEY.\n\n"
	      "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a deployment, 4 unavailable (try again).\n",
	      out);
}

static int dispatch(int argc, char **argv)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		char name[64];
		snprintf(name, sizeof name, "twokey %s", commands[i].name);
		argv[1] = name;
		return commands[i].run(argc - 1, argv + 1);
	}
	return cli_usage("there is no command `%s`; `twokey --help` lists them", argv[1]);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		help(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		help(stdout);
		return CLI_OK;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		puts("twokey " TWOKEY_VERSION);
		return CLI_OK;
	}
	return dispatch(argc, argv);
}
