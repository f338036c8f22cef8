/* Private to policy/: parts of a rule file on their way into rules. */
#ifndef TWOKEY_POLICY_RULE_COMPILE_H
#define TWOKEY_POLICY_RULE_COMPILE_H

#include "common/yaml.h"
#include "policy/rule.h"

struct policy_compiler {
	const char *name; /* the file's, for errors */
	struct err *err;
};

enum err_code policy_compile_fail(const struct policy_compiler *compiler, struct yaml_mark mark, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
must_check enum err_code policy_compile_globs(const struct policy_compiler *compiler, const char *key,
                                              const struct yaml_strings *texts, enum policy_glob_style style,
                                              struct policy_globs *globs);

/* A scope's conditions into a rule that allows. */
must_check enum err_code policy_compile_scope(const struct policy_compiler *compiler,
                                              const struct policy_scope_texts *texts, struct policy_rule *rule);
must_check enum err_code policy_compile_countries(const struct policy_compiler *compiler,
                                                  const struct yaml_strings *texts, struct policy_rule *rule);
must_check enum err_code policy_compile_hours(const struct policy_compiler *compiler,
                                              const struct policy_hours_entry *entry, struct policy_rule *rule);
must_check enum err_code policy_compile_require(const struct policy_compiler *compiler,
                                                const struct yaml_strings *texts, struct policy_rule *rule);

/* One of the file's `limits`. */
struct policy_limit_entry {
	int per; /* enum policy_limit_kind */
	struct yaml_strings only;
	uint64_t requests_per_minute, bytes_per_hour;
	struct yaml_mark mark;
};
extern const struct yaml_type policy_limit_type;

must_check enum err_code policy_compile_limits(const struct policy_compiler *compiler, const struct yaml_list *entries,
                                               struct policy *policy);

#endif
