#include "server/methods.h"

#include "server/caller.h"
#include "server/web_store.h"

#define UNARY_MAX  ((size_t)64 << 10)
#define STREAM_MAX ((size_t)1 << 20)
#define RULES_MAX  ((size_t)3 << 20) + 4096 /* a rule file to try, and what is around it */

#define EVENT(name) TWOKEY__V1__EVENT__EVENT_##name

#define VENDOR     CONFIG_VENDOR
#define GATEKEEPER CONFIG_GATEKEEPER
#define BOTH       (CONFIG_VENDOR | CONFIG_GATEKEEPER)

/* Who may call, beside those with the role admin, who may call everything. docs/IDENTITY.md shows this table, and
 * tests/lint/roles.py reads it. */
#define PROPOSE CALLER_BACKEND
#define DATA    (CALLER_READER | CALLER_ANYONE)
#define SIGNED  CALLER_ANYONE /* by a key that is known: what is sent says who sends it */
#define LOOK    (CALLER_AUDITOR | CALLER_OPERATOR)
#define CHANGE  CALLER_OPERATOR

static const struct method {
	const char *path;
	void (*handler)(struct request *request);
	Twokey__V1__Event event; /* what its decision is in the record */
	size_t max_message_bytes;
	enum { CALL, STREAM, URGENT } kind; /* URGENT: what an operator needs when all else is full */
	unsigned deployments;               /* enum config_role, as bits */
	unsigned callers;                   /* enum config_caller_role, as bits; none: nobody */
} methods[] = {
    {METHOD_AUTHORIZE, svc_authorize, EVENT(AUTHORIZE), UNARY_MAX, CALL, VENDOR, PROPOSE},
    {METHOD_COSIGN, svc_cosign, EVENT(COSIGN), UNARY_MAX, CALL, GATEKEEPER, DATA},
    {METHOD_FETCH, svc_fetch, EVENT(FETCH), UNARY_MAX, STREAM, GATEKEEPER, DATA},
    {METHOD_STORE, svc_store, EVENT(STORE), STREAM_MAX, STREAM, GATEKEEPER, DATA},
    {METHOD_LIST, svc_list, EVENT(LIST), UNARY_MAX, STREAM, GATEKEEPER, DATA},
    {METHOD_REMOVE, svc_remove, EVENT(REMOVE), UNARY_MAX, CALL, GATEKEEPER, DATA},
    {METHOD_PRESIGN, svc_presign, EVENT(FETCH), UNARY_MAX, CALL, GATEKEEPER, DATA},
    {METHOD_AUDIT_SEARCH, svc_audit_search, EVENT(AUDIT), UNARY_MAX, STREAM, BOTH, LOOK},
    {METHOD_AUDIT_GET, svc_audit_get, EVENT(AUDIT), UNARY_MAX, CALL, BOTH, LOOK},
    {METHOD_AUDIT_TAIL, svc_audit_tail, EVENT(AUDIT), UNARY_MAX, STREAM, BOTH, LOOK},
    {METHOD_AUDIT_CHECKPOINT, svc_audit_checkpoint, EVENT(AUDIT), UNARY_MAX, CALL, BOTH, LOOK},
    {METHOD_AUDIT_PROOF, svc_audit_proof, EVENT(AUDIT), UNARY_MAX, CALL, BOTH, LOOK},
    {METHOD_WITNESS_ADD_CHECKPOINT, svc_witness_add_checkpoint, EVENT(CHECKPOINT), UNARY_MAX, CALL, BOTH, SIGNED},
    {METHOD_POLICY_GET, svc_policy_get, EVENT(POLICY), UNARY_MAX, CALL, GATEKEEPER, LOOK},
    {METHOD_POLICY_EXPLAIN, svc_policy_explain, EVENT(POLICY), RULES_MAX, STREAM, GATEKEEPER, LOOK},
    {METHOD_POLICY_RELOAD, svc_policy_reload, EVENT(POLICY), UNARY_MAX, URGENT, BOTH, CHANGE},
    {METHOD_POLICY_REVOKE, svc_policy_revoke, EVENT(RESTRICTION), UNARY_MAX, URGENT, BOTH, CHANGE},
    {METHOD_POLICY_REINSTATE, svc_policy_reinstate, EVENT(RESTRICTION), UNARY_MAX, URGENT, BOTH, CHANGE},
    {METHOD_POLICY_SET_EXPIRY, svc_policy_set_expiry, EVENT(RESTRICTION), UNARY_MAX, URGENT, BOTH, CHANGE},
    {METHOD_POLICY_ADD_USER, svc_policy_add_user, EVENT(RESTRICTION), UNARY_MAX, URGENT, BOTH, CHANGE},
    {METHOD_POLICY_REMOVE_USER, svc_policy_remove_user, EVENT(RESTRICTION), UNARY_MAX, URGENT, BOTH, CHANGE},
    {METHOD_POLICY_LOCKDOWN, svc_policy_lockdown, EVENT(RESTRICTION), UNARY_MAX, URGENT, BOTH, CHANGE},
    {METHOD_POLICY_LIST_RESTRICTIONS, svc_policy_list_restrictions, EVENT(POLICY), UNARY_MAX, STREAM, BOTH, LOOK},
    {METHOD_KEY_LIST, svc_key_list, EVENT(KEY), UNARY_MAX, CALL, BOTH, LOOK},
    {METHOD_KEY_COUNT, svc_key_count, EVENT(KEY), UNARY_MAX, STREAM, GATEKEEPER, LOOK},
    {METHOD_KEY_USE, svc_key_use, EVENT(KEY), UNARY_MAX, STREAM, BOTH, CHANGE},
    {METHOD_KEY_RETIRE, svc_key_retire, EVENT(KEY), UNARY_MAX, STREAM, BOTH, CHANGE},
    {METHOD_KEY_REWRAP, svc_key_rewrap, EVENT(REWRAP), UNARY_MAX, STREAM, GATEKEEPER, CHANGE},
};

