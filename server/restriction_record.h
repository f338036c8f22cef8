/* A change of restrictions as a record, and back. */
#ifndef TWOKEY_SERVER_RESTRICTION_RECORD_H
#define TWOKEY_SERVER_RESTRICTION_RECORD_H

#include "audit/audit.h"
#include "policy/policy.h"

/* Sets the fields of an EVENT_RESTRICTION that say what and why; *expiry is what the record points to. Borrows. */
void restriction_to_record(const struct restriction_change *change, Twokey__V1__Record *record,
                           Google__Protobuf__Timestamp *expiry);
/* Borrows. False when the record changed nothing: another event, or a change that was refused. */
bool restriction_from_record(const Twokey__V1__Record *record, struct restriction_change *ret);

#endif
