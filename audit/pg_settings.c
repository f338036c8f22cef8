/* What is said to libpq: the operator's connection string, and safe values for what it leaves open. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/pg_conn.h"
#include "common/text.h"

enum { PASSWORD_MAX = 4096, SCHEMA_MAX = 62 };
#define SYSTEM_ROOTS    "/etc/ssl/certs/ca-certificates.crt"
#define SOCKET_FOLDER   "/var/run/postgresql"
#define SCHEMA_STANDARD "twokey"

/* What applies unless the connection string says otherwise. */
static const struct {
	const char *keyword, *value;
} standards[] = {
    {"application_name", "twokey"}, {"client_encoding", "UTF8"},  {"target_session_attrs", "read-write"},
    {"keepalives_idle", "5"},       {"keepalives_interval", "2"}, {"keepalives_count", "3"},
    {"gssencmode", "disable"},
};

static const char *get(const struct audit_pg_settings *settings, const char *keyword)
{
	for (int i = 0; i < settings->n; i++)
		if (strcmp(settings->keywords[i], keyword) == 0)
			return settings->values[i];
	return NULL;
}

/* Takes a literal as the keyword. */
static void add_missing(struct audit_pg_settings *settings, const char *keyword, const char *value)
{
	if (get(settings, keyword) || settings->n + 2 >= AUDIT_PG_KEYWORDS)
		return;
	settings->keywords[settings->n] = keyword;
	settings->values[settings->n++] = xstrdup(value);
}

/* On this machine: a socket's folder, or an address that does not leave it. */
static bool is_local(const char *hosts)
{
	static const char *const local[] = {"localhost", "127.0.0.1", "::1"};
	while (*hosts) {
		size_t len = strcspn(hosts, ",");
		bool found = *hosts == '/' || *hosts == '@';
		for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++)
			found |= len == strlen(local[i]) && strncmp(hosts, local[i], len) == 0;
		if (!found)
			return false;
		hosts += len + (hosts[len] == ',');
	}
	return true;
}

/* libpq's own list of keywords gives names that live as long as the process. */
static enum err_code read_connection(const char *connection, struct audit_pg_settings *settings, struct err *err)
{
	static const char *const known[] = {
	    "host",
	    "hostaddr",
	    "port",
	    "dbname",
	    "user",
	    "sslmode",
	    "sslrootcert",
	    "sslcert",
	    "sslkey",
	    "sslcrl",
	    "sslsni",
	    "channel_binding",
	    "passfile",
	    "krbsrvname",
	    "gsslib",
	    "gssencmode",
	    "application_name",
	    "keepalives",
	    "keepalives_idle",
	    "keepalives_interval",
	    "keepalives_count",
	    "tcp_user_timeout",
	    "target_session_attrs",
	    "ssl_min_protocol_version",
	    "ssl_max_protocol_version",
	};
	char *message = NULL;
	enum err_code code = ERR_OK;
	PQconninfoOption *options = PQconninfoParse(connection, &message);
	if (!options)
		code = err_set(err, ERR_INVALID, 0, "connection: not what libpq understands (keyword=value, or a URI)");
	PQfreemem(message); /* may quote a password */
	for (const PQconninfoOption *option = options; code == ERR_OK && option && option->keyword; option++) {
		if (!option->val || !*option->val)
			continue;
		if (strcmp(option->keyword, "password") == 0) {
			code = err_set(err, ERR_INVALID, 0, "connection: the password belongs in password_file, or in ~/.pgpass");
			break;
		}
		size_t i = 0, n = sizeof(known) / sizeof(*known);
		while (i < n && strcmp(known[i], option->keyword) != 0)
			i++;
		if (i == n)
			code = err_set(err, ERR_INVALID, 0, "connection: `%s` cannot be set", option->keyword);
		else
			add_missing(settings, known[i], option->val);
	}
	PQconninfoFree(options);
	return code;
}

static enum err_code check_schema(const char *schema, struct err *err)
{
	size_t len = strspn(schema, "abcdefghijklmnopqrstuvwxyz0123456789_");
	if (!len || len > SCHEMA_MAX || schema[len] || (schema[0] >= '0' && schema[0] <= '9'))
		return err_set(err, ERR_INVALID, 0, "schema: 1 to %d of a-z, 0-9 and _, not beginning with a digit",
		               SCHEMA_MAX);
	return ERR_OK;
}

static void fill_in(struct audit_pg_settings *settings, const char *ca_file)
{
	autofree char *timeout = xasprintf("%u", settings->timeout_ms);
	if (!get(settings, "hostaddr"))
		add_missing(settings, "host", SOCKET_FOLDER);
	const char *host = get(settings, "host"), *address = get(settings, "hostaddr");
	if ((host && !is_local(host)) || (address && !is_local(address)))
		add_missing(settings, "sslmode", "verify-full");
	if (ca_file || access(SYSTEM_ROOTS, R_OK) == 0)
		add_missing(settings, "sslrootcert", ca_file ? ca_file : SYSTEM_ROOTS);
	add_missing(settings, "tcp_user_timeout", timeout);
	for (size_t i = 0; i < sizeof(standards) / sizeof(*standards); i++)
		add_missing(settings, standards[i].keyword, standards[i].value);
	const char *database = get(settings, "dbname");
	settings->where = xasprintf("PostgreSQL at %s%s%s", host ? host : address, database ? ", database " : "",
	                            database ? database : "");
}

enum err_code audit_pg_settings_init(const struct audit_postgresql *options, unsigned timeout_ms,
                                     struct audit_pg_settings *ret, struct err *err)
{
	*ret = (struct audit_pg_settings){.timeout_ms = timeout_ms};
	ret->schema = xstrdup(options->schema ? options->schema : SCHEMA_STANDARD);
	ret->password_file = options->password_file ? xstrdup(options->password_file) : NULL;
	enum err_code code = check_schema(ret->schema, err);
	if (code == ERR_OK)
		code = read_connection(options->connection, ret, err);
	if (code == ERR_OK)
		fill_in(ret, options->ca_file);
	else
		audit_pg_settings_done(ret);
	return code;
}

enum err_code audit_postgresql_check(const struct audit_postgresql *postgresql, struct err *err)
{
	struct audit_pg_settings settings;
	enum err_code code = audit_pg_settings_init(postgresql, AUDIT_COMMIT_TIMEOUT_MS, &settings, err);
	if (code == ERR_OK)
		audit_pg_settings_done(&settings);
	return code;
}

void audit_pg_settings_done(struct audit_pg_settings *settings)
{
	for (int i = 0; i < settings->n; i++)
		free(settings->values[i]);
	free(settings->password_file);
	free(settings->schema);
	free(settings->where);
	*settings = (struct audit_pg_settings){0};
}

enum err_code audit_pg_password(const struct audit_pg_settings *settings, struct secret **ret, struct err *err)
{
	const char *path = settings->password_file;
	struct stat st;
	autobuf struct buf text = {0};
	*ret = NULL;
	if (!path)
		return ERR_OK;
	if (stat(path, &st) == 0 && (st.st_mode & 077) != 0)
		return err_set(err, ERR_PRECONDITION, 0, "%s: others may read it; its mode must be 0600", path);
	enum err_code code = text_read_file(path, PASSWORD_MAX, &text, err);
	if (code != ERR_OK)
		return code;
	while (text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
		text.len--;
	*ret = secret_new(text.len + 1);
	memcpy(secret_bytes(*ret), text.len ? text.data : (const uint8_t *)"", text.len);
	if (text.data)
		secret_wipe(text.data, text.cap);
	return ERR_OK;
}
