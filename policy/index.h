/* Private to policy/: which of many rules may concern a request, so that not each has to be asked. Immutable, hence
 * thread-safe. */
#ifndef TWOKEY_POLICY_INDEX_H
#define TWOKEY_POLICY_INDEX_H

#include "policy/rule.h"

/* Words of a set of as many rules as a file may have. */
#define POLICY_WORDS_MAX (POLICY_RULES_MAX / 64)

struct policy_index;

struct policy_index *policy_index_new(const struct policy_rule *rules, size_t n);
void policy_index_free(struct policy_index *index); /* accepts NULL */
size_t policy_index_words(const struct policy_index *index);

/* Sets of rules, words of bits. Every rule of which policy_rule_concerns is true is in *concerned, and every rule whose
 * networks have the address is in *near; others may be. */
void policy_index_find(const struct policy_index *index, const struct policy_request *request, uint64_t *concerned,
                       uint64_t *near);

#endif
