/* What the commands of `twokey audit` share. */
#ifndef TWOKEY_CLI_AUDIT_H
#define TWOKEY_CLI_AUDIT_H

#include "cli/cli.h"
#include "twokey/v1/audit.pb-c.h"

#define AUDIT_SERVICE "/twokey.v1.Audit/"

/* Each gets its own words in argv, its name ("twokey audit search") in front. */
int audit_search_command(int argc, char **argv);
int audit_tail_command(int argc, char **argv);
int audit_show_command(int argc, char **argv);
int audit_export_command(int argc, char **argv);
int audit_reindex_command(int argc, char **argv);
int audit_verify_command(int argc, char **argv);
int audit_checkpoint_command(int argc, char **argv);
int audit_prove_command(int argc, char **argv);

/* ---- what is searched for ---- */

struct audit_request {
	Twokey__V1__SearchRequest message;
	Google__Protobuf__Timestamp from, until;
	uint8_t transaction[16];
};
void audit_request_init(struct audit_request *request);
/* The options that say which records match: --since, --object, ... The input is a struct audit_request. */
extern const struct argp_option audit_request_options[];
error_t audit_request_parse(int key, char *arg, struct argp_state *state);

/* ---- asking ---- */

/* Calls back with each record, in the order in which they come, and at the end with the tail (may be NULL); the
 * callback returns an exit code. Returns one. The connection is open. */
struct audit_sink {
	int (*record)(const Twokey__V1__Record *record, void *user);
	void (*tail)(const Twokey__V1__SearchTail *tail, void *user);
	void *user;
};
must_check int audit_ask(struct cli_connection *connection, const char *method, const ProtobufCMessage *request,
                         const struct audit_sink *sink);

/* One line for a person, or one line of JSON with every field. */
void audit_print(const Twokey__V1__Record *record, bool json);

#endif
