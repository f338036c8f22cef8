/* A deployment's restrictions, and which keys it uses: the state in memory, kept equal to what the record says.
 * Thread-safe.
 *
 * How changes and decisions are ordered. Both are records of one ledger, and its order is the order of all, also when
 * several processes write to it. A decision must honour every change whose record stands before its own: so it says how
 * many records its state is made of (restricting_view), and the ledger refuses to append it behind a change that is not
 * among them (audit_commit_known). The caller then reads on (restricting_catch_up), looks again and tries again. A
 * change that stands behind the grant is seen by the transfer that the grant began, as any running transfer sees it: by
 * the generation, within a fraction of a second; so are changes that another process has recorded, which a thread of
 * its own looks for.
 *
 * When a change could not be seen to become durable (the disk fails), nobody knows whether it holds. Until the ledger
 * can be written and read again, every decision is LEDGER_UNAVAILABLE and transfers are cut: a lockdown stops
 * everything even then. The same holds when a shared ledger could not be looked at for RESTRICTING_BLIND_MS. */
#ifndef TWOKEY_SERVER_RESTRICTING_H
#define TWOKEY_SERVER_RESTRICTING_H

#include "audit/audit.h"
#include "hsm/hsm.h"
#include "policy/policy.h"
#include "server/keys.h"

/* How long a shared ledger may be out of sight before nothing goes on. */
#define RESTRICTING_BLIND_MS 5000

struct restricting;

struct restricting_options {
	struct audit *audit;
	struct keys *keys; /* derived beside the restrictions; the audit key signs snapshots: nothing else is believed */
	const char *directory; /* of the ledger */
	const char *name;      /* of the deployment, for records */
};

/* Derives the state from the record: from the last snapshot on when it is ours and the log's, else from the first
 * record. ERR_CORRUPT: the log does not verify. Borrows the options' pointers. */
must_check enum err_code restricting_open(const struct restricting_options *options, struct restricting **ret,
                                          struct err *err);
/* Leaves a snapshot for the next start. Accepts NULL. */
void restricting_close(struct restricting *restricting);

/* What a check was made on. */
struct restricting_view {
	uint64_t generation;
	uint64_t known; /* for audit_commit_known */
};

/* NONE, or why not; LEDGER_UNAVAILABLE while it is not known. Does not wait. */
enum reason restricting_check(struct restricting *restricting, const struct restriction_question *question,
                              struct restricting_view *ret);
/* Is there anything new since that check? A few loads. */
bool restricting_moved(const struct restricting *restricting, const struct restricting_view *view);
/* Waits for a change that is being written, and applies what the ledger has beyond what is known. LEDGER_UNAVAILABLE:
 * it cannot be read. */
enum reason restricting_catch_up(struct restricting *restricting);
/* Judges, records and applies one change, one at a time. `record` says who and how (a record as request_record makes
 * it); what and why are filled in from the change. LEDGER_UNAVAILABLE: the outcome is not known yet. */
enum reason restricting_change(struct restricting *restricting, const struct restriction_change *change,
                               Twokey__V1__Record *record, uint64_t *ret_record, struct err *detail);
/* Records and applies one change of keys, which the caller has judged. `record` is whole but for index and time.
 * LEDGER_UNAVAILABLE: the outcome is not known yet, or the state has changed since (the detail says so: look again). */
enum reason restricting_change_key(struct restricting *restricting, const Twokey__V1__Record *record,
                                   uint64_t *ret_record, struct err *detail);
/* Once a second: finds out what is not known, writes a snapshot when many records have come since the last. */
void restricting_tend(struct restricting *restricting);

/* For telling what is in force. */
struct restrictions *restricting_state(struct restricting *restricting);

#endif
