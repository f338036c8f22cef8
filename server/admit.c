#include "server/admit.h"

#include "common/text.h"
#include "server/caller.h"
#include "server/limits.h"

#define ID_TOKEN_METADATA "twokey-id-token"

static enum reason check_form(struct request *request, const Twokey__V1__Envelope *envelope)
{
	enum err_code code = envelope_from_pb(envelope, &request->envelope, &request->detail);
	if (code == ERR_EXHAUSTED)
		return REASON_TOO_LARGE;
	if (code != ERR_OK)
		return REASON_MALFORMED;
	if (strcmp(request->envelope.type, TRANSACTION_TYPE) != 0) {
		err_set(&request->detail, ERR_INVALID, 0, "the payload type is not " TRANSACTION_TYPE);
		return REASON_MALFORMED;
	}
	return REASON_NONE;
}

static enum reason check_flood(struct request *request)
{
	return limits_flood(request) ? REASON_NONE : REASON_FLOOD_LIMIT;
}

static enum reason check_signature(struct request *request)
{
	request->vendor_key =
	    keyring_verify(vendors_now(request->deployment->vendors)->ring, &request->envelope, request_now_ms(request));
	if (request->vendor_key)
		return REASON_NONE;
	/* For the record alone: what somebody tried to ask for. Marked as unverified, used for nothing else. */
	request->unverified = true;
	struct err ignored;
	if (transaction_parse(buf_span(&request->envelope.payload), &request->transaction, &ignored) != REASON_NONE)
		request->transaction = NULL;
	return REASON_SIGNATURE_INVALID;
}

static enum reason check_parse(struct request *request)
{
	return transaction_parse(buf_span(&request->envelope.payload), &request->transaction, &request->detail);
}

static enum reason check_holder(struct request *request)
{
	const struct transaction_call call = {rpc_method_path(request->call), request_now_ms(request)};
	struct transaction_proof proof;
	enum reason reason = transaction_check_holder(request->transaction, &request->envelope, request->proof, &call,
	                                              &proof, &request->detail);
	if (reason != REASON_NONE || !proof.proved)
		return reason;
	return proof_cache_take(request->deployment->proofs, &proof, limits_network(request), call.now_ms,
	                        &request->detail);
}

static enum reason check_audience(struct request *request)
{
	if (strcmp(request->transaction->gatekeeper, request->deployment->config->name) != 0)
		return REASON_AUDIENCE_MISMATCH;
	request->bucket = deployment_bucket(request->deployment, request->transaction->bucket);
	return request->bucket ? REASON_NONE : REASON_AUDIENCE_MISMATCH;
}

static enum reason check_caller(struct request *request)
{
	return caller_check_transaction(request, request->transaction);
}

static enum reason check_operation(struct request *request)
{
	return request->operation == TWOKEY__V1__OPERATION__OPERATION_UNSPECIFIED ||
	               request->transaction->operation == request->operation
	           ? REASON_NONE
	           : REASON_OPERATION_MISMATCH;
}

static enum reason check_time(struct request *request)
{
	return transaction_check_time(request->transaction, request_now_ms(request),
	                              (unsigned)request->deployment->config->lifetime.max, &request->detail);
}

/* Only a look, so that a spent transaction learns nothing of the rules: the use is spent by request_grant, atomically.
 */
static enum reason check_replay(struct request *request)
{
	const struct audit_use use = request_use(request, request->event != TWOKEY__V1__EVENT__EVENT_COSIGN);
	return audit_use_state(request->deployment->audit, &use);
}

static enum reason check_restrictions(struct request *request)
{
	return request_restricted(request);
}

static enum reason check_network(struct request *request)
{
	if (!request->has_address)
		return REASON_NETWORK_DENIED;
	return transaction_check_network(request->transaction, &request->address);
}

