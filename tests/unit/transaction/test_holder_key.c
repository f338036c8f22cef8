/* What a data client proves with its key, the gatekeeper's check believes, and nothing else. */
#include <openssl/pem.h>

#include "common/secret.h"
#include "tests/unit/transaction/support.h"

static const struct transaction_call fetching = {"/twokey.v1.Gatekeeper/Fetch", NOW_MS};

static struct holder_key *make(void)
{
	struct holder_key *key = NULL;
	struct err err = {0};
	assert_ok(holder_key_make(&key, &err), err);
	return key;
}

struct scene {
	struct sample sample;
	struct envelope envelope;
	struct holder_key *key;
	struct holder_proof proof;
	uint8_t key_sha256[32];
};

static void scene_init(struct scene *scene)
{
	*scene = (struct scene){.key = make()};
	struct err err = {0};
	sample_init(&scene->sample, TWOKEY__V1__OPERATION__OPERATION_GET);
	holder_key_sha256(scene->key, scene->key_sha256);
	scene->sample.constraints.holder_key_sha256 = (ProtobufCBinaryData){32, scene->key_sha256};
	sample_envelope(&scene->sample, &scene->envelope);
	assert_ok(holder_prove(scene->key, &scene->envelope, &fetching, &scene->proof, &err), err);
}

static void scene_done(struct scene *scene)
{
	holder_proof_done(&scene->proof);
	envelope_done(&scene->envelope);
	holder_key_free(scene->key);
}

static enum reason check(const struct scene *scene, const struct transaction_call *call, struct transaction_proof *said)
{
	return transaction_check_holder(&scene->sample.transaction, &scene->envelope, &scene->proof.message, call, said,
	                                NULL);
}

static void test_a_proof_holds_for_its_call_only(void **state)
{
	(void)state;
	struct scene scene;
	struct transaction_proof said;
	scene_init(&scene);
	assert_int_equal(check(&scene, &fetching, &said), REASON_NONE);
	assert_true(said.proved);
	assert_int_equal(said.time_ms, NOW_MS);
	const struct transaction_call others[] = {{"/twokey.v1.Gatekeeper/CoSign", NOW_MS},
	                                          {"/twokey.v1.Gatekeeper/Fetch", NOW_MS + 60001},
	                                          {"/twokey.v1.Gatekeeper/Fetch", NOW_MS - 60001}};
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		assert_int_equal(check(&scene, &others[i], &said), REASON_HOLDER_PROOF_INVALID);
	scene.envelope.digest[0] ^= 1;
	assert_int_equal(check(&scene, &fetching, &said), REASON_HOLDER_PROOF_INVALID);
	scene_done(&scene);
}

static void test_every_proof_has_a_nonce_of_its_own(void **state)
{
	(void)state;
	struct scene scene;
	struct transaction_proof first, second;
	struct err err = {0};
	scene_init(&scene);
	assert_int_equal(check(&scene, &fetching, &first), REASON_NONE);
	assert_ok(holder_prove(scene.key, &scene.envelope, &fetching, &scene.proof, &err), err);
	assert_int_equal(check(&scene, &fetching, &second), REASON_NONE);
	assert_memory_not_equal(first.nonce, second.nonce, sizeof first.nonce);
	scene_done(&scene);
}

static void test_pem_and_back(void **state)
{
	(void)state;
	struct holder_key *key = make(), *again = NULL;
	struct secret *pem = NULL;
	struct err err = {0};
	autobuf struct buf public_pem = {0};
	uint8_t made[32], read[32], of_public[32];
	assert_ok(holder_key_private_pem(key, &pem, &err), err);
	assert_ok(holder_key_from_pem(secret_span(pem), &again, &err), err);
	holder_key_public_pem(again, &public_pem);
	assert_ok(holder_sha256_of_pem(buf_span(&public_pem), of_public, &err), err);
	holder_key_sha256(key, made);
	holder_key_sha256(again, read);
	assert_memory_equal(made, read, 32);
	assert_memory_equal(made, of_public, 32);
	/* The one is not taken for the other. */
	struct holder_key *none = NULL;
	assert_err(holder_key_from_pem(buf_span(&public_pem), &none, &err), ERR_INVALID);
	assert_err(holder_sha256_of_pem(secret_span(pem), read, &err), ERR_INVALID);
	secret_free(pem);
	holder_key_free(again);
	holder_key_free(key);
	holder_key_free(NULL);
}

static void expect_refused(EVP_PKEY *pkey, const char *passphrase)
{
	char *text;
	BIO *bio = BIO_new(BIO_s_mem());
	struct holder_key *key = NULL;
	struct err err = {0};
	assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, passphrase ? EVP_aes_256_cbc() : NULL,
	                                          (const unsigned char *)passphrase, passphrase ? 6 : 0, NULL, NULL),
	                 1);
	long len = BIO_get_mem_data(bio, &text);
	assert_err(holder_key_from_pem(span_of(text, (size_t)len), &key, &err), ERR_INVALID);
	assert_null(key);
	BIO_free(bio);
	EVP_PKEY_free(pkey);
}

static void test_other_keys_are_refused(void **state)
{
	(void)state;
	expect_refused(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384"), NULL);
	expect_refused(EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048), NULL);
	expect_refused(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL);
	expect_refused(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), "secret");
	struct holder_key *key = NULL;
	uint8_t digest[32];
	assert_err(holder_key_from_pem(span_str("no key"), &key, NULL), ERR_INVALID);
	assert_err(holder_key_from_pem((struct span){0}, &key, NULL), ERR_INVALID);
	assert_err(holder_sha256_of_pem(span_str("no key"), digest, NULL), ERR_INVALID);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_a_proof_holds_for_its_call_only),
             cmocka_unit_test(test_every_proof_has_a_nonce_of_its_own), cmocka_unit_test(test_pem_and_back),
             cmocka_unit_test(test_other_keys_are_refused))
