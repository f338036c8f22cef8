/* Signing with keys in a real token (SoftHSM2), and receipts. */
#include "tests/unit/transaction/support.h"

#include "hsm/hsm.h"
#include "tests/unit/softhsm.h"

static struct softhsm token;
static struct hsm *hsm;
static struct hsm_key *transaction_key, *audit_key;

static int make_token(void **state)
{
	(void)state;
	struct err err;
	softhsm_setup(&token, "sign");
	const struct hsm_options options = softhsm_options(&token, "pkcs11:token=sign");
	assert_ok(hsm_open(&options, &hsm, &err), err);
	assert_ok(hsm_generate_ec(hsm, "transaction", &err), err);
	assert_ok(hsm_generate_ec(hsm, "audit", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=transaction", &transaction_key, &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=audit", &audit_key, &err), err);
	return 0;
}

static int remove_token(void **state)
{
	(void)state;
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}

static void make(struct envelope *ret)
{
	struct sample sample;
	sample_init(&sample, TWOKEY__V1__OPERATION__OPERATION_GET);
	sample_envelope(&sample, ret);
}

static struct keyring *ring_of(const char *name, struct hsm_key *key)
{
	struct err err;
	struct keyring *ring = keyring_new();
	assert_ok(keyring_add_spki(ring, name, hsm_key_spki(key), 0, 0, &err), err);
	return ring;
}

static void test_token_signs_what_a_ring_verifies(void **state)
{
	(void)state;
	struct envelope envelope, back;
	struct err err;
	autobuf struct buf text = {0};
	make(&envelope);
	assert_ok(envelope_sign(&envelope, transaction_key, &err), err);
	assert_ok(envelope_sign(&envelope, audit_key, &err), err);
	assert_int_equal(envelope.n_signatures, 2);
	assert_string_equal(envelope.signatures[0].keyid, hsm_key_id(transaction_key));
	envelope_to_json(&envelope, &text);
	assert_ok(envelope_parse(buf_span(&text), &back, &err), err);

	struct keyring *ring = ring_of("transaction", transaction_key);
	assert_true(keyring_has_spki(ring, hsm_key_spki(transaction_key)));
	assert_false(keyring_has_spki(ring, hsm_key_spki(audit_key)));
	assert_string_equal(keyring_verify(ring, &back, NOW_MS), "transaction");
	assert_ok(keyring_add_spki(ring, "audit", hsm_key_spki(audit_key), 0, 0, &err), err);
	assert_int_equal(keyring_count_signers(ring, &back, NOW_MS), 2);
	back.digest[0] ^= 1;
	assert_int_equal(keyring_count_signers(ring, &back, NOW_MS), 0);
	keyring_free(ring);
	envelope_done(&envelope);
	envelope_done(&back);
}

static void test_a_key_signs_once(void **state)
{
	(void)state;
	struct envelope envelope;
	struct err err;
	make(&envelope);
	assert_ok(envelope_sign(&envelope, transaction_key, &err), err);
	assert_err(envelope_sign(&envelope, transaction_key, &err), ERR_EXISTS);
	assert_int_equal(envelope.n_signatures, 1);
	envelope_done(&envelope);
}

static void test_a_fifth_signature_is_refused(void **state)
{
	(void)state;
	struct test_key stranger;
	struct envelope envelope;
	struct err err;
	test_key_ec(&stranger, "P-256");
	make(&envelope);
	while (envelope.n_signatures < TRANSACTION_SIGNATURES_MAX)
		test_sign_envelope(&envelope, &stranger, NULL);
	assert_err(envelope_sign(&envelope, transaction_key, &err), ERR_EXHAUSTED);
	assert_int_equal(envelope.n_signatures, TRANSACTION_SIGNATURES_MAX);
	envelope_done(&envelope);
	test_key_done(&stranger);
}

static void test_what_no_verifier_would_read_is_not_signed(void **state)
{
	(void)state;
	struct envelope envelope;
	struct err err;
	autobuf struct buf payload = {0};
	while (payload.len < TRANSACTION_ENVELOPE_MAX - 100) /* fits, until it is signed */
		buf_append_byte(&payload, 'x');
	envelope_new("t", buf_span(&payload), &envelope);
	assert_err(envelope_sign(&envelope, transaction_key, &err), ERR_EXHAUSTED);
	assert_int_equal(envelope.n_signatures, 0);
	envelope_done(&envelope);
}

static void make_receipt(Twokey__V1__Receipt *receipt, uint8_t digest[32], Google__Protobuf__Timestamp *time)
{
	*time = transaction_timestamp(NOW_MS);
	twokey__v1__receipt__init(receipt);
	receipt->transaction_id = (ProtobufCBinaryData){16, digest};
	receipt->transaction_sha256 = (ProtobufCBinaryData){32, digest};
	receipt->sha256 = (ProtobufCBinaryData){32, digest};
	receipt->operation = TWOKEY__V1__OPERATION__OPERATION_PUT;
	receipt->gatekeeper = (char *)"clinic";
	receipt->bucket = (char *)"scans";
	receipt->object = (char *)"a";
	receipt->bytes = 5242881;
	receipt->record = 7;
	receipt->time = time;
}

static void test_receipt_is_signed_by_the_audit_key(void **state)
{
	(void)state;
	uint8_t digest[32] = {1};
	Google__Protobuf__Timestamp time;
	Twokey__V1__Receipt receipt;
	struct envelope envelope;
	struct err err;
	ProtobufCMessage *message = NULL;
	make_receipt(&receipt, digest, &time);
	assert_ok(transaction_receipt(&receipt, audit_key, &envelope, &err), err);
	assert_string_equal(envelope.type, TRANSACTION_RECEIPT_TYPE);
	struct keyring *ring = ring_of("audit", audit_key);
	assert_string_equal(keyring_verify(ring, &envelope, NOW_MS), "audit");
	assert_ok(
	    pb_unpack(&twokey__v1__receipt__descriptor, buf_span(&envelope.payload), PB_STRICT, 65536, &message, &err),
	    err);
	assert_int_equal(((Twokey__V1__Receipt *)message)->bytes, 5242881);
	pb_free(message);
	keyring_free(ring);
	envelope_done(&envelope);
}

static void test_receipt_too_large_is_refused(void **state)
{
	(void)state;
	uint8_t digest[32] = {1};
	Google__Protobuf__Timestamp time;
	Twokey__V1__Receipt receipt;
	struct envelope envelope = {0};
	autobuf struct buf version = {0};
	while (version.len < TRANSACTION_ENVELOPE_MAX)
		buf_append_byte(&version, 'v');
	make_receipt(&receipt, digest, &time);
	receipt.version_id = (char *)buf_cstr(&version);
	assert_err(transaction_receipt(&receipt, audit_key, &envelope, NULL), ERR_EXHAUSTED);
	assert_null(envelope.type);
}

HARNESS_MAIN(make_token, remove_token, cmocka_unit_test(test_token_signs_what_a_ring_verifies),
             cmocka_unit_test(test_a_key_signs_once), cmocka_unit_test(test_a_fifth_signature_is_refused),
             cmocka_unit_test(test_what_no_verifier_would_read_is_not_signed),
             cmocka_unit_test(test_receipt_is_signed_by_the_audit_key),
             cmocka_unit_test(test_receipt_too_large_is_refused))
