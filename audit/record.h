/* Records as bytes. Thread-safe. */
#ifndef TWOKEY_AUDIT_RECORD_H
#define TWOKEY_AUDIT_RECORD_H

#include "audit/internal.h"

enum {
	AUDIT_PREFIX_MAX = 40, /* bytes of the fields index and time */
};

/* Serialises everything but index and time, which are assigned later and, being fields 1 and 2, come first. Text that
 * is longer than its field's limit is cut and ends in "..."; what is not UTF-8 becomes '?': a refusal is recorded
 * whatever its sender wrote. The fields that carry single-use state are taken from `use`. ERR_INVALID: a bytes field
 * is too long, or `use` and the event do not belong together. */
must_check enum err_code audit_record_encode(const Twokey__V1__Record *record, const struct audit_use *use,
                                             struct buf *out, struct err *err);
/* The fields index and time; returns their length. `out` has AUDIT_PREFIX_MAX bytes. */
size_t audit_record_prefix(uint64_t index, int64_t time_ms, uint8_t *out);
/* The index that a serialised record claims. */
bool audit_record_index(struct span record, uint64_t *ret);
/* The event of a record that this room has written: it is field 3, behind index and time. */
Twokey__V1__Event audit_record_event(struct span record);
/* NULL when it does not parse; freed with twokey__v1__record__free_unpacked(record, NULL). */
Twokey__V1__Record *audit_record_decode(struct span bytes);
int64_t audit_record_time_ms(const Twokey__V1__Record *record);
/* True when the record changes single-use state. */
bool audit_record_use(const Twokey__V1__Record *record, struct audit_use *ret);
/* True when the record changes what decisions are made on (audit_state). */
bool audit_record_changes_state(const Twokey__V1__Record *record);
/* Begins a transfer (granted FETCH, STORE, LIST, REMOVE); ends the one that decision_index granted. */
bool audit_record_begins(const Twokey__V1__Record *record);
bool audit_record_ends(const Twokey__V1__Record *record);
/* A decision that lets something happen. */
bool audit_record_grants(const Twokey__V1__Record *record);

#endif
