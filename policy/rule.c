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

bool policy_globs_match(const struct policy_globs *globs, const char *text)
{
	return any_glob(globs, policy_glob_accepts, text);
}

static bool operation_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	if (request->operation < POLICY_GET || request->operation > POLICY_DELETE)
		return !rule->allow; /* whatever it is, nobody allowed it */
	return rule->operations == 0 || (rule->operations >> request->operation & 1);
}

static bool vendor_key_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return policy_globs_match(&rule->vendor_keys, request->vendor_key);
}

static bool account_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return policy_globs_match(&rule->accounts, request->account);
}

static bool user_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return policy_globs_match(&rule->users, request->user);
}

static bool bucket_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return policy_globs_match(&rule->buckets, request->bucket);
}

/* A LIST shows everything below its prefix: allowed only when all of that is, denied as soon as some of it is. */
static bool object_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	glob_test test = request->operation != POLICY_LIST ? policy_glob_accepts
	                 : rule->allow                     ? policy_glob_covers
	                                                   : policy_glob_overlaps;
	return any_glob(&rule->objects, test, request->object);
}

static bool network_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return !rule->networks || policy_network_set_contains(rule->networks, &request->address);
}

/* Nobody is allowed for coming from an unknown country, and who is denied for coming from somewhere is denied for
 * coming from there, too. */
static bool country_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return !rule->countries || policy_country_in(rule->countries, request->country) ||
	       (!rule->allow && !policy_country_is_known(request->country));
}

static bool hours_match(const struct policy_rule *rule, const struct policy_request *request)
{
	return !rule->hours || policy_hours_contain(rule->hours, request->time_ms);
}

static bool consent_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return request->has_consent || !(rule->require & 1u << POLICY_CONSENT);
}

static bool purpose_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return request->has_purpose || !(rule->require & 1u << POLICY_PURPOSE);
}

static bool id_token_matches(const struct policy_rule *rule, const struct policy_request *request)
{
	return request->has_id_token || !(rule->require & 1u << POLICY_ID_TOKEN);
}

static bool (*const conditions[])(const struct policy_rule *, const struct policy_request *) = {
    [POLICY_OPERATIONS] = operation_matches,
    [POLICY_VENDOR_KEYS] = vendor_key_matches,
    [POLICY_ACCOUNTS] = account_matches,
    [POLICY_BUCKETS] = bucket_matches,
    [POLICY_USERS] = user_matches,
    [POLICY_OBJECTS] = object_matches,
    [POLICY_NETWORKS] = network_matches,
    [POLICY_COUNTRIES] = country_matches,
    [POLICY_HOURS] = hours_match,
    [POLICY_CONSENT] = consent_matches,
    [POLICY_PURPOSE] = purpose_matches,
    [POLICY_ID_TOKEN] = id_token_matches,
};

static enum policy_condition first_failed(const struct policy_rule *rule, unsigned from, unsigned to,
                                          const struct policy_request *request)
{
	for (unsigned i = from; i < to; i++)
		if (!conditions[i](rule, request))
			return (enum policy_condition)i;
	return POLICY_NO_CONDITION;
}

enum policy_condition policy_rule_failed(const struct policy_rule *rule, const struct policy_request *request)
{
	return first_failed(rule, POLICY_OPERATIONS, POLICY_NO_CONDITION, request);
}

bool policy_rule_concerns(const struct policy_rule *rule, const struct policy_request *request)
{
	return first_failed(rule, POLICY_OPERATIONS, POLICY_NETWORKS, request) == POLICY_NO_CONDITION;
}

unsigned policy_rule_asks(const struct policy_rule *rule)
{
	return rule->require | (unsigned)(rule->networks != NULL) << POLICY_NETWORKS |
	       (unsigned)(rule->countries != NULL) << POLICY_COUNTRIES | (unsigned)(rule->hours != NULL) << POLICY_HOURS;
}

unsigned policy_rule_misses(const struct policy_rule *rule, const struct policy_request *request)
{
	unsigned misses = 0;
	for (unsigned i = POLICY_NETWORKS; i < POLICY_NO_CONDITION; i++)
		misses |= (unsigned)!conditions[i](rule, request) << i;
	return misses;
}

void policy_globs_done(struct policy_globs *globs)
{
	for (size_t i = 0; i < globs->n; i++)
		policy_glob_free(globs->items[i]);
	free(globs->items);
}

void policy_rule_done(struct policy_rule *rule)
{
	policy_globs_done(&rule->buckets);
	policy_globs_done(&rule->objects);
	policy_globs_done(&rule->accounts);
	policy_globs_done(&rule->users);
	policy_globs_done(&rule->vendor_keys);
	policy_network_set_free(rule->networks);
	free(rule->nets);
	free(rule->countries);
	policy_hours_free(rule->hours);
	free(rule->name);
	*rule = (struct policy_rule){0};
}
