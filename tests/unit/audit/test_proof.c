/* Proofs as files, and witnessing. */
#include "tests/unit/audit/signer.h"

#include "audit/proof.h"

#define OTHER "witness.example"

static struct ledger ledger;
static struct signer signer, witness;
static struct audit_tree *tree;
static struct audit_witness_options options;

static int setup(void **state)
{
	(void)state;
	ledger_init(&ledger);
	ledger_open(&ledger);
	signer_init(&signer, ORIGIN);
	signer_init(&witness, OTHER);
	tree = tree_open(&ledger, &signer);
	options = (struct audit_witness_options){.directory = ledger.directory,
	                                         .keys = &signer.verifier,
	                                         .n_keys = 1,
	                                         .signer = {.origin = OTHER, .sign = signer_sign, .user = &witness}};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	audit_tree_close(tree);
	signer_done(&signer);
	signer_done(&witness);
	ledger_done(&ledger);
	return 0;
}

static struct audit_checkpoint grow(unsigned n, struct buf *note)
{
	while (n--)
		commit_denial(&ledger);
	return await_checkpoint(tree, committed(&ledger), note);
}

/* ---- proofs ---- */

static void make_proof(uint64_t index, struct buf *out)
{
	autobuf struct buf note = {0}, record = {0};
	struct audit_hash leaf;
	struct audit_proof proof;
	struct err err = {0};
	struct audit_checkpoint checkpoint = await_checkpoint(tree, 0, &note);
	assert_ok(audit_tree_inclusion(tree, index, checkpoint.size, &leaf, &proof, &err), err);
	assert_ok(audit_read(ledger.audit, index, &record, &err), err);
	audit_proof_text(index, buf_span(&record), &proof, buf_span(&note), out);
}

static void test_a_proof_holds(void **state)
{
	(void)state;
	autobuf struct buf text = {0}, note = {0};
	struct audit_proven proven = {0};
	struct err err = {0};
	grow(300, &note);
	make_proof(77, &text);
	assert_ok(audit_proof_check(buf_span(&text), &signer.verifier, 1, &proven, &err), err);
	assert_int_equal(proven.index, 77);
	assert_int_equal(proven.size, 300);
	assert_string_equal(proven.origin, ORIGIN);
	assert_false(proven.witnessed);
	buf_done(&proven.record);
	/* Not by another key, and not when anything is changed. */
	assert_err(audit_proof_check(buf_span(&text), &witness.verifier, 1, &proven, &err), ERR_CORRUPT);
	for (size_t i = 0; i < text.len; i++) {
		text.data[i] ^= 1;
		enum err_code code = audit_proof_check(buf_span(&text), &signer.verifier, 1, &proven, NULL);
		if (code != ERR_CORRUPT && code != ERR_INVALID)
			fail_msg("byte %zu can be changed", i);
		text.data[i] ^= 1;
	}
	for (size_t len = 0; len < text.len; len += 13)
		assert_true(audit_proof_check(span_of(text.data, len), &signer.verifier, 1, &proven, NULL) != ERR_OK);
}

/* ---- witnessing ---- */

static enum err_code add(struct span note, uint64_t old_size, const struct audit_proof *proof,
                         struct audit_witness_answer *ret)
{
	struct err err = {0};
	buf_done(&ret->cosignature);
	*ret = (struct audit_witness_answer){0};
	return audit_witness_add(&options, note, old_size, proof, ret, &err);
}

static void test_a_witness_follows(void **state)
{
	(void)state;
	autobuf struct buf note = {0}, joined = {0};
	struct audit_witness_answer answer = {0};
	struct audit_proof proof = {.n = 0};
	struct audit_checkpoint checkpoint = grow(5, &note);
	struct err err = {0};
	assert_ok(add(buf_span(&note), 0, &proof, &answer), err);
	assert_false(answer.conflict);
	assert_ok(audit_witness_join(buf_span(&note), buf_span(&answer.cosignature), &witness.verifier, 1, &joined, &err),
	          err);
	answer.cosignature.data[answer.cosignature.len - 20] ^= 1;
	assert_err(audit_witness_join(buf_span(&note), buf_span(&answer.cosignature), &witness.verifier, 1, &joined, &err),
	           ERR_CORRUPT);
	uint64_t old_size = checkpoint.size;
	/* The same again, then a longer one. */
	assert_ok(add(buf_span(&note), old_size, &proof, &answer), err);
	checkpoint = grow(400, &note);
	assert_ok(add(buf_span(&note), 3, &proof, &answer), err);
	assert_true(answer.conflict);
	assert_int_equal(answer.size, old_size);
	assert_err(add(buf_span(&note), old_size, &proof, &answer), ERR_CORRUPT);
	assert_ok(audit_tree_consistency(tree, old_size, checkpoint.size, &proof, &err), err);
	proof.hashes[0].bytes[5] ^= 1;
	assert_err(add(buf_span(&note), old_size, &proof, &answer), ERR_CORRUPT);
	proof.hashes[0].bytes[5] ^= 1;
	assert_ok(add(buf_span(&note), old_size, &proof, &answer), err);
	assert_false(answer.conflict);
	buf_done(&answer.cosignature);
}

