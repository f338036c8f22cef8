#include "policy/prefixes.h"

#include <stdlib.h>

#include "tests/unit/harness.h"

#define ENTRIES 300
#define WORDS   3
#define RULES   (64 * WORDS)

static uint64_t dice = 88172645463325252u;

static unsigned draw(unsigned below)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (unsigned)(dice >> 32) % below;
}

static bool bit(const uint8_t *bytes, unsigned i)
{
	return bytes[i / 8] >> (7 - i % 8) & 1;
}

static bool begins(const struct policy_prefix *prefix, struct span text)
{
	if (prefix->bits > 8 * text.len)
		return false;
	for (unsigned i = 0; i < prefix->bits; i++)
		if (bit(prefix->bytes, i) != bit(text.ptr, i))
			return false;
	return true;
}

/* Bytes that are often alike, so that much lies within much. */
static unsigned draw_bytes(uint8_t *bytes, unsigned max)
{
	static const uint8_t values[] = {0x00, 0x80, 0xff, 'a'};
	unsigned len = draw(max + 1);
	for (unsigned i = 0; i < len; i++)
		bytes[i] = values[draw(draw(4) ? 2 : 4)];
	return len;
}

static void check(unsigned n_entries, unsigned n_rules)
{
	static uint8_t keys[ENTRIES][20];
	struct policy_prefix entries[ENTRIES], copy[ENTRIES];
	for (unsigned i = 0; i < n_entries; i++) {
		memset(keys[i], 0, sizeof keys[i]);
		unsigned bits = 8 * draw_bytes(keys[i], sizeof keys[i]);
		if (bits && draw(2)) {
			bits -= 1 + draw(7);
			keys[i][bits / 8] &= (uint8_t) ~(0xffu >> (bits % 8));
		}
		entries[i] = copy[i] = (struct policy_prefix){keys[i], bits, draw(n_rules)};
	}
	struct policy_prefixes *prefixes = policy_prefixes_new(entries, n_entries, WORDS);
	for (unsigned round = 0; round < 100; round++) {
		uint8_t text[24];
		struct span asked = span_of(text, draw_bytes(text, sizeof text));
		uint64_t got[WORDS] = {0}, expected[WORDS] = {0};
		for (unsigned i = 0; i < n_entries; i++)
			if (begins(&copy[i], asked))
				expected[copy[i].rule / 64] |= (uint64_t)1 << (copy[i].rule % 64);
		policy_prefixes_find(prefixes, asked, got);
		assert_memory_equal(got, expected, sizeof got);
	}
	policy_prefixes_free(prefixes);
}

static void test_finds_what_a_walk_over_all_finds(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 300; round++)
		check(draw(ENTRIES), 1 + draw(RULES));
}

static void test_adds_to_what_is_there(void **state)
{
	(void)state;
	struct policy_prefix entries[] = {
	    {(const uint8_t *)"ab", 16, 1}, {(const uint8_t *)"a", 8, 2}, {(const uint8_t *)"", 0, 3}};
	struct policy_prefixes *prefixes = policy_prefixes_new(entries, 3, 1);
	uint64_t rules = 1;
	policy_prefixes_find(prefixes, span_str("abc"), &rules);
	assert_int_equal(rules, 0xf);
	rules = 0;
	policy_prefixes_find(prefixes, span_str("b"), &rules);
	assert_int_equal(rules, 8);
	policy_prefixes_find(prefixes, span_str(""), &rules);
	assert_int_equal(rules, 8);
	policy_prefixes_free(prefixes);
	policy_prefixes_free(NULL);
}

/* More rules under one key than words in a set. */
static void test_many_rules_under_one_key(void **state)
{
	(void)state;
	struct policy_prefix entries[128];
	for (unsigned i = 0; i < 128; i++)
		entries[i] = (struct policy_prefix){(const uint8_t *)"x", 8, 127 - i};
	struct policy_prefixes *prefixes = policy_prefixes_new(entries, 128, 2);
	uint64_t rules[2] = {0};
	policy_prefixes_find(prefixes, span_str("xyz"), rules);
	assert_true(rules[0] == UINT64_MAX && rules[1] == UINT64_MAX);
	policy_prefixes_free(prefixes);
}

static void test_nothing_at_all(void **state)
{
	(void)state;
	struct policy_prefixes *prefixes = policy_prefixes_new(NULL, 0, 1);
	uint64_t rules = 0;
	policy_prefixes_find(prefixes, span_str("x"), &rules);
	assert_int_equal(rules, 0);
	policy_prefixes_free(prefixes);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_finds_what_a_walk_over_all_finds),
             cmocka_unit_test(test_adds_to_what_is_there), cmocka_unit_test(test_many_rules_under_one_key),
             cmocka_unit_test(test_nothing_at_all))
