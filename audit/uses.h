/* Single-use state: which transaction ids were seen with which content, and how many uses are spent. In memory, derived
 * from the log. Not thread-safe: the log's lock covers it. */
#ifndef TWOKEY_AUDIT_USES_H
#define TWOKEY_AUDIT_USES_H

#include "audit/internal.h"

struct audit_uses;

struct audit_uses *audit_uses_new(void);
void audit_uses_free(struct audit_uses *uses);
/* REASON_NONE and the state changed; REASON_REPLAYED, REASON_ID_REUSED, or REASON_EXPIRED when the state may already be
 * forgotten, and nothing changed. `time_ms` never runs backwards. */
enum reason audit_uses_apply(struct audit_uses *uses, const struct audit_use *use, int64_t time_ms, uint64_t index);
/* What audit_uses_apply would say, nothing changed. */
enum reason audit_uses_judge(const struct audit_uses *uses, const struct audit_use *use, int64_t time_ms);
/* A use found in the log, in the record of that index; changes nothing when the entry has seen it already. */
void audit_uses_restore(struct audit_uses *uses, const struct audit_use *use, uint64_t index);
/* A transaction of which so many uses are known to be spent. */
void audit_uses_restore_spent(struct audit_uses *uses, const struct audit_use *use, uint32_t spent);
/* Is the transaction known? *ret_spent: how many uses are spent. */
bool audit_uses_known(const struct audit_uses *uses, const uint8_t id[16], uint32_t *ret_spent);
/* How many transactions are remembered. */
size_t audit_uses_count(const struct audit_uses *uses);

/* What is remembered of one transaction. */
struct audit_uses_entry {
	uint8_t id[16];
	uint8_t sha256[32];
	uint32_t spent;
	int64_t forget_ms;
	uint64_t last_index; /* of the records about it: the last */
};
/* Calls back with the entries of the next buckets that are still needed; false: that was the last page, or the table
 * has been made anew since the first (`lost`). A zeroed cursor begins. */
struct audit_uses_cursor {
	size_t at, buckets;
	bool lost;
};
bool audit_uses_page(const struct audit_uses *uses, struct audit_uses_cursor *cursor, size_t buckets, int64_t time_ms,
                     void (*each)(const struct audit_uses_entry *entry, void *user), void *user);
/* An entry of a page. */
void audit_uses_put(struct audit_uses *uses, const struct audit_uses_entry *entry);

#endif
