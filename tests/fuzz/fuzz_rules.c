/* room: policy */
#include <stdlib.h>

#include "policy/glob.h"
#include "policy/policy.h"

/* What is asked of every file that parses. */
static const char *const objects[] = {"", "a", "reports/", "reports/2026/a.pdf", "a/b/c", "\xc3\xa9/[x]*"};
static const char *const addresses[] = {"10.1.2.3", "2001:db8::1", "::"};

static const int64_t times[] = {0, INT64_C(1774745999999), INT64_C(1774746000000), INT64_MAX, INT64_MIN};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Of an explanation: how many rules were told of, and the one that decides. */
struct explained {
	size_t n;
	const char *rule;
	bool allow;
};

static void note(void *user, const struct policy_verdict *verdict)
{
	struct explained *by = (struct explained *)user;
	by->n++;
	if (verdict->matches != (verdict->failed == POLICY_NO_CONDITION) || (verdict->decides && by->rule))
		abort();
	if (verdict->decides) {
		by->rule = verdict->rule;
		by->allow = verdict->allow;
	}
}

static void decide(const struct policy *policy, unsigned operation, const char *object, const char *address)
{
	struct policy_request request = {.operation = (enum policy_operation)operation,
	                                 .bucket = "reports",
	                                 .object = object,
	                                 .account = "acme",
	                                 .user = "ann@hospital.example",
	                                 .vendor_key = "acme-2026",
	                                 .country = "GB",
	                                 .time_ms = times[strlen(object) % COUNT(times)],
	                                 .has_consent = operation % 2,
	                                 .has_purpose = address[0] == '1'};
	struct policy_decision decision, explained;
	struct explained by = {0};
	if (!ip_parse(address, &request.address))
		abort();
	policy_decide(policy, &request, &decision);
	policy_explain(policy, &request, note, &by, &explained);
	if (by.n != policy_count(policy) + 1 || by.rule != decision.rule || by.allow != decision.allowed ||
	    explained.rule != decision.rule || explained.reason != decision.reason)
		abort();
	if (!decision.rule || decision.allowed != (decision.reason == REASON_NONE))
		abort();
	if (decision.allowed && policy_count(policy) == 0)
		abort();
}

/* A list that is allowed allows nothing less than what is below its prefix. */
static void check_globs(const char *glob, const char *text)
{
	const char *why = NULL;
	struct policy_glob *compiled = policy_glob_new(glob, POLICY_GLOB_PATH, &why);
	if (!compiled) {
		if (!why)
			abort();
		return;
	}
	size_t len = strlen(text);
	bool accepts = policy_glob_accepts(compiled, span_of(text, len));
	for (size_t at = 0; at <= len; at++) {
		struct span prefix = span_of(text, at);
		if ((policy_glob_covers(compiled, prefix) && !accepts) || (accepts && !policy_glob_overlaps(compiled, prefix)))
			abort();
	}
	policy_glob_free(compiled);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 8192)
		return 0;
	struct err err = {0};
	struct policy *policy = NULL;
	if (policy_parse("fuzz.yaml", span_of(data, size), &policy, &err) == ERR_OK) {
		for (unsigned operation = POLICY_GET; operation <= POLICY_DELETE; operation++)
			for (size_t i = 0; i < COUNT(objects); i++)
				for (size_t k = 0; k < COUNT(addresses); k++)
					decide(policy, operation, objects[i], addresses[k]);
		struct policy_limit limit;
		policy_limit(policy, POLICY_PER_VENDOR_KEY, "acme-2026", &limit);
		policy_limit(policy, POLICY_PER_USER, "ann@hospital.example", &limit);
		policy_free(policy);
	} else if (err.code != ERR_INVALID || policy) {
		abort();
	}

	/* The same bytes once more: a glob up to the first line end, then a text. */
	char *glob = xstrndup((const char *)data, size < 300 ? size : 300);
	char *text = strchr(glob, '\n');
	if (text)
		*text++ = '\0';
	check_globs(glob, text ? text : "");
	free(glob);
	return 0;
}
