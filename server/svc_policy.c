/* Policy.Get, Reload and ListRestrictions: what is in force. */
#include <stdlib.h>

#include "common/pb.h"
#include "server/methods.h"
#include "server/reload.h"

#define PAGE_TARGETS 200
#define WHY_MAX      RESTRICTIONS_WHY_MAX

/* ---- Get ---- */

static void answer_rules(struct request *request)
{
	struct rules *rules = request->deployment->rules;
	const struct rules_version *version = rules_take(rules);
	Google__Protobuf__Timestamp loaded_at = transaction_timestamp(version->loaded_ms);
	struct err trouble;
	rules_trouble(rules, &trouble);
	Twokey__V1__GetRulesResponse response = TWOKEY__V1__GET_RULES_RESPONSE__INIT;
	response.text = (ProtobufCBinaryData){version->text.len, version->text.data};
	response.sha256 = (ProtobufCBinaryData){sizeof version->sha256, (uint8_t *)version->sha256};
	response.loaded_at = &loaded_at;
	response.path = (char *)rules_path(rules);
	response.rules = (uint32_t)policy_count(version->policy);
	response.trouble = trouble.text;
	request_answer(request, &response.base);
	rules_give_back(version);
}

void svc_policy_get(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__get_rules_request__descriptor);
	if (message && request_grant(request, REQUEST_NO_USE))
		answer_rules(request);
	pb_free(message);
}

/* ---- Reload ---- */

static void reload(struct request *request, const Twokey__V1__ReloadRequest *asked)
{
	Twokey__V1__Record record;
	struct record_times times;
	request_record(request, &record, &times);
	if (strlen(asked->why) > WHY_MAX) {
		err_set(&request->detail, ERR_INVALID, 0, "say why in at most 512 bytes");
		request_refuse(request, REASON_MALFORMED);
		return;
	}
	record.why = asked->why;
	struct reload_result result;
	enum reason reason = reload_all(request->deployment, &record, &result, &request->detail);
	request->record = result.record;
	if (reason != REASON_NONE) {
		request_fail(request, reason);
		return;
	}
	Twokey__V1__ReloadResponse response = TWOKEY__V1__RELOAD_RESPONSE__INIT;
	response.sha256 = (ProtobufCBinaryData){sizeof result.sha256, result.sha256};
	response.rules = result.rules;
	response.changed = result.changed;
	response.record = result.record;
	response.vendor_keys = (char *)(result.vendor_keys ? result.vendor_keys : "");
	response.vendor_keys_changed = result.vendor_keys_changed;
	request_answer(request, &response.base);
}

void svc_policy_reload(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__reload_request__descriptor);
	if (message)
		reload(request, (const Twokey__V1__ReloadRequest *)message);
	pb_free(message);
}

/* ---- ListRestrictions ---- */

/* One page, packed while the restrictions hold still: a slow client must not hold up a revocation. */
struct page {
	Twokey__V1__RestrictionScope scope;
	struct buf bytes;
};

#define RESTRICTIONS_FIELD 1 /* ListRestrictionsResponse.restrictions */

static void pack(const Twokey__V1__Restriction *restriction, struct buf *out)
{
	autobuf struct buf bytes = {0};
	pb_pack(&restriction->base, &bytes);
	pb_append_bytes_header(out, RESTRICTIONS_FIELD, bytes.len);
	buf_append(out, buf_span(&bytes));
}

static void add_restriction(const struct restriction_view *view, void *user)
{
	struct page *page = (struct page *)user;
	if (page->scope && page->scope != (Twokey__V1__RestrictionScope)view->scope)
		return;
	Google__Protobuf__Timestamp since = transaction_timestamp(view->note.time_ms),
	                            expires_at = transaction_timestamp(view->expires_ms);
	Twokey__V1__UserList users = TWOKEY__V1__USER_LIST__INIT;
	Twokey__V1__Restriction restriction = TWOKEY__V1__RESTRICTION__INIT;
	restriction.scope = (Twokey__V1__RestrictionScope)view->scope;
	restriction.bucket = (char *)view->bucket;
	restriction.name = (char *)view->name;
	if (view->transaction_id)
		restriction.transaction_id = (ProtobufCBinaryData){16, (uint8_t *)view->transaction_id};
	static const Twokey__V1__Restriction__WhatCase kinds[] = {
	    [RESTRICTION_REVOKED] = TWOKEY__V1__RESTRICTION__WHAT_REVOKED,
	    [RESTRICTION_EXPIRY] = TWOKEY__V1__RESTRICTION__WHAT_EXPIRES_AT,
	    [RESTRICTION_USERS] = TWOKEY__V1__RESTRICTION__WHAT_USERS,
	    [RESTRICTION_LOCKDOWN] = TWOKEY__V1__RESTRICTION__WHAT_LOCKDOWN,
	};
	restriction.what_case = kinds[view->kind];
	if (view->kind == RESTRICTION_EXPIRY) {
		restriction.expires_at = &expires_at;
	} else if (view->kind == RESTRICTION_USERS) {
		users.n_users = view->n_users;
		users.users = (char **)(uintptr_t)view->users;
		restriction.users = &users;
	} else {
		restriction.revoked = true; /* and `lockdown`, in the same place */
	}
	restriction.who = (char *)view->note.who;
	restriction.why = (char *)view->note.why;
	restriction.since = &since;
	restriction.record = view->note.record;
	pack(&restriction, &page->bytes);
}

static void send_restrictions(struct request *request, Twokey__V1__RestrictionScope scope)
{
	struct restrictions *restrictions = restricting_state(request->deployment->restrictions);
	struct page page = {.scope = scope};
	size_t cursor = 0;
	bool more = true;
	enum err_code code = ERR_OK;
	while (more && code == ERR_OK) {
		more = restrictions_page(restrictions, &cursor, PAGE_TARGETS, add_restriction, &page);
		if (page.bytes.len || !more)
			code = rpc_send(request->call, (struct span){0}, &page.bytes, &request->detail);
		buf_clear(&page.bytes);
	}
	buf_done(&page.bytes);
	if (code == ERR_OK)
		request_finish(request);
	else
		request_fail(request, REASON_CLIENT_GONE);
}

void svc_policy_list_restrictions(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__list_restrictions_request__descriptor);
	if (message && request_grant(request, REQUEST_NO_USE))
		send_restrictions(request, ((const Twokey__V1__ListRestrictionsRequest *)message)->scope);
	pb_free(message);
}
