/* What one decision takes, by the number of networks in the rule file: 1,000 rules share them. */
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "policy/policy.h"

#define RULES    1000
#define REQUESTS 4096 /* different ones, so that caches and branches cannot learn them */
#define ROUNDS   64

static uint64_t state = 88172645463325252u;

static unsigned draw(unsigned below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)(state >> 32) % below;
}

/* Networks of /24 to /32, spread over all of IPv4, overlapping now and then; every tenth is IPv6. */
static void append_network(struct buf *text, unsigned i)
{
	unsigned bits = 24 + i % 9, address = (draw(UINT32_MAX) >> (32 - bits)) << (32 - bits);
	if (i % 10 == 9)
		buf_printf(text, "\"2001:db8:%x:%x::/64\"", draw(65536), draw(65536));
	else
		buf_printf(text, "%u.%u.%u.%u/%u", address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255, bits);
}

static struct policy *make_policy(unsigned networks)
{
	autobuf struct buf text = {0};
	buf_append_str(&text, "version: 1\nrules:\n");
	unsigned used = 0;
	for (unsigned i = 0; i < RULES; i++) {
		buf_printf(&text, "- {name: r%u, effect: %s, objects: [\"reports/**\"], operations: [GET, LIST]", i,
		           i % 5 ? "allow" : "deny");
		unsigned until = (unsigned)((uint64_t)networks * (i + 1) / RULES);
		if (used == until)
			buf_printf(&text, ", users: [\"user-%u@hospital.example\"]", i);
		for (unsigned first = used; used < until; used++) {
			buf_append_str(&text, used == first ? ", networks: [" : ", ");
			append_network(&text, used);
			if (used + 1 == until)
				buf_append_str(&text, "]");
		}
		buf_append_str(&text, "}\n");
	}
	struct policy *policy = NULL;
	struct err err;
	if (policy_parse("bench.yaml", buf_span(&text), &policy, &err) != ERR_OK) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	return policy;
}

static double measure(unsigned networks, unsigned *ret_allowed)
{
	state = 88172645463325252u; /* the first addresses drawn lie in the first networks drawn */
	struct policy *policy = make_policy(networks);
	static struct policy_request requests[REQUESTS];
	state = 88172645463325252u;
	for (size_t i = 0; i < REQUESTS; i++) {
		requests[i] = (struct policy_request){.operation = POLICY_GET,
		                                      .bucket = "reports",
		                                      .object = "reports/2026/11/a.pdf",
		                                      .account = "acme",
		                                      .user = "ann@hospital.example",
		                                      .vendor_key = "acme-2026"};
		uint8_t *bytes = requests[i].address.bytes;
		unsigned address = draw(UINT32_MAX);
		bytes[10] = bytes[11] = 0xff;
		for (int k = 0; k < 4; k++)
			bytes[12 + k] = (uint8_t)(address >> (24 - 8 * k));
	}
	*ret_allowed = 0;
	int64_t best = INT64_MAX;
	for (unsigned round = 0; round < ROUNDS; round++) {
		int64_t start = clock_monotonic_us();
		unsigned allowed = 0;
		for (size_t i = 0; i < REQUESTS; i++) {
			struct policy_decision decision;
			policy_decide(policy, &requests[i], &decision);
			allowed += decision.allowed;
		}
		int64_t took = clock_monotonic_us() - start;
		best = took < best ? took : best;
		*ret_allowed = allowed;
	}
	policy_free(policy);
	return (double)best * 1000 / REQUESTS;
}

int main(void)
{
	static const unsigned sizes[] = {10, 1000, 100000};
	printf("%10s %8s %12s %10s\n", "networks", "rules", "ns/decision", "allowed");
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		unsigned allowed;
		double ns = measure(sizes[i], &allowed);
		printf("%10u %8u %12.0f %9.1f%%\n", sizes[i], RULES, ns, 100.0 * allowed / REQUESTS);
	}
	return 0;
}
