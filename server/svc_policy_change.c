/* Policy.Revoke, Reinstate, SetExpiry, AddUser, RemoveUser and Lockdown: each turns its message into a change of
 * restrictions, and the rest is the same for all. */
#include "common/pb.h"
#include "server/methods.h"
#include "server/restriction_record.h"

typedef bool (*fill_fn)(const ProtobufCMessage *message, struct restriction_change *change);

/* ---- from messages ---- */

static bool fill_object(enum restriction_scope scope, const Twokey__V1__ObjectName *name,
                        struct restriction_change *change)
{
	if (!name)
		return false;
	change->scope = scope;
	change->bucket = name->bucket;
	change->name = name->object;
	return true;
}

static bool fill_name(enum restriction_scope scope, const char *name, struct restriction_change *change)
{
	change->scope = scope;
	change->name = name;
	return true;
}

static bool fill_transaction(ProtobufCBinaryData id, struct restriction_change *change)
{
	if (id.len != sizeof change->transaction_id)
		return false;
	change->scope = RESTRICT_TRANSACTION;
	memcpy(change->transaction_id, id.data, id.len);
	return true;
}

static bool fill_target(const Twokey__V1__Target *target, struct restriction_change *change)
{
	switch (target ? target->target_case : TWOKEY__V1__TARGET__TARGET__NOT_SET) {
	case TWOKEY__V1__TARGET__TARGET_TRANSACTION_ID:
		return fill_transaction(target->transaction_id, change);
	case TWOKEY__V1__TARGET__TARGET_OBJECT:
		return fill_object(RESTRICT_OBJECT, target->object, change);
	case TWOKEY__V1__TARGET__TARGET_PREFIX:
		return fill_object(RESTRICT_PREFIX, target->prefix, change);
	case TWOKEY__V1__TARGET__TARGET_USER:
		return fill_name(RESTRICT_USER, target->user, change);
	case TWOKEY__V1__TARGET__TARGET_ACCOUNT:
		return fill_name(RESTRICT_ACCOUNT, target->account, change);
	case TWOKEY__V1__TARGET__TARGET_VENDOR_KEY:
		return fill_name(RESTRICT_VENDOR_KEY, target->vendor_key, change);
	default:
		return false;
	}
}

static bool fill_revoke(const ProtobufCMessage *message, struct restriction_change *change)
{
	const Twokey__V1__RevokeRequest *asked = (const Twokey__V1__RevokeRequest *)message;
	change->action = RESTRICT_REVOKE;
	change->note.why = asked->why;
	return fill_target(asked->target, change);
}

static bool fill_reinstate(const ProtobufCMessage *message, struct restriction_change *change)
{
	const Twokey__V1__ReinstateRequest *asked = (const Twokey__V1__ReinstateRequest *)message;
	change->action = RESTRICT_REINSTATE;
	change->note.why = asked->why;
	return fill_target(asked->target, change);
}

static bool fill_set_expiry(const ProtobufCMessage *message, struct restriction_change *change)
{
	const Twokey__V1__SetExpiryRequest *asked = (const Twokey__V1__SetExpiryRequest *)message;
	change->action = asked->expires_at ? RESTRICT_SET_EXPIRY : RESTRICT_REMOVE_EXPIRY;
	change->expires_ms = transaction_time_ms(asked->expires_at);
	change->note.why = asked->why;
	if (asked->what_case == TWOKEY__V1__SET_EXPIRY_REQUEST__WHAT_OBJECT)
		return fill_object(RESTRICT_OBJECT, asked->object, change);
	return asked->what_case == TWOKEY__V1__SET_EXPIRY_REQUEST__WHAT_PREFIX &&
	       fill_object(RESTRICT_PREFIX, asked->prefix, change);
}

static bool fill_add_user(const ProtobufCMessage *message, struct restriction_change *change)
{
	const Twokey__V1__AddUserRequest *asked = (const Twokey__V1__AddUserRequest *)message;
	change->action = RESTRICT_ADD_USER;
	change->user = asked->user;
	change->note.why = asked->why;
	return fill_object(RESTRICT_OBJECT, asked->object, change);
}

static bool fill_remove_user(const ProtobufCMessage *message, struct restriction_change *change)
{
	const Twokey__V1__RemoveUserRequest *asked = (const Twokey__V1__RemoveUserRequest *)message;
	change->action = asked->whole_list ? RESTRICT_REMOVE_USERS : RESTRICT_REMOVE_USER;
	change->user = asked->user;
	change->note.why = asked->why;
	return (!asked->whole_list || !asked->user[0]) && fill_object(RESTRICT_OBJECT, asked->object, change);
}

static bool fill_lockdown(const ProtobufCMessage *message, struct restriction_change *change)
{
	const Twokey__V1__LockdownRequest *asked = (const Twokey__V1__LockdownRequest *)message;
	change->scope = RESTRICT_EVERYTHING;
	change->action = asked->release ? RESTRICT_RELEASE : RESTRICT_LOCKDOWN;
	change->note.why = asked->why;
	return true;
}

/* ---- what all do ---- */

static void refuse(struct request *request, const struct restriction_change *change, enum reason reason)
{
	Twokey__V1__Record record;
	struct record_times times;
	Google__Protobuf__Timestamp expiry;
	request_record(request, &record, &times);
	restriction_to_record(change, &record, &expiry);
	request_refuse_as(request, &record, reason);
}

static void answer(struct request *request)
{
	Twokey__V1__ChangeResponse response = TWOKEY__V1__CHANGE_RESPONSE__INIT;
	response.record = request->record;
	request_answer(request, &response.base);
}

static void change_restrictions(struct request *request, const ProtobufCMessage *message, fill_fn fill)
{
	struct restriction_change change = {.note.who = request_identity_name(request)};
	if (!fill(message, &change)) {
		err_set(&request->detail, ERR_INVALID, 0, "say what is meant: one target, complete");
		request_refuse(request, REASON_MALFORMED);
		return;
	}
	Twokey__V1__Record record;
	struct record_times times;
	request_record(request, &record, &times);
	enum reason reason =
	    restricting_change(request->deployment->restrictions, &change, &record, &request->record, &request->detail);
	if (reason != REASON_NONE)
		refuse(request, &change, reason);
	else
		answer(request);
}

static void serve(struct request *request, const ProtobufCMessageDescriptor *type, fill_fn fill)
{
	ProtobufCMessage *message = request_receive(request, type);
	if (message)
		change_restrictions(request, message, fill);
	pb_free(message);
}

void svc_policy_revoke(struct request *request)
{
	serve(request, &twokey__v1__revoke_request__descriptor, fill_revoke);
}

void svc_policy_reinstate(struct request *request)
{
	serve(request, &twokey__v1__reinstate_request__descriptor, fill_reinstate);
}

void svc_policy_set_expiry(struct request *request)
{
	serve(request, &twokey__v1__set_expiry_request__descriptor, fill_set_expiry);
}

void svc_policy_add_user(struct request *request)
{
	serve(request, &twokey__v1__add_user_request__descriptor, fill_add_user);
}

void svc_policy_remove_user(struct request *request)
{
	serve(request, &twokey__v1__remove_user_request__descriptor, fill_remove_user);
}

void svc_policy_lockdown(struct request *request)
{
	serve(request, &twokey__v1__lockdown_request__descriptor, fill_lockdown);
}
