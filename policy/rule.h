/* Private to policy/: one rule, compiled. */
#ifndef TWOKEY_POLICY_RULE_H
#define TWOKEY_POLICY_RULE_H

#include "policy/glob.h"
#include "policy/network_set.h"
#include "policy/policy.h"

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
};

struct policy {
	struct policy_rule *rules;
	size_t n;
};

/* Every condition but the network holds. */
bool policy_rule_matches(const struct policy_rule *rule, const struct policy_request *request);
bool policy_rule_in_network(const struct policy_rule *rule, const struct ip_addr *addr);
void policy_rule_done(struct policy_rule *rule);

#endif
