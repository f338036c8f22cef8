#include <stdlib.h>

#include "policy/rule_compile.h"

struct policy_scope {
	struct policy_rule rule;
};

enum err_code policy_scope_new(const char *file, const struct policy_scope_texts *texts, struct policy_scope **ret,
                               struct err *err)
{
	const struct policy_compiler compiler = {file, err};
	struct policy_scope *scope = xcalloc(1, sizeof *scope);
	enum err_code code = policy_compile_scope(&compiler, texts, &scope->rule);
	if (code == ERR_OK)
		*ret = scope;
	else
		policy_scope_free(scope);
	return code;
}

void policy_scope_free(struct policy_scope *scope)
{
	if (!scope)
		return;
	policy_rule_done(&scope->rule);
	free(scope);
}

enum reason policy_scope_circumstance(const struct policy_scope *scope, const struct ip_addr *address, int64_t time_ms)
{
	if (!address && scope->rule.networks)
		return REASON_NETWORK_DENIED;
	struct policy_request request = {.time_ms = time_ms};
	if (address)
		request.address = *address;
	const unsigned misses = policy_rule_misses(&scope->rule, &request);
	return misses & 1u << POLICY_NETWORKS ? REASON_NETWORK_DENIED
	       : misses & 1u << POLICY_HOURS  ? REASON_HOURS_DENIED
	                                      : REASON_NONE;
}

bool policy_scope_concerns(const struct policy_scope *scope, const struct policy_request *request)
{
	return policy_rule_concerns(&scope->rule, request);
}
