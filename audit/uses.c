/* A chained hash table. Expired entries go a few buckets at a time, whenever one is added: no pause, no timer. */
#include "audit/uses.h"

#include <stdlib.h>
#include <sys/random.h>

enum { BUCKETS_MIN = 1024, SWEEP_BUCKETS = 4 };

struct entry {
	struct entry *next;
	struct audit_uses_entry about;
};

struct audit_uses {
	struct entry **buckets;
	size_t n_buckets; /* a power of two */
	size_t n;
	size_t hand;     /* the next bucket to sweep */
	uint64_t key[2]; /* ids are chosen by others: they must not choose the bucket */
};

struct audit_uses *audit_uses_new(void)
{
	struct audit_uses *uses = xcalloc(1, sizeof(*uses));
	uses->n_buckets = BUCKETS_MIN;
	uses->buckets = xcalloc(uses->n_buckets, sizeof(*uses->buckets));
	if (getrandom(uses->key, sizeof(uses->key), 0) != sizeof(uses->key))
		abort();
	return uses;
}

void audit_uses_free(struct audit_uses *uses)
{
	if (!uses)
		return;
	for (size_t i = 0; i < uses->n_buckets; i++)
		for (struct entry *entry = uses->buckets[i], *next; entry; entry = next) {
			next = entry->next;
			free(entry);
		}
	free(uses->buckets);
	free(uses);
}

size_t audit_uses_count(const struct audit_uses *uses)
{
	return uses->n;
}

static struct entry **bucket_of(const struct audit_uses *uses, const uint8_t id[16])
{
	uint64_t half[2];
	memcpy(half, id, sizeof(half));
	__extension__ typedef unsigned __int128 wide;
	wide product = (wide)(half[0] ^ uses->key[0]) * (half[1] ^ uses->key[1]);
	uint64_t folded = (uint64_t)product ^ (uint64_t)(product >> 64);
	return &uses->buckets[folded & (uses->n_buckets - 1)];
}

static struct entry *find(const struct audit_uses *uses, const uint8_t id[16])
{
	struct entry *entry = *bucket_of(uses, id);
	while (entry && memcmp(entry->about.id, id, sizeof(entry->about.id)) != 0)
		entry = entry->next;
	return entry;
}

static void grow(struct audit_uses *uses)
{
	struct audit_uses larger = *uses;
	larger.n_buckets *= 2;
	larger.buckets = xcalloc(larger.n_buckets, sizeof(*larger.buckets));
	larger.hand = 0;
	for (size_t i = 0; i < uses->n_buckets; i++)
		for (struct entry *entry = uses->buckets[i], *next; entry; entry = next) {
			struct entry **bucket = bucket_of(&larger, entry->about.id);
			next = entry->next;
			entry->next = *bucket;
			*bucket = entry;
		}
	free(uses->buckets);
	*uses = larger;
}

static void sweep(struct audit_uses *uses, int64_t time_ms)
{
	for (int i = 0; i < SWEEP_BUCKETS; i++) {
		struct entry **link = &uses->buckets[uses->hand];
		while (*link) {
			struct entry *entry = *link;
			if (entry->about.forget_ms >= time_ms) {
				link = &entry->next;
				continue;
			}
			*link = entry->next;
			free(entry);
			uses->n--;
		}
		uses->hand = (uses->hand + 1) & (uses->n_buckets - 1);
	}
}

static struct entry *put(struct audit_uses *uses, const struct audit_uses_entry *about)
{
	if (uses->n >= uses->n_buckets)
		grow(uses);
	struct entry *entry = xcalloc(1, sizeof(*entry));
	struct entry **bucket = bucket_of(uses, about->id);
	entry->about = *about;
	entry->next = *bucket;
	*bucket = entry;
	uses->n++;
	return entry;
}

static struct entry *insert(struct audit_uses *uses, const struct audit_use *use)
{
	struct audit_uses_entry about = {.forget_ms = use->expires_at_ms + AUDIT_KEEP_MS};
	memcpy(about.id, use->transaction_id, sizeof(about.id));
	memcpy(about.sha256, use->transaction_sha256, sizeof(about.sha256));
	return put(uses, &about);
}

void audit_uses_put(struct audit_uses *uses, const struct audit_uses_entry *about)
{
	put(uses, about);
}

bool audit_uses_page(const struct audit_uses *uses, struct audit_uses_cursor *cursor, size_t buckets, int64_t time_ms,
                     void (*each)(const struct audit_uses_entry *entry, void *user), void *user)
{
	if (cursor->at == 0)
		cursor->buckets = uses->n_buckets;
	cursor->lost = cursor->buckets != uses->n_buckets;
	for (; !cursor->lost && buckets && cursor->at < uses->n_buckets; buckets--, cursor->at++)
		for (const struct entry *entry = uses->buckets[cursor->at]; entry; entry = entry->next)
			if (entry->about.forget_ms >= time_ms)
				each(&entry->about, user);
	return !cursor->lost && cursor->at < uses->n_buckets;
}

static enum reason judge(const struct entry *entry, const struct audit_use *use, int64_t time_ms)
{
	if (use->expires_at_ms + AUDIT_KEEP_MS < time_ms)
		return REASON_EXPIRED;
	if (entry && memcmp(entry->about.sha256, use->transaction_sha256, sizeof(entry->about.sha256)) != 0)
		return REASON_ID_REUSED;
	if (entry && use->spend && entry->about.spent >= use->max_uses)
		return REASON_REPLAYED;
	return REASON_NONE;
}

enum reason audit_uses_judge(const struct audit_uses *uses, const struct audit_use *use, int64_t time_ms)
{
	return judge(find(uses, use->transaction_id), use, time_ms);
}

enum reason audit_uses_apply(struct audit_uses *uses, const struct audit_use *use, int64_t time_ms, uint64_t index)
{
	struct entry *entry = find(uses, use->transaction_id);
	enum reason reason = judge(entry, use, time_ms);
	if (reason != REASON_NONE)
		return reason;
	if (!entry) {
		sweep(uses, time_ms);
		entry = insert(uses, use);
	}
	entry->about.spent += use->spend;
	entry->about.last_index = index;
	return REASON_NONE;
}

static struct entry *find_or_insert(struct audit_uses *uses, const struct audit_use *use)
{
	struct entry *entry = find(uses, use->transaction_id);
	return entry ? entry : insert(uses, use);
}

void audit_uses_restore(struct audit_uses *uses, const struct audit_use *use, uint64_t index)
{
	const struct entry *known = find(uses, use->transaction_id);
	if (known && known->about.last_index >= index)
		return;
	struct entry *entry = find_or_insert(uses, use);
	entry->about.spent += use->spend;
	entry->about.last_index = index;
}

void audit_uses_restore_spent(struct audit_uses *uses, const struct audit_use *use, uint32_t spent)
{
	find_or_insert(uses, use)->about.spent += spent;
}

bool audit_uses_known(const struct audit_uses *uses, const uint8_t id[16], uint32_t *ret_spent)
{
	const struct entry *entry = find(uses, id);
	*ret_spent = entry ? entry->about.spent : 0;
	return entry != NULL;
}
