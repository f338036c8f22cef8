/* Which sealed object stands last under each name, as the record knows it (audit_object_fresh). The answer comes from
 * the index's table `change`; what the index does not have yet is kept in memory beside it, and while there is no index
 * the ledger itself is read. Thread-safe. */
#ifndef TWOKEY_AUDIT_CHANGES_H
#define TWOKEY_AUDIT_CHANGES_H

#include "audit/index.h"

struct audit_changes;

/* What one record says about one name: a Store that may put an object there, or one that has put it there for good, or
 * a Remove that has taken it away. */
struct audit_change {
	uint64_t index;
	bool settled;             /* it is done: what ended before it began is gone */
	uint64_t began;           /* settled: the record that granted it */
	const uint8_t *object_id; /* 16 bytes, or NULL; belongs to the record */
};
/* False: the record changes no object. */
bool audit_change_of(const Twokey__V1__Record *record, struct audit_change *ret);

struct audit_changes *audit_changes_new(struct audit_ledger *ledger, struct audit_index *index);
void audit_changes_free(struct audit_changes *changes); /* accepts NULL */
/* A record that has become durable. */
void audit_changes_add(struct audit_changes *changes, const Twokey__V1__Record *record, uint64_t index);
/* As audit_object_fresh. */
must_check enum err_code audit_changes_ask(struct audit_changes *changes, const struct audit_object *object,
                                           bool *ret_fresh, struct err *err);

#endif
