/* Trees and proofs: against the published vectors, and against the definition of RFC 6962 section 2.1 for every small
 * tree. */
#include "tests/unit/harness.h"

#include "audit/merkle.h"
#include "common/text.h"

enum { MANY = 70 };

static struct audit_hasher *hasher;
static struct audit_hash leaves[MANY];

static int setup(void **state)
{
	(void)state;
	hasher = audit_hasher_new();
	for (uint8_t i = 0; i < MANY; i++)
		audit_merkle_leaf(hasher, span_of(&i, 1), &leaves[i]);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	audit_hasher_free(hasher);
	return 0;
}

/* MTH, as the RFC says it. */
static void mth(uint64_t first, uint64_t n, struct audit_hash *ret)
{
	struct audit_hash left, right;
	uint64_t k = 1;
	if (n == 1) {
		*ret = leaves[first];
		return;
	}
	while (k * 2 < n)
		k *= 2;
	mth(first, k, &left);
	mth(first + k, n - k, &right);
	audit_merkle_node(hasher, &left, &right, ret);
}

static enum err_code source_hash(void *user, unsigned level, uint64_t index, struct audit_hash *ret, struct err *err)
{
	uint64_t size = *(uint64_t *)user;
	if ((index + 1) << level > size)
		return err_set(err, ERR_INTERNAL, 0, "beyond the tree");
	mth(index << level, (uint64_t)1 << level, ret);
	return ERR_OK;
}

static void hash_of_text(const char *text, struct audit_hash *ret)
{
	assert_true(text_unhex(text, ret->bytes, sizeof(ret->bytes)));
}

