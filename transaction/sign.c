/* Signing with a key that stays in its token. */
#include "hsm/hsm.h"
#include "transaction/internal.h"

static bool has_keyid(const struct envelope *envelope, const char *keyid)
{
	for (size_t i = 0; i < envelope->n_signatures; i++)
		if (strcmp(envelope->signatures[i].keyid, keyid) == 0)
			return true;
	return false;
}

/* Nothing leaves here that a verifier would refuse for its size. */
static enum err_code add(struct envelope *envelope, const char *keyid, struct buf *sig, struct err *err)
{
	struct envelope_signature *added = envelope_add_signature(envelope);
	if (!added)
		return err_set(err, ERR_EXHAUSTED, 0, "the envelope has %d signatures already", TRANSACTION_SIGNATURES_MAX);
	*added = (struct envelope_signature){.sig = *sig, .keyid = xstrdup(keyid)};
	*sig = (struct buf){0};
	enum err_code code = envelope_check(envelope, err);
	if (code) {
		buf_done(&added->sig);
		free(added->keyid);
		*added = (struct envelope_signature){0};
		envelope->n_signatures--;
	}
	return code;
}

enum err_code envelope_sign(struct envelope *envelope, struct hsm_key *key, struct err *err)
{
	if (has_keyid(envelope, hsm_key_id(key)))
		return err_set(err, ERR_EXISTS, 0, "key %s has signed this envelope already", hsm_key_label(key));
	autobuf struct buf sig = {0};
	enum err_code code = hsm_sign(key, envelope->digest, &sig, err);
	return code ? code : add(envelope, hsm_key_id(key), &sig, err);
}
