#include "tests/unit/transaction/support.h"

#include <openssl/bn.h>
#include <openssl/ecdsa.h>

#define METHOD "/twokey.v1.Gatekeeper/Fetch"

static const struct transaction_call this_call = {METHOD, NOW_MS};
static struct transaction_proof said;

static struct test_key holder, thief;

static int make_keys(void **state)
{
	(void)state;
	test_key_ec(&holder, "P-256");
	test_key_ec(&thief, "P-256");
	return 0;
}

static int free_keys(void **state)
{
	(void)state;
	test_key_done(&holder);
	test_key_done(&thief);
	return 0;
}

/* A transaction that names the holder's key, and a proof that is in order. */
struct scene {
	struct sample sample;
	struct envelope envelope;
	Twokey__V1__HolderStatement statement;
	Twokey__V1__HolderProof proof;
	Google__Protobuf__Timestamp time;
	struct buf bytes, signature;
	uint8_t key_sha256[32], nonce[17];
};

static void name_key(struct scene *scene, const struct test_key *key)
{
	text_sha256(buf_span(&key->spki), scene->key_sha256);
	scene->sample.constraints.holder_key_sha256 = (ProtobufCBinaryData){32, scene->key_sha256};
}

static void scene_init(struct scene *scene)
{
	*scene = (struct scene){0};
	sample_init(&scene->sample, TWOKEY__V1__OPERATION__OPERATION_GET);
	name_key(scene, &holder);
	sample_envelope(&scene->sample, &scene->envelope);
	twokey__v1__holder_statement__init(&scene->statement);
	twokey__v1__holder_proof__init(&scene->proof);
	scene->time = transaction_timestamp(NOW_MS);
	scene->statement.transaction_sha256 = (ProtobufCBinaryData){32, scene->envelope.digest};
	scene->statement.method = (char *)METHOD;
	scene->statement.time = &scene->time;
	scene->statement.nonce = (ProtobufCBinaryData){16, scene->nonce};
}

static void scene_done(struct scene *scene)
{
	buf_done(&scene->bytes);
	buf_done(&scene->signature);
	envelope_done(&scene->envelope);
}

static void der_to_p1363(const struct buf *der, struct buf *out)
{
	const uint8_t *p = der->data;
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)der->len);
	uint8_t raw[64];
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32), 32);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32), 32);
	ECDSA_SIG_free(sig);
	buf_append(out, span_of(raw, 64));
}

static void sign_bytes(struct scene *scene, const struct test_key *key, const char *type)
{
	autobuf struct buf pae = {0}, der = {0};
	uint8_t digest[32];
	envelope_pae(type, buf_span(&scene->bytes), &pae);
	text_sha256(buf_span(&pae), digest);
	test_sign(key, digest, 32, &der);
	buf_clear(&scene->signature);
	der_to_p1363(&der, &scene->signature);
	scene->proof.public_key = (ProtobufCBinaryData){key->spki.len, key->spki.data};
	scene->proof.statement = (ProtobufCBinaryData){scene->bytes.len, scene->bytes.data};
	scene->proof.signature = (ProtobufCBinaryData){scene->signature.len, scene->signature.data};
}

static void sign(struct scene *scene, const struct test_key *key)
{
	buf_clear(&scene->bytes);
	pb_pack(&scene->statement.base, &scene->bytes);
	sign_bytes(scene, key, TRANSACTION_HOLDER_TYPE);
}

static enum reason check(const struct scene *scene)
{
	struct err detail = {0};
	enum reason reason = transaction_check_holder(&scene->sample.transaction, &scene->envelope, &scene->proof,
	                                              &this_call, &said, &detail);
	assert_int_equal(detail.text[0] != 0, reason != REASON_NONE);
	return reason;
}

static void expect(struct scene *scene, bool good)
{
	sign(scene, &holder);
	assert_int_equal(check(scene), good ? REASON_NONE : REASON_HOLDER_PROOF_INVALID);
	scene_done(scene);
}

static void test_good_proof(void **state)
{
	(void)state;
	struct scene scene;
	scene_init(&scene);
	memset(scene.nonce, 7, 16);
	expect(&scene, true);
	uint8_t key_sha256[32];
	text_sha256(buf_span(&holder.spki), key_sha256);
	assert_true(said.proved);
	assert_int_equal(said.time_ms, NOW_MS);
	assert_memory_equal(said.nonce, scene.nonce, 16);
	assert_memory_equal(said.key_sha256, key_sha256, sizeof key_sha256);
}