#define N_METHODS (sizeof methods / sizeof methods[0])
_Static_assert(N_METHODS < METHODS_MAX, "the table has room for every method and its end");

static const struct method *find(const char *path)
{
	for (size_t i = 0; i < N_METHODS; i++)
		if (strcmp(methods[i].path, path) == 0)
			return &methods[i];
	return NULL;
}

static void serve(struct rpc_call *call, void *user)
{
	const struct method *method = find(rpc_method_path(call));
	struct request request;
	request_init(&request, (struct deployment *)user, call, method->event);
	const enum reason reason = caller_admit(&request, method->callers);
	request.tell_detail = reason == REASON_NONE && method->callers & LOOK;
	if (reason == REASON_NONE)
		method->handler(&request);
	else
		request_refuse(&request, reason);
	request_done(&request);
}

void methods_table(struct deployment *deployment, struct rpc_method table[METHODS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < N_METHODS; i++)
		if (methods[i].deployments & (unsigned)deployment->config->role)
			table[n++] = (struct rpc_method){.path = methods[i].path,
			                                 .handler = serve,
			                                 .user = deployment,
			                                 .max_message_bytes = methods[i].max_message_bytes,
			                                 .stream = methods[i].kind == STREAM,
			                                 .urgent = methods[i].kind == URGENT,
			                                 .put = methods[i].handler == svc_store ? &web_store_put : NULL};
	table[n] = (struct rpc_method){0};
}

static enum reason why_not(const struct deployment *deployment, struct rpc_call *call)
{
	if (rpc_verdict(call) == ERR_EXHAUSTED)
		return REASON_OVERLOADED;
	if (find(rpc_method_path(call)))
		return deployment->config->role == CONFIG_VENDOR ? REASON_VENDOR_CANNOT : REASON_GATEKEEPER_CANNOT;
	return REASON_UNKNOWN_METHOD;
}

void methods_unknown(struct rpc_call *call, void *user)
{
	struct request request;
	request_init(&request, (struct deployment *)user, call, TWOKEY__V1__EVENT__EVENT_REQUEST);
	request_refuse(&request, why_not(request.deployment, call));
	request_done(&request);
}
