/* Witness.AddCheckpoint: the other party's checkpoint is remembered and cosigned when it continues the last one. That
 * is no decision about data, and leaves no record (two parties would answer each other's records for ever): what was
 * cosigned is in the ledger's folder. What was refused is on record. */
#include <stdlib.h>

#include "common/pb.h"
#include "server/methods.h"
#include "server/request.h"
#include "server/witness.h"

static enum reason reason_of(enum err_code code)
{
	switch (code) {
	case ERR_INVALID:
		return REASON_MALFORMED;
	case ERR_NOT_FOUND:
	case ERR_UNAUTHENTICATED:
		return REASON_CHECKPOINT_UNKNOWN;
	case ERR_CORRUPT:
		return REASON_CHECKPOINT_CONTRADICTS;
	case ERR_UNAVAILABLE:
		return REASON_TOKEN_UNAVAILABLE;
	default:
		return REASON_INTERNAL;
	}
}

static bool take_proof(const Twokey__V1__AddCheckpointRequest *asked, struct audit_proof *ret)
{
	if (asked->n_proof >= AUDIT_PROOF_MAX)
		return false;
	for (ret->n = 0; ret->n < asked->n_proof; ret->n++) {
		if (asked->proof[ret->n].len != AUDIT_HASH_BYTES)
			return false;
		memcpy(ret->hashes[ret->n].bytes, asked->proof[ret->n].data, AUDIT_HASH_BYTES);
	}
	return true;
}

static void add(struct request *request, const Twokey__V1__AddCheckpointRequest *asked)
{
	struct audit_proof proof;
	struct audit_witness_answer answer = {0};
	enum err_code code = take_proof(asked, &proof)
	                         ? witness_add(request->deployment->witness, span_str(asked->checkpoint), asked->old_size,
	                                       &proof, &answer, &request->detail)
	                         : err_set(&request->detail, ERR_INVALID, 0, "hashes have 32 bytes");
	if (code != ERR_OK) {
		request_refuse(request, reason_of(code));
		return;
	}
	Twokey__V1__AddCheckpointResponse response = TWOKEY__V1__ADD_CHECKPOINT_RESPONSE__INIT;
	response.conflict = answer.conflict;
	response.size = answer.size;
	response.cosignature = (char *)buf_cstr(&answer.cosignature);
	request_answer(request, &response.base);
	buf_done(&answer.cosignature);
}

void svc_witness_add_checkpoint(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__add_checkpoint_request__descriptor);
	if (message)
		add(request, (const Twokey__V1__AddCheckpointRequest *)message);
	pb_free(message);
}
