#include "server/config.h"

#include <stdlib.h>
#include <unistd.h>

#include "audit/audit.h"
#include "common/text.h"
#include "server/config_bucket.h"
#include "server/config_caller.h"
#include "transaction/transaction.h"

static const struct yaml_name role_names[] = {{"vendor", CONFIG_VENDOR}, {"gatekeeper", CONFIG_GATEKEEPER}, {0}};
static const struct yaml_name iv_names[] = {{"caller", HSM_GCM_IV_CALLER}, {"token", HSM_GCM_IV_TOKEN}, {0}};
static const struct yaml_name level_names[] = {
    {"debug", LOG_DEBUG}, {"info", LOG_INFO}, {"warn", LOG_WARN}, {"error", LOG_ERROR}, {0}};
static const struct yaml_name format_names[] = {{"text", LOG_TEXT}, {"json", LOG_JSON}, {0}};
static const struct yaml_name data_clients_names[] = {{"anyone", CALLER_ANYONE}, {"reader", CALLER_READER}, {0}};

/* A key of an embedded section: its name in the file, and where its value goes in struct config. */
#define IN(section, member, kind_, ...)                                                                                \
	{                                                                                                                  \
		.name = #member, .kind = (kind_),                                                                              \
		.offset = offsetof(struct config, section.member) - offsetof(struct config, section), __VA_ARGS__              \
	}
#define SECTION(section_)                                                                                              \
	{                                                                                                                  \
		.size = sizeof((struct config *)NULL)->section_, .fields = section_##_fields,                                  \
	}

static const struct yaml_field tls_fields[] = {
    IN(tls, certificate, YAML_STRING, .required = true, .hint = "path of a PEM file, leaf first"),
    IN(tls, key, YAML_STRING, .required = true, .hint = "path of a PEM file, or a PKCS#11 URI"),
    IN(tls, client_ca, YAML_STRING, .hint = "path of a PEM file"),
    IN(tls, revocation_lists, YAML_STRINGS, .min = 1, .max = 64, .hint = "a list of paths of PEM files"),
    {0}};
static const struct yaml_field web_fields[] = {
    IN(web, listen, YAML_STRING, .required = true, .hint = "HOST:PORT"),
    IN(web, certificate, YAML_STRING, .hint = "path of a PEM file, leaf first"),
    IN(web, key, YAML_STRING, .hint = "path of a PEM file"),
    IN(web, console, YAML_BOOL),
    IN(web, origins, YAML_STRINGS, .hint = "a list of origins such as https://reports.acme.example"),
    {0}};
static const struct yaml_field token_fields[] = {
    IN(token, module, YAML_STRING, .hint = "absolute path of a PKCS#11 module"),
    IN(token, uri, YAML_STRING, .required = true, .hint = "an RFC 7512 URI such as pkcs11:token=gatekeeper"),
    IN(token, pin_source, YAML_STRING, .hint = "file:PATH, credential:NAME or prompt"),
    IN(token, gcm_iv, YAML_ENUM, .names = iv_names),
    IN(token, max_sessions, YAML_UINT, .min = 2, .max = 1024),
    IN(token, timeout_ms, YAML_UINT, .min = 100, .max = 60000),
    {0}};
static const struct yaml_field keys_fields[] = {IN(keys, transaction, YAML_STRING), IN(keys, audit, YAML_STRING), {0}};
#define PG(member, ...)                                                                                                \
	{                                                                                                                  \
		.name = #member, .kind = YAML_STRING,                                                                          \
		.offset = offsetof(struct config, ledger.postgresql.member) - offsetof(struct config, ledger.postgresql),      \
		__VA_ARGS__                                                                                                    \
	}
static const struct yaml_field postgresql_fields[] = {
    PG(connection, .required = true, .hint = "as libpq takes it: host=db.example.org dbname=twokey user=twokey"),
    PG(password_file, .hint = "path of a file that nobody else may read"),
    PG(ca_file, .hint = "path of a PEM file"),
    PG(schema),
    {0}};
static const struct yaml_type postgresql_type = {.size = sizeof((struct config *)NULL)->ledger.postgresql,
                                                 .fields = postgresql_fields};
