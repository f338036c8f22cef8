/* twokey key list */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "server/config.h"

struct options {
	const char *config, *command;
};

static const struct argp_option options[] = {{"config", 'c', "FILE", 0, "the deployment's configuration", 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case 'c':
		given->config = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (given->command || strcmp(arg, "list") != 0)
			argp_error(state, "the only command is `list`");
		given->command = arg;
		return 0;
	case ARGP_KEY_END:
		if (!given->command || !given->config)
			argp_error(state, "usage: twokey key list --config FILE");
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
	printf("%-32s %-18s %-28s %s%s\n", info->label, info->type, custody, info->local ? "made in the token" : "imported",
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

int cli_key(int argc, char **argv)
{
	struct options given = {0};
	cli_parse(options, parse, "list", "Lists the keys in a deployment's token, and how each is protected.", NULL,
	          &given, argc, argv);
	struct config config;
	struct err err = {0};
	enum err_code code = config_load(given.config, &config, &err);
	if (code == ERR_OK)
		code = list(&config, &err);
	config_done(&config);
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}
