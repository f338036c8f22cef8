/* Options and environment that say whom to talk to. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "common/clock.h"

enum { KEY_SERVER = 0x1000, KEY_CA, KEY_CERT, KEY_KEY, KEY_TIMEOUT };

static const struct argp_option options[] = {
    {"server", KEY_SERVER, "HOST:PORT", 0, "the deployment to talk to (TWOKEY_SERVER)", 90},
    {"ca", KEY_CA, "FILE", 0, "PEM file of the authority that signed its certificate (TWOKEY_CA)", 90},
    {"cert", KEY_CERT, "FILE", 0, "our client certificate, PEM (TWOKEY_CERT)", 90},
    {"key", KEY_KEY, "FILE", 0, "and its key, PEM (TWOKEY_KEY)", 90},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "give up after this long; default: 60 for short calls, none for transfers",
     90},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct cli_connection *connection = (struct cli_connection *)state->input;
	switch (key) {
	case KEY_SERVER:
		connection->server = arg;
		return 0;
	case KEY_CA:
		connection->ca = arg;
		return 0;
	case KEY_CERT:
		connection->cert = arg;
		return 0;
	case KEY_KEY:
		connection->key = arg;
		return 0;
	case KEY_TIMEOUT:
		connection->timeout_s = (unsigned)strtoul(arg, NULL, 10);
		if (connection->timeout_s == 0)
			argp_error(state, "--timeout takes a number of seconds");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void from_environment(const char **value, const char *name)
{
	const char *set = getenv(name);
	if (!*value && set && set[0])
		*value = set;
}

/* What the parsers of a command get as their input. */
struct inputs {
	const struct cli_part *parts;
	struct cli_connection *connection;
};

static error_t hand_out(int key, char *arg, struct argp_state *state)
{
	(void)arg;
	const struct inputs *inputs = (const struct inputs *)state->input;
	if (key != ARGP_KEY_INIT)
		return ARGP_ERR_UNKNOWN;
	size_t n = 0;
	for (; inputs->parts[n].parser; n++)
		state->child_inputs[n] = inputs->parts[n].input;
	if (inputs->connection)
		state->child_inputs[n] = inputs->connection;
	return 0;
}

void cli_parse_parts(const struct cli_part *parts, const char *args_doc, const char *doc,
                     struct cli_connection *connection, int argc, char **argv)
{
	static const struct argp connection_argp = {.options = options, .parser = parse};
	struct argp own[CLI_PARTS_MAX] = {0};
	struct argp_child children[CLI_PARTS_MAX + 2] = {0};
	size_t n = 0;
	for (; parts[n].parser && n < CLI_PARTS_MAX; n++) {
		own[n] = (struct argp){.options = parts[n].options, .parser = parts[n].parser};
		children[n].argp = &own[n];
	}
	if (connection)
		children[n] = (struct argp_child){&connection_argp, 0, "Connection:", 90};
	const struct argp argp = {.parser = hand_out, .args_doc = args_doc, .doc = doc, .children = children};
	struct inputs inputs = {.parts = parts, .connection = connection};
	argp_err_exit_status = CLI_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &inputs);
	if (!connection)
		return;
	from_environment(&connection->server, "TWOKEY_SERVER");
	from_environment(&connection->ca, "TWOKEY_CA");
	from_environment(&connection->cert, "TWOKEY_CERT");
	from_environment(&connection->key, "TWOKEY_KEY");
}

void cli_parse(const struct argp_option *own, argp_parser_t parser, const char *args_doc, const char *doc,
               struct cli_connection *connection, void *input, int argc, char **argv)
{
	const struct cli_part parts[] = {{own, parser, input}, {0}};
	cli_parse_parts(parts, args_doc, doc, connection, argc, argv);
}

bool cli_read_range(const char *text, uint64_t *ret_first, uint64_t *ret_length)
{
	char *dash, *end = NULL;
	errno = 0;
	unsigned long long first = strtoull(text, &dash, 10), last = 0;
	if (*dash == '-' && isdigit((unsigned char)dash[1]))
		last = strtoull(dash + 1, &end, 10);
	if (!isdigit((unsigned char)text[0]) || !end || *end || errno || last < first || last == UINT64_MAX)
		return false;
	*ret_first = first;
	*ret_length = last - first + 1;
	return true;
}

bool cli_keep_string(const struct cli_string *strings, void *input, int key, char *arg)
{
	for (; strings->key; strings++)
		if (strings->key == key) {
			*(char **)(void *)((char *)input + strings->offset) = arg;
			return true;
		}
	return false;
}

uint64_t cli_number(struct argp_state *state, const char *text)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-')
		argp_error(state, "`%s` is no number", text);
	return value;
}

Google__Protobuf__Timestamp cli_time(struct argp_state *state, const char *text)
{
	int64_t ms = 0;
	if (!clock_parse(text, &ms))
		argp_error(state, "`%s` is no time such as 2026-11-21 or 2026-11-21T18:20:00Z", text);
	return transaction_timestamp(ms);
}

int cli_connect(struct cli_connection *connection)
{
	if (!connection->server)
		return cli_usage("say which deployment: --server HOST:PORT, or TWOKEY_SERVER");
	if (!connection->cert != !connection->key)
		return cli_usage("a client certificate needs both --cert and --key");
	rpc_init();
	const struct rpc_client_options client = {
	    .target = connection->server, .ca = connection->ca, .certificate = connection->cert, .key = connection->key};
	struct err err = {0};
	return rpc_client_new(&client, &connection->client, &err) == ERR_OK ? CLI_OK : cli_fail(&err);
}

void cli_disconnect(struct cli_connection *connection)
{
	if (!connection->client)
		return;
	rpc_client_free(connection->client);
	connection->client = NULL;
	rpc_shutdown();
}

int64_t cli_deadline_ms(const struct cli_connection *connection)
{
	return connection->timeout_s ? clock_now_ms(NULL) + (int64_t)connection->timeout_s * 1000 : 0;
}
