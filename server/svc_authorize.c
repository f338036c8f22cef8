/* Authorize: the vendor's backend proposes, the vendor's deployment signs. */
#include "common/pb.h"
#include "server/caller.h"
#include "server/methods.h"
#include "server/request.h"

/* The message borrows from the request; ids and times are ours. */
struct proposal {
	Twokey__V1__Transaction transaction;
	Google__Protobuf__Timestamp issued_at, not_before, expires_at;
	uint8_t id[16];
};

/* What the backend gets that asks for no lifetime: never more than it may have. */
static int64_t standard_lifetime(const struct request *request)
{
	const uint64_t standard = request->deployment->config->lifetime.standard;
	const uint64_t most = request->caller->max_lifetime;
	return (int64_t)(most && most < standard ? most : standard);
}

static enum reason make_proposal(struct request *request, const Twokey__V1__AuthorizeRequest *asked,
                                 struct proposal *out)
{
	const struct config *config = request->deployment->config;
	if (asked->lifetime_seconds > config->lifetime.max)
		return REASON_LIFETIME_TOO_LONG;
	int64_t now = request_now_ms(request);
	int64_t lifetime = asked->lifetime_seconds ? asked->lifetime_seconds : standard_lifetime(request);
	out->issued_at = transaction_timestamp(now);
	out->not_before = asked->not_before ? *asked->not_before : out->issued_at;
	out->expires_at = transaction_timestamp(now + lifetime * 1000);
	if (hsm_random(request->deployment->hsm, out->id, sizeof out->id, &request->detail) != ERR_OK)
		return REASON_TOKEN_UNAVAILABLE;
	Twokey__V1__Transaction *transaction = &out->transaction;
	twokey__v1__transaction__init(transaction);
	transaction->id = (ProtobufCBinaryData){sizeof out->id, out->id};
	transaction->operation = asked->operation;
	transaction->gatekeeper = asked->gatekeeper;
	transaction->bucket = asked->bucket;
	transaction->object = asked->object;
	transaction->account = asked->account;
	transaction->subject = asked->subject;
	transaction->issued_at = &out->issued_at;
	transaction->not_before = &out->not_before;
	transaction->expires_at = &out->expires_at;
	transaction->constraints = asked->constraints;
	transaction->purpose = asked->purpose;
	transaction->consent = asked->consent;
	transaction->correlation_id = asked->correlation_id;
	enum reason reason = transaction_check_form(transaction, &request->detail);
	if (reason != REASON_NONE)
		return reason;
	return transaction_check_time(transaction, now, (unsigned)config->lifetime.max, &request->detail);
}

/* The envelope as it would be signed; the request gets its own parsed copy, for the record. */
static enum reason make_envelope(struct request *request, const Twokey__V1__Transaction *transaction)
{
	autobuf struct buf payload = {.max = TRANSACTION_ENVELOPE_MAX};
	pb_pack(&transaction->base, &payload);
	/* Room for both signatures, so that the gatekeeper's fits too. */
	if (payload.failed || payload.len > TRANSACTION_ENVELOPE_MAX - 2048)
		return REASON_TOO_LARGE;
	envelope_new(TRANSACTION_TYPE, buf_span(&payload), &request->envelope);
	return transaction_parse(buf_span(&payload), &request->transaction, &request->detail);
}

static void answer(struct request *request)
{
	struct envelope_view view;
	Twokey__V1__AuthorizeResponse response = TWOKEY__V1__AUTHORIZE_RESPONSE__INIT;
	response.envelope = envelope_to_pb(&request->envelope, &view);
	response.transaction_id = request->transaction->id;
	response.expires_at = request->transaction->expires_at;
	response.record = request->record;
	request_answer(request, &response.base);
}

static void authorize(struct request *request, const Twokey__V1__AuthorizeRequest *asked)
{
	struct proposal proposal;
	enum reason reason = make_proposal(request, asked, &proposal);
	if (reason == REASON_NONE)
		reason = make_envelope(request, &proposal.transaction);
	if (reason == REASON_NONE)
		reason = caller_check_transaction(request, request->transaction);
	if (reason == REASON_NONE)
		reason = request_restricted(request);
	if (reason != REASON_NONE) {
		request_refuse(request, reason);
		return;
	}
	if (!request_grant(request, REQUEST_NO_USE))
		return;
	if (envelope_sign(&request->envelope, keys_transaction(request->deployment->keys), &request->detail) != ERR_OK)
		request_refuse(request, REASON_TOKEN_UNAVAILABLE);
	else
		answer(request);
}

void svc_authorize(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__authorize_request__descriptor);
	if (message)
		authorize(request, (const Twokey__V1__AuthorizeRequest *)message);
	pb_free(message);
}
