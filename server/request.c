#include "server/request.h"

#include <assert.h>
#include <stdio.h>

#include "common/forwarded.h"
#include "common/pb.h"
#include "common/text.h"
#include "server/abuse.h"
#include "server/caller.h"

/* Unpacked requests take at most this many bytes of memory; every unary request is at most 64 KiB on the wire. */
#define UNPACK_BUDGET ((size_t)4 << 20)
/* An expiry comes without a change. */
#define LOOK_AGAIN_US  250000
#define GRANT_ATTEMPTS 16
/* No vendor's field is longer in a record than the transaction allows; longer user agents are left out. */
#define USER_AGENT_MAX 256

/* Whoever connected, or whom a trusted proxy speaks for. */
static void find_address(struct request *request)
{
	const struct config *config = request->deployment->config;
	struct ip_addr peer;
	if (!rpc_peer(request->call, &peer))
		return;
	autobuf struct buf header = {0};
	bool forwarded = rpc_metadata_all(request->call, "x-forwarded-for", &header);
	request->has_address = forwarded_address(&peer, forwarded ? buf_cstr(&header) : NULL, config->proxies,
	                                         config->trusted_proxies.n, &request->address);
	if (request->has_address)
		ip_format(&request->address, request->address_text);
}

/* The token has kept the call's thread for too long: the client is told now, on another thread. What the token says
 * when it does return counts for nothing, and the call's own thread records the refusal then. */
static void token_stuck(void *user)
{
	struct request *request = (struct request *)user;
	if (request->finished)
		return;
	request->finished = true;
	const struct rpc_error_info info = {.reason = reason_name(REASON_TOKEN_UNAVAILABLE), .domain = "twokey"};
	rpc_finish(request->call, reason_code(REASON_TOKEN_UNAVAILABLE), reason_text(REASON_TOKEN_UNAVAILABLE), &info);
}

void request_init(struct request *request, struct deployment *deployment, struct rpc_call *call,
                  Twokey__V1__Event event)
{
	*request =
	    (struct request){.deployment = deployment, .call = call, .event = event, .started_us = clock_monotonic_us()};
	find_address(request);
	request->identity = rpc_call_identity(call);
	request->guard = (struct hsm_guard){token_stuck, request};
	hsm_guard(&request->guard);
}

void request_done(struct request *request)
{
	hsm_guard(NULL);
	envelope_done(&request->envelope);
	transaction_free(request->transaction);
	rules_give_back(request->rules);
}

const struct policy *request_policy(struct request *request)
{
	if (!request->rules)
		request->rules = rules_take(request->deployment->rules);
	return request->rules->policy;
}

int64_t request_now_ms(const struct request *request)
{
	return clock_now_ms(request->deployment->clock);
}

const char *request_identity_name(const struct request *request)
{
	if (request->caller)
		return request->caller->identity;
	if (!request->identity)
		return "";
	return request->identity->n_names ? request->identity->names[0] : request->identity->common_name;
}

static void record_transaction(const Twokey__V1__Transaction *transaction, Twokey__V1__Record *ret,
                               struct record_times *times)
{
	ret->transaction_id = transaction->id;
	ret->operation = transaction->operation;
	ret->gatekeeper = transaction->gatekeeper;
	ret->bucket = transaction->bucket;
	ret->object = transaction->object;
	ret->account = transaction->account;
	ret->subject = transaction->subject;
	ret->purpose = transaction->purpose;
	ret->correlation_id = transaction->correlation_id;
	ret->uses = transaction_uses(transaction);
	if (transaction->consent) {
		ret->consent_by = transaction->consent->given_by;
		ret->consent_text = transaction->consent->text;
	}
	times->expires_at = transaction_timestamp(transaction_time_ms(transaction->expires_at));
	ret->expires_at = &times->expires_at;
}

void request_record(const struct request *request, Twokey__V1__Record *ret, struct record_times *times)
{
	twokey__v1__record__init(ret);
	ret->event = request->event;
	ret->method = (char *)rpc_method_path(request->call);
	ret->address = (char *)request->address_text;
	ret->identity = (char *)request_identity_name(request);
	if (request->identity && text_unhex(request->identity->fingerprint, times->certificate, sizeof times->certificate))
		ret->certificate_sha256 = (ProtobufCBinaryData){sizeof times->certificate, times->certificate};
	const char *agent = rpc_metadata(request->call, "user-agent");
	ret->user_agent = (char *)(agent && strlen(agent) <= USER_AGENT_MAX ? agent : "");
	ret->country = (char *)request->country;
	ret->why = (char *)(request->why ? request->why : "");
	ret->detail = (char *)(request->about ? request->about : "");
	ret->rule = (char *)(request->rule ? request->rule : "");
	ret->vendor_key = (char *)(request->vendor_key ? request->vendor_key : "");
	ret->unverified = request->unverified;
	if (request->has_id_token)
		ret->id_token_issuer = request->deployment->config->id_tokens.issuer;
	if (request->envelope.payload.len) {
		ret->transaction_sha256.data = (uint8_t *)request->envelope.digest;
		ret->transaction_sha256.len = sizeof request->envelope.digest;
	}
	if (request->transaction)
		record_transaction(request->transaction, ret, times);
}

