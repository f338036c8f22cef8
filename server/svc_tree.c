/* Audit.Checkpoint and Audit.Proof: what the log is, and that a record is in it. */
#include <stdlib.h>

#include "common/pb.h"
#include "server/checkpoints.h"
#include "server/methods.h"
#include "server/request.h"
#include "server/witness.h"

#define WAIT_MS 10000

static enum reason reason_of(enum err_code code)
{
	switch (code) {
	case ERR_NOT_FOUND:
		return REASON_NO_SUCH_RECORD;
	case ERR_INVALID:
		return REASON_MALFORMED;
	case ERR_DEADLINE:
		return REASON_DEADLINE_PASSED;
	case ERR_UNAVAILABLE:
		return REASON_LEDGER_UNAVAILABLE;
	default:
		return REASON_INTERNAL;
	}
}

static unsigned wait_ms(const struct request *request)
{
	int64_t deadline = rpc_deadline_ms(request->call);
	int64_t left = deadline ? deadline - clock_now_ms(NULL) : WAIT_MS;
	return left <= 0 ? 1 : left < WAIT_MS ? (unsigned)left : WAIT_MS;
}

/* The last checkpoint, of at least so many records. *ret borrows from *note. */
static enum err_code take_checkpoint(struct request *request, uint64_t at_least, struct buf *note,
                                     struct audit_checkpoint *ret)
{
	enum err_code code =
	    audit_tree_checkpoint(request->deployment->tree, at_least, wait_ms(request), note, &request->detail);
	return code == ERR_OK ? audit_checkpoint_parse(buf_span(note), ret, &request->detail) : code;
}

static void answer_checkpoint(struct request *request, uint64_t at_least)
{
	autobuf struct buf note = {0}, vkey = {0}, witnessed = {0};
	struct audit_checkpoint checkpoint;
	struct err trouble = {0};
	Twokey__V1__CheckpointResponse response = TWOKEY__V1__CHECKPOINT_RESPONSE__INIT;
	enum err_code code = take_checkpoint(request, at_least, &note, &checkpoint);
	if (code == ERR_OK)
		code = checkpoints_vkey(request->deployment, &vkey, &request->detail);
	if (code != ERR_OK) {
		request_fail(request, reason_of(code));
		return;
	}
	response.witnessed = witness_state(request->deployment->witness, &witnessed, &trouble);
	response.checkpoint = (char *)buf_cstr(&note);
	response.vkey = (char *)buf_cstr(&vkey);
	response.size = checkpoint.size;
	response.witnessed_checkpoint = (char *)buf_cstr(&witnessed);
	response.witness_trouble = trouble.text;
	request_answer(request, &response.base);
}

void svc_audit_checkpoint(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__checkpoint_request__descriptor);
	if (message && request_grant(request, REQUEST_NO_USE))
		answer_checkpoint(request, ((const Twokey__V1__CheckpointRequest *)message)->at_least);
	pb_free(message);
}

static void send_proof(struct request *request, const Twokey__V1__ProofResponse *but_hashes, struct audit_proof *proof)
{
	Twokey__V1__ProofResponse response = *but_hashes;
	ProtobufCBinaryData hashes[AUDIT_PROOF_MAX];
	for (size_t i = 0; i < proof->n; i++)
		hashes[i] = (ProtobufCBinaryData){AUDIT_HASH_BYTES, proof->hashes[i].bytes};
	response.n_hashes = proof->n;
	response.hashes = hashes;
	request_answer(request, &response.base);
}

static void answer_proof(struct request *request, const Twokey__V1__ProofRequest *asked)
{
	struct audit_tree *tree = request->deployment->tree;
	const bool inclusion = asked->what_case == TWOKEY__V1__PROOF_REQUEST__WHAT_INDEX;
	autobuf struct buf note = {0}, record = {0};
	struct audit_checkpoint last;
	struct audit_hash leaf;
	struct audit_proof proof;
	Twokey__V1__ProofResponse response = TWOKEY__V1__PROOF_RESPONSE__INIT;
	const uint64_t needed = asked->size ? asked->size : inclusion ? asked->index + 1 : asked->old_size;
	uint64_t committed, indexed;
	audit_progress(request->deployment->audit, &committed, &indexed);
	enum err_code code = needed > committed
	                         ? err_set(&request->detail, ERR_NOT_FOUND, 0, "there are not so many records")
	                         : take_checkpoint(request, needed, &note, &last);
	if (code == ERR_OK)
		response.size = asked->size ? asked->size : last.size;
	if (code == ERR_OK && inclusion)
		code = audit_tree_inclusion(tree, asked->index, response.size, &leaf, &proof, &request->detail);
	else if (code == ERR_OK)
		code = audit_tree_consistency(tree, asked->old_size, response.size, &proof, &request->detail);
	if (code == ERR_OK && inclusion)
		code = audit_read(request->deployment->audit, asked->index, &record, &request->detail);
	if (code != ERR_OK) {
		request_fail(request, reason_of(code));
		return;
	}
	if (inclusion)
		response.leaf = (ProtobufCBinaryData){sizeof leaf.bytes, leaf.bytes};
	response.record = (ProtobufCBinaryData){record.len, record.data};
	if (response.size == last.size)
		response.checkpoint = (char *)buf_cstr(&note);
	send_proof(request, &response, &proof);
}

void svc_audit_proof(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__proof_request__descriptor);
	const Twokey__V1__ProofRequest *asked = (const Twokey__V1__ProofRequest *)message;
	if (asked && asked->what_case == TWOKEY__V1__PROOF_REQUEST__WHAT__NOT_SET)
		request_refuse(request, REASON_MALFORMED);
	else if (asked && request_grant(request, REQUEST_NO_USE))
		answer_proof(request, asked);
	pb_free(message);
}
