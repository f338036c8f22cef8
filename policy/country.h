/* Private to policy/: countries as rules name them, by their two letters (ISO 3166-1 alpha-2, and XK as MaxMind has
 * it). Immutable, hence thread-safe. */
#ifndef TWOKEY_POLICY_COUNTRY_H
#define TWOKEY_POLICY_COUNTRY_H

#include "common/span.h"

/* A set of pairs of capital letters. */
struct policy_country_set {
	uint64_t bits[(26 * 26 + 63) / 64];
};

/* A country's code, as the database would give it? */
bool policy_country_is_known(const char *code);
/* What somebody who wrote this may have meant: "GB" for "UK", "DE" for "de"; false when that cannot be told. */
bool policy_country_suggest(const char *text, char out[3]);
/* `code` is known. */
void policy_country_add(struct policy_country_set *set, const char *code);
/* False for everything that is no pair of capital letters. */
bool policy_country_in(const struct policy_country_set *set, const char *code);

#endif