static const struct yaml_field ledger_fields[] = {
    IN(ledger, directory, YAML_STRING, .required = true, .hint = "path of a folder"),
    IN(ledger, origin, YAML_STRING, .hint = "the name that checkpoints are signed under"),
    IN(ledger, segment_size, YAML_UINT, .min = 1 << 20, .max = 1 << 30),
    IN(ledger, postgresql, YAML_MAP, .item = &postgresql_type),
    {0}};
static const struct yaml_field witness_fields[] = {
    IN(witness, origin, YAML_STRING, .required = true,
       .hint = "the name under which the other party signs checkpoints"),
    IN(witness, public_keys, YAML_STRINGS, .required = true, .hint = "paths of its audit keys' PEM files"),
    IN(witness, server, YAML_STRING, .hint = "HOST:PORT"),
    IN(witness, ca, YAML_STRING, .hint = "path of a PEM file"),
    IN(witness, certificate, YAML_STRING, .hint = "path of a PEM file, leaf first"),
    IN(witness, key, YAML_STRING, .hint = "path of a PEM file"),
    IN(witness, interval, YAML_UINT, .min = 1, .max = 86400),
    {0}};
static const struct yaml_field lifetime_fields[] = {
    {.name = "default",
     .kind = YAML_UINT,
     .offset = offsetof(struct config, lifetime.standard) - offsetof(struct config, lifetime),
     .min = 1,
     .max = TRANSACTION_LIFETIME_MAX_S},
    IN(lifetime, max, YAML_UINT, .min = 1, .max = TRANSACTION_LIFETIME_MAX_S),
    {0}};
static const struct yaml_field limits_fields[] = {IN(limits, max_connections, YAML_UINT, .min = 1, .max = 100000),
                                                  IN(limits, max_calls, YAML_UINT, .min = 1, .max = 4096),
                                                  IN(limits, max_streams, YAML_UINT, .min = 1, .max = 16384),
                                                  IN(limits, drain, YAML_UINT, .min = 0, .max = 3600),
                                                  IN(limits, flood, YAML_UINT, .min = 0, .max = 1000000000),
                                                  IN(limits, failures, YAML_UINT, .min = 0, .max = 1000000000),
                                                  IN(limits, proofs, YAML_UINT, .min = 256, .max = 1U << 26),
                                                  {0}};
static const struct yaml_field id_tokens_fields[] = {
    IN(id_tokens, issuer, YAML_STRING, .required = true, .hint = "the identity provider's issuer, https://..."),
    IN(id_tokens, audience, YAML_STRING, .required = true, .hint = "our client id at the identity provider"),
    IN(id_tokens, claim, YAML_STRING, .hint = "the claim that names the subject, such as sub or email"),
    IN(id_tokens, keys, YAML_STRING, .hint = "path of a file with the issuer's keys (JWK Set)"),
    IN(id_tokens, keys_url, YAML_STRING, .hint = "https://HOST/PATH of the issuer's keys (JWK Set)"),
    IN(id_tokens, ca_file, YAML_STRING, .hint = "path of a PEM file"),
    IN(id_tokens, proxy, YAML_STRING, .hint = "http://HOST:PORT"),
    IN(id_tokens, thumbprints, YAML_STRINGS, .min = 1, .max = 64, .hint = "a list of JWK thumbprints (RFC 7638)"),
    IN(id_tokens, bind_nonce, YAML_BOOL),
    IN(id_tokens, max_age, YAML_UINT, .min = 60, .max = 86400),
    {0}};
static const struct yaml_field log_fields[] = {
    IN(log, level, YAML_ENUM, .names = level_names), IN(log, format, YAML_ENUM, .names = format_names), {0}};

static const struct yaml_type tls_type = SECTION(tls), web_type = SECTION(web), token_type = SECTION(token),
                              keys_type = SECTION(keys), ledger_type = SECTION(ledger),
                              lifetime_type = SECTION(lifetime), id_tokens_type = SECTION(id_tokens),
                              witness_type = SECTION(witness), limits_type = SECTION(limits), log_type = SECTION(log);

static const struct yaml_field vendor_key_fields[] = {
    YAML_FIELD(struct config_vendor_key, name, YAML_STRING, .required = true),
    YAML_FIELD(struct config_vendor_key, public_key, YAML_STRING, .required = true, .hint = "path of a PEM file"),
    YAML_FIELD(struct config_vendor_key, not_before, YAML_TIME),
    YAML_FIELD(struct config_vendor_key, not_after, YAML_TIME),
    {0}};
