/* Transfers under way: what was granted and has not ended yet. Derived from the log, as single-use state is. Not
 * thread-safe: the log's lock covers it. */
#ifndef TWOKEY_AUDIT_TRANSFERS_H
#define TWOKEY_AUDIT_TRANSFERS_H

#include "audit/internal.h"

struct audit_transfers;

struct audit_transfers *audit_transfers_new(void);
void audit_transfers_free(struct audit_transfers *transfers); /* accepts NULL */
/* A record that was appended, or is replayed: begins or ends one, or neither. `bytes` is its serialised form, with or
 * without index and time. Seeing a record again changes nothing, as long as all that follow are seen again too. */
void audit_transfers_see(struct audit_transfers *transfers, uint64_t index, const Twokey__V1__Record *record,
                         struct span bytes);
/* One that a snapshot remembers. */
void audit_transfers_restore(struct audit_transfers *transfers, uint64_t index, struct span bytes);
size_t audit_transfers_count(const struct audit_transfers *transfers);
/* Ordered by index: the record that granted each. */
struct audit_transfer {
	uint64_t index;
	struct buf bytes; /* owned */
};
/* Returns an array of copies, which audit_transfers_list_free frees. */
struct audit_transfer *audit_transfers_list(const struct audit_transfers *transfers, size_t *ret_n);
void audit_transfers_list_free(struct audit_transfer *list, size_t n);

#endif
