/* A snapshot of what is derived from the log: single-use state and transfers under way. It saves reading the last hour
 * at a start (docs/AUDIT.md, "The snapshot"). It may be missing at any time, and counts only when somebody vouches for
 * it and the log has the very places at which it was taken. */
#ifndef TWOKEY_AUDIT_SNAPSHOT_H
#define TWOKEY_AUDIT_SNAPSHOT_H

#include "audit/log.h"

#define AUDIT_SNAPSHOT_FILE "state.snapshot"

enum { AUDIT_SNAPSHOT_RECORDS = 100000 }; /* a start reads about so many behind the last snapshot */

/* Where it was taken: the state is that of `begin`, parts of it of later records, none of which is behind `end`. */
struct audit_snapshot {
	struct audit_position begin, end;
	int64_t last_ms;
	uint64_t begin_read; /* the first record that a start reads behind it */
};

/* Writes one when enough has happened since the last. Commits go on meanwhile. One thread at a time. */
must_check enum err_code audit_snapshot_tend(struct audit_log *log, struct err *err);
/* Fills the log's empty state. ERR_NOT_FOUND: there is none; ERR_CORRUPT: it does not count, and the state is to be
 * thrown away. */
must_check enum err_code audit_snapshot_read(struct audit_log *log, struct audit_snapshot *ret, struct err *err);

#endif
