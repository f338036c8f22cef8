/* Rules: who may do what, from where. A rule file is parsed whole or refused whole; first match wins; what no rule
 * matches is denied. docs/RULES.md has the format. A struct policy is immutable and thread-safe. */
#ifndef TWOKEY_POLICY_POLICY_H
#define TWOKEY_POLICY_POLICY_H

#include "common/err.h"
#include "common/ip.h"
#include "common/reason.h"
#include "common/span.h"

struct policy;

enum policy_operation {
	POLICY_GET = 1, /* the numbers of twokey.v1.Operation */
	POLICY_PUT = 2,
	POLICY_LIST = 3,
	POLICY_DELETE = 4,
};

/* What is asked. Borrowed. */
struct policy_request {
	enum policy_operation operation;
	const char *bucket;
	const char *object; /* the prefix for LIST */
	const char *account;
	const char *user; /* the transaction's subject */
	const char *vendor_key;
	struct ip_addr address;
};

struct policy_decision {
	bool allowed;
	/* NONE; NETWORK_DENIED when some rule would have allowed this from another address; else RULE_DENIED. */
	enum reason reason;
	const char *rule; /* name of the rule that decided; "default" when none matched; owned by the policy */
};

/* Reads a rule file. ERR_INVALID with "file:line:column: what is wrong, what would be right". */
must_check enum err_code policy_load(const char *path, struct policy **ret, struct err *err);
must_check enum err_code policy_parse(const char *name, struct span text, struct policy **ret, struct err *err);
void policy_free(struct policy *policy);
size_t policy_count(const struct policy *policy);

/* Never blocks, never allocates. A LIST asks for a whole prefix: a rule's object glob must cover everything below it.
 */
void policy_decide(const struct policy *policy, const struct policy_request *request, struct policy_decision *ret);

/* The glob of a rule's `objects`: `*` matches within one path segment, `**` across segments, a double star and a slash
 * at the start of a segment any number of whole segments, `?` one character other than '/', `[a-z]` and `[!a-z]` a
 * class of ASCII characters, `\` takes the next character literally. Matches exact bytes; time grows linearly with the
 * text. A malformed glob, or one longer than 1024 bytes, matches nothing. */
bool policy_glob_match(const char *glob, const char *text);

#endif