/* The reference implementation's tree of RFC 6962 (google/certificate-transparency, merkletree/merkle_tree_test). */
static void test_roots(void **state)
{
	(void)state;
	static const char *const inputs[] = {
	    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"};
	static const char *const roots[] = {"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	                                    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
	                                    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
	                                    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
	                                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
	                                    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
	                                    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
	                                    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
	                                    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
	struct audit_frontier frontier = {0};
	struct audit_hash root, expected, leaf;
	for (size_t i = 0;; i++) {
		uint8_t input[16];
		audit_frontier_root(&frontier, hasher, &root);
		hash_of_text(roots[i], &expected);
		assert_true(audit_hash_eq(&root, &expected));
		if (i == sizeof(inputs) / sizeof(*inputs))
			break;
		assert_true(text_unhex(inputs[i], input, strlen(inputs[i]) / 2));
		audit_merkle_leaf(hasher, span_of(input, strlen(inputs[i]) / 2), &leaf);
		audit_frontier_add(&frontier, hasher, &leaf);
	}
}

/* ---- the vectors of transparency-dev/merkle ---- */

struct vector {
	const char *name;
	bool good;
	uint64_t a, b;
	struct audit_hash first, second;
	struct audit_proof proof;
	bool has_form; /* every hash can be one; where only equality counts they are any few bytes */
};

static bool hash_of_base64(const char *text, size_t least, struct audit_hash *ret)
{
	autobuf struct buf bytes = {0};
	if (!text_unbase64(span_str(text), &bytes) || bytes.len < least || bytes.len > sizeof(ret->bytes))
		return false;
	memcpy(ret->bytes, bytes.data, bytes.len);
	return true;
}

static void parse_vector(char *line, struct vector *ret)
{
	*ret = (struct vector){.name = strsep(&line, " "), .has_form = true};
	ret->good = strcmp(strsep(&line, " "), "good") == 0;
	ret->a = strtoull(strsep(&line, " "), NULL, 10);
	ret->b = strtoull(strsep(&line, " "), NULL, 10);
	ret->has_form &= hash_of_base64(strsep(&line, " "), 1, &ret->first);
	ret->has_form &= hash_of_base64(strsep(&line, " "), 1, &ret->second);
	for (char *word; (word = strsep(&line, " "));)
		ret->has_form &= hash_of_base64(word, AUDIT_HASH_BYTES, &ret->proof.hashes[ret->proof.n++]);
}

static bool check_vector(const struct vector *vector, bool inclusion)
{
	if (!vector->has_form)
		return false;
	return inclusion ? audit_merkle_check_inclusion(hasher, vector->a, vector->b, &vector->first, &vector->proof,
	                                                &vector->second)
	                 : audit_merkle_check_consistency(hasher, vector->a, vector->b, &vector->first, &vector->second,
	                                                  &vector->proof);
}

static void check_vectors(const char *path, bool inclusion)
{
	autobuf struct buf text = {0};
	struct err err = {0};
	size_t good = 0, bad = 0;
	assert_ok(text_read_file(path, 1 << 20, &text, &err), err);
	char *rest = (char *)(uintptr_t)buf_cstr(&text);
	for (char *line; (line = strsep(&rest, "\n")) && *line;) {
		struct vector vector;
		parse_vector(line, &vector);
		if (check_vector(&vector, inclusion) != vector.good)
			fail_msg("%s", vector.name);
		*(vector.good ? &good : &bad) += 1;
	}
	assert_int_equal(good, 6);
	assert_int_equal(bad, 92);
}

static void test_published_inclusion(void **state)
{
	(void)state;
	check_vectors(TEST_SOURCE_DIR "/vectors/merkle/inclusion.txt", true);
}

static void test_published_consistency(void **state)
{
	(void)state;
	check_vectors(TEST_SOURCE_DIR "/vectors/merkle/consistency.txt", false);
}

/* ---- every small tree ---- */

static void spoil_inclusion(uint64_t index, uint64_t size, struct audit_proof *proof, const struct audit_hash *root)
{
	struct audit_hash other = leaves[index];
	other.bytes[31] ^= 1;
	assert_false(audit_merkle_check_inclusion(hasher, index, size, &other, proof, root));
	assert_false(audit_merkle_check_inclusion(hasher, index + 1, size, &leaves[index], proof, root));
	assert_false(audit_merkle_check_inclusion(hasher, size, size, &leaves[index], proof, root));
	for (size_t i = 0; i < proof->n; i++) {
		proof->hashes[i].bytes[i] ^= 4;
		assert_false(audit_merkle_check_inclusion(hasher, index, size, &leaves[index], proof, root));
		proof->hashes[i].bytes[i] ^= 4;
	}
	proof->n++;
	assert_false(audit_merkle_check_inclusion(hasher, index, size, &leaves[index], proof, root));
	proof->n--;
	if (proof->n) {
		proof->n--;
		assert_false(audit_merkle_check_inclusion(hasher, index, size, &leaves[index], proof, root));
		proof->n++;
	}
}

static void test_inclusion_of_every_leaf(void **state)
{
	(void)state;
	for (uint64_t size = 1; size <= MANY; size++) {
		const struct audit_merkle_source source = {source_hash, &size};
		struct audit_hash root;
		mth(0, size, &root);
		for (uint64_t index = 0; index < size; index++) {
			struct audit_proof proof;
			struct err err = {0};
			assert_ok(audit_merkle_inclusion(&source, hasher, index, size, &proof, &err), err);
			assert_true(audit_merkle_check_inclusion(hasher, index, size, &leaves[index], &proof, &root));
			spoil_inclusion(index, size, &proof, &root);
		}
		struct audit_proof none;
		assert_err(audit_merkle_inclusion(&source, hasher, size, size, &none, NULL), ERR_INVALID);
	}
}

static void check_consistency(uint64_t old_size, uint64_t size)
{
	const struct audit_merkle_source source = {source_hash, &size};
	struct audit_hash old_root, root;
	struct audit_proof proof;
	struct err err = {0};
	mth(0, old_size, &old_root);
	mth(0, size, &root);
	assert_ok(audit_merkle_consistency(&source, hasher, old_size, size, &proof, &err), err);
	assert_true(audit_merkle_check_consistency(hasher, old_size, size, &old_root, &root, &proof));
	for (size_t i = 0; i < proof.n; i++) {
		proof.hashes[i].bytes[7] ^= 16;
		assert_false(audit_merkle_check_consistency(hasher, old_size, size, &old_root, &root, &proof));
		proof.hashes[i].bytes[7] ^= 16;
	}
	old_root.bytes[0] ^= 1;
	assert_false(audit_merkle_check_consistency(hasher, old_size, size, &old_root, &root, &proof));
	old_root.bytes[0] ^= 1;
	root.bytes[0] ^= 1;
	assert_false(audit_merkle_check_consistency(hasher, old_size, size, &old_root, &root, &proof));
	root.bytes[0] ^= 1;
	proof.n++;
	assert_false(audit_merkle_check_consistency(hasher, old_size, size, &old_root, &root, &proof));
}

static void test_consistency_of_every_pair(void **state)
{
	(void)state;
	for (uint64_t size = 1; size <= MANY; size++)
		for (uint64_t old_size = 1; old_size <= size; old_size++)
			check_consistency(old_size, size);
}

static void test_consistency_with_nothing(void **state)
{
	(void)state;
	uint64_t size = 3;
	const struct audit_merkle_source source = {source_hash, &size};
	struct audit_hash empty = {{0}}, root;
	struct audit_proof proof;
	struct err err = {0};
	mth(0, size, &root);
	assert_ok(audit_merkle_consistency(&source, hasher, 0, size, &proof, &err), err);
	assert_int_equal(proof.n, 0);
	assert_false(audit_merkle_check_consistency(hasher, 0, size, &empty, &root, &proof));
	assert_err(audit_merkle_consistency(&source, hasher, 4, size, &proof, NULL), ERR_INVALID);
	assert_false(audit_merkle_check_consistency(hasher, 4, size, &root, &root, &proof));
}

static void test_frontier(void **state)
{
	(void)state;
	struct audit_frontier grown = {0}, found;
	for (uint64_t size = 1; size <= MANY; size++) {
		const struct audit_merkle_source source = {source_hash, &size};
		struct audit_hash root, other;
		struct err err = {0};
		audit_frontier_add(&grown, hasher, &leaves[size - 1]);
		assert_ok(audit_merkle_frontier(&source, size, &found, &err), err);
		audit_frontier_root(&grown, hasher, &root);
		audit_frontier_root(&found, hasher, &other);
		assert_true(audit_hash_eq(&root, &other));
		mth(0, size, &other);
		assert_true(audit_hash_eq(&root, &other));
	}
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_roots), cmocka_unit_test(test_published_inclusion),
             cmocka_unit_test(test_published_consistency), cmocka_unit_test(test_inclusion_of_every_leaf),
             cmocka_unit_test(test_consistency_of_every_pair), cmocka_unit_test(test_consistency_with_nothing),
             cmocka_unit_test(test_frontier))
