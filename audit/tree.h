/* The tree over a ledger's records: a thread writes tiles from what is committed, and signs checkpoints. Public:
 * audit.h includes it. docs/AUDIT.md, "The tree". Thread-safe. */
#ifndef TWOKEY_AUDIT_TREE_H
#define TWOKEY_AUDIT_TREE_H

#include "audit/checkpoint.h"

struct audit;
struct audit_tree;

/* Who signs: on the tree's own thread; it may take its time. */
struct audit_signer {
	const char *origin; /* of the checkpoints, and name of the key */
	/* Appends a signature (ECDSA, DER) of a SHA-256 digest, and the SPKI of the key that made it. */
	enum err_code (*sign)(void *user, const uint8_t digest[32], struct buf *signature, struct buf *spki,
	                      struct err *err);
	void *user;
};

struct audit_tree_options {
	struct audit *audit; /* stays open until audit_tree_close */
	const char *directory;
	struct audit_signer signer; /* its texts are copied */
	/* Our keys, also former ones: what is on disk must not carry a wrong signature by one of them. May be NULL. */
	struct audit_verifier *const *own;
	size_t n_own;
	unsigned interval_ms; /* between checkpoints under load; 0: 500 */
};

/* Checks that the log still contains the last checkpoint that was signed, and goes on from there; builds what tiles are
 * missing. ERR_CORRUPT: it does not contain it, or the tiles are not the log's: nothing must be granted or signed on
 * such a log. */
must_check enum err_code audit_tree_open(const struct audit_tree_options *options, struct audit_tree **ret,
                                         struct err *err);
/* Covers everything that is committed by a last checkpoint, if the signer can; accepts NULL. */
void audit_tree_close(struct audit_tree *tree);

struct audit_tree_state {
	uint64_t size;      /* of the last checkpoint; 0: none yet */
	uint64_t covered;   /* records in tiles */
	int64_t late_ms;    /* for how long records have waited for a checkpoint that should be there; 0: none have */
	struct err trouble; /* what keeps it, when it is late; code ERR_OK: nothing is known */
};
void audit_tree_state(struct audit_tree *tree, struct audit_tree_state *ret);
/* ERR_UNAVAILABLE when checkpoints are more than 10 s late; ERR_CORRUPT when the log contradicts its tiles. */
must_check enum err_code audit_tree_check(struct audit_tree *tree, struct err *err);

/* The last checkpoint, as a signed note with the witness's cosignature if it has one; waits until it has at least that
 * many records. ERR_DEADLINE: it did not get there in time; ERR_NOT_FOUND: there is none yet. */
must_check enum err_code audit_tree_checkpoint(struct audit_tree *tree, uint64_t at_least, unsigned timeout_ms,
                                               struct buf *ret, struct err *err);
/* Proofs about trees up to the last checkpoint. ERR_INVALID: sizes that are out of order; ERR_NOT_FOUND: beyond it. */
must_check enum err_code audit_tree_inclusion(struct audit_tree *tree, uint64_t index, uint64_t size,
                                              struct audit_hash *ret_leaf, struct audit_proof *ret, struct err *err);
must_check enum err_code audit_tree_consistency(struct audit_tree *tree, uint64_t old_size, uint64_t size,
                                                struct audit_proof *ret, struct err *err);

#define AUDIT_CHECKPOINT_FILE "checkpoint"

#endif
