#include "server/transfer.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "server/limits.h"

static bool cancelled(void *user)
{
	struct request *request = ((struct transfer *)user)->request;
	return rpc_cancelled(request->call) || request_cut(request);
}

static bool stop(void *user, struct rpc_stop *ret)
{
	struct transfer *transfer = (struct transfer *)user;
	if (!request_cut(transfer->request))
		return false;
	enum reason cut = transfer->request->cut;
	snprintf(transfer->stop_text, sizeof transfer->stop_text, "%s: %s", reason_name(cut), reason_text(cut));
	*ret = (struct rpc_stop){reason_code(cut), transfer->stop_text};
	return true;
}

void transfer_init(struct transfer *transfer, struct request *request)
{
	*transfer = (struct transfer){
	    .request = request,
	    .cancel = {.cancelled = cancelled, .user = transfer, .deadline_ms = rpc_deadline_ms(request->call)},
	    .hash = EVP_MD_CTX_new(),
	};
	if (!transfer->hash || !EVP_DigestInit_ex(transfer->hash, EVP_sha256(), NULL))
		abort(); /* libcrypto without SHA-256: nothing could be trusted */
	rpc_watch(request->call, stop, transfer);
}

void transfer_done(struct transfer *transfer)
{
	rpc_watch(transfer->request->call, NULL, NULL);
	EVP_MD_CTX_free(transfer->hash);
	free(transfer->version_id);
	envelope_done(&transfer->receipt);
}

enum err_code transfer_go_on(struct transfer *transfer, struct err *err)
{
	if (!request_cut(transfer->request))
		return ERR_OK;
	return err_set(err, ERR_CANCELLED, 0, "a restriction stopped it");
}

void transfer_hash_more(struct transfer *transfer, struct span bytes)
{
	EVP_DigestUpdate(transfer->hash, bytes.ptr, bytes.len);
}

void transfer_count(struct transfer *transfer, struct span plain)
{
	transfer_hash_more(transfer, plain);
	transfer->bytes += plain.len;
	limits_charge(transfer->request, plain.len);
}

void transfer_hash(struct transfer *transfer)
{
	if (!transfer->hashed)
		EVP_DigestFinal_ex(transfer->hash, transfer->sha256, NULL);
	transfer->hashed = true;
}

void transfer_note_object(struct transfer *transfer, const struct seal_header *header, const char *version_id)
{
	transfer->has_object_id = text_unhex(header->object_id, transfer->object_id, sizeof transfer->object_id);
	if (version_id && version_id[0] && !transfer->version_id)
		transfer->version_id = xstrdup(version_id);
}

struct seal_context transfer_seal_context(const struct transfer *transfer)
{
	const Twokey__V1__Transaction *transaction = transfer->request->transaction;
	return (struct seal_context){
	    .gatekeeper = transaction->gatekeeper, .bucket = transaction->bucket, .object = transaction->object};
}

static enum err_code commit_completion(struct transfer *transfer, const char *outcome, struct audit_commit *ret,
                                       struct err *err)
{
	struct request *request = transfer->request;
	Twokey__V1__Record record;
	struct record_times times;
	request_record(request, &record, &times);
	transfer_hash(transfer);
	record.event = TWOKEY__V1__EVENT__EVENT_COMPLETION;
	record.decision_index = request->record;
	record.outcome = (char *)outcome;
	record.bytes = transfer->bytes;
	record.sha256 = (ProtobufCBinaryData){sizeof transfer->sha256, transfer->sha256};
	record.version_id = transfer->version_id ? transfer->version_id : (char *)"";
	if (transfer->has_object_id)
		record.object_id = (ProtobufCBinaryData){sizeof transfer->object_id, transfer->object_id};
	record.duration_us = (uint64_t)(clock_monotonic_us() - request->started_us);
	record.detail = request->detail.text;
	return audit_commit(request->deployment->audit, &record, NULL, ret, err);
}

static enum err_code sign_receipt(struct transfer *transfer, const struct audit_commit *commit, struct err *err)
{
	struct request *request = transfer->request;
	const Twokey__V1__Transaction *transaction = request->transaction;
	Google__Protobuf__Timestamp time = transaction_timestamp(commit->time_ms);
	Twokey__V1__Receipt receipt = TWOKEY__V1__RECEIPT__INIT;
	receipt.transaction_id = transaction->id;
	receipt.transaction_sha256 = (ProtobufCBinaryData){sizeof request->envelope.digest, request->envelope.digest};
	receipt.operation = transaction->operation;
	receipt.gatekeeper = transaction->gatekeeper;
	receipt.bucket = transaction->bucket;
	receipt.object = transaction->object;
	receipt.bytes = transfer->bytes;
	receipt.sha256 = (ProtobufCBinaryData){sizeof transfer->sha256, transfer->sha256};
	receipt.version_id = transfer->version_id ? transfer->version_id : (char *)"";
	receipt.record = commit->index;
	receipt.time = &time;
	return transaction_receipt(&receipt, keys_audit(request->deployment->keys), &transfer->receipt, err);
}

bool transfer_complete(struct transfer *transfer)
{
	struct audit_commit commit;
	struct err err = {0};
	if (commit_completion(transfer, "complete", &commit, &err) != ERR_OK) {
		log_event(LOG_ERROR, "a completion could not be recorded", "error", err.text, NULL);
		request_fail(transfer->request, REASON_LEDGER_UNAVAILABLE);
		return false;
	}
	if (sign_receipt(transfer, &commit, &err) != ERR_OK) {
		log_event(LOG_ERROR, "a receipt could not be signed", "error", err.text, NULL);
		request_fail(transfer->request, REASON_TOKEN_UNAVAILABLE);
		return false;
	}
	return true;
}

bool transfer_presigned(struct transfer *transfer, const char *version_id)
{
	struct audit_commit commit;
	struct err err = {0};
	if (version_id && version_id[0])
		transfer->version_id = xstrdup(version_id);
	if (commit_completion(transfer, "presigned", &commit, &err) == ERR_OK)
		return true;
	log_event(LOG_ERROR, "a URL could not be recorded", "error", err.text, NULL);
	request_fail(transfer->request, REASON_LEDGER_UNAVAILABLE);
	return false;
}

void transfer_fail(struct transfer *transfer, enum reason reason)
{
	struct audit_commit commit;
	struct err err = {0};
	if (commit_completion(transfer, reason_name(reason), &commit, &err) != ERR_OK)
		log_event(LOG_ERROR, "a failed transfer could not be recorded", "reason", reason_name(reason), "error",
		          err.text, NULL);
	if (reason == REASON_INTERNAL || reason_code(reason) == ERR_UNAVAILABLE || reason_code(reason) == ERR_CORRUPT)
		log_event(LOG_WARN, "a transfer failed", "reason", reason_name(reason), "detail",
		          transfer->request->detail.text, "bucket", transfer->request->transaction->bucket, NULL);
	request_fail(transfer->request, reason);
}
