#include "server/caller.h"

#include "server/reload.h"

static bool name_matches(const struct rpc_identity *identity, const char *name)
{
	if (identity->n_names == 0)
		return strcmp(identity->common_name, name) == 0;
	for (size_t i = 0; i < identity->n_names; i++)
		if (strcmp(identity->names[i], name) == 0)
			return true;
	return false;
}

static bool matches(const struct rpc_identity *identity, const struct config_caller *caller)
{
	for (size_t i = 0; i < caller->n_matches; i++) {
		const struct config_match *match = &caller->matches[i];
		if (match->kind == CONFIG_BY_NAME      ? name_matches(identity, match->name)
		    : match->kind == CONFIG_BY_SUBJECT ? strcmp(identity->subject, match->name) == 0
		                                       : strcmp(identity->fingerprint, match->fingerprint) == 0)
			return true;
	}
	return false;
}

/* The first entry that fits the certificate and has a role for this. */
static const struct config_caller *find(const struct request *request, unsigned roles)
{
	const struct config *config = request->deployment->config;
	for (size_t i = 0; i < config->callers.n; i++) {
		const struct config_caller *caller = config_caller(config, i);
		if (caller->role_bits & roles && matches(request->identity, caller))
			return caller;
	}
	return NULL;
}

static enum reason verify(struct request *request)
{
	struct identity_trust *trust = request->deployment->trust;
	const struct identity_certificate certificate = {.pem = request->identity->certificate,
	                                                 .chain = request->identity->chain,
	                                                 .fingerprint = request->identity->fingerprint};
	request->trust_seen = identity_trust_generation(trust);
	return identity_trust_check(trust, &certificate, &request->detail);
}

/* TLS takes up new authorities with the next connection, we within a second: nobody is refused in between. */
static enum reason check_certificate(struct request *request)
{
	enum reason reason = verify(request);
	if (reason != REASON_NONE && identity_trust_changed(request->deployment->trust)) {
		request->detail = (struct err){0};
		reload_trust_if_changed(request->deployment);
		reason = verify(request);
	}
	return reason;
}

enum reason caller_look_again(struct request *request)
{
	if (!request->identity || identity_trust_generation(request->deployment->trust) == request->trust_seen)
		return REASON_NONE;
	return check_certificate(request);
}

/* `data_clients` binds those who use transactions; a checkpoint, say, needs no certificate anyway. */
static bool open_to_anyone(const struct request *request, unsigned roles)
{
	const bool bound = roles & CALLER_READER && request->deployment->config->data_clients == CALLER_READER;
	return roles & CALLER_ANYONE && !bound;
}

enum reason caller_admit(struct request *request, unsigned roles)
{
	const bool anyone = open_to_anyone(request, roles);
	if (!request->identity)
		return anyone ? REASON_NONE : REASON_CALLER_UNAUTHENTICATED;
	request->caller = find(request, roles | CALLER_ADMIN);
	const enum reason reason = check_certificate(request);
	if (reason != REASON_NONE)
		return reason;
	if (!request->caller)
		return anyone ? REASON_NONE : REASON_CALLER_NOT_ALLOWED;
	return policy_scope_circumstance(request->caller->scope, request->has_address ? &request->address : NULL,
	                                 request_now_ms(request));
}

enum reason caller_check_transaction(struct request *request, const Twokey__V1__Transaction *transaction)
{
	const struct config_caller *caller = request->caller;
	if (!caller)
		return REASON_NONE;
	const struct policy_request question = {
	    .operation = (enum policy_operation)transaction->operation,
	    .bucket = transaction->bucket,
	    .object = transaction->object,
	    .account = transaction->account,
	    .user = transaction->subject,
	    .vendor_key = "",
	};
	if (!policy_scope_concerns(caller->scope, &question))
		return REASON_CALLER_LIMITED;
	const int64_t lifetime_ms =
	    transaction_time_ms(transaction->expires_at) - transaction_time_ms(transaction->issued_at);
	return caller->max_lifetime && lifetime_ms > (int64_t)caller->max_lifetime * 1000 ? REASON_LIFETIME_TOO_LONG
	                                                                                  : REASON_NONE;
}
