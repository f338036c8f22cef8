/* twokey policy: finds the command and hands over. */
#include "cli/policy.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
    {"check", policy_check, "is a rule file in order? Needs no server"},
    {"get", policy_get, "the rule file that is in force"},
    {"explain", policy_explain_request, "which rule decides on a request, and why the others do not"},
    {"replay", policy_replay, "what a new rule file would have decided otherwise"},
    {"reload", policy_reload, "read the rule file again"},
    {"revoke", policy_revoke, "take back a transaction, object, prefix, user, account or vendor key"},
    {"reinstate", policy_reinstate, "undo a revocation"},
    {"expire", policy_expire, "set, move or remove the end of an object or a prefix"},
    {"add-user", policy_add_user, "let only listed users at an object"},
    {"remove-user", policy_remove_user, "take a user off an object's list, or the list away"},
    {"lockdown", policy_lockdown, "stop everything at once, or go on"},
    {"restrictions", policy_restrictions, "what is restricted right now"},
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

static void help(FILE *out)
{
	fputs("Usage: twokey policy COMMAND [OPTION...]\n"
	      "Looks at a deployment's rules, tries them, and takes things back. Needs a client certificate with the role\n"
	      "operator; auditors may look.\n\n",
	      out);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-13s %s\n", commands[i].name, commands[i].what);
	fputs("\n`twokey policy COMMAND --help` tells more of each.\n", out);
}

int cli_policy(int argc, char **argv)
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
		snprintf(name, sizeof name, "twokey policy %s", commands[i].name);
		argv[1] = name;
		return commands[i].run(argc - 1, argv + 1);
	}
	return cli_usage("there is no command `policy %s`; `twokey policy --help` lists them", argv[1]);
}

int policy_call(struct cli_connection *connection, const char *method, const ProtobufCMessage *request,
                const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
	int code = cli_connect(connection);
	if (code == CLI_OK)
		code = cli_call(connection, method, request, type, ret);
	cli_disconnect(connection);
	return code;
}