static void sign_text(struct signer *by, const char *origin, uint64_t size, struct buf *out)
{
	autobuf struct buf signature = {0}, spki = {0};
	uint8_t digest[32];
	struct audit_hash root = {{7}};
	struct err err = {0};
	buf_clear(out);
	audit_checkpoint_text(origin, size, &root, out);
	text_sha256(buf_span(out), digest);
	assert_ok(signer_sign(by, digest, &signature, &spki, &err), err);
	buf_append_byte(out, '\n');
	audit_note_signature(origin, buf_span(&spki), buf_span(&signature), out);
}

static void test_a_witness_refuses(void **state)
{
	(void)state;
	autobuf struct buf note = {0};
	struct audit_witness_answer answer = {0};
	struct audit_proof proof = {.n = 0};
	struct err err = {0};
	struct audit_checkpoint checkpoint = grow(5, &note);
	uint64_t size = checkpoint.size;
	assert_ok(add(buf_span(&note), 0, &proof, &answer), err);
	/* Signed by the log itself, and another past: the fork is found. */
	sign_text(&signer, ORIGIN, size, &note);
	assert_err(add(buf_span(&note), size, &proof, &answer), ERR_CORRUPT);
	sign_text(&signer, ORIGIN, size - 1, &note);
	assert_err(add(buf_span(&note), size, &proof, &answer), ERR_INVALID);
	sign_text(&signer, ORIGIN, size + 1, &note);
	assert_err(add(buf_span(&note), size, &proof, &answer), ERR_CORRUPT);
	sign_text(&witness, ORIGIN, size + 1, &note);
	assert_err(add(buf_span(&note), size, &proof, &answer), ERR_UNAUTHENTICATED);
	sign_text(&signer, "elsewhere.example", size + 1, &note);
	assert_err(add(buf_span(&note), size, &proof, &answer), ERR_NOT_FOUND);
	assert_err(add(span_str("nonsense\n"), size, &proof, &answer), ERR_INVALID);
	buf_done(&answer.cosignature);
}

static void test_vkeys(void **state)
{
	(void)state;
	struct audit_verifier *verifier = NULL;
	struct err err = {0};
	const char *vkey = audit_verifier_vkey(signer.verifier);
	assert_ok(audit_verifier_parse(vkey, &verifier, &err), err);
	assert_string_equal(audit_verifier_name(verifier), ORIGIN);
	assert_string_equal(audit_verifier_vkey(verifier), vkey);
	audit_verifier_free(verifier);
	autofree char *wrong = xstrdup(vkey);
	char *id = strchr(wrong, '+') + 1;
	*id = *id == '0' ? '1' : '0';
	assert_err(audit_verifier_parse(wrong, &verifier, NULL), ERR_INVALID);
	assert_err(audit_verifier_parse("name+00000000+AQ==", &verifier, NULL), ERR_INVALID);
	assert_err(audit_verifier_parse("nothing", &verifier, NULL), ERR_INVALID);
	assert_false(audit_origin_valid(""));
	assert_false(audit_origin_valid("a b"));
	assert_false(audit_origin_valid("a+b"));
	assert_false(audit_origin_valid("a\xe2\x80\x83"
	                                "b"));
	assert_true(audit_origin_valid("klinik-m\xc3\xbcnchen.example/log"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
HARNESS_MAIN(NULL, NULL, CASE(test_a_proof_holds), CASE(test_a_witness_follows), CASE(test_a_witness_refuses),
             CASE(test_vkeys))