/* What the client is told: for operators, with the detail. */
static const char *message_of(const struct request *request, enum reason reason, struct buf *storage)
{
	if (!request->tell_detail || !request->detail.text[0])
		return reason_text(reason);
	buf_printf(storage, "%s: %s", reason_text(reason), request->detail.text);
	return buf_cstr(storage);
}

static void finish(struct request *request, enum reason reason, const uint64_t *record)
{
	if (request->finished)
		return;
	request->finished = true;
	struct rpc_error_info info = {.reason = reason_name(reason), .domain = "twokey"};
	char index[24];
	if (record) {
		snprintf(index, sizeof index, "%llu", (unsigned long long)*record);
		info.metadata_key[0] = "record";
		info.metadata_value[0] = index;
		info.n_metadata = 1;
	}
	autobuf struct buf storage = {0};
	rpc_finish(request->call, reason_code(reason), message_of(request, reason, &storage), &info);
}

void request_refuse_as(struct request *request, Twokey__V1__Record *record, enum reason reason)
{
	record->decision = TWOKEY__V1__DECISION__DECISION_DENIED;
	record->reason = (char *)reason_name(reason);
	record->detail = request->detail.text;
	struct audit_commit commit;
	struct err err;
	if (audit_commit(request->deployment->audit, record, NULL, &commit, &err) != ERR_OK) {
		log_event(LOG_ERROR, "a refusal could not be recorded", "reason", reason_name(reason), "error", err.text, NULL);
		finish(request, REASON_LEDGER_UNAVAILABLE, NULL);
		return;
	}
	request->record = commit.index;
	abuse_wait(request, reason);
	finish(request, reason, &commit.index);
}

void request_refuse(struct request *request, enum reason reason)
{
	Twokey__V1__Record record;
	struct record_times times;
	request_record(request, &record, &times);
	request_refuse_as(request, &record, reason);
}

void request_fail(struct request *request, enum reason reason)
{
	finish(request, reason, &request->record);
}

void request_finish(struct request *request)
{
	if (request->finished)
		return;
	request->finished = true;
	rpc_finish(request->call, ERR_OK, "", NULL);
}

struct audit_use request_use(const struct request *request, bool spend)
{
	assert(request->transaction);
	struct audit_use use = {
	    .max_uses = transaction_uses(request->transaction),
	    .expires_at_ms = transaction_time_ms(request->transaction->expires_at),
	    .spend = spend,
	};
	memcpy(use.transaction_id, request->transaction->id.data, sizeof use.transaction_id);
	memcpy(use.transaction_sha256, request->envelope.digest, sizeof use.transaction_sha256);
	return use;
}

enum reason request_restricted(struct request *request)
{
	const Twokey__V1__Transaction *transaction = request->transaction;
	const struct restriction_question question = {
	    .list = transaction->operation == TWOKEY__V1__OPERATION__OPERATION_LIST,
	    .transaction_id = transaction->id.data,
	    .bucket = transaction->bucket,
	    .object = transaction->object,
	    .account = transaction->account[0] ? transaction->account : NULL,
	    .user = transaction->subject,
	    .vendor_key = request->vendor_key,
	    .now_ms = request_now_ms(request),
	};
	request->looked_us = clock_monotonic_us();
	return restricting_check(request->deployment->restrictions, &question, &request->restrictions);
}

bool request_cut(struct request *request)
{
	if (request->cut == REASON_NONE && (restricting_moved(request->deployment->restrictions, &request->restrictions) ||
	                                    clock_monotonic_us() - request->looked_us >= LOOK_AGAIN_US))
		request->cut = request_restricted(request);
	if (request->cut == REASON_NONE)
		request->cut = caller_look_again(request);
	return request->cut != REASON_NONE;
}

