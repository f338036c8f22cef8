/* A batch: frames that one write carries, and the waiters for it. */
#ifndef TWOKEY_AUDIT_BATCH_H
#define TWOKEY_AUDIT_BATCH_H

#include <stdatomic.h>

#include "audit/frame.h"

enum audit_batch_state {
	AUDIT_BATCH_OPEN,
	AUDIT_BATCH_DURABLE,
	AUDIT_BATCH_FAILED, /* nobody waits any more; it is written all the same when the log recovers */
};

struct audit_batch {
	struct audit_batch *next;  /* in the queue */
	struct buf frames;         /* whose heads hold no more than mark and length until sealed */
	uint64_t n;                /* records */
	int64_t last_ms;           /* time of the last record */
	int64_t begun_us;          /* when the first record came, on the monotonic clock */
	_Atomic(uint32_t) state;   /* enum audit_batch_state; a futex */
	_Atomic(uint32_t) waiters; /* asleep or about to be */
	_Atomic(uint32_t) refs;
};

struct audit_batch *audit_batch_new(void);
struct audit_batch *audit_batch_ref(struct audit_batch *batch);
void audit_batch_unref(struct audit_batch *batch);
/* Adds a record made of two parts; heads are filled by audit_batch_seal. */
void audit_batch_add(struct audit_batch *batch, struct span prefix, struct span rest);
/* Fills heads and marks for a place in a segment; `chain` is the record's before, and becomes the last one's. May be
 * called again for another place. */
void audit_batch_seal(struct audit_batch *batch, const struct audit_header *header, uint64_t position,
                      struct audit_hasher *hasher, uint8_t *chain);
/* Sets the state and wakes the waiters. */
void audit_batch_settle(struct audit_batch *batch, enum audit_batch_state state);
/* Waits until it is settled or the time is over; returns the state. */
enum audit_batch_state audit_batch_wait(struct audit_batch *batch, unsigned timeout_ms);

#endif
