/* Which method is served by whom: one handler per svc_*.c. A handler reads top to bottom like the list of checks in
 * docs/PROTOCOL.md, and is called when the caller may call the method. */
#ifndef TWOKEY_SERVER_METHODS_H
#define TWOKEY_SERVER_METHODS_H

#include "server/request.h"
#include "twokey/v1/gatekeeper.pb-c.h"
#include "twokey/v1/key.pb-c.h"
#include "twokey/v1/policy.pb-c.h"

#define METHOD_AUTHORIZE        "/twokey.v1.Gatekeeper/Authorize"
#define METHOD_COSIGN           "/twokey.v1.Gatekeeper/CoSign"
#define METHOD_FETCH            "/twokey.v1.Gatekeeper/Fetch"
#define METHOD_STORE            "/twokey.v1.Gatekeeper/Store"
#define METHOD_LIST             "/twokey.v1.Gatekeeper/List"
#define METHOD_REMOVE           "/twokey.v1.Gatekeeper/Remove"
#define METHOD_PRESIGN          "/twokey.v1.Gatekeeper/Presign"
#define METHOD_AUDIT_SEARCH     "/twokey.v1.Audit/Search"
#define METHOD_AUDIT_GET        "/twokey.v1.Audit/Get"
#define METHOD_AUDIT_TAIL       "/twokey.v1.Audit/Tail"
#define METHOD_AUDIT_CHECKPOINT "/twokey.v1.Audit/Checkpoint"
#define METHOD_AUDIT_PROOF      "/twokey.v1.Audit/Proof"

#define METHOD_WITNESS_ADD_CHECKPOINT "/twokey.v1.Witness/AddCheckpoint"

#define METHOD_POLICY_GET               "/twokey.v1.Policy/Get"
#define METHOD_POLICY_EXPLAIN           "/twokey.v1.Policy/Explain"
#define METHOD_POLICY_RELOAD            "/twokey.v1.Policy/Reload"
#define METHOD_POLICY_REVOKE            "/twokey.v1.Policy/Revoke"
#define METHOD_POLICY_REINSTATE         "/twokey.v1.Policy/Reinstate"
#define METHOD_POLICY_SET_EXPIRY        "/twokey.v1.Policy/SetExpiry"
#define METHOD_POLICY_ADD_USER          "/twokey.v1.Policy/AddUser"
#define METHOD_POLICY_REMOVE_USER       "/twokey.v1.Policy/RemoveUser"
#define METHOD_POLICY_LOCKDOWN          "/twokey.v1.Policy/Lockdown"
#define METHOD_POLICY_LIST_RESTRICTIONS "/twokey.v1.Policy/ListRestrictions"

#define METHOD_KEY_LIST   "/twokey.v1.Key/List"
#define METHOD_KEY_COUNT  "/twokey.v1.Key/Count"
#define METHOD_KEY_USE    "/twokey.v1.Key/Use"
#define METHOD_KEY_RETIRE "/twokey.v1.Key/Retire"
#define METHOD_KEY_REWRAP "/twokey.v1.Key/Rewrap"

#define METHODS_MAX 32

void svc_authorize(struct request *request);
void svc_cosign(struct request *request);
void svc_fetch(struct request *request);
void svc_store(struct request *request);
void svc_list(struct request *request);
void svc_remove(struct request *request);
void svc_presign(struct request *request);
void svc_audit_search(struct request *request);
void svc_audit_get(struct request *request);
void svc_audit_tail(struct request *request);
void svc_audit_checkpoint(struct request *request);
void svc_audit_proof(struct request *request);
void svc_witness_add_checkpoint(struct request *request);
void svc_policy_get(struct request *request);
void svc_policy_explain(struct request *request);
void svc_policy_reload(struct request *request);
void svc_policy_revoke(struct request *request);
void svc_policy_reinstate(struct request *request);
void svc_policy_set_expiry(struct request *request);
void svc_policy_add_user(struct request *request);
void svc_policy_remove_user(struct request *request);
void svc_policy_lockdown(struct request *request);
void svc_policy_list_restrictions(struct request *request);
void svc_key_list(struct request *request);
void svc_key_count(struct request *request);
void svc_key_use(struct request *request);
void svc_key_retire(struct request *request);
void svc_key_rewrap(struct request *request);

/* Fills the table for this deployment's role, ended by a NULL path. */
void methods_table(struct deployment *deployment, struct rpc_method table[METHODS_MAX]);
/* For everything else: records it, and says which deployment offers the method, if any does. */
void methods_unknown(struct rpc_call *call, void *user);

#endif
