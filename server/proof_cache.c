/* A ring in the order of coming, which is also the order of going, and chains over it to find what is there. */
#include "server/proof_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/text.h"

/* A proof counts from one skew before its time to one skew after it: nobody can use it longer than that after it was
 * first seen. */
#define KEPT_MS   (2 * (int64_t)TRANSACTION_CLOCK_SKEW_MS)
#define ADDRESSES 4096 /* counters; those that meet in one share it */
#define SHARE     16   /* of the room, for each address, once half of it is used */

struct entry {
	uint8_t id[16];
	int64_t forget_ms;
	uint32_t next; /* in its chain: place + 1, 0 at the end */
	uint32_t address;
};

struct proof_cache {
	pthread_mutex_t lock;
	uint8_t salt[16]; /* nobody can choose what meets in one chain, or in one counter */
	int64_t started_ms;
	int64_t now_ms; /* the latest that was ever given: a clock that is set back brings nothing back */
	size_t capacity, oldest, n;
	uint32_t *chains; /* place + 1, 0: empty */
	uint32_t held[ADDRESSES];
	struct entry ring[];
};

struct proof_cache *proof_cache_new(size_t capacity, int64_t now_ms)
{
	struct proof_cache *cache = xcalloc(1, sizeof *cache + capacity * sizeof cache->ring[0]);
	cache->capacity = capacity;
	cache->chains = xcalloc(capacity, sizeof *cache->chains);
	cache->started_ms = cache->now_ms = now_ms;
	if (getrandom(cache->salt, sizeof cache->salt, 0) != sizeof cache->salt)
		abort(); /* the kernel has no randomness: nothing here could be trusted */
	pthread_mutex_init(&cache->lock, NULL);
	return cache;
}

void proof_cache_free(struct proof_cache *cache)
{
	if (!cache)
		return;
	pthread_mutex_destroy(&cache->lock);
	free(cache->chains);
	free(cache);
}

static void digest(const struct proof_cache *cache, struct span a, struct span b, uint8_t out[32])
{
	autobuf struct buf salted = {0};
	buf_append(&salted, span_of(cache->salt, sizeof cache->salt));
	buf_append(&salted, a);
	buf_append(&salted, b);
	text_sha256(buf_span(&salted), out);
}

static uint32_t number(const uint8_t digest[16], size_t below)
{
	uint64_t half;
	memcpy(&half, digest, sizeof half);
	return (uint32_t)(half % below);
}

static uint32_t *chain_locked(struct proof_cache *cache, const uint8_t id[16])
{
	return &cache->chains[number(id, cache->capacity)];
}

static bool is_known_locked(struct proof_cache *cache, const uint8_t id[16])
{
	for (uint32_t at = *chain_locked(cache, id); at; at = cache->ring[at - 1].next)
		if (memcmp(cache->ring[at - 1].id, id, sizeof cache->ring[0].id) == 0)
			return true;
	return false;
}

static void forget_oldest_locked(struct proof_cache *cache)
{
	const struct entry *entry = &cache->ring[cache->oldest];
	uint32_t *link = chain_locked(cache, entry->id);
	while (*link != cache->oldest + 1)
		link = &cache->ring[*link - 1].next;
	*link = entry->next;
	cache->held[entry->address]--;
	cache->oldest = (cache->oldest + 1) % cache->capacity;
	if (--cache->n == 0)
		cache->oldest = 0; /* memory that a quiet time never touches is never used */
}

static void remember_locked(struct proof_cache *cache, const uint8_t id[16], uint32_t address)
{
	const size_t place = (cache->oldest + cache->n++) % cache->capacity;
	uint32_t *chain = chain_locked(cache, id);
	struct entry *entry = &cache->ring[place];
	*entry = (struct entry){.forget_ms = cache->now_ms + KEPT_MS, .next = *chain, .address = address};
	memcpy(entry->id, id, sizeof entry->id);
	*chain = (uint32_t)place + 1;
	cache->held[address]++;
}

static enum reason refuse(enum reason reason, struct err *detail, const char *what)
{
	err_set(detail, ERR_DENIED, 0, "holder proof: %s", what);
	return reason;
}

static enum reason take_locked(struct proof_cache *cache, const struct transaction_proof *proof, const uint8_t id[16],
                               uint32_t address, struct err *detail)
{
	while (cache->n && cache->ring[cache->oldest].forget_ms < cache->now_ms)
		forget_oldest_locked(cache);
	if (proof->time_ms < cache->started_ms)
		return refuse(REASON_HOLDER_PROOF_INVALID, detail, "made before this gatekeeper started");
	if (proof->time_ms + TRANSACTION_CLOCK_SKEW_MS < cache->now_ms)
		return refuse(REASON_HOLDER_PROOF_INVALID, detail, "too old: the clock has been set back");
	if (is_known_locked(cache, id))
		return refuse(REASON_HOLDER_PROOF_INVALID, detail, "used before");
	if (cache->n == cache->capacity)
		return refuse(REASON_OVERLOADED, detail, "there is no room to remember it");
	if (cache->n >= cache->capacity / 2 && cache->held[address] >= cache->capacity / SHARE)
		return refuse(REASON_FLOOD_LIMIT, detail, "too many from this address");
	remember_locked(cache, id, address);
	return REASON_NONE;
}

enum reason proof_cache_take(struct proof_cache *cache, const struct transaction_proof *proof, struct span address,
                             int64_t now_ms, struct err *detail)
{
	uint8_t id[32], network[32];
	digest(cache, span_of(proof->key_sha256, sizeof proof->key_sha256), span_of(proof->nonce, sizeof proof->nonce), id);
	digest(cache, address, (struct span){0}, network);
	pthread_mutex_lock(&cache->lock);
	cache->now_ms = now_ms > cache->now_ms ? now_ms : cache->now_ms;
	enum reason reason = take_locked(cache, proof, id, number(network, ADDRESSES), detail);
	pthread_mutex_unlock(&cache->lock);
	return reason;
}
