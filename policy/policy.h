/* Rules: who may do what, from where. A rule file is parsed whole or refused whole; first match wins; what no rule
 * matches is denied. docs/RULES.md has the format. A struct policy is immutable and thread-safe. */
#ifndef TWOKEY_POLICY_POLICY_H
#define TWOKEY_POLICY_POLICY_H

#include "common/err.h"
#include "common/ip.h"
#include "common/reason.h"
#include "common/span.h"
#include "common/yaml.h"
#include "policy/restrictions.h"

struct policy;

enum policy_operation {
	POLICY_GET = 1, /* the numbers of twokey.v1.Operation */
	POLICY_PUT = 2,
	POLICY_LIST = 3,
	POLICY_DELETE = 4,
};

/* What is asked. Borrowed. */
struct policy_request {
	enum policy_operation operation;
	const char *bucket;
	const char *object; /* the prefix for LIST */
	const char *account;
	const char *user; /* the transaction's subject */
	const char *vendor_key;
	struct ip_addr address;
	char country[3];   /* of the address, "DE"; "" when unknown */
	int64_t time_ms;   /* of the decision, since 1970 */
	bool has_consent;  /* the transaction says who consented */
	bool has_purpose;  /* the transaction says what for */
	bool has_id_token; /* the end user is proved */
};

struct policy_decision {
	bool allowed;
	/* NONE when allowed. When one circumstance alone is why, and some rule would have allowed this otherwise:
	 * COUNTRY_DENIED, NETWORK_DENIED, HOURS_DENIED, PURPOSE_REQUIRED, CONSENT_REQUIRED or
	 * ID_TOKEN_REQUIRED. Else RULE_DENIED. */
	enum reason reason;
	unsigned presign_s; /* allowed, and a URL may be given that is good for so long; 0: none */
	const char *rule;   /* name of the rule that decided; "default" when none matched; owned by the policy */
};

/* Reads a rule file. ERR_INVALID with "file:line:column: what is wrong, what would be right". */
must_check enum err_code policy_load(const char *path, struct policy **ret, struct err *err);
must_check enum err_code policy_parse(const char *name, struct span text, struct policy **ret, struct err *err);
void policy_free(struct policy *policy);
size_t policy_count(const struct policy *policy);

/* A rule's conditions, in the order in which they are looked at. */
#define POLICY_CONDITIONS(X)                                                                                           \
	X(OPERATIONS, "operations")                                                                                        \
	X(VENDOR_KEYS, "vendor_keys")                                                                                      \
	X(ACCOUNTS, "accounts")                                                                                            \
	X(BUCKETS, "buckets")                                                                                              \
	X(USERS, "users")                                                                                                  \
	X(OBJECTS, "objects")                                                                                              \
	X(NETWORKS, "networks")                                                                                            \
	X(COUNTRIES, "countries")                                                                                          \
	X(HOURS, "hours")                                                                                                  \
	X(CONSENT, "require: consent")                                                                                     \
	X(PURPOSE, "require: purpose")                                                                                     \
	X(ID_TOKEN, "require: id_token")

enum policy_condition {
#define X(name, text) POLICY_##name,
	POLICY_CONDITIONS(X)
#undef X
	    POLICY_NO_CONDITION,
};

/* As it stands in a rule file: "networks", "require: consent"; "" for POLICY_NO_CONDITION. */
const char *policy_condition_name(enum policy_condition condition);

/* Never blocks, never allocates. A LIST asks for a whole prefix: a rule's object glob must cover everything below it.
 */
void policy_decide(const struct policy *policy, const struct policy_request *request, struct policy_decision *ret);

/* How one rule took a request. */
struct policy_verdict {
	const char *rule;             /* "default" for the last, which denies what no rule matches; owned by the policy */
	bool allow;                   /* the rule's effect */
	bool matches;                 /* all its conditions hold */
	bool decides;                 /* it is the first that matches */
	enum policy_condition failed; /* the first condition that does not hold; POLICY_NO_CONDITION when it matches */
};

/* Decides as policy_decide does (*ret is exactly that), and tells of every rule in turn, those behind the one that
 * decides and the default included. For operators: nothing of it is for a client. */
typedef void (*policy_explainer)(void *user, const struct policy_verdict *verdict);
void policy_explain(const struct policy *policy, const struct policy_request *request, policy_explainer tell,
                    void *user, struct policy_decision *ret);

