/* Files with holder keys: FILE has the private key, FILE.pub the public one, both PEM. */
#ifndef TWOKEY_CLI_HOLDER_KEY_H
#define TWOKEY_CLI_HOLDER_KEY_H

#include "cli/cli.h"

/* Makes a key and both files; refuses to write over any. Returns an exit code after telling what is wrong. */
must_check int cli_holder_key_new(const char *path, struct holder_key **ret);
/* Reads the private key; refuses one that others than its owner can read. Returns an exit code. */
must_check int cli_holder_key_read(const char *path, struct holder_key **ret);
/* The digest of the public key in FILE.pub. Returns an exit code. */
must_check int cli_holder_sha256(const char *path, uint8_t out[32]);

#endif
