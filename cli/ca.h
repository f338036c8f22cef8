/* What the commands of `twokey ca` share. */
#ifndef TWOKEY_CLI_CA_H
#define TWOKEY_CLI_CA_H

#include "cli/cli.h"
#include "server/ca.h"

/* Each gets its own words in argv, its name ("twokey ca issue") in front. */
int ca_init(int argc, char **argv);
int ca_issue_command(int argc, char **argv);
int ca_revoke_command(int argc, char **argv);
int ca_crl(int argc, char **argv);
int ca_list_command(int argc, char **argv);

/* Opens the authority, does the work, tells what went wrong. Returns an exit code. */
typedef enum err_code (*ca_work)(struct ca *ca, void *user, struct err *err);
must_check int ca_with(const char *config_path, bool make, ca_work work, void *user);

#endif
