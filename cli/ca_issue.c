/* twokey ca issue */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/ca.h"
#include "common/ip.h"
#include "common/secret.h"
#include "common/text.h"

#define PEM_MAX   65536
#define HOSTS_MAX 32

struct options {
	const char *config, *role, *deployment, *name, *csr, *out, *key;
	const char *hosts[HOSTS_MAX];
	size_t n_hosts;
	unsigned days;
};

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "the authority's configuration", 0},
    {"role", 'r', "ROLE", 0, "a caller's certificate, with the name twokey://ROLE/NAME", 0},
    {"deployment", 'd', NULL, 0, "a deployment's certificate, for its hosts", 0},
    {"host", 'H', "HOST", 0, "a host name or address of the deployment; may be repeated", 0},
    {"csr", 's', "FILE", 0, "whose key it is: a certificate request; its names do not count", 0},
    {"key", 'k', "FILE", 0, "make a key, and write it there (mode 0600); there must be none yet", 0},
    {"days", 'D', "DAYS", 0, "how long it is good; default: the configuration's `lifetime`", 0},
    {"out", 'o', "FILE", 0, "where the certificate goes; default: stdout", 0},
    {0}};

static error_t parse_number(const char *arg, struct argp_state *state, unsigned *ret)
{
	char *end;
	const unsigned long days = strtoul(arg, &end, 10);
	if (*end || days < 1 || days > 825)
		argp_error(state, "--days takes 1 to 825");
	*ret = (unsigned)days;
	return 0;
}

static void check(const struct options *given, struct argp_state *state)
{
	static const char *const roles[] = {"backend", "reader", "auditor", "operator", "admin"};
	bool known = !given->role;
	for (size_t i = 0; given->role && i < sizeof roles / sizeof roles[0]; i++)
		known |= strcmp(roles[i], given->role) == 0;
	if (!known)
		argp_error(state, "roles are backend, reader, auditor, operator and admin");
	if (!given->config || !given->name)
		argp_error(state, "--config FILE and a NAME are needed");
	if (!given->role == !given->deployment)
		argp_error(state, "say either --role ROLE or --deployment");
	if (!given->csr == !given->key)
		argp_error(state, "say either --csr FILE or --key FILE");
	if ((given->deployment != NULL) != (given->n_hosts > 0))
		argp_error(state, "a deployment has at least one --host, a caller none");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	const struct {
		int key;
		const char **value;
	} texts[] = {{'c', &given->config}, {'r', &given->role}, {'s', &given->csr},
	             {'k', &given->key},    {'o', &given->out},  {ARGP_KEY_ARG, &given->name}};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		if (texts[i].key == key) {
			if (*texts[i].value)
				argp_error(state, "given twice: %s", arg);
			*texts[i].value = arg;
			return 0;
		}
	switch (key) {
	case 'd':
		given->deployment = "";
		return 0;
	case 'H':
		if (given->n_hosts == HOSTS_MAX || !ca_name_is_good(arg) || strpbrk(arg, "/@+~_"))
			argp_error(state, "--host takes a host name or an address, at most %d times", HOSTS_MAX);
		given->hosts[given->n_hosts++] = arg;
		return 0;
	case 'D':
		return parse_number(arg, state, &given->days);
	case ARGP_KEY_END:
		check(given, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* The public key, and a new private one (else NULL). */
static enum err_code take_key(const struct options *given, struct buf *private, struct buf *spki, struct err *err)
{
	if (given->key) {
		if (access(given->key, F_OK) == 0)
			return err_set(err, ERR_EXISTS, 0, "%s is there already, and stays as it is", given->key);
		return identity_make_key(private, spki, err);
	}
	autobuf struct buf pem = {0};
	enum err_code code = text_read_file(given->csr, PEM_MAX, &pem, err);
	if (code == ERR_OK)
		code = identity_request_key(buf_span(&pem), spki, err);
	if (code != ERR_OK)
		err_prefix(err, "%s", given->csr);
	return code;
}

static void add_names(const struct options *given, const char *identity, struct buf *names)
{
	struct ip_addr address;
	for (size_t i = 0; i < given->n_hosts; i++)
		buf_printf(names, "%s%s:%s", i ? "," : "", ip_parse(given->hosts[i], &address) ? "IP" : "DNS", given->hosts[i]);
	if (given->n_hosts == 0)
		buf_printf(names, "URI:%s", identity);
}

static enum err_code write_out(const struct options *given, const struct buf *certificate, const struct buf *private,
                               struct err *err)
{
	if (given->key) {
		enum err_code code = text_write_file(given->key, buf_span(private), 0600, err);
		if (code != ERR_OK)
			return code;
	}
	if (given->out)
		return text_write_file(given->out, buf_span(certificate), 0644, err);
	return fwrite(certificate->data, 1, certificate->len, stdout) == certificate->len && fflush(stdout) == 0
	           ? ERR_OK
	           : err_set(err, ERR_UNAVAILABLE, 0, "the certificate cannot be written");
}

static enum err_code issue(struct ca *ca, void *user, struct err *err)
{
	const struct options *given = (const struct options *)user;
	autobuf struct buf private = {0}, spki = {0}, names = {0}, certificate = {0};
	char serial[2 * IDENTITY_SERIAL_BYTES + 1];
	autofree char *identity =
	    given->role ? xasprintf("twokey://%s/%s", given->role, given->name) : xstrdup(given->name);
	add_names(given, identity, &names);
	enum err_code code = take_key(given, &private, &spki, err);
	const struct ca_wish wish = {.identity = identity,
	                             .names = buf_cstr(&names),
	                             .spki = buf_span(&spki),
	                             .server = given->deployment != NULL,
	                             .days = given->days};
	if (code == ERR_OK)
		code = ca_issue(ca, &wish, &certificate, serial, err);
	if (code == ERR_OK)
		code = write_out(given, &certificate, &private, err);
	if (private.data)
		secret_wipe(private.data, private.cap);
	if (code == ERR_OK)
		fprintf(stderr, "issued %s to %s\n", serial, identity);
	return code;
}

int ca_issue_command(int argc, char **argv)
{
	struct options given = {0};
	cli_parse(options, parse, "NAME",
	          "Issues a certificate to a caller (--role) or a deployment (--deployment), for the key of a request or a "
	          "new one. It is in the index before it is handed out.",
	          NULL, &given, argc, argv);
	return ca_with(given.config, false, issue, &given);
}
