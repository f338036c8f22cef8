/* The commands of `twokey`: one file per command, what they share here. */
#ifndef TWOKEY_CLI_CLI_H
#define TWOKEY_CLI_CLI_H

#include <argp.h>
#include <stdbool.h>

#include "common/err.h"
#include "rpc/rpc.h"
#include "transaction/transaction.h"

/* Documented in --help and twokey(1). */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,
	CLI_USAGE = 2,       /* wrong words on the command line */
	CLI_REFUSED = 3,     /* a deployment decided: no */
	CLI_UNAVAILABLE = 4, /* nobody could decide; try again */
};

int cli_serve(int argc, char **argv);
int cli_init(int argc, char **argv);
int cli_ca(int argc, char **argv);
int cli_key(int argc, char **argv);
int cli_token(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_authorize(int argc, char **argv);
int cli_holder(int argc, char **argv);
int cli_cosign(int argc, char **argv);
int cli_fetch(int argc, char **argv);
int cli_store(int argc, char **argv);
int cli_ls(int argc, char **argv);
int cli_rm(int argc, char **argv);
int cli_audit(int argc, char **argv);
int cli_receipt(int argc, char **argv);
int cli_policy(int argc, char **argv);
int cli_unseal(int argc, char **argv);
int cli_presign(int argc, char **argv);

/* ---- commands of a command ---- */

struct cli_command {
	const char *name; /* NULL ends the table */
	int (*run)(int argc, char **argv);
	const char *what;
};
/* `twokey FAMILY COMMAND ...`: finds the command and hands over, with "twokey FAMILY COMMAND" as its name; helps. */
int cli_dispatch(const char *family, const char *about, const struct cli_command *commands, int argc, char **argv);

/* ---- a connection, by options or environment ---- */

struct cli_connection {
	const char *server, *ca, *cert, *key;
	unsigned timeout_s; /* 0: none */
	struct rpc_client *client;
};

/* Parses a command line: the command's own options and arguments, and, when connection is not NULL, --server, --ca,
 * --cert, --key and --timeout. Exits with CLI_USAGE on a mistake. */
void cli_parse(const struct argp_option *options, argp_parser_t parser, const char *args_doc, const char *doc,
               struct cli_connection *connection, void *input, int argc, char **argv);
/* The same for a command line whose options are shared out among several parsers, each with an input of its own; a NULL
 * parser ends them. */
struct cli_part {
	const struct argp_option *options;
	argp_parser_t parser;
	void *input;
};
enum { CLI_PARTS_MAX = 4 };
void cli_parse_parts(const struct cli_part *parts, const char *args_doc, const char *doc,
                     struct cli_connection *connection, int argc, char **argv);
/* Options whose argument is kept as it is: where in the input it goes. Key 0 ends the table. False: not one of them. */
struct cli_string {
	int key;
	size_t offset; /* of a char * */
};
bool cli_keep_string(const struct cli_string *strings, void *input, int key, char *arg);
/* "FIRST-LAST", bytes, both ends included. False: it is no range. */
must_check bool cli_read_range(const char *text, uint64_t *ret_first, uint64_t *ret_length);
/* What an argument says, or argp_error. */
uint64_t cli_number(struct argp_state *state, const char *text);
Google__Protobuf__Timestamp cli_time(struct argp_state *state, const char *text);
/* Connects lazily; the client is freed by cli_disconnect. Returns an exit code after telling what is wrong. */
must_check int cli_connect(struct cli_connection *connection);
void cli_disconnect(struct cli_connection *connection);
int64_t cli_deadline_ms(const struct cli_connection *connection);

/* ---- provisioning ---- */

struct secret;

/* One line from file:PATH or - (stdin), straight into locked memory. */
must_check enum err_code cli_read_secret(const char *source, struct secret **ret, struct err *err);
/* Where public keys go: `given`, else the configuration's folder. Owned by the caller. */
char *cli_folder(const char *given, const char *config_path);

/* ---- telling a person ---- */

/* "twokey: ..." on stderr; the exit code that fits. */
int cli_fail(const struct err *err);
int cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* How a call ended, when not well; the exit code that fits. */
int cli_ended(const struct rpc_status *status);
/* Text from elsewhere, with control characters made visible: a terminal obeys no object name. */
void cli_print(FILE *out, const char *text);

/* One line on a terminal's stderr, renewed; nothing in a pipe. */
struct cli_progress {
	const char *what;
	uint64_t total; /* 0: unknown */
	int64_t started_us, shown_us;
	bool visible;
};
void cli_progress_init(struct cli_progress *progress, const char *what, uint64_t total);
void cli_progress_show(struct cli_progress *progress, uint64_t done);
void cli_progress_end(struct cli_progress *progress);

/* ---- envelopes and messages ---- */

/* Reads an envelope (JSON or protobuf) from a file or "-". Returns an exit code after telling what is wrong. */
must_check int cli_read_envelope(const char *path, struct envelope *ret);
/* Writes an envelope as one line of DSSE JSON to a file, or to stdout when path is NULL or "-". */
must_check int cli_write_envelope(const char *path, const struct envelope *envelope);
must_check int cli_write_envelope_pb(const char *path, const Twokey__V1__Envelope *envelope);
/* One request and one response; *ret is freed with pb_free. Returns an exit code. */
must_check int cli_call(struct cli_connection *connection, const char *path, const ProtobufCMessage *request,
                        const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret);
/* Opens a stream with one request message; a server-streaming call is half-closed. Returns an exit code. */
must_check int cli_open_stream(struct cli_connection *connection, const char *path, const ProtobufCMessage *request,
                               bool half_close, struct rpc_stream **ret);
/* The next message of a stream; *ret NULL at its end. Returns an exit code. */
must_check int cli_next(struct rpc_stream *stream, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret);
/* Waits for the stream's status, tells what went wrong, frees it. */
int cli_end_stream(struct rpc_stream *stream);
/* "2026-11-21T18:20:00.000Z" */
void cli_format_time(const Google__Protobuf__Timestamp *time, char *out);

#endif
