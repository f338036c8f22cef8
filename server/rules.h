/* The rule file of a gatekeeper: the version in force, and how another takes its place.
 *
 * A decision takes the version in force, uses it and gives it back; it never waits: taking is two counters and a
 * reference. Whoever replaces the version waits until no taker is between the two steps, and the old version is freed
 * by the last who holds it. So each decision is by one whole file, and no lock is held while a file is parsed. */
#ifndef TWOKEY_SERVER_RULES_H
#define TWOKEY_SERVER_RULES_H

#include "common/clock.h"
#include "policy/policy.h"

struct rules;

struct rules_version {
	struct policy *policy;
	struct buf text; /* the file, byte for byte */
	uint8_t sha256[32];
	int64_t loaded_ms;
};

/* Reads the file; ERR_INVALID with "file:line:column: ...". */
must_check enum err_code rules_open(const char *path, const struct clock *clock, struct rules **ret, struct err *err);
void rules_free(struct rules *rules); /* accepts NULL; nobody holds a version any more */
const char *rules_path(const struct rules *rules);

/* Never blocks. */
const struct rules_version *rules_take(struct rules *rules);
void rules_give_back(const struct rules_version *version); /* accepts NULL */

/* Some rule in force asks for the client's country. */
bool rules_ask_countries(struct rules *rules);
bool rules_ask_id_tokens(struct rules *rules);

/* Reads and checks what is in the file now, without using it: ERR_INVALID, or ERR_UNAVAILABLE when it is being written
 * right now. Free with rules_give_back, or put in force. */
must_check enum err_code rules_read(struct rules *rules, struct rules_version **ret, struct err *err);
/* Takes the version over and puts it in force. One caller at a time. */
void rules_put(struct rules *rules, struct rules_version *version);

/* Why the file as it is now was not taken; "" when it was. Kept for operators. */
void rules_set_trouble(struct rules *rules, const char *text);
void rules_trouble(struct rules *rules, struct err *ret);

/* Has the file changed since it was last read, and been left alone for two calls? One caller, about once a second. */
bool rules_changed(struct rules *rules);

#endif
