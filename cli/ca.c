/* twokey ca: finds the command and hands over. */
#include "cli/ca.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/text.h"

static const struct cli_command commands[] = {
    {"init", ca_init, "make the authority's key in its token, its certificate and its first list"},
    {"issue", ca_issue_command, "a certificate for a caller or a deployment"},
    {"revoke", ca_revoke_command, "take certificates back: writes a new list"},
    {"crl", ca_crl, "write a new list of what is revoked, before the old one is out of date"},
    {"list", ca_list_command, "what was issued, until when, and what is revoked"},
    {0},
};

int cli_ca(int argc, char **argv)
{
	static const char about[] =
	    "Issues certificates for callers and deployments, with a key in a token of its own that is normally locked\n"
	    "away. All but `list` need that token.";
	return cli_dispatch("ca", about, commands, argc, argv);
}

/* ---- init, revoke, crl, list ---- */

struct options {
	const char *config, *which, *why;
	bool takes_which, json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case 'c':
		given->config = arg;
		return 0;
	case 'w':
		if (strlen(arg) > 200 || strpbrk(arg, "\t\r\n"))
			argp_error(state, "--why takes one line of at most 200 bytes");
		given->why = arg;
		return 0;
	case 'j':
		given->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (!given->takes_which || given->which)
			argp_error(state, "too many arguments");
		given->which = arg;
		return 0;
	case ARGP_KEY_END:
		if (!given->config)
			argp_error(state, "--config FILE is needed");
		if (given->takes_which && (!given->which || !given->why))
			argp_error(state, "say which, by serial or identity, and --why");
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

int ca_with(const char *config_path, bool make, ca_work work, void *user)
{
	struct ca_config config;
	struct ca *ca = NULL;
	struct err err = {0};
	enum err_code code = ca_config_load(config_path, &config, &err);
	const struct ca_options options = {.config = &config, .make = make, .tell = tell};
	if (code == ERR_OK)
		code = ca_open(&options, &ca, &err);
	if (code == ERR_OK)
		code = work(ca, user, &err);
	ca_close(ca);
	ca_config_done(&config);
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}

#define CONFIG_OPTION                                                                                                  \
	{                                                                                                                  \
		"config", 'c', "FILE", 0, "the authority's configuration", 0                                                   \
	}

static enum err_code write_list(struct ca *ca, void *user, struct err *err)
{
	(void)user;
	return ca_write_list(ca, err);
}

int ca_init(int argc, char **argv)
{
	static const struct argp_option options[] = {CONFIG_OPTION, {0}};
	struct options given = {0};
	cli_parse(options, parse, NULL,
	          "Makes what is missing: the authority's key in its token (which must be initialised), ca.pem, index.txt; "
	          "and writes a list of what is revoked. Safe to repeat.",
	          NULL, &given, argc, argv);
	return ca_with(given.config, true, write_list, NULL);
}

int ca_crl(int argc, char **argv)
{
	static const struct argp_option options[] = {CONFIG_OPTION, {0}};
	struct options given = {0};
	cli_parse(options, parse, NULL, "Writes revoked.pem anew, good for another `list_lifetime`.", NULL, &given, argc,
	          argv);
	return ca_with(given.config, false, write_list, NULL);
}

static enum err_code revoke(struct ca *ca, void *user, struct err *err)
{
	const struct options *given = (const struct options *)user;
	size_t n = 0;
	enum err_code code = ca_revoke(ca, given->which, given->why, &n, err);
	if (code == ERR_OK)
		printf("revoked %zu; give revoked.pem to every deployment (`tls.revocation_lists`)\n", n);
	return code;
}

int ca_revoke_command(int argc, char **argv)
{
	static const struct argp_option options[] = {CONFIG_OPTION, {"why", 'w', "TEXT", 0, "for the index", 0}, {0}};
	struct options given = {.takes_which = true};
	cli_parse(options, parse, "SERIAL|IDENTITY",
	          "Takes back one certificate, or every valid one of an identity, and writes revoked.pem.", NULL, &given,
	          argc, argv);
	return ca_with(given.config, false, revoke, &given);
}

static const char *state_of(const struct ca_issued *issued)
{
	return issued->revoked_ms ? "revoked" : issued->expires_ms < clock_now_ms(NULL) ? "expired" : "valid";
}

static void show(const struct ca_issued *issued, void *user)
{
	const struct options *given = (const struct options *)user;
	char expires[CLOCK_TEXT_MAX], revoked[CLOCK_TEXT_MAX] = "";
	clock_format(issued->expires_ms, expires);
	if (issued->revoked_ms)
		clock_format(issued->revoked_ms, revoked);
	if (given->json) {
		json_t *object = json_pack("{ssssssssssss}", "identity", issued->identity, "serial", issued->serial, "state",
		                           state_of(issued), "expires", expires, "revoked", revoked, "why", issued->why);
		json_dumpf(object, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(object);
		return;
	}
	printf("%s  %-8s until %.10s  ", issued->serial, state_of(issued), expires);
	cli_print(stdout, issued->identity);
	if (issued->revoked_ms) {
		printf("  (%.10s: ", revoked);
		cli_print(stdout, issued->why);
		putchar(')');
	}
	putchar('\n');
}

int ca_list_command(int argc, char **argv)
{
	static const struct argp_option options[] = {CONFIG_OPTION, {"json", 'j', NULL, 0, "one object a line", 0}, {0}};
	struct options given = {0};
	cli_parse(options, parse, NULL, "Lists what was issued. Needs no token.", NULL, &given, argc, argv);
	struct ca_config config;
	struct err err = {0};
	enum err_code code = ca_config_load(given.config, &config, &err);
	if (code == ERR_OK)
		code = ca_list(&config, show, &given, &err);
	ca_config_done(&config);
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}
