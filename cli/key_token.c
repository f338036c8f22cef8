/* twokey key list, twokey key new: on the token itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/key.h"
#include "common/secret.h"
#include "server/server.h"

struct options {
	const char *config, *out, *source;
	struct server_key_new wanted;
	bool making;
};

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
	case 'b':
		given->wanted.bucket = arg;
		return 0;
	case 's':
		given->source = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (!given->making || given->wanted.role)
			argp_error(state, "too many arguments");
		given->wanted.role = arg;
		return 0;
	case ARGP_KEY_END:
		if (!given->config)
			argp_error(state, "--config FILE is needed");
		if (given->making && !given->wanted.role)
			argp_error(state, "say which: transaction, audit, kek or s3");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void show(const struct hsm_key_info *info, void *user)
{
	(void)user;
	const char *custody = !info->is_secret                        ? "public"
	                      : info->sensitive && !info->extractable ? "sensitive, not extractable"
	                                                              : "NOT PROTECTED";
	const char *origin = !info->is_secret ? "" : info->local ? "made in the token" : "imported";
	printf("%-32s %-18s %-28s %s%s\n", info->label, info->type, custody, origin,
	       info->is_secret && info->always_sensitive && info->never_extractable ? ", never left it" : "");
}

static enum err_code list(const struct config *config, struct err *err)
{
	const struct hsm_options token = config_hsm_options(config);
	struct hsm *hsm = NULL;
	enum err_code code = hsm_open(&token, &hsm, err);
	if (code == ERR_OK) {
		struct hsm_token_info info;
		hsm_token_info(hsm, &info);
		printf("token %s, %s %s\n", info.label, info.manufacturer, info.model);
		code = hsm_key_list(hsm, show, NULL, err);
	}
	hsm_free(hsm);
	return code;
}

int key_list(int argc, char **argv)
{
	static const struct argp_option options[] = {{"config", 'c', "FILE", 0, "the deployment's configuration", 0}, {0}};
	struct options given = {0};
	cli_parse(options, parse, NULL, "Lists the keys in a deployment's token, and how each is protected.", NULL, &given,
	          argc, argv);
	struct config config;
	struct err err = {0};
	enum err_code code = config_load(given.config, &config, &err);
	if (code == ERR_OK)
		code = list(&config, &err);
	config_done(&config);
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}

static void tell(const char *line, void *user)
{
	(void)user;
	puts(line);
}

static enum err_code make(struct options *given, const struct config *config, struct err *err)
{
	autosecret struct secret *secret = NULL;
	autofree char *folder = cli_folder(given->out, config->path);
	enum err_code code = given->source ? cli_read_secret(given->source, &secret, err) : ERR_OK;
	given->wanted.folder = folder;
	given->wanted.secret = secret;
	return code == ERR_OK ? server_key_new(config, &given->wanted, tell, NULL, err) : code;
}

int key_new(int argc, char **argv)
{
	static const struct argp_option options[] = {
	    {"config", 'c', "FILE", 0, "the deployment's configuration", 0},
	    {"bucket", 'b', "NAME", 0, "whose key (kek, s3)", 0},
	    {"s3-secret", 's', "SOURCE", 0, "s3: the new secret access key, file:PATH, or - for stdin", 0},
	    {"out", 'o', "FOLDER", 0, "where the public key goes; default: the configuration's folder", 0},
	    {0}};
	struct options given = {.making = true};
	cli_parse(options, parse, "transaction|audit|kek|s3",
	          "Makes the next generation of a key in the token, beside the ones that are there, writes its public key, "
	          "and says what is to be done next. A running server goes on with the old one until `twokey key use`.",
	          NULL, &given, argc, argv);
	struct config config;
	struct err err = {0};
	enum err_code code = config_load(given.config, &config, &err);
	if (code == ERR_OK)
		code = make(&given, &config, &err);
	config_done(&config);
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}
