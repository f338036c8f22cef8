/* What the commands that use an envelope share: its argument, and where the receipt goes. */
#ifndef TWOKEY_CLI_USE_H
#define TWOKEY_CLI_USE_H

#include "cli/cli.h"

struct cli_use {
	struct cli_connection connection;
	const char *envelope_path; /* first argument */
	const char *file;          /* store: second argument */
	const char *output;        /* fetch: NULL or "-" is stdout; cosign: where the envelope goes */
	const char *receipt;       /* where the receipt goes; NULL: nowhere */
	const char *content_type;  /* store */
	bool json;                 /* ls */
	const char *holder_path;   /* the holder's private key; NULL: none */
	struct holder_key *holder;
	struct holder_proof proof;
	struct envelope envelope;
	struct envelope_view view;
};

/* Which of the options and arguments a command has. */
enum cli_use_flags {
	CLI_USE_OUTPUT = 1,
	CLI_USE_RECEIPT = 2,
	CLI_USE_FILE = 4,
	CLI_USE_CONTENT_TYPE = 8,
	CLI_USE_JSON = 16
};

/* Parses the command line, reads the envelope, connects. Returns an exit code. */
must_check int cli_use_begin(struct cli_use *use, unsigned flags, const char *doc, int argc, char **argv);
/* The proof for a call of this method, when there is a holder key; *ret is NULL otherwise, and belongs to `use`.
 * Returns an exit code. */
must_check int cli_use_prove(struct cli_use *use, const char *method, Twokey__V1__HolderProof **ret);
void cli_use_end(struct cli_use *use);
/* Writes the receipt where it was asked for. Returns an exit code. */
must_check int cli_use_receipt(const struct cli_use *use, const Twokey__V1__Envelope *receipt);

#endif
