/* Restrictions: what operators have taken back while the service runs. Part of policy.h; a pure data structure, fed by
 * whoever keeps the record.
 *
 * Thread-safe for any number of readers and one writer at a time (restrictions_apply; the caller sees to that). Readers
 * share a lock that the writer holds only to put prepared memory in place: tables grow outside of it, so a reader waits
 * for no allocation and no rehash. A swap of immutable copies would spare even that, but copies a million entries for
 * every change. */
#ifndef TWOKEY_POLICY_RESTRICTIONS_H
#define TWOKEY_POLICY_RESTRICTIONS_H

#include "common/err.h"
#include "common/reason.h"
#include "common/span.h"

struct restrictions;

#define RESTRICTIONS_MAX       1000000 /* targets in force */
#define RESTRICTIONS_USERS_MAX 10000   /* users on one object's list */
#define RESTRICTIONS_WHY_MAX   512     /* bytes of a reason given by a person */

enum restriction_scope { /* the numbers of twokey.v1.RestrictionScope */
	                     RESTRICT_TRANSACTION = 1,
	                     RESTRICT_OBJECT,
	                     RESTRICT_PREFIX,
	                     RESTRICT_USER,
	                     RESTRICT_ACCOUNT,
	                     RESTRICT_VENDOR_KEY,
	                     RESTRICT_EVERYTHING,
};

enum restriction_action { /* the numbers of twokey.v1.RestrictionAction */
	                      RESTRICT_REVOKE = 1,
	                      RESTRICT_REINSTATE,
	                      RESTRICT_SET_EXPIRY,
	                      RESTRICT_REMOVE_EXPIRY,
	                      RESTRICT_ADD_USER,
	                      RESTRICT_REMOVE_USER,
	                      RESTRICT_REMOVE_USERS, /* the whole list */
	                      RESTRICT_LOCKDOWN,
	                      RESTRICT_RELEASE,
};

/* Who did it, why, when, and where that is recorded. */
struct restriction_note {
	const char *who, *why;
	int64_t time_ms;
	uint64_t record;
};

/* Borrowed. */
struct restriction_change {
	enum restriction_scope scope;
	enum restriction_action action;
	uint8_t transaction_id[16]; /* TRANSACTION */
	const char *bucket;         /* OBJECT and PREFIX; "": every bucket */
	const char *name;           /* the object, prefix, user, account or vendor key */
	const char *user;           /* ADD_USER and REMOVE_USER; ADD_USER of "" makes an empty list */
	int64_t expires_ms;         /* SET_EXPIRY */
	struct restriction_note note;
};

struct restrictions *restrictions_new(void);
void restrictions_free(struct restrictions *restrictions); /* accepts NULL */

/* May this be asked for? REASON_MALFORMED (sizes, an action that does not fit its scope), NO_SUCH_RESTRICTION (nothing
 * to take back) or TOO_LARGE (a limit above), with a detail; REASON_NONE otherwise. */
enum reason restrictions_judge(struct restrictions *restrictions, const struct restriction_change *change,
                               struct err *detail);
/* Applies a change that has been judged; one whose record is not later than the last one applied is ignored, so that a
 * record may be read twice. */
void restrictions_apply(struct restrictions *restrictions, const struct restriction_change *change);
/* The same for what a snapshot holds, where changes stand in no order. */
void restrictions_restore(struct restrictions *restrictions, const struct restriction_change *change);

/* Borrowed; a NULL is not looked at. */
struct restriction_question {
	bool list; /* `object` is the prefix of a LIST */
	const uint8_t *transaction_id;
	const char *bucket, *object, *account, *user, *vendor_key;
	int64_t now_ms;
};
/* LOCKDOWN, REVOKED, OBJECT_EXPIRED, USER_NOT_LISTED or NONE. Never allocates. A LIST is stopped by a prefix above what
 * it asks for, and by one below, whose names it would show; not by single objects. */
enum reason restrictions_check(struct restrictions *restrictions, const struct restriction_question *question);
/* Grows with every change: whoever has checked need not check again while it stays. */
uint64_t restrictions_generation(const struct restrictions *restrictions);

enum restriction_kind { RESTRICTION_REVOKED = 1, RESTRICTION_EXPIRY, RESTRICTION_USERS, RESTRICTION_LOCKDOWN };
/* One restriction in force. Borrowed for the callback. */
struct restriction_view {
	enum restriction_scope scope;
	enum restriction_kind kind;
	const uint8_t *transaction_id;
	const char *bucket, *name;
	int64_t expires_ms;
	const char *const *users; /* sorted */
	size_t n_users;
	struct restriction_note note;
};
/* Calls back with the restrictions of some targets, from *cursor (0 at first) on, and moves it; at least one target and
 * at most `max`. False when there are no more. What is in force from the first call to the last is told exactly once.
 * Readers go on meanwhile, the writer waits: the callback must not block. */
bool restrictions_page(struct restrictions *restrictions, size_t *cursor, size_t max,
                       void (*each)(const struct restriction_view *view, void *user), void *user);

#endif