static const struct yaml_type vendor_key_type = {sizeof(struct config_vendor_key), vendor_key_fields,
                                                 offsetof(struct config_vendor_key, mark)};

static const struct yaml_field config_fields[] = {
    YAML_FIELD(struct config, role, YAML_ENUM, .required = true, .names = role_names),
    YAML_FIELD(struct config, name, YAML_STRING, .required = true),
    YAML_FIELD(struct config, listen, YAML_STRING, .hint = "HOST:PORT"),
    YAML_FIELD(struct config, tls, YAML_MAP, .required = true, .item = &tls_type),
    YAML_FIELD(struct config, web, YAML_MAP, .item = &web_type),
    YAML_FIELD(struct config, token, YAML_MAP, .required = true, .item = &token_type),
    YAML_FIELD(struct config, keys, YAML_MAP, .item = &keys_type),
    YAML_FIELD(struct config, ledger, YAML_MAP, .required = true, .item = &ledger_type),
    YAML_FIELD(struct config, vendor_keys, YAML_LIST, .item = &vendor_key_type),
    YAML_FIELD(struct config, rules, YAML_STRING, .hint = "path of a rule file"),
    YAML_FIELD(struct config, countries_database, YAML_STRING, .hint = "path of a MaxMind country database (.mmdb)"),
    YAML_FIELD(struct config, trusted_proxies, YAML_STRINGS, .hint = "a list of networks such as 10.0.0.0/24"),
    YAML_FIELD(struct config, witness, YAML_MAP, .item = &witness_type),
    YAML_FIELD(struct config, lifetime, YAML_MAP, .item = &lifetime_type),
    YAML_FIELD(struct config, buckets, YAML_LIST, .item = &config_bucket_type),
    YAML_FIELD(struct config, callers, YAML_LIST, .item = &config_caller_type),
    YAML_FIELD(struct config, data_clients, YAML_ENUM, .names = data_clients_names),
    YAML_FIELD(struct config, id_tokens, YAML_MAP, .item = &id_tokens_type),
    YAML_FIELD(struct config, limits, YAML_MAP, .item = &limits_type),
    YAML_FIELD(struct config, reflection, YAML_BOOL),
    YAML_FIELD(struct config, log, YAML_MAP, .item = &log_type),
    {0}};
static const struct yaml_type config_type = {.size = sizeof(struct config), .fields = config_fields};

void config_default(char **value, const char *standard)
{
	if (!*value)
		*value = xstrdup(standard);
}

void config_default_key(char **uri, const char *label, const char *name)
{
	if (!*uri)
		*uri = xasprintf("pkcs11:object=%s%s", label, name);
}

void config_resolve(const struct config *config, char **path)
{
	if (!*path || **path == '/')
		return;
	const char *slash = strrchr(config->path, '/');
	int folder = slash ? (int)(slash - config->path) : 1;
	char *full = xasprintf("%.*s/%s", folder, slash ? config->path : ".", *path);
	free(*path);
	*path = full;
}

bool config_tls_in_token(const struct config *config)
{
	return strncmp(config->tls.key, "pkcs11:", 7) == 0;
}

/* The deployment's name, as far as it can be the name of a key. */
static void default_origin(struct config *config)
{
	if (config->ledger.origin)
		return;
	config->ledger.origin = xstrdup(config->name);
	for (char *c = config->ledger.origin; *c; c++)
		if ((uint8_t)*c <= ' ' || *c == 0x7f || *c == '+')
			*c = '-';
}

