#include "policy/policy.h"

#include <stdlib.h>

#include "policy/index.h"
#include "policy/rule_file.h"

static enum err_code compile(const char *name, const struct policy_file *file, struct policy **ret, struct err *err)
{
	struct policy *policy = xcalloc(1, sizeof *policy);
	enum err_code code = policy_file_compile(name, file, policy, err);
	if (code != ERR_OK) {
		policy_free(policy);
		return code;
	}
	policy->index = policy_index_new(policy->rules, policy->n);
	*ret = policy;
	return ERR_OK;
}

enum err_code policy_load(const char *path, struct policy **ret, struct err *err)
{
	struct policy_file file = {0};
	enum err_code code = yaml_load(path, &policy_file_type, &file, err);
	if (code == ERR_OK)
		code = compile(path, &file, ret, err);
	yaml_free(&policy_file_type, &file);
	return code;
}

enum err_code policy_parse(const char *name, struct span text, struct policy **ret, struct err *err)
{
	struct policy_file file = {0};
	enum err_code code = yaml_parse(name, text, &policy_file_type, &file, err);
	if (code == ERR_OK)
		code = compile(name, &file, ret, err);
	yaml_free(&policy_file_type, &file);
	return code;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->n; i++)
		policy_rule_done(&policy->rules[i]);
	free(policy->rules);
	policy_index_free(policy->index);
	for (size_t i = 0; i < policy->n_limits; i++)
		policy_globs_done(&policy->limits[i].only);
	free(policy->limits);
	free(policy);
}

size_t policy_count(const struct policy *policy)
{
	return policy->n;
}

bool policy_asks_countries(const struct policy *policy)
{
	for (size_t i = 0; i < policy->n; i++)
		if (policy->rules[i].countries)
			return true;
	return false;
}

bool policy_asks_id_tokens(const struct policy *policy)
{
	for (size_t i = 0; i < policy->n; i++)
		if (policy->rules[i].require & 1u << POLICY_ID_TOKEN)
			return true;
	return false;
}
