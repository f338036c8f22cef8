#include "audit/transfers.h"

#include <stdlib.h>

#include "audit/record.h"

enum { BUCKETS = 256 };

struct entry {
	struct entry *next;
	struct audit_transfer transfer;
};

struct audit_transfers {
	struct entry *buckets[BUCKETS];
	size_t n;
};

struct audit_transfers *audit_transfers_new(void)
{
	return xcalloc(1, sizeof(struct audit_transfers));
}

static void entry_free(struct entry *entry)
{
	buf_done(&entry->transfer.bytes);
	free(entry);
}

void audit_transfers_free(struct audit_transfers *transfers)
{
	if (!transfers)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct entry *entry = transfers->buckets[i], *next; entry; entry = next) {
			next = entry->next;
			entry_free(entry);
		}
	free(transfers);
}

static struct entry **find(struct audit_transfers *transfers, uint64_t index)
{
	struct entry **link = &transfers->buckets[index % BUCKETS];
	while (*link && (*link)->transfer.index != index)
		link = &(*link)->next;
	return link;
}

void audit_transfers_restore(struct audit_transfers *transfers, uint64_t index, struct span bytes)
{
	struct entry **link = find(transfers, index);
	if (*link)
		return;
	*link = xcalloc(1, sizeof(**link));
	(*link)->transfer.index = index;
	buf_append(&(*link)->transfer.bytes, bytes);
	transfers->n++;
}

static void forget(struct audit_transfers *transfers, uint64_t index)
{
	struct entry **link = find(transfers, index), *entry = *link;
	if (!entry)
		return;
	*link = entry->next;
	entry_free(entry);
	transfers->n--;
}

void audit_transfers_see(struct audit_transfers *transfers, uint64_t index, const Twokey__V1__Record *record,
                         struct span bytes)
{
	if (audit_record_begins(record))
		audit_transfers_restore(transfers, index, bytes);
	else if (audit_record_ends(record))
		forget(transfers, record->decision_index);
}

size_t audit_transfers_count(const struct audit_transfers *transfers)
{
	return transfers->n;
}

static int by_index(const void *a, const void *b)
{
	uint64_t x = ((const struct audit_transfer *)a)->index, y = ((const struct audit_transfer *)b)->index;
	return (x > y) - (x < y);
}

struct audit_transfer *audit_transfers_list(const struct audit_transfers *transfers, size_t *ret_n)
{
	struct audit_transfer *list = xcalloc(transfers->n + 1, sizeof(*list));
	size_t n = 0;
	for (size_t i = 0; i < BUCKETS; i++)
		for (const struct entry *entry = transfers->buckets[i]; entry; entry = entry->next) {
			list[n].index = entry->transfer.index;
			buf_append(&list[n++].bytes, buf_span(&entry->transfer.bytes));
		}
	qsort(list, n, sizeof(*list), by_index);
	*ret_n = n;
	return list;
}

void audit_transfers_list_free(struct audit_transfer *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_done(&list[i].bytes);
	free(list);
}
