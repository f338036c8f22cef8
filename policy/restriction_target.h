/* Private to policy/: one thing that is restricted, and what is known of it. */
#ifndef TWOKEY_POLICY_RESTRICTION_TARGET_H
#define TWOKEY_POLICY_RESTRICTION_TARGET_H

#include "policy/restrictions.h"

struct restriction_key {
	enum restriction_scope scope;
	const char *bucket;
	struct span name;
};

/* Something in force, and who made it so. */
struct restriction_fact {
	bool set;
	struct restriction_note note; /* its texts are owned, in one allocation at note.who */
};
void restriction_fact_set(struct restriction_fact *fact, const struct restriction_note *note);
void restriction_fact_done(struct restriction_fact *fact);

struct restriction_target {
	enum restriction_scope scope;
	size_t hash;
	struct restriction_fact revoked, expiry, users;
	int64_t expires_ms;
	char **user_names; /* sorted; owned */
	size_t n_users;
	char *bucket, *name; /* owned; a transaction's name is its id */
	size_t name_len;
};

struct restriction_target *restriction_target_new(const struct restriction_key *key, size_t hash);
void restriction_target_free(struct restriction_target *target); /* accepts NULL */
bool restriction_target_is(const struct restriction_target *target, const struct restriction_key *key);
/* By bucket, then name, as bytes. */
int restriction_target_compare(const struct restriction_target *target, const struct restriction_key *key);
struct span restriction_target_name(const struct restriction_target *target);
bool restriction_target_has_user(const struct restriction_target *target, const char *user);
bool restriction_target_in_force(const struct restriction_target *target);
void restriction_target_tell(const struct restriction_target *target,
                             void (*each)(const struct restriction_view *view, void *user), void *user);

/* A change in three steps, so that only the second needs the lock: *ret becomes what the target will be (sharing what
 * stays), they change places, and what the old one alone had is freed. */
void restriction_target_prepare(const struct restriction_target *target, const struct restriction_change *change,
                                struct restriction_target *ret);
void restriction_target_swap(struct restriction_target *target, struct restriction_target *next);
void restriction_target_retire(const struct restriction_target *target, struct restriction_target *old);

#endif
