/* A snapshot of restrictions: a file beside the log that saves reading all of it at every start. Derived: it may be
 * removed at any time, and it counts only when the deployment's audit key has signed it and the log has the very place
 * it was taken at.
 *
 *	u32 length | Envelope (DSSE, around the SHA-256 of what follows) | u64 records | 32 bytes chain | { u32 length |
 *Record }
 *
 * Numbers are big-endian. The records are EVENT_RESTRICTION and EVENT_KEY as in the log, one for each fact in force. */
#ifndef TWOKEY_SERVER_RESTRICTION_SNAPSHOT_H
#define TWOKEY_SERVER_RESTRICTION_SNAPSHOT_H

#include "audit/audit.h"
#include "hsm/hsm.h"
#include "policy/policy.h"
#include "server/keys.h"

#define RESTRICTION_SNAPSHOT_FILE "restrictions.snapshot"

/* What stands in force, as the snapshot's body. */
void restriction_snapshot_body(struct restrictions *restrictions, struct keys *keys,
                               const struct audit_position *position, struct buf *out);
must_check enum err_code restriction_snapshot_write(const char *directory, struct span body, struct hsm_key *key,
                                                    struct err *err);
/* Fills an empty state. ERR_NOT_FOUND: none; ERR_CORRUPT: not whole, or not signed by an audit key of ours. */
must_check enum err_code restriction_snapshot_read(const char *directory, struct keys *keys,
                                                   struct restrictions *restrictions, struct audit_position *ret,
                                                   struct err *err);

#endif
