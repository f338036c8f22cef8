#include "audit/merkle.h"

/* ---- growing ---- */

void audit_frontier_add(struct audit_frontier *frontier, struct audit_hasher *hasher, const struct audit_hash *leaf)
{
	struct audit_hash hash = *leaf;
	unsigned level = 0;
	for (uint64_t size = frontier->size; size & 1; size >>= 1, level++)
		audit_merkle_node(hasher, &frontier->levels[level], &hash, &hash);
	frontier->levels[level] = hash;
	frontier->size++;
}

void audit_frontier_root(const struct audit_frontier *frontier, struct audit_hasher *hasher, struct audit_hash *ret)
{
	bool begun = false;
	if (frontier->size == 0)
		audit_hash_bytes(hasher, (struct span){0}, ret->bytes);
	for (unsigned level = 0; level < 64; level++) {
		if (!(frontier->size >> level & 1))
			continue;
		if (begun)
			audit_merkle_node(hasher, &frontier->levels[level], ret, ret);
		else
			*ret = frontier->levels[level];
		begun = true;
	}
}

/* ---- from stored hashes ---- */

enum err_code audit_merkle_frontier(const struct audit_merkle_source *source, uint64_t size, struct audit_frontier *ret,
                                    struct err *err)
{
	struct audit_frontier frontier = {.size = size};
	for (unsigned level = 0; level < 64; level++) {
		/* The subtree of this level that begins where the larger ones end. */
		uint64_t index = (size >> level) - 1;
		if (!(size >> level & 1))
			continue;
		enum err_code code = source->hash(source->user, level, index, &frontier.levels[level], err);
		if (code != ERR_OK)
			return code;
	}
	*ret = frontier;
	return ERR_OK;
}

/* The largest power of two below n, as its exponent; n >= 2. */
static unsigned split_level(uint64_t n)
{
	return 63 - (unsigned)__builtin_clzll(n - 1);
}

/* MTH(D[first:first + n]), where first is a multiple of n's next power of two. */
static enum err_code range_hash(const struct audit_merkle_source *source, struct audit_hasher *hasher, uint64_t first,
                                uint64_t n, struct audit_hash *ret, struct err *err)
{
	struct audit_frontier part = {.size = n};
	for (unsigned level = 0; level < 64; level++) {
		if (!(n >> level & 1))
			continue;
		uint64_t index = (first >> level) + (n >> level) - 1;
		enum err_code code = source->hash(source->user, level, index, &part.levels[level], err);
		if (code != ERR_OK)
			return code;
	}
	audit_frontier_root(&part, hasher, ret);
	return ERR_OK;
}

/* Proofs are collected from the root down, and are wanted from the leaf up. */
static void reverse(struct audit_proof *proof)
{
	for (size_t i = 0; i < proof->n / 2; i++) {
		struct audit_hash swap = proof->hashes[i];
		proof->hashes[i] = proof->hashes[proof->n - 1 - i];
		proof->hashes[proof->n - 1 - i] = swap;
	}
}

enum err_code audit_merkle_inclusion(const struct audit_merkle_source *source, struct audit_hasher *hasher,
                                     uint64_t index, uint64_t size, struct audit_proof *ret, struct err *err)
{
	struct audit_proof proof = {.n = 0};
	uint64_t first = 0, n = size;
	if (index >= size)
		return err_set(err, ERR_INVALID, 0, "there is no such leaf in a tree of that size");
	while (n > 1) {
		uint64_t left = (uint64_t)1 << split_level(n);
		bool go_left = index - first < left;
		enum err_code code = go_left ? range_hash(source, hasher, first + left, n - left, &proof.hashes[proof.n++], err)
		                             : range_hash(source, hasher, first, left, &proof.hashes[proof.n++], err);
		if (code != ERR_OK)
			return code;
		first += go_left ? 0 : left;
		n = go_left ? left : n - left;
	}
	reverse(&proof);
	*ret = proof;
	return ERR_OK;
}

