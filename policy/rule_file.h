/* Private to policy/: the rule file as docs/RULES.md describes it. */
#ifndef TWOKEY_POLICY_RULE_FILE_H
#define TWOKEY_POLICY_RULE_FILE_H

#include "common/yaml.h"
#include "policy/rule.h"

/* What stands in the file, before it is compiled. */
struct policy_file {
	uint64_t version;
	struct yaml_list rules, limits;
};

extern const struct yaml_type policy_file_type; /* of a struct policy_file */

/* Checks and compiles; `name` is the file's name for errors. On failure *ret is half filled: free it all the same. */
must_check enum err_code policy_file_compile(const char *name, const struct policy_file *file, struct policy *ret,
                                             struct err *err);

#endif
