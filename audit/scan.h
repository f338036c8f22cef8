/* Reading a ledger directory from the first record, without its lock, and checking everything on the way. */
#ifndef TWOKEY_AUDIT_SCAN_H
#define TWOKEY_AUDIT_SCAN_H

#include "audit/walk.h"

struct audit_scanned {
	uint64_t index;
	const uint8_t *leaf;
	struct span record;
};
/* As audit_scan. */
must_check enum err_code audit_scan_leaves(const char *directory,
                                           bool (*each)(const struct audit_scanned *scanned, void *user), void *user,
                                           struct err *err);

#endif
