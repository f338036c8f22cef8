/* Writes a small country database in MaxMind's format (https://maxmind.github.io/MaxMind-DB/): an IPv6 tree with
 * records of 24 bits, {"country": {"iso_code": "DE"}} as data. */
#ifndef TWOKEY_TESTS_UNIT_POLICY_MMDB_H
#define TWOKEY_TESTS_UNIT_POLICY_MMDB_H

#include <assert.h>

#include "common/ip.h"
#include "common/span.h"

#define MMDB_NODES_MAX 4096

struct mmdb_network {
	const char *network, *country;
};

/* Nodes have two records: 0 is nothing, positive another node, negative -1 - n the country n. */
struct mmdb_tree {
	int records[MMDB_NODES_MAX][2];
	int n;
};

static void mmdb_insert(struct mmdb_tree *tree, const char *network, int country)
{
	struct ip_net net;
	if (!ip_net_parse(network, &net))
		assert(!"a network");
	/* IPv4 lives at ::/96 in these files. */
	uint8_t bytes[16];
	memcpy(bytes, net.base.bytes, sizeof bytes);
	if (!strchr(network, ':'))
		memset(bytes, 0, 12);
	int node = 0;
	for (unsigned i = 0; i < net.prefix; i++) {
		int *record = &tree->records[node][bytes[i / 8] >> (7 - i % 8) & 1];
		if (i + 1u == net.prefix) {
			*record = -1 - country;
			return;
		}
		if (*record <= 0) {
			int around = *record; /* what a wider network said goes on for the rest of it */
			*record = ++tree->n;
			assert(tree->n < MMDB_NODES_MAX);
			tree->records[tree->n][0] = tree->records[tree->n][1] = around;
		}
		node = *record;
	}
}

static void mmdb_text(struct buf *out, const char *text)
{
	buf_append_byte(out, (uint8_t)(0x40 | strlen(text))); /* a string of less than 29 bytes */
	buf_append_str(out, text);
}

static void mmdb_number(struct buf *out, const char *key, uint8_t type, uint64_t value, unsigned bytes)
{
	mmdb_text(out, key);
	if (type > 7) {
		buf_append_byte(out, (uint8_t)bytes);
		buf_append_byte(out, (uint8_t)(type - 7));
	} else {
		buf_append_byte(out, (uint8_t)(type << 5 | bytes));
	}
	while (bytes--)
		buf_append_byte(out, (uint8_t)(value >> 8 * bytes));
}

static void mmdb_metadata(struct buf *out, unsigned nodes, int64_t built_s)
{
	buf_append_str(out, "\xab\xcd\xefMaxMind.com");
	buf_append_byte(out, 0xe0 | 9); /* a map of nine */
	mmdb_number(out, "binary_format_major_version", 5, 2, 2);
	mmdb_number(out, "binary_format_minor_version", 5, 0, 2);
	mmdb_number(out, "build_epoch", 9, (uint64_t)built_s, 8);
	mmdb_text(out, "database_type");
	mmdb_text(out, "Test-Country");
	mmdb_text(out, "description");
	buf_append_byte(out, 0xe0);
	mmdb_number(out, "ip_version", 5, 6, 2);
	mmdb_text(out, "languages");
	buf_append_byte(out, 0); /* an array of none: extended type 11 */
	buf_append_byte(out, 4);
	mmdb_number(out, "node_count", 6, nodes, 4);
	mmdb_number(out, "record_size", 5, 24, 2);
}

/* An entry whose country is NULL has other data, without a country. */
static void mmdb_write(struct buf *out, const struct mmdb_network *networks, size_t n, int64_t built_s)
{
	static struct mmdb_tree tree;
	memset(&tree, 0, sizeof tree);
	size_t offsets[64];
	struct buf data = {0};
	for (size_t i = 0; i < n; i++) {
		mmdb_insert(&tree, networks[i].network, (int)i);
		offsets[i] = data.len;
		buf_append_byte(&data, 0xe0 | 1);
		mmdb_text(&data, networks[i].country ? "country" : "continent");
		buf_append_byte(&data, 0xe0 | 1);
		mmdb_text(&data, networks[i].country ? "iso_code" : "code");
		mmdb_text(&data, networks[i].country ? networks[i].country : "EU");
	}
	unsigned nodes = (unsigned)tree.n + 1;
	for (unsigned i = 0; i < nodes; i++) {
		for (unsigned side = 0; side < 2; side++) {
			int record = tree.records[i][side];
			size_t value = record > 0 ? (size_t)record : record < 0 ? nodes + 16 + offsets[-1 - record] : nodes;
			buf_append_byte(out, (uint8_t)(value >> 16));
			buf_append_byte(out, (uint8_t)(value >> 8));
			buf_append_byte(out, (uint8_t)value);
		}
	}
	for (unsigned i = 0; i < 16; i++)
		buf_append_byte(out, 0);
	buf_append(out, buf_span(&data));
	mmdb_metadata(out, nodes, built_s);
	buf_done(&data);
}

#endif
