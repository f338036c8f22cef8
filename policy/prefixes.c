#include "policy/prefixes.h"

#include <stdlib.h>

#define NONE UINT32_MAX
#define HEAD 8 /* bytes that are compared as one number */

struct node {
	uint8_t *bytes; /* among the keys */
	unsigned bits;
	uint32_t parent; /* the longest beginning of this one, or NONE */
	uint32_t first;  /* of the rules' numbers, or of the words of a set when there would be more numbers than words */
	uint32_t n_rules;
};

struct policy_prefixes {
	size_t n, n_words;
	uint64_t *heads;    /* of each node, apart, since the search looks at little else */
	struct node *nodes; /* sorted: what is enclosed stands behind what encloses it */
	uint8_t *keys;
	uint32_t *rules;
	uint64_t *sets;
};

static uint64_t head_of(const uint8_t *bytes, size_t len)
{
	uint64_t head = 0;
	for (size_t i = 0; i < HEAD; i++)
		head = head << 8 | (i < len ? bytes[i] : 0);
	return head;
}

static size_t bytes_of(unsigned bits)
{
	return (bits + 7) / 8;
}

/* Bits behind the end are zero in every key. */
static int compare(const void *a_, const void *b_)
{
	const struct policy_prefix *a = a_, *b = b_;
	size_t a_len = bytes_of(a->bits), b_len = bytes_of(b->bits);
	int order = memcmp(a->bytes, b->bytes, a_len < b_len ? a_len : b_len);
	if (order == 0)
		order = a->bits < b->bits ? -1 : a->bits > b->bits;
	return order ? order : a->rule < b->rule ? -1 : a->rule > b->rule;
}

static bool begins(const uint8_t *bytes, unsigned bits, struct span text)
{
	unsigned whole = bits / 8, rest = bits % 8;
	if (text.len < bytes_of(bits) || memcmp(bytes, text.ptr, whole) != 0)
		return false;
	return rest == 0 || !((bytes[whole] ^ text.ptr[whole]) & (uint8_t)(0xff00u >> rest));
}

static bool same_key(const struct policy_prefix *a, const struct policy_prefix *b)
{
	return a->bits == b->bits && memcmp(a->bytes, b->bytes, bytes_of(a->bits)) == 0;
}

static void set_rule(uint64_t *set, unsigned rule)
{
	set[rule / 64] |= (uint64_t)1 << (rule % 64);
}

static bool is_set(const struct policy_prefixes *prefixes, const struct node *node)
{
	return node->n_rules > prefixes->n_words;
}

/* How much room is needed. */
struct sizes {
	size_t nodes, key_bytes, numbers, words;
};

static size_t group_end(const struct policy_prefix *entries, size_t n, size_t from)
{
	size_t to = from + 1;
	while (to < n && same_key(&entries[from], &entries[to]))
		to++;
	return to;
}

static struct sizes measure(const struct policy_prefix *entries, size_t n, size_t n_words)
{
	struct sizes sizes = {0};
	for (size_t i = 0, end; i < n; i = end) {
		end = group_end(entries, n, i);
		sizes.nodes++;
		sizes.key_bytes += bytes_of(entries[i].bits);
		if (end - i > n_words)
			sizes.words += n_words;
		else
			sizes.numbers += end - i;
	}
	return sizes;
}

static void add_node(struct policy_prefixes *prefixes, const struct policy_prefix *entries, size_t n,
                     struct sizes *used)
{
	struct node *node = &prefixes->nodes[used->nodes];
	*node = (struct node){
	    .bytes = prefixes->keys + used->key_bytes, .bits = entries->bits, .parent = NONE, .n_rules = (uint32_t)n};
	size_t len = bytes_of(entries->bits);
	if (len)
		memcpy(node->bytes, entries->bytes, len);
	prefixes->heads[used->nodes++] = head_of(node->bytes, len);
	used->key_bytes += len;
	if (is_set(prefixes, node)) {
		node->first = (uint32_t)used->words;
		for (size_t i = 0; i < n; i++)
			set_rule(prefixes->sets + used->words, entries[i].rule);
		used->words += prefixes->n_words;
	} else {
		node->first = (uint32_t)used->numbers;
		for (size_t i = 0; i < n; i++)
			prefixes->rules[used->numbers++] = entries[i].rule;
	}
}

