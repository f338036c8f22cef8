/* twokey audit: finds the command and hands over. */
#include "cli/audit.h"

static const struct cli_command commands[] = {
    {"search", audit_search_command, "who did what, when, from where, and what was decided; newest first"},
    {"tail", audit_tail_command, "records as they come"},
    {"show", audit_show_command, "one record, with every field"},
    {"export", audit_export_command, "all records that match, as JSON lines, CSV or OCSF"},
    {"reindex", audit_reindex_command, "make the search index anew"},
    {"checkpoint", audit_checkpoint_command, "the signed statement of what the record is"},
    {"prove", audit_prove_command, "a proof that a record is in it, to be checked offline"},
    {"verify", audit_verify_command, "offline: is this record unchanged and complete?"},
    {0},
};

int cli_audit(int argc, char **argv)
{
	static const char about[] =
	    "Reads a deployment's record. What asks a running server needs a client certificate with the role auditor or\n"
	    "operator, and is on record itself.";
	return cli_dispatch("audit", about, commands, argc, argv);
}
