/* What the commands of `twokey key` share. */
#ifndef TWOKEY_CLI_KEY_H
#define TWOKEY_CLI_KEY_H

#include "cli/cli.h"
#include "twokey/v1/key.pb-c.h"

#define KEY_SERVICE "/twokey.v1.Key/"

/* Each gets its own words in argv, its name ("twokey key new") in front. */
int key_list(int argc, char **argv);
int key_new(int argc, char **argv);
int key_status(int argc, char **argv);
int key_use(int argc, char **argv);
int key_retire(int argc, char **argv);
int key_rewrap(int argc, char **argv);

#endif
