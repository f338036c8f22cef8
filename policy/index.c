#include "policy/index.h"

#include <stdlib.h>

#include "policy/prefixes.h"

/* The conditions that are globs, and what of a request they are asked about. */
static const struct dimension {
	size_t rule, request;
} dimensions[] = {
#define DIMENSION(condition, member)                                                                                   \
	{                                                                                                                  \
		offsetof(struct policy_rule, condition), offsetof(struct policy_request, member)                               \
	}
    DIMENSION(vendor_keys, vendor_key), DIMENSION(accounts, account),
    DIMENSION(buckets, bucket),         DIMENSION(users, user),
    DIMENSION(objects, object),
#undef DIMENSION
};

#define N_DIMENSIONS (sizeof dimensions / sizeof dimensions[0])
#define OBJECTS      4

/* Rules that do not ask, and those that do, by what they want to see at the start; NULL: none asks. */
struct filter {
	uint64_t *indifferent;
	struct policy_prefixes *prefixes;
};

struct policy_index {
	size_t n_words;
	uint64_t *all;
	struct filter globs[N_DIMENSIONS];
	struct filter v4, v6; /* networks; both have v4's indifferent rules */
};

static void set_rule(uint64_t *set, size_t rule)
{
	set[rule / 64] |= (uint64_t)1 << (rule % 64);
}

static const struct policy_globs *globs_of(const struct policy_rule *rule, const struct dimension *dimension)
{
	return (const void *)((const char *)rule + dimension->rule);
}

static void build_globs(struct filter *filter, const struct dimension *dimension, const struct policy_rule *rules,
                        size_t n, size_t n_words)
{
	size_t n_entries = 0;
	filter->indifferent = xcalloc(n_words, sizeof(uint64_t));
	for (size_t i = 0; i < n; i++)
		n_entries += globs_of(&rules[i], dimension)->n;
	if (!n_entries)
		return;
	autofree struct policy_prefix *entries = xcalloc(n_entries, sizeof *entries);
	n_entries = 0;
	for (size_t i = 0; i < n; i++) {
		const struct policy_globs *globs = globs_of(&rules[i], dimension);
		for (size_t k = 0; k < globs->n; k++) {
			struct span start = policy_glob_start(globs->items[k]);
			entries[n_entries++] = (struct policy_prefix){start.ptr, 8 * (unsigned)start.len, (unsigned)i};
		}
		if (globs->n == 0)
			set_rule(filter->indifferent, i);
	}
	filter->prefixes = policy_prefixes_new(entries, n_entries, n_words);
}

/* IPv4 by four bytes, so that the search has all of an address before it at once. */
static void build_networks(struct policy_index *index, const struct policy_rule *rules, size_t n)
{
	size_t n_nets = 0, n4 = 0, n6 = 0;
	index->v4.indifferent = xcalloc(index->n_words, sizeof(uint64_t));
	for (size_t i = 0; i < n; i++)
		n_nets += rules[i].n_nets;
	if (!n_nets)
		return;
	autofree struct policy_prefix *v4 = xcalloc(n_nets, sizeof *v4), *v6 = xcalloc(n_nets, sizeof *v6);
	for (size_t i = 0; i < n; i++) {
		if (!rules[i].networks)
			set_rule(index->v4.indifferent, i);
		for (size_t k = 0; k < rules[i].n_nets; k++) {
			const struct ip_net *net = &rules[i].nets[k];
			if (net->prefix >= 96 && ip_is_v4(&net->base))
				v4[n4++] = (struct policy_prefix){net->base.bytes + 12, net->prefix - 96u, (unsigned)i};
			else
				v6[n6++] = (struct policy_prefix){net->base.bytes, net->prefix, (unsigned)i};
		}
	}
	index->v4.prefixes = policy_prefixes_new(v4, n4, index->n_words);
	index->v6.prefixes = policy_prefixes_new(v6, n6, index->n_words);
}

struct policy_index *policy_index_new(const struct policy_rule *rules, size_t n)
{
	struct policy_index *index = xcalloc(1, sizeof *index);
	index->n_words = (n + 63) / 64;
	index->all = xcalloc(index->n_words, sizeof(uint64_t));
	for (size_t i = 0; i < n; i++)
		set_rule(index->all, i);
	for (size_t i = 0; i < N_DIMENSIONS; i++)
		build_globs(&index->globs[i], &dimensions[i], rules, n, index->n_words);
	build_networks(index, rules, n);
	return index;
}

void policy_index_free(struct policy_index *index)
{
	if (!index)
		return;
	for (size_t i = 0; i < N_DIMENSIONS; i++) {
		free(index->globs[i].indifferent);
		policy_prefixes_free(index->globs[i].prefixes);
	}
	free(index->v4.indifferent);
	policy_prefixes_free(index->v4.prefixes);
	policy_prefixes_free(index->v6.prefixes);
	free(index->all);
	free(index);
}

size_t policy_index_words(const struct policy_index *index)
{
	return index->n_words;
}

/* The rules of the index that do not ask, or ask for such a text. */
static void find(const struct policy_index *index, const uint64_t *indifferent, const struct policy_prefixes *prefixes,
                 struct span text, uint64_t *ret)
{
	memcpy(ret, indifferent, index->n_words * sizeof *ret);
	policy_prefixes_find(prefixes, text, ret);
}

static void find_near(const struct policy_index *index, const struct ip_addr *addr, uint64_t *near)
{
	if (!index->v4.prefixes)
		memcpy(near, index->all, index->n_words * sizeof *near);
	else if (ip_is_v4(addr))
		find(index, index->v4.indifferent, index->v4.prefixes, span_of(addr->bytes + 12, 4), near);
	else
		find(index, index->v4.indifferent, index->v6.prefixes, span_of(addr->bytes, sizeof addr->bytes), near);
}

void policy_index_find(const struct policy_index *index, const struct policy_request *request, uint64_t *concerned,
                       uint64_t *near)
{
	memcpy(concerned, index->all, index->n_words * sizeof *concerned);
	for (size_t i = 0; i < N_DIMENSIONS; i++) {
		/* A LIST is denied by globs whose start lies behind its prefix. */
		if (!index->globs[i].prefixes || (i == OBJECTS && request->operation == POLICY_LIST))
			continue;
		const char *text;
		memcpy(&text, (const char *)request + dimensions[i].request, sizeof text);
		find(index, index->globs[i].indifferent, index->globs[i].prefixes, span_str(text), near);
		for (size_t k = 0; k < index->n_words; k++)
			concerned[k] &= near[k];
	}
	find_near(index, &request->address, near);
}
