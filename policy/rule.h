/* Private to policy/: one rule, compiled. */
#ifndef TWOKEY_POLICY_RULE_H
#define TWOKEY_POLICY_RULE_H

#include "policy/country.h"
#include "policy/glob.h"
#include "policy/hours.h"
#include "policy/network_set.h"
#include "policy/policy.h"

#define POLICY_RULES_MAX    65536
#define POLICY_DEFAULT_RULE "default" /* decides where no rule does */

struct policy_globs {
	struct policy_glob **items;
	size_t n; /* 0: the condition is absent */
};

/* A condition that is absent holds for everything. */
struct policy_rule {
	char *name;
	bool allow;
	unsigned operations; /* bits 1 << enum policy_operation; 0: absent */
	struct policy_globs buckets, objects, accounts, users, vendor_keys;
	struct policy_network_set *networks; /* NULL: absent */
	struct ip_net *nets;                 /* the same, one by one */
	size_t n_nets;
	struct policy_country_set *countries; /* NULL: absent */
	struct policy_hours *hours;           /* NULL: absent */
	unsigned presign_s;                   /* 0: absent */
	unsigned require;                     /* bits of POLICY_CONSENT, POLICY_PURPOSE and POLICY_ID_TOKEN */
};

struct policy_limit_rule {
	enum policy_limit_kind per;
	struct policy_globs only; /* absent: each of the kind */
	struct policy_limit limit;
};

struct policy {
	struct policy_rule *rules;
	size_t n;
	struct policy_index *index;
	struct policy_limit_rule *limits;
	size_t n_limits;
};

/* The first condition that does not hold, or POLICY_NO_CONDITION. */
enum policy_condition policy_rule_failed(const struct policy_rule *rule, const struct policy_request *request);
/* Every condition holds, but perhaps those from POLICY_NETWORKS on: the circumstances, which may be others when the
 * same is asked again. */
bool policy_rule_concerns(const struct policy_rule *rule, const struct policy_request *request);
/* Bits 1 << enum policy_condition: the circumstances that the rule asks about; those that do not hold. */
unsigned policy_rule_asks(const struct policy_rule *rule);
unsigned policy_rule_misses(const struct policy_rule *rule, const struct policy_request *request);
/* Some glob accepts the text, or there is none. */
bool policy_globs_match(const struct policy_globs *globs, const char *text);
void policy_globs_done(struct policy_globs *globs);
void policy_rule_done(struct policy_rule *rule);

#endif
