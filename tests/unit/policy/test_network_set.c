#include "policy/network_set.h"

#include "tests/unit/harness.h"

static struct policy_network_set *set_of(const char *const *texts, size_t n)
{
	struct ip_net nets[16];
	assert_true(n <= 16);
	for (size_t i = 0; i < n; i++)
		assert_true(ip_net_parse(texts[i], &nets[i]));
	return policy_network_set_new(nets, n);
}

static bool contains(const struct policy_network_set *set, const char *text)
{
	struct ip_addr addr;
	assert_true(ip_parse(text, &addr));
	return policy_network_set_contains(set, &addr);
}

static void test_contains(void **state)
{
	(void)state;
	static const char *const nets[] = {"192.0.2.0/24", "10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "192.0.3.0/24"};
	struct policy_network_set *set = set_of(nets, 5);
	static const char *const inside[] = {"10.0.0.0",    "10.1.2.3",       "10.255.255.255", "::ffff:10.9.9.9",
	                                     "192.0.2.0",   "192.0.3.255",    "2001:db8::",     "2001:db8:ffff::1",
	                                     "192.0.2.255", "::ffff:a00:0001"};
	static const char *const outside[] = {"9.255.255.255", "11.0.0.0",   "192.0.1.255", "192.0.4.0", "2001:db7::1",
	                                      "2001:db9::",    "::10.1.2.3", "::",          "ffff::"};
	for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++)
		if (!contains(set, inside[i]))
			fail_msg("not inside: %s", inside[i]);
	for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++)
		if (contains(set, outside[i]))
			fail_msg("inside: %s", outside[i]);
	assert_false(policy_network_set_is_everybody(set));
	policy_network_set_free(set);
	policy_network_set_free(NULL);
}

static void test_an_empty_set_contains_nobody(void **state)
{
	(void)state;
	struct policy_network_set *set = policy_network_set_new(NULL, 0);
	assert_false(contains(set, "10.0.0.1"));
	assert_false(policy_network_set_is_everybody(set));
	policy_network_set_free(set);
}

static void test_everybody(void **state)
{
	(void)state;
	static const char *const all[] = {"::/0"}, *const parts[] = {"8000::/1", "::/1", "0.0.0.0/0"},
	                         *const v6_only[] = {"::/1", "8000::/1"}, *const v4_only[] = {"0.0.0.0/0"};
	const struct {
		const char *const *nets;
		size_t n;
		bool everybody, v4, v6;
	} cases[] = {{all, 1, true, true, true},
	             {parts, 3, true, true, true},
	             {v6_only, 2, false, false, true},
	             {v4_only, 1, false, true, false}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct policy_network_set *set = set_of(cases[i].nets, cases[i].n);
		assert_int_equal(policy_network_set_is_everybody(set), cases[i].everybody);
		assert_int_equal(contains(set, "203.0.113.7"), cases[i].v4);
		assert_int_equal(contains(set, "2001:db8::1"), cases[i].v6);
		assert_int_equal(contains(set, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), cases[i].v6);
		assert_int_equal(contains(set, "::"), cases[i].v6);
		policy_network_set_free(set);
	}
}

/* A small generator of our own: the same networks in every run. */
static uint32_t draw(void)
{
	static uint64_t seed = 42;
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33);
}

/* Few different bytes, so that networks meet, and the mapped block often. */
static struct ip_addr draw_address(void)
{
	static const uint8_t bytes[] = {0, 0, 0, 1, 0xff, 0xfe};
	struct ip_addr addr;
	for (size_t i = 0; i < 16; i++)
		addr.bytes[i] = bytes[draw() % sizeof bytes];
	if (draw() % 2)
		memcpy(addr.bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
	return addr;
}

static struct ip_net draw_net(void)
{
	struct ip_net net = {draw_address(), (uint8_t)(draw() % 129)};
	for (unsigned bit = net.prefix; bit < 128; bit++)
		net.base.bytes[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
	return net;
}

static void test_the_set_agrees_with_its_networks(void **state)
{
	(void)state;
	for (int round = 0; round < 300; round++) {
		struct ip_net nets[12];
		size_t n = draw() % 12;
		for (size_t i = 0; i < n; i++)
			nets[i] = draw_net();
		struct policy_network_set *set = policy_network_set_new(nets, n);
		for (int k = 0; k < 200; k++) {
			struct ip_addr addr = n > 0 && k % 3 == 0 ? nets[draw() % n].base : draw_address();
			bool expected = false;
			for (size_t i = 0; i < n; i++)
				expected = expected || ip_net_contains(&nets[i], &addr);
			assert_int_equal(policy_network_set_contains(set, &addr), expected);
		}
		policy_network_set_free(set);
	}
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_contains), cmocka_unit_test(test_an_empty_set_contains_nobody),
             cmocka_unit_test(test_everybody), cmocka_unit_test(test_the_set_agrees_with_its_networks))
