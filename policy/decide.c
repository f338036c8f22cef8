#include "policy/index.h"

#define BIT(condition) (1u << POLICY_##condition)

/* What may be told of a denial, first things first: with other circumstances of this kind only, a rule would have
 * allowed it. Another address may lie in another country; who shows a consent can show a purpose. */
static const struct blame {
	unsigned circumstances;
	enum reason reason;
} blames[] = {
    {BIT(COUNTRIES), REASON_COUNTRY_DENIED},
    {BIT(NETWORKS) | BIT(COUNTRIES), REASON_NETWORK_DENIED},
    {BIT(HOURS), REASON_HOURS_DENIED},
    {BIT(PURPOSE), REASON_PURPOSE_REQUIRED},
    {BIT(CONSENT) | BIT(PURPOSE), REASON_CONSENT_REQUIRED},
    {BIT(ID_TOKEN) | BIT(CONSENT) | BIT(PURPOSE), REASON_ID_TOKEN_REQUIRED},
};

#define N_BLAMES       (sizeof blames / sizeof blames[0])
#define ALL_BLAMES     ((1u << N_BLAMES) - 1)
#define FROM_ELSEWHERE (1u << 1) /* the blame that has to do with networks */

struct search {
	unsigned open;  /* bits of blames that no rule has settled yet */
	unsigned found; /* bits of blames under which a rule would have allowed it */
};

/* A rule whose conditions hold but for the circumstances missed. What would it have done, had those of a blame been
 * otherwise? A rule that denies and asks about them would have let it pass. */
static void weigh(struct search *search, const struct policy_rule *rule, unsigned missed)
{
	unsigned asks = policy_rule_asks(rule);
	for (size_t i = 0; i < N_BLAMES; i++) {
		bool reaches = search->open >> i & 1 && !(missed & ~blames[i].circumstances);
		if (!reaches || (!rule->allow && asks & blames[i].circumstances))
			continue;
		search->open &= ~(1u << i);
		search->found |= (unsigned)rule->allow << i;
	}
}

/* Every rule whose conditions hold, or would if circumstances were otherwise, until nothing is open. Rules that are not
 * near tell only of other addresses. */
static enum reason find_blame(const struct policy *policy, const struct policy_request *request,
                              const uint64_t *concerned, const uint64_t *near)
{
	struct search search = {.open = ALL_BLAMES};
	for (size_t word = 0; word < policy_index_words(policy->index); word++) {
		uint64_t left = concerned[word];
		while (search.open && (left &= search.open & FROM_ELSEWHERE ? UINT64_MAX : near[word])) {
			const struct policy_rule *rule = &policy->rules[word * 64 + (size_t)__builtin_ctzll(left)];
			left &= left - 1;
			if (policy_rule_concerns(rule, request))
				weigh(&search, rule, policy_rule_misses(rule, request));
		}
	}
	return search.found ? blames[__builtin_ctz(search.found)].reason : REASON_RULE_DENIED;
}

/* Until the first that matches; when none does, the decision is left as it is. */
static void find_match(const struct policy *policy, const struct policy_request *request, const uint64_t *concerned,
                       const uint64_t *near, struct policy_decision *decision)
{
	for (size_t word = 0; word < policy_index_words(policy->index); word++) {
		for (uint64_t left = concerned[word] & near[word]; left; left &= left - 1) {
			const struct policy_rule *rule = &policy->rules[word * 64 + (size_t)__builtin_ctzll(left)];
			if (policy_rule_failed(rule, request) != POLICY_NO_CONDITION)
				continue;
			*decision =
			    (struct policy_decision){.allowed = rule->allow, .presign_s = rule->presign_s, .rule = rule->name};
			return;
		}
	}
}

void policy_decide(const struct policy *policy, const struct policy_request *request, struct policy_decision *ret)
{
	/* As many words as there are rules are written before they are read; zeroing all is a quarter of the work. */
	__attribute__((uninitialized)) uint64_t concerned[POLICY_WORDS_MAX], near[POLICY_WORDS_MAX];
	policy_index_find(policy->index, request, concerned, near);
	*ret = (struct policy_decision){.rule = POLICY_DEFAULT_RULE};
	find_match(policy, request, concerned, near, ret);
	if (!ret->allowed)
		ret->reason = find_blame(policy, request, concerned, near);
}

void policy_explain(const struct policy *policy, const struct policy_request *request, policy_explainer tell,
                    void *user, struct policy_decision *ret)
{
	bool decided = false;
	for (size_t i = 0; i < policy->n; i++) {
		const struct policy_rule *rule = &policy->rules[i];
		struct policy_verdict verdict = {
		    .rule = rule->name, .allow = rule->allow, .failed = policy_rule_failed(rule, request)};
		verdict.matches = verdict.failed == POLICY_NO_CONDITION;
		verdict.decides = verdict.matches && !decided;
		decided = decided || verdict.matches;
		tell(user, &verdict);
	}
	const struct policy_verdict last = {
	    .rule = POLICY_DEFAULT_RULE, .matches = true, .decides = !decided, .failed = POLICY_NO_CONDITION};
	tell(user, &last);
	policy_decide(policy, request, ret);
}

const char *policy_condition_name(enum policy_condition condition)
{
	static const char *const names[] = {
#define X(name, text) text,
	    POLICY_CONDITIONS(X)
#undef X
	};
	return (size_t)condition < sizeof names / sizeof names[0] ? names[condition] : "";
}
