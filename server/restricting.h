/* A deployment's restrictions, and which keys it uses: the state in memory, kept equal to what the record says.
 * Thread-safe.
 *
 * How changes and decisions are ordered. Both are records of one log; a decision must honour every change whose record
 * stands before its own, and a change must be durable before it takes effect. A change is announced, committed, and
 * applied in memory, in this order, and then waits until every grant that was being committed meanwhile is decided;
 * only then it is answered, and the next one may begin. A grant enters, looks at the restrictions, is committed, waits
 * for a change that is announced (one flush of the log), looks again, and leaves. So:
 * - what was applied before it entered, the first look sees;
 * - at most one change is applied while it is inside; if that one's record stands before the grant's, it was announced
 *   before the grant was committed, so the second look sees it, and the grant is taken back before anything is served;
 * - what stands behind it, the transfer that the grant began sees as any running transfer does: by the generation,
 *   within a fraction of a second.
 *
 * When a change could not be seen to become durable (the disk fails), nobody knows whether it holds. Until the log can
 * be written and read again, every decision is LEDGER_UNAVAILABLE and transfers are cut: a lockdown stops everything
 * even then. */
#ifndef TWOKEY_SERVER_RESTRICTING_H
#define TWOKEY_SERVER_RESTRICTING_H

#include "audit/audit.h"
#include "hsm/hsm.h"
#include "policy/policy.h"
#include "server/keys.h"

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

/* NONE, or why not; LEDGER_UNAVAILABLE while it is not known. *ret_seen is for restricting_moved. Does not wait. */
enum reason restricting_check(struct restricting *restricting, const struct restriction_question *question,
                              uint64_t *ret_seen);
/* Is there anything new since that check? Two loads. */
bool restricting_moved(const struct restricting *restricting, uint64_t seen);
/* Around the commit of a grant. A look belongs behind restricting_enter; restricting_await, which waits for a change
 * that is being written, and another look belong before restricting_leave. */
unsigned restricting_enter(struct restricting *restricting);
void restricting_await(struct restricting *restricting);
void restricting_leave(struct restricting *restricting, unsigned entered);

/* Judges, records and applies one change, one at a time. `record` says who and how (a record as request_record makes
 * it); what and why are filled in from the change. LEDGER_UNAVAILABLE: the outcome is not known yet. */
enum reason restricting_change(struct restricting *restricting, const struct restriction_change *change,
                               Twokey__V1__Record *record, uint64_t *ret_record, struct err *detail);
/* Records and applies one change of keys, which the caller has judged. `record` is whole but for index and time.
 * LEDGER_UNAVAILABLE: the outcome is not known yet. */
enum reason restricting_change_key(struct restricting *restricting, const Twokey__V1__Record *record,
                                   uint64_t *ret_record, struct err *detail);
/* Once a second: finds out what is not known, writes a snapshot when many records have come since the last. */
void restricting_tend(struct restricting *restricting);

/* For telling what is in force. */
struct restrictions *restricting_state(struct restricting *restricting);

#endif