static void test_no_holder_named_needs_no_proof(void **state)
{
	(void)state;
	struct scene scene;
	scene_init(&scene);
	scene.sample.constraints.holder_key_sha256.len = 0;
	assert_int_equal(check(&scene), REASON_NONE);
	assert_false(said.proved);
	scene.sample.transaction.constraints = NULL;
	assert_int_equal(
	    transaction_check_holder(&scene.sample.transaction, &scene.envelope, NULL, &this_call, &said, NULL),
	    REASON_NONE);
	scene_done(&scene);
}

static void test_missing_proof(void **state)
{
	(void)state;
	struct scene scene;
	scene_init(&scene);
	assert_int_equal(
	    transaction_check_holder(&scene.sample.transaction, &scene.envelope, NULL, &this_call, &said, NULL),
	    REASON_HOLDER_PROOF_INVALID);
	assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID); /* an empty one */
	scene_done(&scene);
}

static void test_other_method(void **state)
{
	(void)state;
	static const char *const methods[] = {"/twokey.v1.Gatekeeper/Store", "", METHOD "x", "/twokey.v1.gatekeeper/fetch"};
	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
		struct scene scene;
		scene_init(&scene);
		scene.statement.method = (char *)methods[i];
		expect(&scene, false);
	}
}

static void test_other_envelope(void **state)
{
	(void)state;
	uint8_t digest[33] = {0};
	static const size_t lens[] = {0, 31, 32, 33};
	for (size_t i = 0; i < 4; i++) {
		struct scene scene;
		scene_init(&scene);
		memcpy(digest, scene.envelope.digest, 32);
		if (lens[i] == 32)
			digest[31] ^= 1;
		scene.statement.transaction_sha256 = (ProtobufCBinaryData){lens[i], digest};
		expect(&scene, false);
	}
}

static void test_time_at_its_edges(void **state)
{
	(void)state;
	static const int64_t offsets[] = {-60001, -60000, 0, 60000, 60001};
	for (size_t i = 0; i < 5; i++) {
		struct scene scene;
		scene_init(&scene);
		scene.time = transaction_timestamp(NOW_MS + offsets[i]);
		expect(&scene, offsets[i] >= -60000 && offsets[i] <= 60000);
	}
}

static void test_no_time_or_no_real_one(void **state)
{
	(void)state;
	struct scene scene;
	scene_init(&scene);
	scene.statement.time = NULL;
	expect(&scene, false);
	scene_init(&scene);
	scene.time.nanos = 1000000000;
	expect(&scene, false);
}

static void test_nonce_of_another_size(void **state)
{
	(void)state;
	static const size_t lens[] = {0, 15, 17};
	for (size_t i = 0; i < 3; i++) {
		struct scene scene;
		scene_init(&scene);
		scene.statement.nonce.len = lens[i];
		expect(&scene, false);
	}
}

static void test_other_key(void **state)
{
	(void)state;
	struct scene scene;
	scene_init(&scene);
	sign(&scene, &thief); /* the thief's key, openly */
	assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
	scene.proof.public_key = (ProtobufCBinaryData){holder.spki.len, holder.spki.data}; /* and under the holder's name */
	assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
	scene_done(&scene);
}

static void test_der_instead_of_p1363(void **state)
{
	(void)state;
	struct scene scene;
	autobuf struct buf pae = {0}, der = {0};
	uint8_t digest[32];
	scene_init(&scene);
	sign(&scene, &holder);
	envelope_pae(TRANSACTION_HOLDER_TYPE, buf_span(&scene.bytes), &pae);
	text_sha256(buf_span(&pae), digest);
	test_sign(&holder, digest, 32, &der);
	scene.proof.signature = (ProtobufCBinaryData){der.len, der.data};
	assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
	scene_done(&scene);
}

