/* twokey policy: finds the command and hands over. */
#include "cli/policy.h"

static const struct cli_command commands[] = {
    {"check", policy_check, "is a rule file in order? Needs no server"},
    {"get", policy_get, "the rule file that is in force"},
    {"explain", policy_explain_request, "which rule decides on a request, and why the others do not"},
    {"replay", policy_replay, "what a new rule file would have decided otherwise"},
    {"reload", policy_reload, "read the rule file and the vendor keys again"},
    {"revoke", policy_revoke, "take back a transaction, object, prefix, user, account or vendor key"},
    {"reinstate", policy_reinstate, "undo a revocation"},
    {"expire", policy_expire, "set, move or remove the end of an object or a prefix"},
    {"add-user", policy_add_user, "let only listed users at an object"},
    {"remove-user", policy_remove_user, "take a user off an object's list, or the list away"},
    {"lockdown", policy_lockdown, "stop everything at once, or go on"},
    {"restrictions", policy_restrictions, "what is restricted right now"},
    {0},
};

int cli_policy(int argc, char **argv)
{
	static const char about[] =
	    "Looks at a deployment's rules, tries them, and takes things back. Needs a client certificate with the role\n"
	    "operator; auditors may look.";
	return cli_dispatch("policy", about, commands, argc, argv);
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
