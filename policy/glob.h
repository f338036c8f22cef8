/* Private to policy/: globs, compiled. A glob is an automaton over bytes, and matching runs all its states side by
 * side: time grows with the text, never exponentially. Immutable, hence thread-safe. */
#ifndef TWOKEY_POLICY_GLOB_H
#define TWOKEY_POLICY_GLOB_H

#include "common/span.h"

#define POLICY_GLOB_MAX 1024 /* bytes of a glob's text */

enum policy_glob_style {
	POLICY_GLOB_PATH, /* '/' separates segments, as policy_glob_match says */
	POLICY_GLOB_FLAT, /* '/' is like any other character, and `*` is the same as `**` */
};

struct policy_glob;

/* NULL for a malformed glob, and *ret_why then says what is wrong with it (static text). */
struct policy_glob *policy_glob_new(const char *text, enum policy_glob_style style, const char **ret_why);
void policy_glob_free(struct policy_glob *glob); /* accepts NULL */

/* The bytes that every accepted text starts with. Borrowed from the glob. */
struct span policy_glob_start(const struct policy_glob *glob);
bool policy_glob_accepts(const struct policy_glob *glob, struct span text);
/* Every text that starts with the prefix is accepted, the prefix itself included. May say false for a glob that takes
 * its way round ("[!x]**" together with "x**"), never true wrongly. */
bool policy_glob_covers(const struct policy_glob *glob, struct span prefix);
/* Some text that starts with the prefix is accepted. Exact. */
bool policy_glob_overlaps(const struct policy_glob *glob, struct span prefix);

#endif
