#include "server/vouch.h"

#include "common/pb.h"
#include "transaction/transaction.h"

enum err_code vouch_sign(struct hsm_key *key, const char *type, const uint8_t sha256[32], struct buf *out,
                         struct err *err)
{
	struct envelope envelope = {0};
	envelope_new(type, span_of(sha256, 32), &envelope);
	enum err_code code = envelope_sign(&envelope, key, err);
	if (code == ERR_OK) {
		struct envelope_view view;
		pb_pack(&envelope_to_pb(&envelope, &view)->base, out);
	}
	envelope_done(&envelope);
	return code;
}

enum err_code vouch_verify(struct keys *keys, const char *type, const uint8_t sha256[32], struct span envelope_bytes,
                           struct err *err)
{
	struct envelope envelope = {0};
	struct keyring *ring = keyring_new();
	enum err_code code = envelope_parse(envelope_bytes, &envelope, err);
	keys_add_public(keys, TWOKEY__V1__KEY_ROLE__KEY_ROLE_AUDIT, ring);
	if (code == ERR_OK &&
	    (strcmp(envelope.type, type) != 0 || !span_eq(buf_span(&envelope.payload), span_of(sha256, 32)) ||
	     !keyring_verify(ring, &envelope, 0)))
		code = err_set(err, ERR_CORRUPT, 0, "no audit key of ours has signed it");
	keyring_free(ring);
	envelope_done(&envelope);
	return code;
}
