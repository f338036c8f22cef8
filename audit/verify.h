/* Checking a record without trusting who keeps it: offline, on a ledger directory (also of a running server), a copy of
 * it, or tiles that `twokey audit sync` made. Public: audit.h includes it. docs/AUDIT.md, "Verifying". */
#ifndef TWOKEY_AUDIT_VERIFY_H
#define TWOKEY_AUDIT_VERIFY_H

#include "audit/checkpoint.h"

struct audit_verify_options {
	const char *directory; /* has log/, or tile/ and checkpoint */
	/* Whose signatures count: the log's keys and its witness's. None: signatures are not checked, only that everything
	 * agrees. */
	struct audit_verifier *const *keys;
	size_t n_keys;
	/* Checkpoints from elsewhere, such as the witness's folder, that the log must contain. */
	const struct span *notes;
	size_t n_notes;
	void (*progress)(uint64_t done, uint64_t total, void *user); /* now and then; may be NULL */
	void *user;
};

struct audit_verify_result {
	uint64_t records;
	uint64_t signed_size;    /* covered by a checkpoint with a good signature of the log's key */
	uint64_t witnessed_size; /* by one that also carries a good signature of another key */
	size_t checkpoints;      /* that the log was compared with */
	bool tiles;              /* were there to be compared */
};

/* ERR_CORRUPT names the first bad record, or the checkpoint or tile that is not the log's, and what is wrong.
 * ERR_NOT_FOUND: there is nothing to verify. */
must_check enum err_code audit_verify(const struct audit_verify_options *options, struct audit_verify_result *ret,
                                      struct err *err);

#define AUDIT_WITNESSED_FILE "checkpoint.witnessed" /* the last checkpoint that the witness has cosigned */

#endif
