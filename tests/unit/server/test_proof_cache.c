/* Each holder proof once: whatever the clock does, however many there are. */
#include <pthread.h>
#include <stdatomic.h>

#include "server/proof_cache.h"
#include "tests/unit/harness.h"

#define START  INT64_C(1795285200000)
#define SECOND INT64_C(1000)

static const char here[] = "192.0.2.1", there[] = "198.51.100.7";

static struct transaction_proof proof_of(uint8_t key, uint32_t number, int64_t time_ms)
{
	struct transaction_proof proof = {.proved = true, .time_ms = time_ms};
	proof.key_sha256[0] = key;
	memcpy(proof.nonce, &number, sizeof number);
	return proof;
}

static enum reason take(struct proof_cache *cache, uint32_t number, const char *address, int64_t now_ms)
{
	struct err detail = {0};
	struct transaction_proof proof = proof_of(1, number, now_ms);
	enum reason reason = proof_cache_take(cache, &proof, span_str(address), now_ms, &detail);
	assert_int_equal(detail.text[0] != 0, reason != REASON_NONE);
	return reason;
}

static enum reason take_made_at(struct proof_cache *cache, uint32_t number, int64_t time_ms, int64_t now_ms)
{
	struct transaction_proof proof = proof_of(1, number, time_ms);
	return proof_cache_take(cache, &proof, span_str(here), now_ms, NULL);
}

static void test_once_and_from_nowhere_else(void **state)
{
	(void)state;
	struct proof_cache *cache = proof_cache_new(256, START);
	assert_int_equal(take(cache, 1, here, START), REASON_NONE);
	assert_int_equal(take(cache, 1, here, START), REASON_HOLDER_PROOF_INVALID);
	assert_int_equal(take(cache, 1, there, START), REASON_HOLDER_PROOF_INVALID);
	assert_int_equal(take(cache, 2, here, START), REASON_NONE); /* another nonce */
	struct transaction_proof other_key = proof_of(2, 1, START);
	assert_int_equal(proof_cache_take(cache, &other_key, span_str(here), START, NULL), REASON_NONE);
	proof_cache_free(cache);
	proof_cache_free(NULL);
}

static void test_remembered_for_as_long_as_it_could_count(void **state)
{
	(void)state;
	struct proof_cache *cache = proof_cache_new(256, START);
	const int64_t from_the_future = START + 60 * SECOND;
	assert_int_equal(take_made_at(cache, 1, from_the_future, START), REASON_NONE);
	for (int64_t s = 0; s <= 120; s++)
		assert_int_equal(take_made_at(cache, 1, from_the_future, START + s * SECOND), REASON_HOLDER_PROOF_INVALID);
	assert_int_equal(take_made_at(cache, 1, from_the_future, START + 121 * SECOND), REASON_HOLDER_PROOF_INVALID);
	proof_cache_free(cache);
}

static void test_a_clock_set_back_brings_nothing_back(void **state)
{
	(void)state;
	struct proof_cache *cache = proof_cache_new(256, START);
	assert_int_equal(take_made_at(cache, 1, START, START), REASON_NONE);
	assert_int_equal(take(cache, 2, here, START + 300 * SECOND), REASON_NONE); /* 1 is forgotten by now */
	assert_int_equal(take_made_at(cache, 1, START, START), REASON_HOLDER_PROOF_INVALID);
	proof_cache_free(cache);
}

static void test_a_restart_brings_nothing_back(void **state)
{
	(void)state;
	struct proof_cache *cache = proof_cache_new(256, START);
	assert_int_equal(take_made_at(cache, 1, START - 1, START), REASON_HOLDER_PROOF_INVALID);
	assert_int_equal(take_made_at(cache, 1, START, START), REASON_NONE);
	proof_cache_free(cache);
}

static void test_full_is_closed_and_empties_again(void **state)
{
	(void)state;
	struct proof_cache *cache = proof_cache_new(256, START);
	char address[16];
	for (uint32_t i = 0; i < 256; i++) {
		snprintf(address, sizeof address, "10.0.0.%u", (unsigned)i);
		assert_int_equal(take(cache, i, address, START), REASON_NONE);
	}
	assert_int_equal(take(cache, 1000, there, START), REASON_OVERLOADED);
	for (uint32_t i = 0; i < 256; i++) /* and all are still known */
		assert_int_equal(take(cache, i, here, START), REASON_HOLDER_PROOF_INVALID);
	assert_int_equal(take(cache, 1000, there, START + 120 * SECOND), REASON_OVERLOADED);
	assert_int_equal(take(cache, 1000, there, START + 121 * SECOND), REASON_NONE);
	assert_int_equal(take(cache, 1000, there, START + 121 * SECOND), REASON_HOLDER_PROOF_INVALID);
	proof_cache_free(cache);
}

static void test_one_address_does_not_take_the_room_of_others(void **state)
{
	(void)state;
	struct proof_cache *cache = proof_cache_new(256, START);
	uint32_t taken = 0;
	while (take(cache, taken, here, START) == REASON_NONE)
		taken++;
	assert_int_equal(taken, 128);
	assert_int_equal(take(cache, 1000, here, START), REASON_FLOOD_LIMIT);
	for (uint32_t i = 0; i < 16; i++)
		assert_int_equal(take(cache, 2000 + i, there, START), REASON_NONE);
	assert_int_equal(take(cache, 3000, there, START), REASON_FLOOD_LIMIT);
	assert_int_equal(take(cache, 4000, "203.0.113.5", START), REASON_NONE);
	assert_int_equal(take(cache, 1000, here, START + 121 * SECOND), REASON_NONE); /* its share is free again */
	proof_cache_free(cache);
}

/* Every number in turn over many rounds of the ring, against what must be known. */
static void test_long_run(void **state)
{
	(void)state;
	struct proof_cache *cache = proof_cache_new(1024, START);
	for (uint32_t i = 0; i < 20000; i++) {
		const int64_t now_ms = START + (int64_t)i * SECOND;
		assert_int_equal(take(cache, i, here, now_ms), REASON_NONE);
		const uint32_t earlier = i > 59 ? i - 59 : 0;
		assert_int_equal(take_made_at(cache, earlier, now_ms, now_ms), REASON_HOLDER_PROOF_INVALID);
	}
	proof_cache_free(cache);
}

struct race {
	struct proof_cache *cache;
	atomic_uint taken;
};

static void *race_for_all(void *arg)
{
	struct race *race = (struct race *)arg;
	for (uint32_t i = 0; i < 5000; i++)
		if (take_made_at(race->cache, i, START, START) == REASON_NONE)
			race->taken++;
	return NULL;
}

static void test_one_of_many_threads_wins(void **state)
{
	(void)state;
	struct race race = {.cache = proof_cache_new(1 << 16, START)};
	pthread_t threads[4];
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race_for_all, &race), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(race.taken, 5000);
	proof_cache_free(race.cache);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_once_and_from_nowhere_else),
             cmocka_unit_test(test_remembered_for_as_long_as_it_could_count),
             cmocka_unit_test(test_a_clock_set_back_brings_nothing_back),
             cmocka_unit_test(test_a_restart_brings_nothing_back),
             cmocka_unit_test(test_full_is_closed_and_empties_again),
             cmocka_unit_test(test_one_address_does_not_take_the_room_of_others), cmocka_unit_test(test_long_run),
             cmocka_unit_test(test_one_of_many_threads_wins))
