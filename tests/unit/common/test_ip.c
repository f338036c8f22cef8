#include "common/ip.h"

#include "tests/unit/harness.h"

static const struct {
	const char *in, *out;
} addresses[] = {
    {"192.0.2.1", "192.0.2.1"},
    {"0.0.0.0", "0.0.0.0"},
    {"255.255.255.255", "255.255.255.255"},
    {"::ffff:192.0.2.1", "192.0.2.1"},
    {"::FFFF:c000:0201", "192.0.2.1"},
    {"0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1"},
    {"2001:db8::1", "2001:db8::1"},
    {"2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"},
    {"::", "::"},
    {"::1", "::1"},
    {"fe80::1", "fe80::1"},
    {"64:ff9b::192.0.2.1", "64:ff9b::c000:201"},
};

static void test_parse_and_format(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
		struct ip_addr addr;
		char out[IP_TEXT_MAX];
		if (!ip_parse(addresses[i].in, &addr))
			fail_msg("refused: %s", addresses[i].in);
		ip_format(&addr, out);
		assert_string_equal(out, addresses[i].out);
	}
}

static void test_parse_refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    "",
	    " ",
	    "192.0.2",
	    "192.0.2.1.1",
	    "192.0.2.256",
	    "192.0.2.01",
	    "192.0.2.0x1",
	    "192.0.2.1 ",
	    " 192.0.2.1",
	    "192.0.2.1:80",
	    "[2001:db8::1]",
	    "[2001:db8::1]:80",
	    "fe80::1%eth0",
	    "2001:db8::1::2",
	    "2001:db8",
	    "12345::",
	    "::ffff:192.0.2",
	    "1:2:3:4:5:6:7:8:9",
	    "localhost",
	    "3221225985",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct ip_addr addr = {{42}};
		if (ip_parse(bad[i], &addr) || addr.bytes[0] != 42)
			fail_msg("accepted: \"%s\"", bad[i]);
	}
}

static void test_net_parse(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned prefix;
	} nets[] = {{"10.0.0.0/8", 104},          {"192.0.2.1", 128},     {"192.0.2.1/32", 128}, {"0.0.0.0/0", 96},
	            {"::ffff:10.0.0.0/104", 104}, {"2001:db8::/32", 32},  {"2001:db8::1", 128},  {"::/0", 0},
	            {"192.0.2.128/25", 121},      {"2001:db8::/127", 127}};
	for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
		struct ip_net net;
		if (!ip_net_parse(nets[i].text, &net))
			fail_msg("refused: %s", nets[i].text);
		assert_int_equal(net.prefix, nets[i].prefix);
	}
}

static void test_net_parse_refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    "",
	    "/8",
	    "10.0.0.0/",
	    "10.0.0.0/33",
	    "10.0.0.0/-1",
	    "10.0.0.0/+8",
	    "10.0.0.0/08",
	    "10.0.0.0/ 8",
	    "10.0.0.0/8 ",
	    "10.0.0.0/8/8",
	    "10.0.0.0/255.0.0.0",
	    "10.0.0.1/8",
	    "10.0.0.0/4",
	    "192.0.2.129/25",
	    "10.0.0/8",
	    "2001:db8::/129",
	    "2001:db8::1/32",
	    "2001:db8::1/127",
	    "::1/0",
	    "::ffff:10.0.0.0/8",
	    "::ffff:10.0.0.1/104",
	    "10.0.0.0/4294967304",
	    "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/8",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct ip_net net = {.prefix = 42};
		if (ip_net_parse(bad[i], &net) || net.prefix != 42)
			fail_msg("accepted: \"%s\"", bad[i]);
	}
}

static const struct {
	const char *net, *addr;
	bool inside;
} memberships[] = {
    {"10.0.0.0/8", "10.0.0.0", true},
    {"10.0.0.0/8", "10.255.255.255", true},
    {"10.0.0.0/8", "::ffff:10.1.2.3", true},
    {"10.0.0.0/8", "11.0.0.0", false},
    {"10.0.0.0/8", "9.255.255.255", false},
    {"10.0.0.0/8", "::10.1.2.3", false},
    {"10.0.0.0/8", "a00::", false},
    {"::ffff:10.0.0.0/104", "10.1.2.3", true},
    {"192.0.2.128/25", "192.0.2.127", false},
    {"192.0.2.128/25", "192.0.2.128", true},
    {"192.0.2.1", "192.0.2.1", true},
    {"192.0.2.1", "192.0.2.2", false},
    {"0.0.0.0/0", "203.0.113.9", true},
    {"0.0.0.0/0", "2001:db8::1", false},
    {"0.0.0.0/0", "::1", false},
    {"::/0", "2001:db8::1", true},
    {"::/0", "203.0.113.9", true},
    {"::/1", "203.0.113.9", false},
    {"::/80", "203.0.113.9", false},
    {"::/64", "::1", true},
    {"::fffe:0:0/95", "203.0.113.9", false},
    {"::fffe:0:0/95", "::fffe:1:2", true},
    {"::ffff:0:0/96", "203.0.113.9", true},
    {"2001:db8::/32", "2001:db8:ffff::1", true},
    {"2001:db8::/32", "2001:db9::", false},
    {"2001:db8::/33", "2001:db8:7fff::", true},
    {"2001:db8::/33", "2001:db8:8000::", false},
    {"2001:db8::1", "2001:db8::1", true},
    {"2001:db8::1", "2001:db8::2", false},
};

static void test_net_contains(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof memberships / sizeof memberships[0]; i++) {
		struct ip_net net;
		struct ip_addr addr;
		assert_true(ip_net_parse(memberships[i].net, &net));
		assert_true(ip_parse(memberships[i].addr, &addr));
		if (ip_net_contains(&net, &addr) != memberships[i].inside)
			fail_msg("%s in %s", memberships[i].addr, memberships[i].net);
	}
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_parse_and_format), cmocka_unit_test(test_parse_refuses),
             cmocka_unit_test(test_net_parse), cmocka_unit_test(test_net_parse_refuses),
             cmocka_unit_test(test_net_contains))
