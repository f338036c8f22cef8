/* Targets live in a vector, where each keeps its place until it goes, and are found through a hash table of places with
 * linear probing. Prefixes are also counted by length, so that a key is hashed once and looked up only at lengths that
 * occur, and kept sorted, for those that ask what lies below. */
#include "policy/restrictions.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#include "policy/restriction_target.h"

enum { SLOTS_MIN = 64, NAME_MAX_BYTES = 1024, SHORT_NAME_MAX = 256 };

struct vector {
	struct restriction_target **items;
	size_t n, cap;
};

struct restrictions {
	pthread_rwlock_t lock;
	uint64_t seed;
	uint32_t *slots; /* place in `targets`, plus one; 0: free */
	size_t n_slots;  /* a power of two */
	size_t n_used;
	struct vector targets;                   /* NULL where one has gone */
	struct vector prefixes;                  /* sorted by bucket, then name; borrowed */
	uint32_t lengths[2][NAME_MAX_BYTES + 1]; /* how many prefixes have that length: in every bucket, in one */
	size_t n_prefixes[2];
	struct restriction_fact lockdown;

	_Atomic(uint64_t) generation;
	uint64_t next; /* the writer's: earlier records have been applied */
};

/* ---- keys and hashes ---- */

/* FNV-1a, begun with a secret: names in requests are chosen by others. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ at[i]) * 0x100000001b3u;
	return hash;
}

static uint64_t hash_begin(const struct restrictions *restrictions, enum restriction_scope scope, const char *bucket)
{
	uint64_t hash = restrictions->seed ^ (uint64_t)scope;
	return hash_bytes(hash, bucket, strlen(bucket) + 1);
}

static size_t hash_end(uint64_t hash)
{
	hash ^= hash >> 32;
	hash *= 0x9e3779b97f4a7c15u;
	return (size_t)(hash ^ hash >> 29);
}

static size_t slot_of(const struct restrictions *restrictions, size_t hash)
{
	return hash & (restrictions->n_slots - 1);
}

static struct restriction_target *find_hashed(const struct restrictions *restrictions, size_t hash,
                                              const struct restriction_key *key)
{
	for (size_t slot = slot_of(restrictions, hash); restrictions->slots[slot];
	     slot = (slot + 1) & (restrictions->n_slots - 1)) {
		struct restriction_target *target = restrictions->targets.items[restrictions->slots[slot] - 1];
		if (target->hash == hash && restriction_target_is(target, key))
			return target;
	}
	return NULL;
}

static size_t hash_key(const struct restrictions *restrictions, const struct restriction_key *key)
{
	return hash_end(hash_bytes(hash_begin(restrictions, key->scope, key->bucket), key->name.ptr, key->name.len));
}

static struct restriction_target *find(const struct restrictions *restrictions, enum restriction_scope scope,
                                       const char *bucket, struct span name)
{
	const struct restriction_key key = {scope, bucket, name};
	return find_hashed(restrictions, hash_key(restrictions, &key), &key);
}

static struct restriction_key key_of(const struct restriction_change *change)
{
	bool in_bucket = change->scope == RESTRICT_OBJECT || change->scope == RESTRICT_PREFIX;
	return (struct restriction_key){
	    .scope = change->scope,
	    .bucket = in_bucket && change->bucket ? change->bucket : "",
	    .name = change->scope == RESTRICT_TRANSACTION ? span_of(change->transaction_id, sizeof change->transaction_id)
	                                                  : span_str(change->name ? change->name : ""),
	};
}

/* ---- making and freeing ---- */