enum err_code audit_merkle_consistency(const struct audit_merkle_source *source, struct audit_hasher *hasher,
                                       uint64_t old_size, uint64_t size, struct audit_proof *ret, struct err *err)
{
	struct audit_proof proof = {.n = 0};
	uint64_t first = 0, n = size;
	enum err_code code = ERR_OK;
	if (old_size > size)
		return err_set(err, ERR_INVALID, 0, "the old tree is larger than the new one");
	if (old_size == 0)
		n = 0;
	/* SUBPROOF of RFC 6962 section 2.1.2: the old tree ends inside [first, first + n), or with it. */
	while (code == ERR_OK && n && old_size - first != n) {
		uint64_t left = (uint64_t)1 << split_level(n);
		bool go_left = old_size - first <= left;
		code = go_left ? range_hash(source, hasher, first + left, n - left, &proof.hashes[proof.n++], err)
		               : range_hash(source, hasher, first, left, &proof.hashes[proof.n++], err);
		first += go_left ? 0 : left;
		n = go_left ? left : n - left;
	}
	/* What begins with the first leaf is the old tree itself, which the verifier has. */
	if (code == ERR_OK && first > 0)
		code = range_hash(source, hasher, first, n, &proof.hashes[proof.n++], err);
	if (code != ERR_OK)
		return code;
	reverse(&proof);
	*ret = proof;
	return ERR_OK;
}

/* ---- checking ---- */

/* RFC 9162 section 2.1.3.2. */
bool audit_merkle_check_inclusion(struct audit_hasher *hasher, uint64_t index, uint64_t size,
                                  const struct audit_hash *leaf, const struct audit_proof *proof,
                                  const struct audit_hash *root)
{
	if (index >= size)
		return false;
	uint64_t fn = index, sn = size - 1;
	struct audit_hash r = *leaf;
	for (size_t i = 0; i < proof->n; i++) {
		if (sn == 0)
			return false;
		if ((fn & 1) || fn == sn) {
			audit_merkle_node(hasher, &proof->hashes[i], &r, &r);
			for (; !(fn & 1) && fn; fn >>= 1)
				sn >>= 1;
		} else {
			audit_merkle_node(hasher, &r, &proof->hashes[i], &r);
		}
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && audit_hash_eq(&r, root);
}

/* RFC 9162 section 2.1.4.2, from the first hash on: fr and sr are what the old and the new root must come out as. */
static bool check_path(struct audit_hasher *hasher, uint64_t old_size, uint64_t size, struct audit_hash seed,
                       const struct audit_hash *hashes, size_t n, const struct audit_hash *old_root,
                       const struct audit_hash *root)
{
	uint64_t fn = old_size - 1, sn = size - 1;
	struct audit_hash fr = seed, sr = seed;
	for (; fn & 1; fn >>= 1)
		sn >>= 1;
	for (size_t i = 0; i < n; i++) {
		if (sn == 0)
			return false;
		if ((fn & 1) || fn == sn) {
			audit_merkle_node(hasher, &hashes[i], &fr, &fr);
			audit_merkle_node(hasher, &hashes[i], &sr, &sr);
			for (; !(fn & 1) && fn; fn >>= 1)
				sn >>= 1;
		} else {
			audit_merkle_node(hasher, &sr, &hashes[i], &sr);
		}
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && audit_hash_eq(&fr, old_root) && audit_hash_eq(&sr, root);
}

bool audit_merkle_check_consistency(struct audit_hasher *hasher, uint64_t old_size, uint64_t size,
                                    const struct audit_hash *old_root, const struct audit_hash *root,
                                    const struct audit_proof *proof)
{
	if (old_size == 0 || old_size > size)
		return false;
	if (old_size == size)
		return proof->n == 0 && audit_hash_eq(old_root, root);
	if (proof->n == 0)
		return false;
	bool power_of_two = (old_size & (old_size - 1)) == 0;
	return power_of_two
	           ? check_path(hasher, old_size, size, *old_root, proof->hashes, proof->n, old_root, root)
	           : check_path(hasher, old_size, size, proof->hashes[0], proof->hashes + 1, proof->n - 1, old_root, root);
}

void audit_merkle_node(struct audit_hasher *hasher, const struct audit_hash *left, const struct audit_hash *right,
                       struct audit_hash *ret)
{
	uint8_t bytes[1 + 2 * AUDIT_HASH_BYTES] = {1};
	memcpy(bytes + 1, left->bytes, AUDIT_HASH_BYTES);
	memcpy(bytes + 1 + AUDIT_HASH_BYTES, right->bytes, AUDIT_HASH_BYTES);
	audit_hash_bytes(hasher, span_of(bytes, sizeof(bytes)), ret->bytes);
}

void audit_merkle_leaf(struct audit_hasher *hasher, struct span record, struct audit_hash *ret)
{
	audit_hash_leaf(hasher, record, ret->bytes);
}
