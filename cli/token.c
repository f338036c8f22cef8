/* twokey token qualify */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "server/config.h"

struct options {
	const char *config, *command;
	unsigned ms;
	bool measured; /* the heading has been printed */
};

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "the deployment's configuration: its section `token` is what is tried", 0},
    {"milliseconds", 'm', "N", 0, "length of each measurement; 0: do not measure; default: 300", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	char *end;
	unsigned long number;
	switch (key) {
	case 'c':
		given->config = arg;
		return 0;
	case 'm':
		number = strtoul(arg, &end, 10);
		if (*end || number > 60000)
			argp_error(state, "milliseconds are 0 to 60000");
		given->ms = (unsigned)number;
		return 0;
	case ARGP_KEY_ARG:
		if (given->command || strcmp(arg, "qualify") != 0)
			argp_error(state, "the only command is `qualify`");
		given->command = arg;
		return 0;
	case ARGP_KEY_END:
		if (!given->command || !given->config)
			argp_error(state, "usage: twokey token qualify --config FILE");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void show_need(const struct hsm_need *need, void *user)
{
	(void)user;
	printf("%-36s %-46s %s%s", need->mechanism, need->needed_for,
	       need->works      ? "works"
	       : need->required ? "DOES NOT WORK"
	                        : "does not work (not needed here)",
	       need->works ? "" : ": ");
	cli_print(stdout, need->how);
	putchar('\n');
	fflush(stdout);
}

static void show_speed(const struct hsm_speed *speed, void *user)
{
	struct options *given = (struct options *)user;
	if (!given->measured)
		printf("\n%-20s %7s %14s %14s %12s\n", "operation", "threads", "per second", "CPU us each", "worst ms");
	given->measured = true;
	printf("%-20s %7u %14.0f %14.1f %12.1f\n", speed->operation, speed->threads, speed->per_second, speed->cpu_us,
	       speed->worst_ms);
	fflush(stdout);
}

static enum err_code qualify(struct options *given, const struct config *config, struct err *err)
{
	const struct hsm_options token = config_hsm_options(config);
	const struct hsm_qualify asked = {.need = show_need, .speed = show_speed, .user = given, .ms = given->ms};
	struct hsm *hsm = NULL;
	enum err_code code = hsm_open(&token, &hsm, err);
	const struct hsm_need login = {.mechanism = "C_Initialize, C_OpenSession, C_Login",
	                               .needed_for = "everything",
	                               .required = true,
	                               .works = code == ERR_OK,
	                               .how = code == ERR_OK ? "" : err->text};
	if (code == ERR_OK) {
		struct hsm_token_info info;
		hsm_token_info(hsm, &info);
		printf("token %s, %s %s, serial %s, by %s, gcm_iv: %s\n\n", info.label, info.manufacturer, info.model,
		       info.serial, token.module, token.gcm_iv == HSM_GCM_IV_TOKEN ? "token" : "caller");
	}
	show_need(&login, NULL);
	if (code == ERR_OK)
		code = hsm_qualify(hsm, &asked, err);
	hsm_free(hsm);
	return code;
}

int cli_token(int argc, char **argv)
{
	struct options given = {.ms = 300};
	cli_parse(
	    options, parse, "qualify",
	    "Tries everything that twokey needs of a token, with keys of its own that it removes again, and measures. "
	    "The exit code says whether the token qualifies.",
	    NULL, &given, argc, argv);
	struct config config;
	struct err err = {0};
	enum err_code code = config_load(given.config, &config, &err);
	if (code == ERR_OK)
		code = qualify(&given, &config, &err);
	config_done(&config);
	if (code == ERR_OK)
		puts("\nThis token qualifies.");
	else if (code == ERR_PRECONDITION)
		puts("\nThis token DOES NOT QUALIFY.");
	fflush(stdout);
	return code == ERR_OK ? CLI_OK : code == ERR_PRECONDITION ? CLI_FAILED : cli_fail(&err);
}
