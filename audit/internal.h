/* What the files of this room share: limits, the seam for disk faults, and the open that tests use. */
#ifndef TWOKEY_AUDIT_INTERNAL_H
#define TWOKEY_AUDIT_INTERNAL_H

#include <sys/types.h>

#include "audit/audit.h"

enum {
	AUDIT_RECORD_MAX = 32 << 10,      /* bytes of a serialised record */
	AUDIT_BATCH_MAX = 1 << 20,        /* bytes of the frames that one write carries */
	AUDIT_QUEUE_MAX = 16 << 20,       /* bytes waiting for the disk, beyond which commits are refused */
	AUDIT_SEGMENT_MIN = 64 << 10,     /* bytes of a segment file */
	AUDIT_SEGMENT_DEFAULT = 16 << 20, /* "" */
	AUDIT_CHAIN_BYTES = 32,
	AUDIT_SEARCH_MAX = 10000,
	AUDIT_RETRY_MS = 1000, /* between attempts to recover from a failure */
	AUDIT_COMMIT_TIMEOUT_MS = 10000,

	AUDIT_LIFETIME_MAX_MS = 3600 * 1000, /* of a transaction: the hard limit of the protocol */
	AUDIT_SKEW_MS = 60 * 1000,
	/* Single-use state outlives its transaction by the skew that verifiers allow, and as much again for the way from
	 * the verifier to the log. */
	AUDIT_KEEP_MS = 2 * AUDIT_SKEW_MS,
	/* Older records than this cannot carry state that still matters. */
	AUDIT_REPLAY_MS = AUDIT_LIFETIME_MAX_MS + AUDIT_SKEW_MS + AUDIT_KEEP_MS,
};
#define AUDIT_SEGMENT_MAX ((uint64_t)1 << 30)

/* The ledger behind it. */
struct audit_ledger;
struct audit_ledger *audit_ledger(struct audit *audit);

/* The calls that a failing disk makes fail. */
struct audit_io {
	ssize_t (*write)(int fd, const void *bytes, size_t len, off_t offset);
	int (*sync)(int fd);
	int (*allocate)(int fd, off_t offset, off_t len); /* returns an errno, as posix_fallocate does */
};
extern const struct audit_io audit_io_system;

/* Where a frame is. */
struct audit_place {
	uint64_t segment;
	uint64_t offset;
};

struct audit_tuning {
	const struct audit_io *io;
	unsigned retry_ms;         /* between attempts to recover from a failure */
	uint64_t snapshot_records; /* behind the last snapshot that make another one due */
};

static inline unsigned audit_retry_ms(const struct audit_tuning *tuning)
{
	return tuning && tuning->retry_ms ? tuning->retry_ms : AUDIT_RETRY_MS;
}

must_check enum err_code audit_open_tuned(const struct audit_options *options, const struct audit_tuning *tuning,
                                          struct audit **ret, struct err *err);

#endif
