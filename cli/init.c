/* twokey init */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "common/secret.h"
#include "common/text.h"
#include "server/server.h"

#define SECRETS_MAX 16

struct options {
	const char *config, *out;
	char *specs[SECRETS_MAX]; /* BUCKET=SOURCE */
	size_t n_specs;
};

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "the deployment's configuration", 0},
    {"out", 'o', "FOLDER", 0, "where the public keys go; default: the configuration's folder", 0},
    {"s3-secret", 's', "BUCKET=SOURCE", 0,
     "import a bucket's secret access key; SOURCE is file:PATH, or - for stdin; may be repeated", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case 'c':
		given->config = arg;
		return 0;
	case 'o':
		given->out = arg;
		return 0;
	case 's':
		if (given->n_specs == SECRETS_MAX || !strchr(arg, '='))
			argp_error(state, "--s3-secret takes BUCKET=SOURCE, at most %d times", SECRETS_MAX);
		else
			given->specs[given->n_specs++] = arg;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "no arguments are expected, only options");
		return 0;
	case ARGP_KEY_END:
		if (!given->config)
			argp_error(state, "--config FILE is needed");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void tell(const char *line, void *user)
{
	(void)user;
	puts(line);
}

static enum err_code provision(const struct options *given, const struct config *config, struct err *err)
{
	struct server_secret secrets[SECRETS_MAX] = {0};
	struct secret *owned[SECRETS_MAX] = {0};
	enum err_code code = ERR_OK;
	for (size_t i = 0; code == ERR_OK && i < given->n_specs; i++) {
		char *equals = strchr(given->specs[i], '=');
		*equals = 0;
		code = cli_read_secret(equals + 1, &owned[i], err);
		secrets[i] = (struct server_secret){.bucket = given->specs[i], .secret = owned[i]};
	}
	autofree char *folder = cli_folder(given->out, config->path);
	if (code == ERR_OK)
		code = server_init(config, folder, secrets, given->n_specs, tell, NULL, err);
	for (size_t i = 0; i < given->n_specs; i++)
		secret_free(owned[i]);
	return code;
}

int cli_init(int argc, char **argv)
{
	struct options given = {0};
	cli_parse(options, parse, NULL,
	          "Makes the keys that a deployment's token lacks (the token itself must be initialised), imports S3 "
	          "secrets, and writes "
	          "the public keys NAME.transaction.pem and NAME.audit.pem, and NAME.tls.csr when `tls.key` is in the "
	          "token. Safe to repeat.",
	          NULL, &given, argc, argv);
	struct config config;
	struct err err = {0};
	enum err_code code = config_load(given.config, &config, &err);
	if (code == ERR_OK)
		code = provision(&given, &config, &err);
	config_done(&config);
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}
