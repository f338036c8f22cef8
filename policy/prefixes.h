/* Private to policy/: which rules may be concerned, by a bit string that theirs must be the beginning of: networks of
 * an address, literal starts of globs. All beginnings of a text lie on one chain of ever shorter ones, so that finding
 * them takes one search and a walk. Memory grows with the number of entries only. Immutable, hence thread-safe. */
#ifndef TWOKEY_POLICY_PREFIXES_H
#define TWOKEY_POLICY_PREFIXES_H

#include "common/span.h"

struct policy_prefixes;

/* The rule asks for texts that start with these bits. Borrowed until policy_prefixes_new returns. */
struct policy_prefix {
	const uint8_t *bytes;
	unsigned bits;
	unsigned rule;
};

/* Rules are numbered from 0; sets of them are bits in n_words words. Sorts the entries. */
struct policy_prefixes *policy_prefixes_new(struct policy_prefix *entries, size_t n, size_t n_words);
void policy_prefixes_free(struct policy_prefixes *prefixes); /* accepts NULL */
/* Adds the rules whose beginning the text has. */
void policy_prefixes_find(const struct policy_prefixes *prefixes, struct span text, uint64_t *rules);

#endif