struct restrictions *restrictions_new(void)
{
	struct restrictions *restrictions = xcalloc(1, sizeof *restrictions);
	pthread_rwlockattr_t attr;
	pthread_rwlockattr_init(&attr);
	/* Under a steady stream of decisions a revocation must still get its turn. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&restrictions->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	if (getrandom(&restrictions->seed, sizeof restrictions->seed, 0) != sizeof restrictions->seed)
		abort();
	restrictions->n_slots = SLOTS_MIN;
	restrictions->slots = xcalloc(SLOTS_MIN, sizeof *restrictions->slots);
	return restrictions;
}

void restrictions_free(struct restrictions *restrictions)
{
	if (!restrictions)
		return;
	for (size_t i = 0; i < restrictions->targets.n; i++)
		restriction_target_free(restrictions->targets.items[i]);
	free(restrictions->targets.items);
	free(restrictions->prefixes.items);
	free(restrictions->slots);
	restriction_fact_done(&restrictions->lockdown);
	pthread_rwlock_destroy(&restrictions->lock);
	free(restrictions);
}

uint64_t restrictions_generation(const struct restrictions *restrictions)
{
	return atomic_load(&restrictions->generation);
}

/* ---- growing, outside of the lock: only the writer changes what is read here ---- */

static void grow_slots(struct restrictions *restrictions)
{
	if (restrictions->n_used * 2 < restrictions->n_slots)
		return;
	size_t n = restrictions->n_slots * 2;
	uint32_t *larger = xcalloc(n, sizeof *larger);
	for (size_t i = 0; i < restrictions->n_slots; i++) {
		if (!restrictions->slots[i])
			continue;
		size_t slot = restrictions->targets.items[restrictions->slots[i] - 1]->hash & (n - 1);
		while (larger[slot])
			slot = (slot + 1) & (n - 1);
		larger[slot] = restrictions->slots[i];
	}
	uint32_t *old = restrictions->slots;
	pthread_rwlock_wrlock(&restrictions->lock);
	restrictions->slots = larger;
	restrictions->n_slots = n;
	pthread_rwlock_unlock(&restrictions->lock);
	free(old);
}

static void grow_vector(struct restrictions *restrictions, struct vector *vector)
{
	if (vector->n < vector->cap)
		return;
	size_t cap = vector->cap ? vector->cap * 2 : SLOTS_MIN;
	struct restriction_target **larger = xcalloc(cap, sizeof *larger), **old = vector->items;
	if (vector->n)
		memcpy(larger, old, vector->n * sizeof *larger);
	pthread_rwlock_wrlock(&restrictions->lock);
	vector->items = larger;
	vector->cap = cap;
	pthread_rwlock_unlock(&restrictions->lock);
	free(old);
}

/* ---- prefixes ---- */

/* The first sorted prefix that is not before (bucket, name). */
static size_t prefixes_from(const struct restrictions *restrictions, const char *bucket, struct span name)
{
	size_t low = 0, high = restrictions->prefixes.n;
	const struct restriction_key key = {RESTRICT_PREFIX, bucket, name};
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (restriction_target_compare(restrictions->prefixes.items[middle], &key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void prefix_enter_locked(struct restrictions *restrictions, struct restriction_target *target)
{
	struct vector *prefixes = &restrictions->prefixes;
	size_t at = prefixes_from(restrictions, target->bucket, restriction_target_name(target));
	memmove(prefixes->items + at + 1, prefixes->items + at, (prefixes->n - at) * sizeof *prefixes->items);
	prefixes->items[at] = target;
	prefixes->n++;
	restrictions->lengths[target->bucket[0] != 0][target->name_len]++;
	restrictions->n_prefixes[target->bucket[0] != 0]++;
}

static void prefix_leave_locked(struct restrictions *restrictions, const struct restriction_target *target)
{
	struct vector *prefixes = &restrictions->prefixes;
	size_t at = prefixes_from(restrictions, target->bucket, restriction_target_name(target));
	memmove(prefixes->items + at, prefixes->items + at + 1, (prefixes->n - at - 1) * sizeof *prefixes->items);
	prefixes->n--;
	restrictions->lengths[target->bucket[0] != 0][target->name_len]--;
	restrictions->n_prefixes[target->bucket[0] != 0]--;
}

/* ---- changing ---- */

static void enter_locked(struct restrictions *restrictions, struct restriction_target *target, size_t place)
{
	restrictions->targets.items[place] = target;
	if (place == restrictions->targets.n)
		restrictions->targets.n++;
	size_t slot = slot_of(restrictions, target->hash);
	while (restrictions->slots[slot])
		slot = (slot + 1) & (restrictions->n_slots - 1);
	restrictions->slots[slot] = (uint32_t)place + 1;
	restrictions->n_used++;
	if (target->scope == RESTRICT_PREFIX)
		prefix_enter_locked(restrictions, target);
}

/* Closes the gap that a slot leaves, so that no probe ends early. */
static void close_gap_locked(struct restrictions *restrictions, size_t gap)
{
	size_t mask = restrictions->n_slots - 1;
	for (size_t slot = (gap + 1) & mask; restrictions->slots[slot]; slot = (slot + 1) & mask) {
		size_t home = restrictions->targets.items[restrictions->slots[slot] - 1]->hash & mask;
		if (((slot - home) & mask) < ((slot - gap) & mask))
			continue;
		restrictions->slots[gap] = restrictions->slots[slot];
		gap = slot;
	}
	restrictions->slots[gap] = 0;
}

static void leave_locked(struct restrictions *restrictions, struct restriction_target *target)
{
	size_t slot = slot_of(restrictions, target->hash);
	while (restrictions->targets.items[restrictions->slots[slot] - 1] != target)
		slot = (slot + 1) & (restrictions->n_slots - 1);
	size_t place = restrictions->slots[slot] - 1;
	close_gap_locked(restrictions, slot);
	restrictions->n_used--;
	if (target->scope == RESTRICT_PREFIX)
		prefix_leave_locked(restrictions, target);
	restrictions->targets.items[place] = NULL;
}

/* A place for one more. Places that have become free are found only when as many are free as are taken. */
static size_t find_place(struct restrictions *restrictions)
{
	struct vector *targets = &restrictions->targets;
	if (targets->n < 2 * restrictions->n_used + SLOTS_MIN) {
		grow_vector(restrictions, targets);
		return targets->n;
	}
	size_t place = 0;
	while (targets->items[place])
		place++;
	return place;
}

/* The target takes the change's fact, prepared before the lock is taken; what it replaces is freed after. */
static void change_target(struct restrictions *restrictions, struct restriction_target *target, bool is_new,
                          const struct restriction_change *change)
{
	struct restriction_target next;
	restriction_target_prepare(target, change, &next);
	size_t place = 0;
	bool stays = restriction_target_in_force(&next);
	if (is_new && stays) {
		grow_slots(restrictions);
		place = find_place(restrictions);
		if (target->scope == RESTRICT_PREFIX)
			grow_vector(restrictions, &restrictions->prefixes);
	}
	pthread_rwlock_wrlock(&restrictions->lock);
	restriction_target_swap(target, &next);
	if (is_new && stays)
		enter_locked(restrictions, target, place);
	else if (!is_new && !stays)
		leave_locked(restrictions, target);
	pthread_rwlock_unlock(&restrictions->lock);
	restriction_target_retire(target, &next);
	if (!stays)
		restriction_target_free(target);
}

static void change_lockdown(struct restrictions *restrictions, const struct restriction_change *change)
{
	struct restriction_fact next = {0};
	if (change->action == RESTRICT_LOCKDOWN)
		restriction_fact_set(&next, &change->note);
	pthread_rwlock_wrlock(&restrictions->lock);
	struct restriction_fact old = restrictions->lockdown;
	restrictions->lockdown = next;
	pthread_rwlock_unlock(&restrictions->lock);
	restriction_fact_done(&old);
}

static void apply(struct restrictions *restrictions, const struct restriction_change *change)
{
	if (change->scope == RESTRICT_EVERYTHING) {
		change_lockdown(restrictions, change);
	} else {
		const struct restriction_key key = key_of(change);
		size_t hash = hash_key(restrictions, &key);
		struct restriction_target *target = find_hashed(restrictions, hash, &key);
		bool is_new = !target;
		if (is_new)
			target = restriction_target_new(&key, hash);
		change_target(restrictions, target, is_new, change);
	}
	atomic_fetch_add(&restrictions->generation, 1);
}

void restrictions_apply(struct restrictions *restrictions, const struct restriction_change *change)
{
	if (change->note.record < restrictions->next)
		return;
	restrictions->next = change->note.record + 1;
	apply(restrictions, change);
}

void restrictions_restore(struct restrictions *restrictions, const struct restriction_change *change)
{
	if (change->note.record >= restrictions->next)
		restrictions->next = change->note.record + 1;
	apply(restrictions, change);
}

/* ---- judging a change ---- */

#define BIT(scope) (1u << RESTRICT_##scope)
/* What each action can be about. */
static const unsigned scopes_of[] = {
    [RESTRICT_REVOKE] = BIT(TRANSACTION) | BIT(OBJECT) | BIT(PREFIX) | BIT(USER) | BIT(ACCOUNT) | BIT(VENDOR_KEY),
    [RESTRICT_REINSTATE] = BIT(TRANSACTION) | BIT(OBJECT) | BIT(PREFIX) | BIT(USER) | BIT(ACCOUNT) | BIT(VENDOR_KEY),
    [RESTRICT_SET_EXPIRY] = BIT(OBJECT) | BIT(PREFIX),
    [RESTRICT_REMOVE_EXPIRY] = BIT(OBJECT) | BIT(PREFIX),
    [RESTRICT_ADD_USER] = BIT(OBJECT),
    [RESTRICT_REMOVE_USER] = BIT(OBJECT),
    [RESTRICT_REMOVE_USERS] = BIT(OBJECT),
    [RESTRICT_LOCKDOWN] = BIT(EVERYTHING),
    [RESTRICT_RELEASE] = BIT(EVERYTHING),
};
#define N_ACTIONS (sizeof scopes_of / sizeof scopes_of[0])

static bool size_is(const char *text, size_t min, size_t max)
{
	size_t len = text ? strnlen(text, max + 1) : 0;
	return len >= min && len <= max;
}

static const char *what_is_malformed(const struct restriction_change *change)
{
	if (change->action < 1 || change->action >= N_ACTIONS || change->scope < 1 || change->scope > RESTRICT_EVERYTHING ||
	    !(scopes_of[change->action] >> change->scope & 1))
		return "say what is meant";
	if (!size_is(change->note.why, 1, RESTRICTIONS_WHY_MAX))
		return "say why, in 1 to 512 bytes";
	bool takes_user = change->action == RESTRICT_ADD_USER || change->action == RESTRICT_REMOVE_USER;
	if (takes_user && !size_is(change->user, 1, SHORT_NAME_MAX))
		return "a user has 1 to 256 bytes";
	bool in_bucket = change->scope == RESTRICT_OBJECT || change->scope == RESTRICT_PREFIX;
	if (in_bucket && !size_is(change->bucket, 0, SHORT_NAME_MAX))
		return "a bucket's name has at most 256 bytes";
	/* The empty prefix of every bucket would be a lockdown by mistake. */
	bool whole_bucket = change->scope == RESTRICT_PREFIX && change->bucket[0];
	if (in_bucket && !size_is(change->name, !whole_bucket, NAME_MAX_BYTES))
		return "an object or prefix has 1 to 1024 bytes; an empty prefix needs a bucket";
	if (!in_bucket && change->scope != RESTRICT_TRANSACTION && change->scope != RESTRICT_EVERYTHING &&
	    !size_is(change->name, 1, SHORT_NAME_MAX))
		return "users, accounts and vendor keys have 1 to 256 bytes";
	return NULL;
}

/* What there is to take back must be there. */
static bool is_there(const struct restrictions *restrictions, const struct restriction_target *target,
                     const struct restriction_change *change)
{
	switch (change->action) {
	case RESTRICT_RELEASE:
		return restrictions->lockdown.set;
	case RESTRICT_REINSTATE:
		return target && target->revoked.set;
	case RESTRICT_REMOVE_EXPIRY:
		return target && target->expiry.set;
	case RESTRICT_REMOVE_USERS:
		return target && target->users.set;
	case RESTRICT_REMOVE_USER:
		return target && restriction_target_has_user(target, change->user);
	default:
		return true;
	}
}

enum reason restrictions_judge(struct restrictions *restrictions, const struct restriction_change *change,
                               struct err *detail)
{
	const char *wrong = what_is_malformed(change);
	if (wrong) {
		err_set(detail, ERR_INVALID, 0, "%s", wrong);
		return REASON_MALFORMED;
	}
	const struct restriction_key key = key_of(change);
	pthread_rwlock_rdlock(&restrictions->lock);
	const struct restriction_target *target = find_hashed(restrictions, hash_key(restrictions, &key), &key);
	bool there = is_there(restrictions, target, change);
	bool too_many = (!target && restrictions->n_used >= RESTRICTIONS_MAX) ||
	                (target && change->action == RESTRICT_ADD_USER && target->n_users >= RESTRICTIONS_USERS_MAX);
	pthread_rwlock_unlock(&restrictions->lock);
	if (!there) {
		err_set(detail, ERR_NOT_FOUND, 0, "there is nothing of the kind to take back");
		return REASON_NO_SUCH_RESTRICTION;
	}
	if (too_many && change->scope != RESTRICT_EVERYTHING) {
		err_set(detail, ERR_EXHAUSTED, 0, "too many restrictions: use prefixes, or reinstate what is no longer needed");
		return REASON_TOO_LARGE;
	}
	return REASON_NONE;
}

/* ---- checking a request ---- */

static bool revoked(const struct restrictions *restrictions, enum restriction_scope scope, struct span name)
{
	const struct restriction_target *target = name.ptr ? find(restrictions, scope, "", name) : NULL;
	return target && target->revoked.set;
}

static enum reason judge_target(const struct restriction_target *target, const struct restriction_question *question)
{
	if (!target)
		return REASON_NONE;
	if (target->revoked.set)
		return REASON_REVOKED;
	if (target->expiry.set && target->expires_ms <= question->now_ms)
		return REASON_OBJECT_EXPIRED;
	if (target->users.set && !(question->user && restriction_target_has_user(target, question->user)))
		return REASON_USER_NOT_LISTED;
	return REASON_NONE;
}

static enum reason check_object(const struct restrictions *restrictions, const struct restriction_question *question)
{
	if (question->list)
		return REASON_NONE;
	struct span object = span_str(question->object);
	enum reason reason = judge_target(find(restrictions, RESTRICT_OBJECT, question->bucket, object), question);
	if (reason == REASON_NONE)
		reason = judge_target(find(restrictions, RESTRICT_OBJECT, "", object), question);
	return reason;
}

/* Every prefix above the object, in one pass over its bytes. */
static enum reason check_above(const struct restrictions *restrictions, const struct restriction_question *question,
                               const char *bucket)
{
	const uint32_t *lengths = restrictions->lengths[bucket[0] != 0];
	uint64_t hash = hash_begin(restrictions, RESTRICT_PREFIX, bucket);
	struct span object = span_str(question->object);
	size_t left = restrictions->n_prefixes[bucket[0] != 0];
	for (size_t len = 0; left && len <= object.len && len <= NAME_MAX_BYTES; len++) {
		if (len)
			hash = hash_bytes(hash, object.ptr + len - 1, 1);
		if (!lengths[len])
			continue;
		left -= lengths[len];
		const struct restriction_key key = {RESTRICT_PREFIX, bucket, span_of(object.ptr, len)};
		enum reason reason = judge_target(find_hashed(restrictions, hash_end(hash), &key), question);
		if (reason != REASON_NONE)
			return reason;
	}
	return REASON_NONE;
}

/* Every prefix below what a LIST asks for. */
static enum reason check_below(const struct restrictions *restrictions, const struct restriction_question *question,
                               const char *bucket)
{
	struct span asked = span_str(question->object);
	for (size_t i = prefixes_from(restrictions, bucket, asked); i < restrictions->prefixes.n; i++) {
		const struct restriction_target *target = restrictions->prefixes.items[i];
		if (strcmp(target->bucket, bucket) != 0 || target->name_len < asked.len ||
		    memcmp(target->name, asked.ptr, asked.len) != 0)
			break;
		enum reason reason = judge_target(target, question);
		if (reason != REASON_NONE)
			return reason;
	}
	return REASON_NONE;
}

static enum reason check_prefixes(const struct restrictions *restrictions, const struct restriction_question *question)
{
	const char *const buckets[] = {question->bucket, ""};
	enum reason reason = REASON_NONE;
	for (size_t i = 0; i < 2 && reason == REASON_NONE; i++) {
		reason = check_above(restrictions, question, buckets[i]);
		if (reason == REASON_NONE && question->list)
			reason = check_below(restrictions, question, buckets[i]);
	}
	return reason;
}

static enum reason check_locked(const struct restrictions *restrictions, const struct restriction_question *question)
{
	if (restrictions->lockdown.set)
		return REASON_LOCKDOWN;
	if (restrictions->n_used == 0)
		return REASON_NONE;
	struct span id = question->transaction_id ? span_of(question->transaction_id, 16) : (struct span){0};
	if (revoked(restrictions, RESTRICT_TRANSACTION, id) ||
	    revoked(restrictions, RESTRICT_VENDOR_KEY, span_str(question->vendor_key)) ||
	    revoked(restrictions, RESTRICT_ACCOUNT, span_str(question->account)) ||
	    revoked(restrictions, RESTRICT_USER, span_str(question->user)))
		return REASON_REVOKED;
	if (!question->bucket || !question->object)
		return REASON_NONE;
	enum reason reason = check_object(restrictions, question);
	return reason != REASON_NONE ? reason : check_prefixes(restrictions, question);
}

enum reason restrictions_check(struct restrictions *restrictions, const struct restriction_question *question)
{
	pthread_rwlock_rdlock(&restrictions->lock);
	enum reason reason = check_locked(restrictions, question);
	pthread_rwlock_unlock(&restrictions->lock);
	return reason;
}

/* ---- telling ---- */

typedef void (*view_fn)(const struct restriction_view *view, void *user);

bool restrictions_page(struct restrictions *restrictions, size_t *cursor, size_t max, view_fn each, void *user)
{
	pthread_rwlock_rdlock(&restrictions->lock);
	/* The lockdown has place 0, targets follow. */
	if (*cursor == 0 && restrictions->lockdown.set) {
		const struct restriction_view view = {.scope = RESTRICT_EVERYTHING,
		                                      .kind = RESTRICTION_LOCKDOWN,
		                                      .bucket = "",
		                                      .name = "",
		                                      .note = restrictions->lockdown.note};
		each(&view, user);
	}
	size_t place = *cursor ? *cursor - 1 : 0, told = 0;
	for (; place < restrictions->targets.n && told < max; place++) {
		if (!restrictions->targets.items[place])
			continue;
		restriction_target_tell(restrictions->targets.items[place], each, user);
		told++;
	}
	bool more = place < restrictions->targets.n;
	pthread_rwlock_unlock(&restrictions->lock);
	*cursor = place + 1;
	return more;
}
