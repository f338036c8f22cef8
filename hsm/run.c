/* One operation: a session of its own, and one retry when the session, the login or the key's handle was stale. */
#include "hsm/internal.h"

static enum err_code attempt(struct hsm_session *session, struct hsm_key *key, hsm_op *op, void *args, struct err *err)
{
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	enum err_code code = key ? hsm_key_handle(session, key, &object, err) : ERR_OK;
	return code == ERR_OK ? op(session, object, args, err) : code;
}

enum err_code hsm_run(struct hsm *hsm, struct hsm_key *key, hsm_op *op, void *args, struct err *err)
{
	for (bool again = false;; again = true) {
		unsigned generation = atomic_load(&hsm->generation);
		struct hsm_session *session = NULL;
		enum err_code code = hsm_pool_take(hsm, &session, err);
		if (code != ERR_OK)
			return code;
		code = attempt(session, key, op, args, err);
		CK_RV rv = session->rv;
		hsm_pool_give_back(session);
		if (code == ERR_OK || again || !hsm_rv_retry(rv))
			return code;
		code = hsm_recover(hsm, generation, err);
		if (code != ERR_OK)
			return code;
	}
}