/* Whoever shows one must show a good one, whether a rule asks for it or not. */
static enum reason check_id_token(struct request *request)
{
	const char *token = rpc_metadata(request->call, ID_TOKEN_METADATA);
	if (!token || !request->deployment->id_tokens)
		return REASON_NONE;
	char nonce[2 * 16 + 1];
	text_hex(span_of(request->transaction->id.data, request->transaction->id.len), nonce);
	const struct identity_oidc_use use = {.token = token, .subject = request->transaction->subject, .nonce = nonce};
	const enum reason reason = identity_oidc_check(request->deployment->id_tokens, &use, &request->detail);
	request->has_id_token = reason == REASON_NONE;
	return reason;
}

static enum reason check_rules(struct request *request)
{
	const Twokey__V1__Transaction *transaction = request->transaction;
	struct policy_request question = {
	    .operation = (enum policy_operation)transaction->operation,
	    .bucket = transaction->bucket,
	    .object = transaction->object,
	    .account = transaction->account,
	    .user = transaction->subject,
	    .vendor_key = request->vendor_key,
	    .address = request->address,
	    .time_ms = request_now_ms(request),
	    .has_consent = transaction->consent && transaction->consent->given_by[0],
	    .has_purpose = transaction->purpose[0] != '\0',
	    .has_id_token = request->has_id_token,
	};
	policy_country(request->deployment->countries, &request->address, question.country);
	memcpy(request->country, question.country, sizeof request->country);
	struct policy_decision decision;
	policy_decide(request_policy(request), &question, &decision);
	request->rule = decision.rule;
	request->presign_s = decision.allowed ? decision.presign_s : 0;
	policy_limit(request_policy(request), POLICY_PER_VENDOR_KEY, question.vendor_key, &request->vendor_key_limit);
	policy_limit(request_policy(request), POLICY_PER_USER, question.user, &request->user_limit);
	return decision.allowed ? REASON_NONE : decision.reason;
}

static enum reason check_rates(struct request *request)
{
	return limits_admit(request) ? REASON_NONE : REASON_RATE_LIMITED;
}

bool admit(struct request *request, const Twokey__V1__Envelope *envelope, const Twokey__V1__HolderProof *proof,
           Twokey__V1__Operation operation)
{
	static enum reason (*const checks[])(struct request *) = {
	    check_flood, check_signature, check_parse,        check_holder,  check_audience, check_caller, check_operation,
	    check_time,  check_replay,    check_restrictions, check_network, check_id_token, check_rules,  check_rates,
	};
	request->proof = proof;
	request->operation = operation;
	enum reason reason = check_form(request, envelope);
	for (size_t i = 0; reason == REASON_NONE && i < sizeof checks / sizeof checks[0]; i++)
		reason = checks[i](request);
	if (reason == REASON_NONE)
		return true;
	request_refuse(request, reason);
	return false;
}

static bool is_cosigned(const struct request *request)
{
	return keyring_verify(keys_own(request->deployment->keys), &request->envelope, request_now_ms(request)) != NULL;
}

bool admit_cosign(struct request *request)
{
	if (!request_grant(request, REQUEST_NOTE))
		return false;
	if (is_cosigned(request))
		return true;
	enum err_code code =
	    envelope_sign(&request->envelope, keys_transaction(request->deployment->keys), &request->detail);
	if (code == ERR_OK)
		return true;
	/* A signature under our name that we did not make, or no room for ours: the envelope is at fault, not the token. */
	bool envelope_at_fault = code == ERR_EXISTS || code == ERR_EXHAUSTED;
	request_refuse(request, envelope_at_fault ? REASON_SIGNATURE_INVALID : REASON_TOKEN_UNAVAILABLE);
	return false;
}

bool admit_spend(struct request *request)
{
	if (!is_cosigned(request)) {
		const Twokey__V1__Event event = request->event;
		request->event = TWOKEY__V1__EVENT__EVENT_COSIGN;
		if (!admit_cosign(request))
			return false;
		request->event = event;
	}
	return request_grant(request, REQUEST_SPEND);
}
