#include "cli/audit_keys.h"

#include <string.h>

#include "common/text.h"

#define FILE_MAX ((size_t)64 << 10)

static void add(struct audit_keys *keys, const char *vkey, struct argp_state *state)
{
	struct err err = {0};
	if (keys->n == AUDIT_KEYS_MAX)
		argp_error(state, "at most %d keys", AUDIT_KEYS_MAX);
	if (audit_verifier_parse(vkey, &keys->items[keys->n], &err) == ERR_OK)
		keys->n++;
	else
		argp_error(state, "--vkey: %s", err.text);
}

/* NAME=FILE: a public key in PEM, as `twokey init` writes it. */
static bool add_pem(struct audit_keys *keys, const char *text, struct argp_state *state)
{
	autobuf struct buf pem = {0};
	autofree char *name = xstrdup(text);
	char *path = strchr(name, '=');
	struct err err = {0};
	if (!path || strchr(name, '+'))
		return false;
	*path++ = '\0';
	if (keys->n == AUDIT_KEYS_MAX)
		argp_error(state, "at most %d keys", AUDIT_KEYS_MAX);
	enum err_code code = text_read_file(path, FILE_MAX, &pem, &err);
	if (code == ERR_OK)
		code = audit_verifier_from_pem(name, buf_span(&pem), &keys->items[keys->n], &err);
	if (code != ERR_OK)
		argp_error(state, "--vkey %s: %s", text, err.text);
	keys->n++;
	return true;
}

error_t audit_keys_add(struct audit_keys *keys, const char *text, struct argp_state *state)
{
	autobuf struct buf file = {0};
	if (add_pem(keys, text, state))
		return 0;
	if (strchr(text, '+') && text_read_file(text, FILE_MAX, &file, NULL) != ERR_OK) {
		add(keys, text, state);
		return 0;
	}
	struct err err = {0};
	if (file.len == 0 && text_read_file(text, FILE_MAX, &file, &err) != ERR_OK)
		argp_error(state, "--vkey: neither a key nor a file with keys: %s", err.text);
	autofree char *lines = xstrdup(buf_cstr(&file));
	char *rest = lines;
	for (char *line; (line = strsep(&rest, "\n"));)
		if (*line && *line != '#')
			add(keys, line, state);
	return 0;
}

void audit_keys_done(struct audit_keys *keys)
{
	for (size_t i = 0; i < keys->n; i++)
		audit_verifier_free(keys->items[i]);
	keys->n = 0;
}
