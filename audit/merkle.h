/* The Merkle tree over the records: RFC 6962 section 2.1 hashing, proofs as in section 2.1.1 and 2.1.2, verified by the
 * algorithms of RFC 9162 section 2.1.3.2 and 2.1.4.2. No I/O: hashes come from a source. Thread-safe, except that a
 * hasher and a frontier belong to one thread at a time. */
#ifndef TWOKEY_AUDIT_MERKLE_H
#define TWOKEY_AUDIT_MERKLE_H

#include "audit/checkpoint.h"
#include "audit/frame.h"

/* SHA-256(0x01 || left || right). */
void audit_merkle_node(struct audit_hasher *hasher, const struct audit_hash *left, const struct audit_hash *right,
                       struct audit_hash *ret);
/* SHA-256(0x00 || record). */
void audit_merkle_leaf(struct audit_hasher *hasher, struct span record, struct audit_hash *ret);

/* ---- growing ---- */

/* The roots of the complete subtrees that a tree's leaves fall into, one per bit of its size. Zeroed: the empty tree.
 */
struct audit_frontier {
	uint64_t size;
	struct audit_hash levels[64]; /* levels[k] counts when bit k of size is set */
};
void audit_frontier_add(struct audit_frontier *frontier, struct audit_hasher *hasher, const struct audit_hash *leaf);
/* Of the empty tree: SHA-256(""). */
void audit_frontier_root(const struct audit_frontier *frontier, struct audit_hasher *hasher, struct audit_hash *ret);

/* ---- from stored hashes ---- */

/* Gives the root of the complete subtree over leaves [index << level, (index + 1) << level). */
struct audit_merkle_source {
	enum err_code (*hash)(void *user, unsigned level, uint64_t index, struct audit_hash *ret, struct err *err);
	void *user;
};
/* The frontier, hence the root, of the first `size` leaves. */
must_check enum err_code audit_merkle_frontier(const struct audit_merkle_source *source, uint64_t size,
                                               struct audit_frontier *ret, struct err *err);
/* That leaf `index` is in the tree of `size` leaves. ERR_INVALID: index >= size. */
must_check enum err_code audit_merkle_inclusion(const struct audit_merkle_source *source, struct audit_hasher *hasher,
                                                uint64_t index, uint64_t size, struct audit_proof *ret,
                                                struct err *err);
/* That the tree of `old_size` leaves is the beginning of that of `size`. Empty when they are the same, or old_size is
 * 0. ERR_INVALID: old_size > size. */
must_check enum err_code audit_merkle_consistency(const struct audit_merkle_source *source, struct audit_hasher *hasher,
                                                  uint64_t old_size, uint64_t size, struct audit_proof *ret,
                                                  struct err *err);

/* ---- checking ---- */

bool audit_merkle_check_inclusion(struct audit_hasher *hasher, uint64_t index, uint64_t size,
                                  const struct audit_hash *leaf, const struct audit_proof *proof,
                                  const struct audit_hash *root);
/* False for old_size 0: everything continues the empty tree, and nothing needs to be shown. */
bool audit_merkle_check_consistency(struct audit_hasher *hasher, uint64_t old_size, uint64_t size,
                                    const struct audit_hash *old_root, const struct audit_hash *root,
                                    const struct audit_proof *proof);

#endif
