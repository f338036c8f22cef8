#include "server/methods.h"

#include "server/request.h"

#define UNARY_MAX  ((size_t)64 << 10)
#define STREAM_MAX ((size_t)1 << 20)
#define RULES_MAX  ((size_t)3 << 20) + 4096 /* a rule file to try, and what is around it */

static const struct {
	const char *path;
	rpc_handler handler;
	size_t max_message_bytes;
	enum { CALL, STREAM, URGENT } kind; /* URGENT: what an operator needs when all else is full */
	unsigned roles;                     /* enum config_role, as bits */
} methods[] = {
    {METHOD_AUTHORIZE, svc_authorize, UNARY_MAX, CALL, CONFIG_VENDOR},
    {METHOD_COSIGN, svc_cosign, UNARY_MAX, CALL, CONFIG_GATEKEEPER},
    {METHOD_FETCH, svc_fetch, UNARY_MAX, STREAM, CONFIG_GATEKEEPER},
    {METHOD_STORE, svc_store, STREAM_MAX, STREAM, CONFIG_GATEKEEPER},
    {METHOD_LIST, svc_list, UNARY_MAX, STREAM, CONFIG_GATEKEEPER},
    {METHOD_REMOVE, svc_remove, UNARY_MAX, CALL, CONFIG_GATEKEEPER},
    {METHOD_AUDIT_SEARCH, svc_audit_search, UNARY_MAX, STREAM, CONFIG_VENDOR | CONFIG_GATEKEEPER},
    {METHOD_AUDIT_GET, svc_audit_get, UNARY_MAX, CALL, CONFIG_VENDOR | CONFIG_GATEKEEPER},
    {METHOD_POLICY_GET, svc_policy_get, UNARY_MAX, CALL, CONFIG_GATEKEEPER},
    {METHOD_POLICY_EXPLAIN, svc_policy_explain, RULES_MAX, STREAM, CONFIG_GATEKEEPER},
    {METHOD_POLICY_RELOAD, svc_policy_reload, UNARY_MAX, URGENT, CONFIG_GATEKEEPER},
    {METHOD_POLICY_REVOKE, svc_policy_revoke, UNARY_MAX, URGENT, CONFIG_VENDOR | CONFIG_GATEKEEPER},
    {METHOD_POLICY_REINSTATE, svc_policy_reinstate, UNARY_MAX, URGENT, CONFIG_VENDOR | CONFIG_GATEKEEPER},
    {METHOD_POLICY_SET_EXPIRY, svc_policy_set_expiry, UNARY_MAX, URGENT, CONFIG_VENDOR | CONFIG_GATEKEEPER},
    {METHOD_POLICY_ADD_USER, svc_policy_add_user, UNARY_MAX, URGENT, CONFIG_VENDOR | CONFIG_GATEKEEPER},
    {METHOD_POLICY_REMOVE_USER, svc_policy_remove_user, UNARY_MAX, URGENT, CONFIG_VENDOR | CONFIG_GATEKEEPER},
    {METHOD_POLICY_LOCKDOWN, svc_policy_lockdown, UNARY_MAX, URGENT, CONFIG_VENDOR | CONFIG_GATEKEEPER},
    {METHOD_POLICY_LIST_RESTRICTIONS, svc_policy_list_restrictions, UNARY_MAX, STREAM,
     CONFIG_VENDOR | CONFIG_GATEKEEPER},
    {METHOD_KEY_LIST, svc_key_list, UNARY_MAX, CALL, CONFIG_VENDOR | CONFIG_GATEKEEPER},
    {METHOD_KEY_COUNT, svc_key_count, UNARY_MAX, STREAM, CONFIG_GATEKEEPER},
    {METHOD_KEY_USE, svc_key_use, UNARY_MAX, STREAM, CONFIG_VENDOR | CONFIG_GATEKEEPER},
    {METHOD_KEY_RETIRE, svc_key_retire, UNARY_MAX, STREAM, CONFIG_VENDOR | CONFIG_GATEKEEPER},
};

#define N_METHODS (sizeof methods / sizeof methods[0])
_Static_assert(N_METHODS < METHODS_MAX, "the table has room for every method and its end");

void methods_table(struct deployment *deployment, struct rpc_method table[METHODS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < N_METHODS; i++)
		if (methods[i].roles & (unsigned)deployment->config->role)
			table[n++] = (struct rpc_method){.path = methods[i].path,
			                                 .handler = methods[i].handler,
			                                 .user = deployment,
			                                 .max_message_bytes = methods[i].max_message_bytes,
			                                 .stream = methods[i].kind == STREAM,
			                                 .urgent = methods[i].kind == URGENT};
	table[n] = (struct rpc_method){0};
}

static enum reason why_not(const struct deployment *deployment, struct rpc_call *call)
{
	if (rpc_verdict(call) == ERR_EXHAUSTED)
		return REASON_OVERLOADED;
	for (size_t i = 0; i < N_METHODS; i++)
		if (strcmp(methods[i].path, rpc_method_path(call)) == 0)
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
