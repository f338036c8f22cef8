/* Rewrap: a bucket's data keys go under the current KEK. */
#include "common/pb.h"
#include "server/key_rewrap.h"
#include "server/methods.h"

static bool cancelled(void *user)
{
	return rpc_cancelled((struct rpc_call *)user);
}

static enum err_code send_progress(struct request *request, const struct key_rewrap *rewrap, bool complete)
{
	Twokey__V1__RewrapResponse response = TWOKEY__V1__REWRAP_RESPONSE__INIT;
	response.objects = rewrap->objects;
	response.rewrapped = rewrap->rewrapped;
	response.failed = rewrap->failed;
	response.not_sealed = rewrap->not_sealed;
	response.last = (char *)rewrap->last;
	response.complete = complete;
	response.record = request->record;
	return request_send(request, &response.base, &request->detail);
}

static bool tell(const struct key_rewrap *rewrap, void *user)
{
	return send_progress((struct request *)user, rewrap, false) == ERR_OK;
}

/* What begins it, and, with an outcome, what ends it. */
static void describe(const struct request *request, const Twokey__V1__RewrapRequest *asked, Twokey__V1__Record *record,
                     struct record_times *times)
{
	request_record(request, record, times);
	record->gatekeeper = request->deployment->config->name;
	record->bucket = asked->bucket;
	record->object = asked->after;
	record->why = asked->why;
	record->key_role = TWOKEY__V1__KEY_ROLE__KEY_ROLE_KEK;
}

static bool grant(struct request *request, const Twokey__V1__RewrapRequest *asked)
{
	Twokey__V1__Record record;
	struct record_times times;
	unsigned generation;
	describe(request, asked, &record, &times);
	record.decision = TWOKEY__V1__DECISION__DECISION_GRANTED;
	record.key_id = (char *)hsm_key_id(keys_current(request->deployment->keys, request->bucket->kek, &generation));
	struct audit_commit commit;
	if (audit_commit(request->deployment->audit, &record, NULL, &commit, &request->detail) == ERR_OK) {
		request->record = commit.index;
		return true;
	}
	request_fail(request, REASON_LEDGER_UNAVAILABLE);
	return false;
}

static enum err_code complete(struct request *request, const struct key_rewrap *rewrap, enum reason reason)
{
	Twokey__V1__Record record;
	struct record_times times;
	struct audit_commit commit;
	struct err err;
	request_record(request, &record, &times);
	record.event = TWOKEY__V1__EVENT__EVENT_COMPLETION;
	record.gatekeeper = request->deployment->config->name;
	record.bucket = request->bucket->config->name;
	record.object = (char *)rewrap->last;
	record.decision_index = request->record;
	record.outcome = (char *)(reason == REASON_NONE ? "complete" : reason_name(reason));
	record.objects = rewrap->rewrapped;
	record.duration_us = (uint64_t)(clock_monotonic_us() - request->started_us);
	record.detail = request->detail.text;
	return audit_commit(request->deployment->audit, &record, NULL, &commit, &err);
}

static void rewrap(struct request *request, const Twokey__V1__RewrapRequest *asked)
{
	const struct store_cancel cancel = {
	    .cancelled = cancelled, .user = request->call, .deadline_ms = rpc_deadline_ms(request->call)};
	struct key_rewrap rewrap = {.after = asked->after, .cancel = &cancel, .progress = tell, .user = request};
	enum err_code code = key_rewrap_run(request, &rewrap, &request->detail);
	enum reason reason = code == ERR_OK ? REASON_NONE : request_reason_of(request, code);
	if (complete(request, &rewrap, reason) != ERR_OK)
		reason = REASON_LEDGER_UNAVAILABLE;
	if (reason == REASON_NONE && send_progress(request, &rewrap, true) == ERR_OK)
		request_finish(request);
	else
		request_fail(request, reason == REASON_NONE ? REASON_CLIENT_GONE : reason);
}

static enum reason check(struct request *request, const Twokey__V1__RewrapRequest *asked)
{
	request->bucket = deployment_bucket(request->deployment, asked->bucket);
	if (!request->bucket) {
		err_set(&request->detail, ERR_NOT_FOUND, 0, "there is no such bucket");
		return REASON_NO_SUCH_KEY;
	}
	if (asked->why[0])
		return REASON_NONE;
	err_set(&request->detail, ERR_INVALID, 0, "say why, for the record");
	return REASON_MALFORMED;
}

static void refuse(struct request *request, const Twokey__V1__RewrapRequest *asked, enum reason reason)
{
	Twokey__V1__Record record;
	struct record_times times;
	describe(request, asked, &record, &times);
	request_refuse_as(request, &record, reason);
}

void svc_key_rewrap(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__rewrap_request__descriptor);
	const Twokey__V1__RewrapRequest *asked = (const Twokey__V1__RewrapRequest *)message;
	if (message) {
		enum reason reason = check(request, asked);
		if (reason != REASON_NONE)
			refuse(request, asked, reason);
		else if (grant(request, asked))
			rewrap(request, asked);
	}
	pb_free(message);
}
