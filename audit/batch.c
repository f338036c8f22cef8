#include "audit/batch.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

struct audit_batch *audit_batch_new(void)
{
	struct audit_batch *batch = xcalloc(1, sizeof(*batch));
	batch->frames.max = AUDIT_BATCH_MAX;
	batch->begun_us = clock_monotonic_us();
	atomic_init(&batch->refs, 1);
	return batch;
}

struct audit_batch *audit_batch_ref(struct audit_batch *batch)
{
	atomic_fetch_add_explicit(&batch->refs, 1, memory_order_relaxed);
	return batch;
}

void audit_batch_unref(struct audit_batch *batch)
{
	if (!batch || atomic_fetch_sub_explicit(&batch->refs, 1, memory_order_acq_rel) != 1)
		return;
	buf_done(&batch->frames);
	free(batch);
}

void audit_batch_add(struct audit_batch *batch, struct span prefix, struct span rest)
{
	size_t length = prefix.len + rest.len;
	uint8_t head[AUDIT_FRAME_HEAD] = {AUDIT_FRAME_MARK, (uint8_t)(length >> 16), (uint8_t)(length >> 8),
	                                  (uint8_t)length};
	buf_append(&batch->frames, span_of(head, sizeof(head)));
	buf_append(&batch->frames, prefix);
	buf_append(&batch->frames, rest);
	buf_append_byte(&batch->frames, AUDIT_FRAME_MARK);
	batch->n++;
}

static uint32_t length_of(const uint8_t *frame)
{
	return (uint32_t)frame[1] << 16 | (uint32_t)frame[2] << 8 | frame[3];
}

void audit_batch_seal(struct audit_batch *batch, const struct audit_header *header, uint64_t position,
                      struct audit_hasher *hasher, uint8_t *chain)
{
	uint8_t leaf[AUDIT_CHAIN_BYTES];
	size_t at = 0;
	while (at < batch->frames.len) {
		uint8_t *frame = batch->frames.data + at;
		uint32_t length = length_of(frame);
		audit_hash_leaf(hasher, span_of(frame + AUDIT_FRAME_HEAD, length), leaf);
		audit_hash_chain(hasher, leaf, chain);
		audit_frame_seal(frame, length, (uint32_t)at, position + at, header, chain);
		at += audit_frame_bytes(length);
	}
}

/* Waiters sleep on the batch itself, not on a mutex: one wake-up reaches exactly those whose records are durable, and
 * none of them queues behind another for a lock. */
static long futex(_Atomic(uint32_t) *word, int operation, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, timeout, NULL, 0);
}

void audit_batch_settle(struct audit_batch *batch, enum audit_batch_state state)
{
	atomic_store(&batch->state, state);
	if (atomic_load(&batch->waiters))
		futex(&batch->state, FUTEX_WAKE, INT_MAX, NULL);
}

enum audit_batch_state audit_batch_wait(struct audit_batch *batch, unsigned timeout_ms)
{
	int64_t end_us = clock_monotonic_us() + (int64_t)timeout_ms * 1000;
	uint32_t state;
	atomic_fetch_add(&batch->waiters, 1);
	while ((state = atomic_load(&batch->state)) == AUDIT_BATCH_OPEN) {
		int64_t left_us = end_us - clock_monotonic_us();
		if (left_us <= 0)
			break;
		struct timespec left = {.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
		futex(&batch->state, FUTEX_WAIT, AUDIT_BATCH_OPEN, &left);
	}
	atomic_fetch_sub(&batch->waiters, 1);
	return (enum audit_batch_state)state;
}