static bool encloses(const struct node *outer, const struct node *inner)
{
	return outer->bits <= inner->bits &&
	       begins(outer->bytes, outer->bits, span_of(inner->bytes, bytes_of(inner->bits)));
}

/* The node before, or one of its parents, is the parent: nothing else stands in between. */
static void find_parents(struct policy_prefixes *prefixes)
{
	for (size_t i = 1; i < prefixes->n; i++) {
		uint32_t parent = (uint32_t)i - 1;
		while (parent != NONE && !encloses(&prefixes->nodes[parent], &prefixes->nodes[i]))
			parent = prefixes->nodes[parent].parent;
		prefixes->nodes[i].parent = parent;
	}
}

struct policy_prefixes *policy_prefixes_new(struct policy_prefix *entries, size_t n, size_t n_words)
{
	if (n)
		qsort(entries, n, sizeof *entries, compare);
	const struct sizes sizes = measure(entries, n, n_words);
	struct policy_prefixes *prefixes = xcalloc(1, sizeof *prefixes);
	prefixes->n = sizes.nodes;
	prefixes->n_words = n_words;
	prefixes->heads = xcalloc(sizes.nodes, sizeof *prefixes->heads);
	prefixes->nodes = xcalloc(sizes.nodes, sizeof *prefixes->nodes);
	prefixes->keys = xcalloc(sizes.key_bytes, 1);
	prefixes->rules = xcalloc(sizes.numbers, sizeof *prefixes->rules);
	prefixes->sets = xcalloc(sizes.words, sizeof *prefixes->sets);
	struct sizes used = {0};
	for (size_t i = 0, end; i < n; i = end) {
		end = group_end(entries, n, i);
		add_node(prefixes, &entries[i], end - i, &used);
	}
	find_parents(prefixes);
	return prefixes;
}

void policy_prefixes_free(struct policy_prefixes *prefixes)
{
	if (!prefixes)
		return;
	free(prefixes->heads);
	free(prefixes->nodes);
	free(prefixes->keys);
	free(prefixes->rules);
	free(prefixes->sets);
	free(prefixes);
}

/* Not behind the text, in the order of the nodes. */
static bool is_before(const struct policy_prefixes *prefixes, size_t i, uint64_t head, struct span text)
{
	if (prefixes->heads[i] != head)
		return prefixes->heads[i] < head;
	const struct node *node = &prefixes->nodes[i];
	size_t len = bytes_of(node->bits);
	int order = memcmp(node->bytes, text.ptr, len < text.len ? len : text.len);
	return order ? order < 0 : node->bits <= 8 * text.len;
}

static void add_rules(const struct policy_prefixes *prefixes, const struct node *node, uint64_t *rules)
{
	if (is_set(prefixes, node))
		for (size_t i = 0; i < prefixes->n_words; i++)
			rules[i] |= prefixes->sets[node->first + i];
	else
		for (size_t i = 0; i < node->n_rules; i++)
			set_rule(rules, prefixes->rules[node->first + i]);
}

void policy_prefixes_find(const struct policy_prefixes *prefixes, struct span text, uint64_t *rules)
{
	uint64_t head = head_of(text.ptr, text.len);
	size_t from = 0, to = prefixes->n;
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		if (is_before(prefixes, middle, head, text))
			from = middle + 1;
		else
			to = middle;
	}
	uint32_t at = from ? (uint32_t)from - 1 : NONE;
	while (at != NONE && !begins(prefixes->nodes[at].bytes, prefixes->nodes[at].bits, text))
		at = prefixes->nodes[at].parent;
	for (; at != NONE; at = prefixes->nodes[at].parent)
		add_rules(prefixes, &prefixes->nodes[at], rules);
}