static void fill_defaults(struct config *config)
{
	default_origin(config);
	config_default(&config->listen, "127.0.0.1:7401");
	config_default(&config->token.module, "/usr/lib/softhsm/libsofthsm2.so");
	config_default(&config->token.pin_source, "prompt");
	if (config->id_tokens.issuer)
		config_default(&config->id_tokens.claim, "sub");
	config_default_key(&config->keys.transaction, "twokey-transaction", "");
	config_default_key(&config->keys.audit, "twokey-audit", "");
	config_resolve(config, &config->tls.certificate);
	if (!config_tls_in_token(config))
		config_resolve(config, &config->tls.key);
	config_resolve(config, &config->tls.client_ca);
	for (size_t i = 0; i < config->tls.revocation_lists.n; i++)
		config_resolve(config, &config->tls.revocation_lists.items[i]);
	config_resolve(config, &config->web.certificate);
	config_resolve(config, &config->web.key);
	config_resolve(config, &config->id_tokens.keys);
	config_resolve(config, &config->id_tokens.ca_file);
	config_resolve(config, &config->ledger.directory);
	config_resolve(config, &config->witness.ca);
	config_resolve(config, &config->witness.certificate);
	config_resolve(config, &config->witness.key);
	for (size_t i = 0; i < config->witness.public_keys.n; i++)
		config_resolve(config, &config->witness.public_keys.items[i]);
	config_resolve(config, &config->ledger.postgresql.password_file);
	config_resolve(config, &config->ledger.postgresql.ca_file);
	config_resolve(config, &config->rules);
	config_resolve(config, &config->countries_database);
	if (strncmp(config->token.pin_source, "file:", 5) == 0) {
		char *path = xstrdup(config->token.pin_source + 5);
		config_resolve(config, &path);
		free(config->token.pin_source);
		config->token.pin_source = xasprintf("file:%s", path);
		free(path);
	}
	for (size_t i = 0; i < config->vendor_keys.n; i++)
		config_resolve(config, &((struct config_vendor_key *)config->vendor_keys.items)[i].public_key);
	for (size_t i = 0; i < config->buckets.n; i++)
		config_bucket_fill(config, (struct config_bucket *)config->buckets.items + i);
}

enum err_code config_wrong(const struct config *config, const struct yaml_mark *mark, struct err *err, const char *text,
                           const char *what)
{
	return mark ? err_set(err, ERR_INVALID, 0, "%s:%u:%u: %s%s", config->path, mark->line, mark->column, text, what)
	            : err_set(err, ERR_INVALID, 0, "%s: %s%s", config->path, text, what);
}

static enum err_code check_proxies(struct config *config, struct err *err)
{
	const struct yaml_strings *texts = &config->trusted_proxies;
	config->proxies = xcalloc(texts->n, sizeof *config->proxies);
	for (size_t i = 0; i < texts->n; i++)
		if (!ip_net_parse(texts->items[i], &config->proxies[i]))
			return config_wrong(
			    config, &texts->marks[i], err,
			    "`trusted_proxies` are addresses, or networks whose host bits are zero, such as 10.0.0.0/24, not ",
			    texts->items[i]);
	return ERR_OK;
}

static enum err_code check_ledger(const struct config *config, struct err *err)
{
	const struct audit_postgresql postgresql = config_postgresql(config);
	struct err wrong;
	if (!postgresql.connection || audit_postgresql_check(&postgresql, &wrong) == ERR_OK)
		return ERR_OK;
	return config_wrong(config, NULL, err, "`ledger.postgresql`: ", wrong.text);
}

static enum err_code check_id_tokens(const struct config *config, struct err *err)
{
	if (!config->id_tokens.issuer)
		return ERR_OK;
	if (!config->id_tokens.keys == !config->id_tokens.keys_url)
		return config_wrong(config, NULL, err, "`id_tokens` has either `keys` or `keys_url`", "");
	if (config->id_tokens.keys_url && strncmp(config->id_tokens.keys_url, "https://", 8) != 0)
		return config_wrong(config, NULL, err, "`id_tokens.keys_url` begins with https://, not ",
		                    config->id_tokens.keys_url);
	for (size_t i = 0; i < config->id_tokens.thumbprints.n; i++) {
		autobuf struct buf bytes = {.max = 64};
		if (!text_unbase64(span_str(config->id_tokens.thumbprints.items[i]), &bytes) || bytes.len != 32)
			return config_wrong(config, &config->id_tokens.thumbprints.marks[i], err,
			                    "a thumbprint is a SHA-256 in base64url (RFC 7638), not ",
			                    config->id_tokens.thumbprints.items[i]);
	}
	return ERR_OK;
}

