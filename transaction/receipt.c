/* What a finished operation is worth: a receipt, signed with the audit key. */
#include "common/pb.h"
#include "transaction/internal.h"

enum err_code transaction_receipt(const Twokey__V1__Receipt *receipt, struct hsm_key *audit_key, struct envelope *ret,
                                  struct err *err)
{
	autobuf struct buf payload = {0};
	pb_pack(&receipt->base, &payload);
	struct envelope envelope;
	envelope_new(TRANSACTION_RECEIPT_TYPE, buf_span(&payload), &envelope);
	enum err_code code = envelope_sign(&envelope, audit_key, err);
	if (code) {
		envelope_done(&envelope);
		return code;
	}
	*ret = envelope;
	return ERR_OK;
}
