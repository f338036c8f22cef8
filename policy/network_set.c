#include "policy/network_set.h"

#include <stdlib.h>

typedef unsigned __int128 u128;

#define U128_MAX (~(u128)0)
/* ::ffff:0:0/96, where IPv4 lives */
#define MAPPED_FIRST ((u128)0xffff << 32)
#define MAPPED_LAST  (MAPPED_FIRST | 0xffffffffu)

struct range {
	u128 first, last;
};

struct policy_network_set {
	size_t n;
	struct range ranges[]; /* ascending; they neither overlap nor touch */
};

static u128 number_of(const struct ip_addr *addr)
{
	u128 number = 0;
	for (size_t i = 0; i < sizeof addr->bytes; i++)
		number = number << 8 | addr->bytes[i];
	return number;
}

/* One range, or the two around the IPv4 clients that a short IPv6 network leaves out (common/ip.h). */
static size_t ranges_of(const struct ip_net *net, struct range out[2])
{
	u128 first = number_of(&net->base);
	u128 last = first | (net->prefix < 128 ? U128_MAX >> net->prefix : 0);
	bool around = net->prefix > 0 && net->prefix < 96 && first <= MAPPED_FIRST && last >= MAPPED_LAST;
	if (!around) {
		out[0] = (struct range){first, last};
		return 1;
	}
	size_t n = 0;
	if (first < MAPPED_FIRST)
		out[n++] = (struct range){first, MAPPED_FIRST - 1};
	if (last > MAPPED_LAST)
		out[n++] = (struct range){MAPPED_LAST + 1, last};
	return n;
}

static int compare_ranges(const void *a_, const void *b_)
{
	const struct range *a = a_, *b = b_;
	return a->first < b->first ? -1 : a->first > b->first;
}

static void merge_ranges(struct policy_network_set *set)
{
	size_t kept = 0;
	for (size_t i = 0; i < set->n; i++) {
		struct range *last = &set->ranges[kept ? kept - 1 : 0];
		if (kept == 0 || (last->last != U128_MAX && set->ranges[i].first > last->last + 1))
			set->ranges[kept++] = set->ranges[i];
		else if (set->ranges[i].last > last->last)
			last->last = set->ranges[i].last;
	}
	set->n = kept;
}

struct policy_network_set *policy_network_set_new(const struct ip_net *nets, size_t n)
{
	struct policy_network_set *set = xcalloc(1, sizeof *set + 2 * n * sizeof set->ranges[0]);
	for (size_t i = 0; i < n; i++)
		set->n += ranges_of(&nets[i], &set->ranges[set->n]);
	qsort(set->ranges, set->n, sizeof set->ranges[0], compare_ranges);
	merge_ranges(set);
	return set;
}

void policy_network_set_free(struct policy_network_set *set)
{
	free(set);
}

bool policy_network_set_contains(const struct policy_network_set *set, const struct ip_addr *addr)
{
	u128 number = number_of(addr);
	size_t from = 0, to = set->n;
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		if (number > set->ranges[middle].last)
			from = middle + 1;
		else
			to = middle;
	}
	return from < set->n && number >= set->ranges[from].first;
}

bool policy_network_set_is_everybody(const struct policy_network_set *set)
{
	return set->n == 1 && set->ranges[0].first == 0 && set->ranges[0].last == U128_MAX;
}
