/* Proofs that a record is in a log, as text that is checked offline: C2SP tlog-proof v1 (c2sp.org/tlog-proof), whose
 * `extra` line carries the record. And what a witness does with the checkpoints of another log: C2SP tlog-witness
 * v1.0.0 (c2sp.org/tlog-witness) without its HTTP. Public: audit.h includes it. */
#ifndef TWOKEY_AUDIT_PROOF_H
#define TWOKEY_AUDIT_PROOF_H

#include "audit/checkpoint.h"
#include "audit/tree.h"

struct audit_proven {
	uint64_t index;
	struct buf record; /* owned */
	uint64_t size;     /* of the checkpoint */
	char origin[AUDIT_ORIGIN_MAX + 1];
	bool witnessed; /* by a known key of another name */
};

void audit_proof_text(uint64_t index, struct span record, const struct audit_proof *proof, struct span note,
                      struct buf *out);
/* ERR_INVALID: no proof; ERR_CORRUPT: it does not hold, or its checkpoint is not signed by a known key of its log. */
must_check enum err_code audit_proof_check(struct span text, struct audit_verifier *const *keys, size_t n_keys,
                                           struct audit_proven *ret, struct err *err);

/* ---- witnessing ---- */

struct audit_witness_options {
	const char *directory;              /* of our ledger: what was witnessed is kept in `witness/` there */
	struct audit_verifier *const *keys; /* of the log that is witnessed: all of one name, its origin */
	size_t n_keys;
	struct audit_signer signer; /* ours; its origin is another one */
};

struct audit_witness_answer {
	bool conflict;          /* old_size is not that of the last checkpoint seen */
	uint64_t size;          /* of the last checkpoint seen */
	struct buf cosignature; /* one line of a note, unless conflict; owned */
};

/* Takes a checkpoint that continues the last one seen, remembers it durably, and cosigns it. One thread at a time.
 * ERR_INVALID: form; ERR_NOT_FOUND: of another log; ERR_UNAUTHENTICATED: not signed by it; ERR_CORRUPT: signed, and
 * contradicts what was seen: the log has changed its past. */
must_check enum err_code audit_witness_add(const struct audit_witness_options *options, struct span note,
                                           uint64_t old_size, const struct audit_proof *proof,
                                           struct audit_witness_answer *ret, struct err *err);
/* The log's side: adds a witness's cosignature to the note that it was asked for. ERR_CORRUPT: it does not hold. */
must_check enum err_code audit_witness_join(struct span note, struct span cosignature,
                                            struct audit_verifier *const *witness, size_t n_witness, struct buf *ret,
                                            struct err *err);

#endif
