/* Options and environment that say whom to talk to. */
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

/* What the two parsers of a command get as their input. */
struct inputs {
	void *own;
	struct cli_connection *connection;
};

static error_t hand_out(int key, char *arg, struct argp_state *state)
{
	(void)arg;
	const struct inputs *inputs = (const struct inputs *)state->input;
	if (key != ARGP_KEY_INIT)
		return ARGP_ERR_UNKNOWN;
	state->child_inputs[0] = inputs->own;
	if (inputs->connection)
		state->child_inputs[1] = inputs->connection;
	return 0;
}

void cli_parse(const struct argp_option *own, argp_parser_t parser, const char *args_doc, const char *doc,
               struct cli_connection *connection, void *input, int argc, char **argv)
{
	static const struct argp connection_argp = {.options = options, .parser = parse};
	const struct argp own_argp = {.options = own, .parser = parser};
	const struct argp_child children[] = {
	    {&own_argp, 0, NULL, 0}, {connection ? &connection_argp : NULL, 0, "Connection:", 90}, {0}};
	const struct argp argp = {.parser = hand_out, .args_doc = args_doc, .doc = doc, .children = children};
	struct inputs inputs = {.own = input, .connection = connection};
	argp_err_exit_status = CLI_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &inputs);
	if (!connection)
		return;
	from_environment(&connection->server, "TWOKEY_SERVER");
	from_environment(&connection->ca, "TWOKEY_CA");
	from_environment(&connection->cert, "TWOKEY_CERT");
	from_environment(&connection->key, "TWOKEY_KEY");
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
