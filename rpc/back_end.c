/* The functions on calls that handlers use: what every transport has in common, then the transport. */
#include "rpc/internal.h"
#include "rpc/status.h"

enum err_code rpc_recv(struct rpc_call *call, struct buf *out, bool *ret_end, struct err *err)
{
	return call->back->recv(call, out, ret_end, err);
}

enum err_code rpc_send(struct rpc_call *call, struct span head, struct buf *body, struct err *err)
{
	return call->back->send(call, head, body, err);
}

void rpc_finish(struct rpc_call *call, enum err_code code, const char *message, const struct rpc_error_info *info)
{
	if (call->finished)
		return;
	call->finished = true;
	if (call->pool)
		rpc_pool_ending(call->pool);
	char clean[RPC_STATUS_MESSAGE_MAX];
	rpc_status_clean(message, clean);
	call->back->finish(call, code, clean, info);
}

void rpc_call_finish_by_verdict(struct rpc_call *call)
{
	const enum err_code verdict = call->verdict;
	rpc_finish(call, verdict, verdict == ERR_INTERNAL ? "the handler gave no answer" : err_text(verdict), NULL);
}

void rpc_watch(struct rpc_call *call, bool (*stop)(void *user, struct rpc_stop *ret), void *user)
{
	call->stop = stop;
	call->stop_user = user;
}

enum err_code rpc_verdict(const struct rpc_call *call)
{
	return call->verdict;
}

bool rpc_cancelled(struct rpc_call *call)
{
	return call->back->cancelled(call);
}

int64_t rpc_deadline_ms(const struct rpc_call *call)
{
	return call->back->deadline_ms(call);
}

const char *rpc_method_path(const struct rpc_call *call)
{
	return call->path;
}

bool rpc_peer(const struct rpc_call *call, struct ip_addr *ret)
{
	return call->back->peer(call, ret);
}

const char *rpc_metadata(const struct rpc_call *call, const char *key)
{
	return call->back->metadata(call, key);
}

bool rpc_metadata_all(const struct rpc_call *call, const char *key, struct buf *out)
{
	return call->back->metadata_all(call, key, out);
}

const struct rpc_identity *rpc_call_identity(struct rpc_call *call)
{
	if (!call->identity_known) {
		call->identity_known = true;
		call->identity = call->back->identity(call);
	}
	return call->identity;
}
