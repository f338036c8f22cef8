#include "policy/rule.h"

#include <stdlib.h>

typedef bool (*glob_test)(const struct policy_glob *glob, struct span text);

static bool any_glob(const struct policy_globs *globs, glob_test test, const char *text)
{
	for (size_t i = 0; i < globs->n; i++)
		if (test(globs->items[i], span_str(text)))
			return true;
	return globs->n == 0;
}

static bool operation_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	if (request->operation < POLICY_GET || request->operation > POLICY_DELETE)
		return !rule->allow; /* whatever it is, nobody allowed it */
	return rule->operations == 0 || (rule->operations >> request->operation & 1);
}

static bool vendor_key_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return any_glob(&rule->vendor_keys, policy_glob_accepts, request->vendor_key);
}

static bool account_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return any_glob(&rule->accounts, policy_glob_accepts, request->account);
}

static bool user_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return any_glob(&rule->users, policy_glob_accepts, request->user);
}

static bool bucket_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return any_glob(&rule->buckets, policy_glob_accepts, request->bucket);
}

/* A LIST shows everything below its prefix: allowed only when all of that is, denied as soon as some of it is. */
static bool object_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	glob_test test = request->operation != POLICY_LIST ? policy_glob_accepts
	                 : rule->allow                     ? policy_glob_covers
	                                                   : policy_glob_overlaps;
	return any_glob(&rule->objects, test, request->object);
}

/* Cheapest first. */
static bool (*const conditions[])(const struct policy_rule *, const struct policy_request *) = {
    operation_matches, vendor_key_matches, account_matches, bucket_matches, user_matches, object_matches,
};

bool policy_rule_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++)
		if (!conditions[i](rule, request))
			return false;
	return true;
}

bool policy_rule_in_network(const struct policy_rule *rule, const struct ip_addr *addr)
{
	return !rule->networks || policy_network_set_contains(rule->networks, addr);
}

static void globs_done(struct policy_globs *globs)
{
	for (size_t i = 0; i < globs->n; i++)
		policy_glob_free(globs->items[i]);
	free(globs->items);
}

void policy_rule_done(struct policy_rule *rule)
{
	globs_done(&rule->buckets);
	globs_done(&rule->objects);
	globs_done(&rule->accounts);
	globs_done(&rule->users);
	globs_done(&rule->vendor_keys);
	policy_network_set_free(rule->networks);
	free(rule->name);
	*rule = (struct policy_rule){0};
}
