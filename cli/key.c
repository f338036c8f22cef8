/* twokey key: finds the command and hands over. */
#include "cli/key.h"

static const struct cli_command commands[] = {
    {"list", key_list, "every key in the token, and how it is protected"},
    {"new", key_new, "make the next generation of a key, beside the ones that are there"},
    {"status", key_status, "which generations a running deployment has, and which is current"},
    {"use", key_use, "make a generation the current one, while serving"},
    {"rewrap", key_rewrap, "put a bucket's data keys under the current KEK, while serving"},
    {"retire", key_retire, "take an old generation out of use, when nothing needs it any more"},
    {0},
};

int cli_key(int argc, char **argv)
{
	static const char about[] =
	    "Looks at a deployment's keys and replaces them. `list` and `new` work on the token, on the deployment's own\n"
	    "machine; the others talk to the running server, and need a client certificate with the role operator.";
	return cli_dispatch("key", about, commands, argc, argv);
}
