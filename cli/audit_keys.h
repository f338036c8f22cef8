/* The keys that somebody trusts, from a command line: --vkey TEXT, --vkey FILE or --vkey NAME=PEM. */
#ifndef TWOKEY_CLI_AUDIT_KEYS_H
#define TWOKEY_CLI_AUDIT_KEYS_H

#include <argp.h>

#include "audit/audit.h"

#define AUDIT_KEYS_MAX 32

struct audit_keys {
	struct audit_verifier *items[AUDIT_KEYS_MAX];
	size_t n;
};

/* Adds a vkey, or those of a file, one a line, or a public key in PEM; exits through argp_error when it is neither.
 * Returns 0. */
error_t audit_keys_add(struct audit_keys *keys, const char *text, struct argp_state *state);
void audit_keys_done(struct audit_keys *keys);

#endif