/* LEDGER_UNAVAILABLE: the call has been finished, since nothing can be recorded. */
static enum reason commit_grant(struct request *request, enum request_grant_mode mode, uint64_t known, bool *ret_stale)
{
	Twokey__V1__Record record;
	struct record_times times;
	request_record(request, &record, &times);
	record.decision = TWOKEY__V1__DECISION__DECISION_GRANTED;
	if (request->object_id && request->event == TWOKEY__V1__EVENT__EVENT_STORE)
		record.object_id = (ProtobufCBinaryData){SEAL_OBJECT_ID_BYTES, (uint8_t *)request->object_id};
	struct audit_use use;
	if (mode != REQUEST_NO_USE)
		use = request_use(request, mode == REQUEST_SPEND);
	struct audit_commit commit;
	struct err err;
	if (audit_commit_known(request->deployment->audit, &record, mode == REQUEST_NO_USE ? NULL : &use, known, ret_stale,
	                       &commit, &err) != ERR_OK) {
		log_event(LOG_ERROR, "a grant could not be recorded", "error", err.text, NULL);
		finish(request, REASON_LEDGER_UNAVAILABLE, NULL);
		return REASON_LEDGER_UNAVAILABLE;
	}
	if (commit.refusal == REASON_NONE && !*ret_stale)
		request->record = commit.index;
	return commit.refusal;
}

/* The order of decisions and restrictions: server/restricting.h. */
static enum reason commit_unrestricted(struct request *request, enum request_grant_mode mode)
{
	struct restricting *restrictions = request->deployment->restrictions;
	bool stale = restricting_moved(restrictions, &request->restrictions);
	enum reason reason = stale ? request_restricted(request) : REASON_NONE;
	for (int i = 0; reason == REASON_NONE && i < GRANT_ATTEMPTS; i++) {
		reason = commit_grant(request, mode, request->restrictions.known, &stale);
		if (reason != REASON_NONE || !stale)
			return reason;
		reason = restricting_catch_up(restrictions);
		if (reason == REASON_NONE)
			reason = request_restricted(request);
	}
	return reason == REASON_NONE ? REASON_LEDGER_UNAVAILABLE : reason;
}

bool request_grant(struct request *request, enum request_grant_mode mode)
{
	bool stale;
	enum reason reason =
	    request->transaction ? commit_unrestricted(request, mode) : commit_grant(request, mode, UINT64_MAX, &stale);
	if (reason != REASON_NONE && !request->finished)
		request_refuse(request, reason);
	return reason == REASON_NONE;
}

ProtobufCMessage *request_receive(struct request *request, const ProtobufCMessageDescriptor *type)
{
	autobuf struct buf bytes = {0};
	bool end = false;
	enum err_code code = rpc_recv(request->call, &bytes, &end, &request->detail);
	if (code == ERR_OK && end)
		code = err_set(&request->detail, ERR_INVALID, 0, "no request message");
	ProtobufCMessage *message = NULL;
	if (code == ERR_OK)
		code = pb_unpack(type, buf_span(&bytes), PB_LENIENT, UNPACK_BUDGET, &message, &request->detail);
	if (code == ERR_OK)
		return message;
	request_refuse(request, code == ERR_CANCELLED   ? REASON_CLIENT_GONE
	                        : code == ERR_EXHAUSTED ? REASON_TOO_LARGE
	                                                : REASON_MALFORMED);
	return NULL;
}

enum err_code request_send(struct request *request, const ProtobufCMessage *message, struct err *err)
{
	autobuf struct buf bytes = {0};
	pb_pack(message, &bytes);
	return rpc_send(request->call, (struct span){0}, &bytes, err);
}

void request_answer(struct request *request, const ProtobufCMessage *message)
{
	struct err err;
	if (request_send(request, message, &err) == ERR_OK)
		request_finish(request);
	else
		request_fail(request, REASON_CLIENT_GONE);
}

enum reason request_reason_of(const struct request *request, enum err_code code)
{
	if (request->cut != REASON_NONE)
		return request->cut;
	if (code == ERR_CANCELLED || code == ERR_DEADLINE || rpc_cancelled(request->call)) {
		int64_t deadline = rpc_deadline_ms(request->call);
		return deadline && clock_now_ms(NULL) >= deadline ? REASON_DEADLINE_PASSED : REASON_CLIENT_GONE;
	}
	const Twokey__V1__Constraints *constraints = request->transaction ? request->transaction->constraints : NULL;
	switch (code) {
	case ERR_NOT_FOUND:
		return REASON_OBJECT_NOT_FOUND;
	case ERR_EXISTS:
		return REASON_OBJECT_EXISTS;
	case ERR_CORRUPT:
		return REASON_OBJECT_CORRUPT;
	case ERR_INVALID:
		return constraints && constraints->range ? REASON_RANGE_INVALID : REASON_STORE_REFUSED;
	default:
		return REASON_STORE_UNAVAILABLE;
	}
}
