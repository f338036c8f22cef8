/* twokey holder: key pairs of data clients. */
#include <stdio.h>
#include <string.h>

#include "cli/holder_key.h"
#include "common/text.h"

struct options {
	const char *command, *path;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case ARGP_KEY_ARG:
		if (state->arg_num == 0 && (strcmp(arg, "new") == 0 || strcmp(arg, "show") == 0))
			given->command = arg;
		else if (state->arg_num == 1)
			given->path = arg;
		else
			argp_error(state, state->arg_num ? "too many arguments" : "the commands are `new` and `show`");
		return 0;
	case ARGP_KEY_END:
		if (!given->path)
			argp_error(state, "usage: twokey holder new FILE, or twokey holder show FILE");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cli_holder(int argc, char **argv)
{
	struct options given = {0};
	cli_parse(NULL, parse, "new FILE\nshow FILE",
	          "A key pair of a data client's own, EC P-256. A transaction that names it is of use to its holder only: "
	          "`authorize --holder FILE.pub`, then `store`, `fetch`, `ls`, `rm` and `cosign` with `--holder-key FILE`. "
	          "`new` writes the private key to FILE (mode 0600) and the public one to FILE.pub. Both print what a "
	          "transaction names the key by: the SHA-256 of its SubjectPublicKeyInfo.",
	          NULL, &given, argc, argv);
	struct holder_key *key = NULL;
	int code = given.command[0] == 'n' ? cli_holder_key_new(given.path, &key) : cli_holder_key_read(given.path, &key);
	if (code == CLI_OK) {
		uint8_t sha256[32];
		char hex[65];
		holder_key_sha256(key, sha256);
		text_hex(span_of(sha256, sizeof sha256), hex);
		puts(hex);
	}
	holder_key_free(key);
	return code;
}
