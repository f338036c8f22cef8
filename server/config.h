/* The configuration of one deployment: docs/CONFIGURATION.md. Immutable once loaded, then thread-safe. */
#ifndef TWOKEY_SERVER_CONFIG_H
#define TWOKEY_SERVER_CONFIG_H

#include "audit/audit.h"
#include "common/err.h"
#include "common/ip.h"
#include "common/log.h"
#include "common/yaml.h"
#include "hsm/hsm.h"
#include "policy/policy.h"

enum config_role { CONFIG_VENDOR = 1, CONFIG_GATEKEEPER = 2 };
enum config_store { CONFIG_DIRECTORY = 1, CONFIG_S3 = 2 };
/* Where an S3 bucket's credentials come from. */
enum config_credentials { CONFIG_TOKEN, CONFIG_ROLES_ANYWHERE, CONFIG_IMDS, CONFIG_CONTAINER };

/* What a caller's certificate is good for; a set of bits. ANYONE stands for those without a certificate too. */
enum config_caller_role {
	CALLER_BACKEND = 1,
	CALLER_AUDITOR = 2,
	CALLER_OPERATOR = 4,
	CALLER_READER = 8,
	CALLER_ADMIN = 16,
	CALLER_ANYONE = 32,
};

struct config_vendor_key {
	char *name, *public_key;
	struct yaml_mark mark;
	int64_t not_before, not_after; /* ms since 1970; 0: no limit */
};

struct config_bucket {
	char *name;
	struct yaml_mark mark;
	int store; /* enum config_store */
	char *directory;
	char *endpoint, *region, *bucket, *access_key_id, *ca_file, *sse, *proxy;
	bool path_style;
	uint64_t stall_timeout; /* seconds; 0: the default */
	int credentials;        /* enum config_credentials */
	struct {
		char *trust_anchor, *profile, *role, *certificate, *key, *session_name, *endpoint;
		uint64_t duration; /* seconds; 0: the default */
	} roles_anywhere;
	struct {
		char *endpoint, *role;
	} imds;
	struct {
		char *relative_uri, *full_uri, *token_file;
	} container;
	char *secret, *kek; /* RFC 7512 URIs */
};

/* How a certificate is told to be a caller's. */
struct config_match {
	enum { CONFIG_BY_NAME, CONFIG_BY_SUBJECT, CONFIG_BY_FINGERPRINT } kind;
	const char *name; /* a SAN entry or, where there is none, the common name; the subject as RFC 2253 writes it */
	char fingerprint[65];
};

struct config_caller {
	char *identity;
	struct yaml_mark mark;
	struct yaml_strings certificates, roles;
	struct policy_scope_texts texts;
	uint64_t max_lifetime; /* seconds; 0: as long as the deployment allows */

	unsigned role_bits;           /* enum config_caller_role */
	struct config_match *matches; /* any of them */
	size_t n_matches;
	struct policy_scope *scope;
};

struct config {
	char *path;
	int role; /* enum config_role */
	char *name, *listen, *rules, *countries_database;
	struct yaml_strings trusted_proxies;
	struct ip_net *proxies; /* trusted_proxies, parsed */
	struct {
		char *certificate, *key, *client_ca;
		struct yaml_strings revocation_lists;
	} tls;
	struct {
		char *listen, *certificate, *key; /* the latter two: tls' unless given */
		struct yaml_strings origins;
		bool console;
	} web; /* listen NULL: none */
	struct {
		char *module, *uri, *pin_source;
		int gcm_iv; /* enum hsm_gcm_iv */
		uint64_t timeout_ms;
		uint64_t max_sessions;
	} token;
	struct {
		char *transaction, *audit;
	} keys;
	struct {
		char *directory, *origin;
		uint64_t segment_size;
		struct {
			char *connection, *password_file, *ca_file, *schema;
		} postgresql;
	} ledger;
	struct {
		char *issuer, *audience, *claim, *keys, *keys_url, *ca_file, *proxy;
		struct yaml_strings thumbprints;
		bool bind_nonce;
		uint64_t max_age; /* seconds */
	} id_tokens;          /* issuer NULL: there are none */
	struct {
		char *origin, *server, *ca, *certificate, *key;
		struct yaml_strings public_keys;
		uint64_t interval; /* seconds */
	} witness;             /* origin NULL: none */
	struct {
		uint64_t standard, max; /* seconds */
	} lifetime;
	struct {
		uint64_t max_connections, max_calls, max_streams, drain; /* drain: seconds */
		uint64_t flood;                                          /* requests a minute of one address; 0: any number */
		uint64_t failures; /* a minute of one address or identity, before refusals are told later; 0: never */
		uint64_t proofs;   /* holder proofs remembered, of two minutes */
	} limits;
	struct {
		int level, format; /* enum log_level, enum log_format */
	} log;
	bool reflection;
	int data_clients;             /* CALLER_ANYONE, as 0; or CALLER_READER: they need a certificate */
	struct yaml_list vendor_keys; /* of struct config_vendor_key */
	struct yaml_list buckets;     /* of struct config_bucket */
	struct yaml_list callers;     /* of struct config_caller */
};

/* Reads, checks, fills in defaults, and makes paths absolute. ERR_INVALID with "file:line:column: ..." otherwise. Free
 * with config_done in both cases. */
must_check enum err_code config_load(const char *path, struct config *ret, struct err *err);
void config_done(struct config *config);

/* Is tls.key the URI of a key in the token? */
bool config_tls_in_token(const struct config *config);
/* The configured shared ledger (connection NULL: none); borrows from the config. */
struct audit_postgresql config_postgresql(const struct config *config);
/* How to open the configured token; borrows from the config. */
struct hsm_options config_hsm_options(const struct config *config);

static inline const struct config_vendor_key *config_vendor_key(const struct config *config, size_t i)
{
	return (const struct config_vendor_key *)config->vendor_keys.items + i;
}

static inline const struct config_bucket *config_bucket(const struct config *config, size_t i)
{
	return (const struct config_bucket *)config->buckets.items + i;
}

static inline const struct config_caller *config_caller(const struct config *config, size_t i)
{
	return (const struct config_caller *)config->callers.items + i;
}

#endif
