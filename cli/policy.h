/* What the commands of `twokey policy` share. */
#ifndef TWOKEY_CLI_POLICY_H
#define TWOKEY_CLI_POLICY_H

#include "cli/cli.h"
#include "twokey/v1/policy.pb-c.h"

#define POLICY_SERVICE "/twokey.v1.Policy/"

/* Each gets its own words in argv, its name ("twokey policy revoke") in front. */
int policy_check(int argc, char **argv);
int policy_get(int argc, char **argv);
int policy_explain_request(int argc, char **argv);
int policy_replay(int argc, char **argv);
int policy_reload(int argc, char **argv);
int policy_revoke(int argc, char **argv);
int policy_reinstate(int argc, char **argv);
int policy_expire(int argc, char **argv);
int policy_add_user(int argc, char **argv);
int policy_remove_user(int argc, char **argv);
int policy_lockdown(int argc, char **argv);
int policy_restrictions(int argc, char **argv);

/* Connects, calls and disconnects. *ret is freed with pb_free. Returns an exit code. */
must_check int policy_call(struct cli_connection *connection, const char *method, const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret);

#endif
