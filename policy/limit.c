/* The rule file's `limits`: how much, in what time, of whom. Counting is policy/rates.c's. */
#include <stdlib.h>

#include "policy/rule_compile.h"

static const struct yaml_name kinds[] = {{"vendor_key", POLICY_PER_VENDOR_KEY}, {"user", POLICY_PER_USER}, {0}};

static const struct yaml_field limit_fields[] = {
    YAML_FIELD(struct policy_limit_entry, per, YAML_ENUM, .required = true, .names = kinds,
               .hint = "vendor_key or user"),
    YAML_FIELD(struct policy_limit_entry, only, YAML_STRINGS, .min = 1,
               .hint = "a list of globs over the names of vendor keys, or over users"),
    YAML_FIELD(struct policy_limit_entry, requests_per_minute, YAML_UINT, .min = 1, .max = 1000000000,
               .hint = "a number from 1 to 1000000000"),
    YAML_FIELD(struct policy_limit_entry, bytes_per_hour, YAML_UINT, .min = 1, .max = (uint64_t)1 << 60,
               .hint = "a size such as 500MiB or 20GiB"),
    {0}};
const struct yaml_type policy_limit_type = {sizeof(struct policy_limit_entry), limit_fields,
                                            offsetof(struct policy_limit_entry, mark)};

enum err_code policy_compile_limits(const struct policy_compiler *compiler, const struct yaml_list *entries,
                                    struct policy *policy)
{
	policy->limits = xcalloc(entries->n, sizeof *policy->limits);
	for (size_t i = 0; i < entries->n; i++) {
		const struct policy_limit_entry *entry = (const struct policy_limit_entry *)entries->items + i;
		struct policy_limit_rule *rule = &policy->limits[policy->n_limits++];
		rule->per = (enum policy_limit_kind)entry->per;
		rule->limit = (struct policy_limit){entry->requests_per_minute, entry->bytes_per_hour};
		if (!entry->requests_per_minute && !entry->bytes_per_hour)
			return policy_compile_fail(compiler, entry->mark,
			                           "a limit needs `requests_per_minute`, `bytes_per_hour`, or both");
		enum err_code code = policy_compile_globs(compiler, "only", &entry->only, POLICY_GLOB_FLAT, &rule->only);
		if (code != ERR_OK)
			return code;
	}
	return ERR_OK;
}

void policy_limit(const struct policy *policy, enum policy_limit_kind per, const char *name, struct policy_limit *ret)
{
	*ret = (struct policy_limit){0};
	for (size_t i = 0; i < policy->n_limits; i++) {
		const struct policy_limit_rule *rule = &policy->limits[i];
		if (rule->per != per || !policy_globs_match(&rule->only, name))
			continue;
		*ret = rule->limit;
		return;
	}
}
