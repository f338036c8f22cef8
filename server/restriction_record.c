#include "server/restriction_record.h"

#include "transaction/transaction.h"

/* The field of a record that has a target's name. */
static char **name_field(Twokey__V1__Record *record, enum restriction_scope scope)
{
	switch (scope) {
	case RESTRICT_OBJECT:
	case RESTRICT_PREFIX:
		return &record->object;
	case RESTRICT_USER:
		return &record->subject;
	case RESTRICT_ACCOUNT:
		return &record->account;
	case RESTRICT_VENDOR_KEY:
		return &record->vendor_key;
	case RESTRICT_TRANSACTION:
	case RESTRICT_EVERYTHING:
		break;
	}
	return NULL;
}

static bool changes_users(enum restriction_action action)
{
	return action == RESTRICT_ADD_USER || action == RESTRICT_REMOVE_USER;
}

void restriction_to_record(const struct restriction_change *change, Twokey__V1__Record *record,
                           Google__Protobuf__Timestamp *expiry)
{
	record->event = TWOKEY__V1__EVENT__EVENT_RESTRICTION;
	record->restriction_scope = (Twokey__V1__RestrictionScope)change->scope;
	record->restriction_action = (Twokey__V1__RestrictionAction)change->action;
	char **name = name_field(record, change->scope);
	if (name && change->name)
		*name = (char *)change->name;
	if (name == &record->object && change->bucket)
		record->bucket = (char *)change->bucket;
	if (change->scope == RESTRICT_TRANSACTION)
		record->transaction_id =
		    (ProtobufCBinaryData){sizeof change->transaction_id, (uint8_t *)change->transaction_id};
	if (changes_users(change->action) && change->user)
		record->subject = (char *)change->user;
	if (change->action == RESTRICT_SET_EXPIRY) {
		*expiry = transaction_timestamp(change->expires_ms);
		record->restriction_expiry = expiry;
	}
	record->why = (char *)(change->note.why ? change->note.why : "");
}

bool restriction_from_record(const Twokey__V1__Record *record, struct restriction_change *ret)
{
	if (record->event != TWOKEY__V1__EVENT__EVENT_RESTRICTION ||
	    record->decision != TWOKEY__V1__DECISION__DECISION_GRANTED)
		return false;
	*ret = (struct restriction_change){
	    .scope = (enum restriction_scope)record->restriction_scope,
	    .action = (enum restriction_action)record->restriction_action,
	    .bucket = record->bucket,
	    .user = record->subject,
	    .expires_ms = transaction_time_ms(record->restriction_expiry),
	    .note = {.who = record->identity,
	             .why = record->why,
	             .time_ms = transaction_time_ms(record->time),
	             .record = record->index},
	};
	char **name = name_field((Twokey__V1__Record *)(uintptr_t)record, ret->scope);
	ret->name = name ? *name : "";
	if (ret->scope == RESTRICT_TRANSACTION && record->transaction_id.len == sizeof ret->transaction_id)
		memcpy(ret->transaction_id, record->transaction_id.data, sizeof ret->transaction_id);
	return ret->scope >= RESTRICT_TRANSACTION && ret->scope <= RESTRICT_EVERYTHING;
}