static enum err_code check(struct config *config, struct err *err)
{
	if (check_proxies(config, err) != ERR_OK || check_ledger(config, err) != ERR_OK ||
	    check_id_tokens(config, err) != ERR_OK)
		return ERR_INVALID;
	if (strlen(config->name) > 256 || !config->name[0])
		return config_wrong(config, NULL, err, "`name` is 1 to 256 bytes", "");
	if (config->tls.revocation_lists.n && !config->tls.client_ca)
		return config_wrong(config, &config->tls.revocation_lists.marks[0], err,
		                    "`tls.revocation_lists` are of the authorities in `tls.client_ca`, and there are none", "");
	if (!config->web.certificate != !config->web.key)
		return config_wrong(config, NULL, err, "`web.certificate` and `web.key` go together", "");
	if (!audit_origin_valid(config->ledger.origin))
		return config_wrong(config, NULL, err, "`ledger.origin` is 1 to 256 bytes without blanks and `+`, not ",
		                    config->ledger.origin);
	if (config->witness.origin &&
	    (!audit_origin_valid(config->witness.origin) || strcmp(config->witness.origin, config->ledger.origin) == 0))
		return config_wrong(config, NULL, err,
		                    "`witness.origin` is another name than ours, without blanks and `+`, not ",
		                    config->witness.origin);
	if (config->lifetime.standard > config->lifetime.max)
		return config_wrong(config, NULL, err, "`lifetime.default` is longer than `lifetime.max`", "");
	for (size_t i = 0; i < config->callers.n; i++) {
		enum err_code code = config_caller_check(config, (struct config_caller *)config->callers.items + i, err);
		if (code != ERR_OK)
			return code;
	}
	if (config->role == CONFIG_VENDOR) {
		if (config->buckets.n || config->vendor_keys.n || config->rules || config->countries_database ||
		    config->data_clients || config->id_tokens.issuer)
			return config_wrong(
			    config, NULL, err,
			    "`buckets`, `vendor_keys`, `rules`, `countries_database`, `data_clients` and `id_tokens` "
			    "belong to a gatekeeper, not to a vendor",
			    "");
		return ERR_OK;
	}
	if (!config->rules)
		return config_wrong(config, NULL, err, "a gatekeeper needs `rules`: the path of its rule file", "");
	if (!config->buckets.n)
		return config_wrong(config, NULL, err, "a gatekeeper needs at least one entry in `buckets`", "");
	if (!config->vendor_keys.n)
		return config_wrong(config, NULL, err, "a gatekeeper needs at least one entry in `vendor_keys`", "");
	for (size_t i = 0; i < config->buckets.n; i++) {
		enum err_code code = config_bucket_check(config, i, err);
		if (code != ERR_OK)
			return code;
	}
	return ERR_OK;
}

/* And so is all that is resolved from it. Symbolic links stay: a folder that is swapped by one is followed. */
static char *absolute(const char *path)
{
	autofree char *here = *path == '/' ? NULL : getcwd(NULL, 0);
	return here ? xasprintf("%s/%s", here, path) : xstrdup(path);
}

enum err_code config_load(const char *path, struct config *ret, struct err *err)
{
	*ret = (struct config){
	    .lifetime = {.standard = 300, .max = 300},
	    .witness = {.interval = 10},
	    .id_tokens = {.max_age = 3600},
	    .limits = {.drain = 30, .flood = 6000, .failures = 60, .proofs = 1U << 19},
	    .log = {.level = LOG_INFO, .format = LOG_TEXT},
	    .reflection = true,
	};
	enum err_code code = yaml_load(path, &config_type, ret, err);
	if (code != ERR_OK)
		return code;
	ret->path = absolute(path);
	fill_defaults(ret);
	return check(ret, err);
}

void config_done(struct config *config)
{
	for (size_t i = 0; i < config->callers.n; i++)
		config_caller_done((struct config_caller *)config->callers.items + i);
	free(config->path);
	free(config->proxies);
	yaml_free(&config_type, config);
	*config = (struct config){0};
}

struct audit_postgresql config_postgresql(const struct config *config)
{
	return (struct audit_postgresql){
	    .connection = config->ledger.postgresql.connection,
	    .password_file = config->ledger.postgresql.password_file,
	    .ca_file = config->ledger.postgresql.ca_file,
	    .schema = config->ledger.postgresql.schema,
	};
}

struct hsm_options config_hsm_options(const struct config *config)
{
	return (struct hsm_options){
	    .module = config->token.module,
	    .token = config->token.uri,
	    .pin_source = config->token.pin_source,
	    .gcm_iv = (enum hsm_gcm_iv)config->token.gcm_iv,
	    .max_sessions = (unsigned)config->token.max_sessions,
	    .timeout_ms = (unsigned)config->token.timeout_ms,
	};
}