static void test_damaged_signatures(void **state)
{
	(void)state;
	struct scene scene;
	scene_init(&scene);
	sign(&scene, &holder);
	for (size_t i = 0; i < 64; i++) {
		scene.signature.data[i] ^= 0x80;
		assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
		scene.signature.data[i] ^= 0x80;
	}
	assert_int_equal(check(&scene), REASON_NONE);
	scene.proof.signature.len = 63;
	assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
	scene.proof.signature.len = 64;
	memset(scene.signature.data, 0, 64);
	assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
	scene_done(&scene);
}

static void test_damaged_statements(void **state)
{
	(void)state;
	struct scene scene;
	scene_init(&scene);
	sign(&scene, &holder);
	for (size_t i = 0; i < scene.bytes.len; i++) {
		scene.bytes.data[i] ^= 1;
		assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
		scene.bytes.data[i] ^= 1;
	}
	scene.proof.statement.len--;
	assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
	scene.proof.statement.len = 0;
	assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
	scene_done(&scene);
}

/* Truly signed, and yet not what a statement is. */
static void test_statements_of_other_shapes(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
	} tails[] = {{"\x28\x01", 2}, {"\x00", 1}, {"\x12\x01x", 3}};
	for (size_t i = 0; i < 3; i++) {
		struct scene scene;
		scene_init(&scene);
		pb_pack(&scene.statement.base, &scene.bytes);
		buf_append(&scene.bytes, span_of(tails[i].bytes, tails[i].len));
		sign_bytes(&scene, &holder, TRANSACTION_HOLDER_TYPE);
		assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
		scene_done(&scene);
	}
}

static void test_signature_of_another_type(void **state)
{
	(void)state;
	struct scene scene;
	scene_init(&scene);
	pb_pack(&scene.statement.base, &scene.bytes);
	sign_bytes(&scene, &holder, TRANSACTION_TYPE);
	assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
	scene_done(&scene);
}

/* Keys that a vendor named, but that no holder proof is made with. */
static void test_keys_of_other_kinds(void **state)
{
	(void)state;
	struct test_key keys[2];
	test_key_rsa(&keys[0], 2048);
	test_key_ec(&keys[1], "secp256k1");
	for (size_t i = 0; i < 2; i++) {
		struct scene scene;
		scene_init(&scene);
		name_key(&scene, &keys[i]);
		sign(&scene, &holder);
		scene.proof.public_key = (ProtobufCBinaryData){keys[i].spki.len, keys[i].spki.data};
		assert_int_equal(check(&scene), REASON_HOLDER_PROOF_INVALID);
		scene_done(&scene);
		test_key_done(&keys[i]);
	}
}

static void expect_size(const struct scene *scene, const char *what)
{
	struct err detail = {0};
	assert_int_equal(transaction_check_holder(&scene->sample.transaction, &scene->envelope, &scene->proof, &this_call,
	                                          &said, &detail),
	                 REASON_HOLDER_PROOF_INVALID);
	assert_string_equal(detail.text, what);
}

static void test_sizes_are_limited_before_use(void **state)
{
	(void)state;
	struct scene scene;
	uint8_t large[2048] = {0};
	scene_init(&scene);
	sign(&scene, &holder);
	scene.proof.public_key = (ProtobufCBinaryData){513, large};
	expect_size(&scene, "holder proof: the size of the public key");
	sign(&scene, &holder);
	scene.proof.statement = (ProtobufCBinaryData){1025, large};
	expect_size(&scene, "holder proof: the size of the statement");
	scene_done(&scene);
}

HARNESS_MAIN(make_keys, free_keys, cmocka_unit_test(test_good_proof),
             cmocka_unit_test(test_no_holder_named_needs_no_proof), cmocka_unit_test(test_missing_proof),
             cmocka_unit_test(test_other_method), cmocka_unit_test(test_other_envelope),
             cmocka_unit_test(test_time_at_its_edges), cmocka_unit_test(test_no_time_or_no_real_one),
             cmocka_unit_test(test_nonce_of_another_size), cmocka_unit_test(test_other_key),
             cmocka_unit_test(test_der_instead_of_p1363), cmocka_unit_test(test_damaged_signatures),
             cmocka_unit_test(test_damaged_statements), cmocka_unit_test(test_statements_of_other_shapes),
             cmocka_unit_test(test_signature_of_another_type), cmocka_unit_test(test_keys_of_other_kinds),
             cmocka_unit_test(test_sizes_are_limited_before_use))
