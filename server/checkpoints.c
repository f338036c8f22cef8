#include "server/checkpoints.h"

#include <stdlib.h>

#include "server/witness.h"

#define GENERATIONS_MAX 64

enum err_code checkpoints_sign(void *user, const uint8_t digest[32], struct buf *signature, struct buf *spki,
                               struct err *err)
{
	struct deployment *deployment = (struct deployment *)user;
	struct hsm_key *key = keys_audit(deployment->keys);
	enum err_code code = hsm_sign(key, digest, signature, err);
	if (code == ERR_OK)
		buf_append(spki, hsm_key_spki(key));
	return code;
}

struct own {
	const char *origin;
	struct audit_verifier *verifiers[GENERATIONS_MAX];
	size_t n;
};

static void add_own(const struct key_view *view, void *user)
{
	struct own *own = (struct own *)user;
	if (view->role != TWOKEY__V1__KEY_ROLE__KEY_ROLE_AUDIT || !view->key || own->n == GENERATIONS_MAX)
		return;
	if (audit_verifier_new(own->origin, hsm_key_spki(view->key), &own->verifiers[own->n], NULL) == ERR_OK)
		own->n++;
}

static void own_done(struct own *own)
{
	for (size_t i = 0; i < own->n; i++)
		audit_verifier_free(own->verifiers[i]);
}

enum err_code checkpoints_vkey(struct deployment *deployment, struct buf *out, struct err *err)
{
	struct audit_verifier *verifier = NULL;
	enum err_code code = audit_verifier_new(deployment->config->ledger.origin,
	                                        hsm_key_spki(keys_audit(deployment->keys)), &verifier, err);
	if (code != ERR_OK)
		return code;
	buf_append_str(out, audit_verifier_vkey(verifier));
	audit_verifier_free(verifier);
	return ERR_OK;
}

enum err_code checkpoints_open(struct deployment *deployment, struct err *err)
{
	autobuf struct buf vkey = {0};
	struct own own = {.origin = deployment->config->ledger.origin};
	enum err_code code = checkpoints_vkey(deployment, &vkey, err);
	if (code != ERR_OK) {
		err_prefix(err, "the audit key");
		return code;
	}
	keys_each(deployment->keys, add_own, &own);
	const struct audit_tree_options options = {
	    .audit = deployment->audit,
	    .directory = deployment->config->ledger.directory,
	    .signer = {.origin = own.origin, .sign = checkpoints_sign, .user = deployment},
	    .own = own.verifiers,
	    .n_own = own.n,
	};
	code = audit_tree_open(&options, &deployment->tree, err);
	own_done(&own);
	return code;
}

void checkpoints_close(struct deployment *deployment)
{
	witness_close(deployment->witness);
	deployment->witness = NULL;
	audit_tree_close(deployment->tree);
	deployment->tree = NULL;
}
