#include "policy/restriction_target.h"

#include <stdlib.h>

void restriction_fact_set(struct restriction_fact *fact, const struct restriction_note *note)
{
	size_t who = strlen(note->who) + 1, why = strlen(note->why) + 1;
	char *texts = xcalloc(1, who + why);
	memcpy(texts, note->who, who);
	memcpy(texts + who, note->why, why);
	*fact = (struct restriction_fact){.set = true, .note = *note};
	fact->note.who = texts;
	fact->note.why = texts + who;
}

void restriction_fact_done(struct restriction_fact *fact)
{
	free((char *)fact->note.who);
	*fact = (struct restriction_fact){0};
}

struct restriction_target *restriction_target_new(const struct restriction_key *key, size_t hash)
{
	struct restriction_target *target = xcalloc(1, sizeof *target);
	target->scope = key->scope;
	target->hash = hash;
	target->bucket = xstrdup(key->bucket);
	target->name = xcalloc(1, key->name.len + 1);
	if (key->name.len)
		memcpy(target->name, key->name.ptr, key->name.len);
	target->name_len = key->name.len;
	return target;
}

static void users_free(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

void restriction_target_free(struct restriction_target *target)
{
	if (!target)
		return;
	restriction_fact_done(&target->revoked);
	restriction_fact_done(&target->expiry);
	restriction_fact_done(&target->users);
	users_free(target->user_names, target->n_users);
	free(target->bucket);
	free(target->name);
	free(target);
}

struct span restriction_target_name(const struct restriction_target *target)
{
	return span_of(target->name, target->name_len);
}

bool restriction_target_is(const struct restriction_target *target, const struct restriction_key *key)
{
	return target->scope == key->scope && strcmp(target->bucket, key->bucket) == 0 &&
	       span_eq(restriction_target_name(target), key->name);
}

int restriction_target_compare(const struct restriction_target *target, const struct restriction_key *key)
{
	int order = strcmp(target->bucket, key->bucket);
	if (order)
		return order;
	size_t common = target->name_len < key->name.len ? target->name_len : key->name.len;
	order = common ? memcmp(target->name, key->name.ptr, common) : 0;
	return order ? order : (target->name_len > key->name.len) - (target->name_len < key->name.len);
}

/* The place of the first name that is not before `user`. */
static size_t users_from(const struct restriction_target *target, const char *user)
{
	size_t low = 0, high = target->n_users;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(target->user_names[middle], user) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool restriction_target_has_user(const struct restriction_target *target, const char *user)
{
	size_t at = users_from(target, user);
	return at < target->n_users && strcmp(target->user_names[at], user) == 0;
}

bool restriction_target_in_force(const struct restriction_target *target)
{
	return target->revoked.set || target->expiry.set || target->users.set;
}

/* The list with one name more or less, in an array of its own; the names are shared with the old one. */
static void users_prepare(const struct restriction_target *target, const struct restriction_change *change,
                          struct restriction_target *ret)
{
	bool known = restriction_target_has_user(target, change->user);
	bool add = change->action == RESTRICT_ADD_USER && change->user[0] && !known;
	bool remove = change->action == RESTRICT_REMOVE_USER && known;
	size_t at = users_from(target, change->user), rest = at + remove;
	ret->user_names = xcalloc(target->n_users + 1, sizeof *ret->user_names);
	if (at)
		memcpy(ret->user_names, target->user_names, at * sizeof *ret->user_names);
	if (add)
		ret->user_names[at] = xstrdup(change->user);
	if (rest < target->n_users)
		memcpy(ret->user_names + at + add, target->user_names + rest,
		       (target->n_users - rest) * sizeof *ret->user_names);
	ret->n_users = target->n_users + add - remove;
	restriction_fact_set(&ret->users, &change->note);
}

/* Both lists are sorted, and what they have in common they share. */
static void users_retire(const struct restriction_target *target, struct restriction_target *old)
{
	if (old->user_names == target->user_names)
		return;
	for (size_t i = 0, k = 0; i < old->n_users; i++) {
		while (k < target->n_users && strcmp(target->user_names[k], old->user_names[i]) < 0)
			k++;
		if (k == target->n_users || target->user_names[k] != old->user_names[i])
			free(old->user_names[i]);
	}
	free(old->user_names);
}

void restriction_target_prepare(const struct restriction_target *target, const struct restriction_change *change,
                                struct restriction_target *ret)
{
	*ret = *target;
	switch (change->action) {
	case RESTRICT_REVOKE:
		restriction_fact_set(&ret->revoked, &change->note);
		break;
	case RESTRICT_REINSTATE:
		ret->revoked = (struct restriction_fact){0};
		break;
	case RESTRICT_SET_EXPIRY:
		restriction_fact_set(&ret->expiry, &change->note);
		ret->expires_ms = change->expires_ms;
		break;
	case RESTRICT_REMOVE_EXPIRY:
		ret->expiry = (struct restriction_fact){0};
		break;
	case RESTRICT_ADD_USER:
	case RESTRICT_REMOVE_USER:
		users_prepare(target, change, ret);
		break;
	case RESTRICT_REMOVE_USERS:
		ret->users = (struct restriction_fact){0};
		ret->user_names = NULL;
		ret->n_users = 0;
		break;
	case RESTRICT_LOCKDOWN:
	case RESTRICT_RELEASE:
		break; /* of everything, hence of no target */
	}
}

void restriction_target_swap(struct restriction_target *target, struct restriction_target *next)
{
	struct restriction_target old = *target;
	*target = *next;
	*next = old;
}

static void fact_retire(const struct restriction_fact *now, struct restriction_fact *old)
{
	if (old->note.who != now->note.who)
		restriction_fact_done(old);
}

void restriction_target_retire(const struct restriction_target *target, struct restriction_target *old)
{
	fact_retire(&target->revoked, &old->revoked);
	fact_retire(&target->expiry, &old->expiry);
	fact_retire(&target->users, &old->users);
	users_retire(target, old);
}

void restriction_target_tell(const struct restriction_target *target,
                             void (*each)(const struct restriction_view *view, void *user), void *user)
{
	const struct {
		enum restriction_kind kind;
		const struct restriction_fact *fact;
	} facts[] = {{RESTRICTION_REVOKED, &target->revoked},
	             {RESTRICTION_EXPIRY, &target->expiry},
	             {RESTRICTION_USERS, &target->users}};
	bool transaction = target->scope == RESTRICT_TRANSACTION;
	for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
		if (!facts[i].fact->set)
			continue;
		const struct restriction_view view = {
		    .scope = target->scope,
		    .kind = facts[i].kind,
		    .transaction_id = transaction ? (const uint8_t *)target->name : NULL,
		    .bucket = target->bucket,
		    .name = transaction ? "" : target->name,
		    .expires_ms = target->expires_ms,
		    .users = (const char *const *)target->user_names,
		    .n_users = target->n_users,
		    .note = facts[i].fact->note,
		};
		each(&view, user);
	}
}
