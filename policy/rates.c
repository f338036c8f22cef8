/* Token buckets by key, in a table whose size is fixed: sets of a few places, one lock for several sets. Where a set is
 * full, the bucket that is nearest to full gives way, since forgetting it forgives least: who has used up what was
 * agreed is remembered, however many others come. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/text.h"
#include "policy/policy.h"

#define WAYS    8
#define STRIPES 64

struct place {
	uint8_t key[16]; /* all zero: empty */
	double missing;  /* tokens that are missing to a full bucket, at `at_us` */
	double full;     /* of the bucket, to compare places */
	double per_us;   /* refill */
	int64_t at_us;
};

struct policy_rates {
	uint8_t salt[16]; /* nobody can choose keys that meet in one set */
	size_t n_sets;
	pthread_mutex_t locks[STRIPES];
	struct place places[];
};

struct policy_rates *policy_rates_new(size_t keys)
{
	size_t n_sets = (keys + WAYS - 1) / WAYS;
	n_sets += n_sets == 0;
	struct policy_rates *rates = xcalloc(1, sizeof *rates + n_sets * WAYS * sizeof rates->places[0]);
	rates->n_sets = n_sets;
	if (getrandom(rates->salt, sizeof rates->salt, 0) != sizeof rates->salt)
		abort(); /* the kernel has no randomness: nothing here could be trusted */
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_init(&rates->locks[i], NULL);
	return rates;
}

void policy_rates_free(struct policy_rates *rates)
{
	if (!rates)
		return;
	for (size_t i = 0; i < STRIPES; i++)
		pthread_mutex_destroy(&rates->locks[i]);
	free(rates);
}

static void digest(const struct policy_rates *rates, struct span key, uint8_t out[32])
{
	autobuf struct buf salted = {0};
	buf_append(&salted, span_of(rates->salt, sizeof rates->salt));
	buf_append(&salted, key);
	text_sha256(buf_span(&salted), out);
}

static double missing_at(const struct place *place, int64_t now_us)
{
	double missing = place->missing - (double)(now_us > place->at_us ? now_us - place->at_us : 0) * place->per_us;
	return missing > 0 ? missing : 0;
}

/* How much forgetting the bucket would forgive, against its size. */
static double worth(const struct place *place, int64_t now_us)
{
	return place->full > 0 ? missing_at(place, now_us) / place->full : -1;
}

static struct place *find_locked(struct place *set, const uint8_t key[16], int64_t now_us)
{
	struct place *least = set;
	for (size_t i = 0; i < WAYS; i++) {
		if (memcmp(set[i].key, key, sizeof set[i].key) == 0)
			return &set[i];
		if (worth(&set[i], now_us) < worth(least, now_us))
			least = &set[i];
	}
	*least = (struct place){0};
	memcpy(least->key, key, sizeof least->key);
	return least;
}

static void bring_up_to_date(struct place *place, const struct policy_rate *rate, int64_t now_us)
{
	place->missing = missing_at(place, now_us);
	place->full = (double)rate->amount;
	place->per_us = (double)rate->amount / ((double)rate->period_ms * 1000);
	place->at_us = now_us > place->at_us ? now_us : place->at_us;
}

bool policy_rates_use(struct policy_rates *rates, struct span key, const struct policy_rate *rate,
                      enum policy_rate_use use, uint64_t amount, int64_t now_us)
{
	uint8_t hash[32];
	digest(rates, key, hash);
	uint64_t number;
	memcpy(&number, hash + 16, sizeof number);
	size_t set = number % rates->n_sets;
	pthread_mutex_t *lock = &rates->locks[set % STRIPES];
	pthread_mutex_lock(lock);
	struct place *place = find_locked(&rates->places[set * WAYS], hash, now_us);
	bring_up_to_date(place, rate, now_us);
	double wanted = (double)amount, left = place->full - place->missing;
	bool enough = use == POLICY_RATE_CHARGE || (use == POLICY_RATE_TAKE ? left >= wanted : left > 0);
	if (enough && use != POLICY_RATE_LOOK)
		place->missing += wanted;
	pthread_mutex_unlock(lock);
	return enough;
}