/* How much is allowed of one vendor key, or of one user. 0: no limit. */
enum policy_limit_kind { POLICY_PER_VENDOR_KEY = 1, POLICY_PER_USER = 2 };
struct policy_limit {
	uint64_t requests_per_minute, bytes_per_hour;
};
/* The first of the rule file's limits that is for this vendor key or user; all 0 when there is none. */
void policy_limit(const struct policy *policy, enum policy_limit_kind per, const char *name, struct policy_limit *ret);
/* Some rule asks for an ID token. */
bool policy_asks_id_tokens(const struct policy *policy);
/* Some rule asks for the client's country. */
bool policy_asks_countries(const struct policy *policy);

/* ---- scopes ---- */

/* What stands under `hours`. Single texts are lists of one here, for their positions. */
struct policy_hours_entry {
	struct yaml_strings days, from, to, zone;
	struct yaml_mark mark; /* line 0: there is none */
};
extern const struct yaml_type policy_hours_type;

/* Conditions of a rule, in a rule's words, that stand in another file. */
struct policy_scope_texts {
	struct yaml_strings operations, buckets, objects, accounts, networks;
	struct policy_hours_entry hours;
};
struct policy_scope;

/* `file` is the file's name for errors, which are those of rules. */
must_check enum err_code policy_scope_new(const char *file, const struct policy_scope_texts *texts,
                                          struct policy_scope **ret, struct err *err);
void policy_scope_free(struct policy_scope *scope); /* accepts NULL */
/* Where and when: NETWORK_DENIED, HOURS_DENIED, or NONE. A NULL address is in no network. */
enum reason policy_scope_circumstance(const struct policy_scope *scope, const struct ip_addr *address, int64_t time_ms);
/* Do operations, buckets, objects and accounts hold for the request? */
bool policy_scope_concerns(const struct policy_scope *scope, const struct policy_request *request);

/* ---- rates ---- */

/* Token buckets by key: how often, or how much, within some time. A bucket starts full, holds `amount`, and refills by
 * `amount` in each period. Bounded memory; thread-safe. */
struct policy_rates;
struct policy_rate {
	uint64_t amount;    /* at least 1 */
	uint64_t period_ms; /* at least 1 */
};
enum policy_rate_use {
	POLICY_RATE_TAKE,   /* takes the amount, when there is that much: true */
	POLICY_RATE_LOOK,   /* is anything left? Takes nothing */
	POLICY_RATE_CHARGE, /* takes the amount, into debt if need be: true */
};

/* Remembers about `keys` keys; when more come, those are forgotten that have used least of their share. */
struct policy_rates *policy_rates_new(size_t keys);
void policy_rates_free(struct policy_rates *rates); /* accepts NULL */
/* now_us is monotonic. */
bool policy_rates_use(struct policy_rates *rates, struct span key, const struct policy_rate *rate,
                      enum policy_rate_use use, uint64_t amount, int64_t now_us);

/* ---- countries ---- */

/* A country database in MaxMind's format (GeoLite2-Country, and others that have country.iso_code), taken up anew when
 * the file is replaced. Thread-safe. */
struct policy_countries;

#define POLICY_COUNTRIES_OLD_DAYS 60
/* A file that went missing or is broken, perhaps since it is just being written, may be that for so long; meanwhile the
 * last good one serves. Afterwards no country is known. */
#define POLICY_COUNTRIES_GRACE_MS 60000

struct policy_countries_state {
	bool loaded; /* by this very call */
	bool usable; /* else every country is unknown */
	bool old;    /* built more than POLICY_COUNTRIES_OLD_DAYS ago: addresses have moved since */
	int64_t built_ms;
};

/* Reads nothing yet. */
struct policy_countries *policy_countries_new(const char *path);
void policy_countries_free(struct policy_countries *countries); /* accepts NULL */
/* Looks at the file, and reads it when it is another one than before: call it at the start and every few seconds.
 * ERR_NOT_FOUND, ERR_CORRUPT, ERR_INVALID or ERR_UNAVAILABLE: the file is unusable. *ret is set in any case. */
must_check enum err_code policy_countries_refresh(struct policy_countries *countries, int64_t now_ms,
                                                  struct policy_countries_state *ret, struct err *err);
/* "DE", or "" when it is not known. Never blocks, never allocates. `countries` may be NULL: none is known. */
void policy_country(struct policy_countries *countries, const struct ip_addr *addr, char out[3]);

/* ---- globs ---- */

/* The glob of a rule's `objects`: `*` matches within one path segment, `**` across segments, a double star and a slash
 * at the start of a segment any number of whole segments, `?` one character other than '/', `[a-z]` and `[!a-z]` a
 * class of ASCII characters, `\` takes the next character literally. Matches exact bytes; time grows linearly with the
 * text. A malformed glob, or one longer than 1024 bytes, matches nothing. */
bool policy_glob_match(const char *glob, const char *text);

#endif
