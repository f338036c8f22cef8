#include "tests/unit/transaction/support.h"

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <pthread.h>

static struct test_key vendor, gatekeeper, stranger;

static int make_keys(void **state)
{
	(void)state;
	test_key_ec(&vendor, "P-256");
	test_key_ec(&gatekeeper, "P-256");
	test_key_ec(&stranger, "P-256");
	return 0;
}

static int free_keys(void **state)
{
	(void)state;
	test_key_done(&vendor);
	test_key_done(&gatekeeper);
	test_key_done(&stranger);
	return 0;
}

static void add(struct keyring *ring, const char *name, const struct test_key *key)
{
	struct err err;
	assert_ok(keyring_add_spki(ring, name, buf_span(&key->spki), 0, 0, &err), err);
}

static struct keyring *ring_of_two(void)
{
	struct keyring *ring = keyring_new();
	add(ring, "vendor", &vendor);
	add(ring, "gatekeeper", &gatekeeper);
	return ring;
}

static void make(struct envelope *ret)
{
	struct sample sample;
	sample_init(&sample, TWOKEY__V1__OPERATION__OPERATION_GET);
	sample_envelope(&sample, ret);
}

static void pem_of(EVP_PKEY *pkey, struct buf *out)
{
	BIO *bio = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_PUBKEY(bio, pkey), 1);
	char *text;
	long len = BIO_get_mem_data(bio, &text);
	buf_append(out, span_of(text, (size_t)len));
	BIO_free(bio);
}

static void certificate_of(EVP_PKEY *pkey, struct buf *out)
{
	X509 *certificate = X509_new();
	BIO *bio = BIO_new(BIO_s_mem());
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 60);
	X509_set_pubkey(certificate, pkey);
	assert_true(X509_sign(certificate, pkey, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
	char *text;
	long len = BIO_get_mem_data(bio, &text);
	buf_append(out, span_of(text, (size_t)len));
	BIO_free(bio);
	X509_free(certificate);
}

/* ---- adding ---- */

static void test_add_pem_takes_keys_and_certificates(void **state)
{
	(void)state;
	autobuf struct buf key = {0}, certificate = {0};
	struct keyring *ring = keyring_new();
	struct err err;
	pem_of(vendor.pkey, &key);
	certificate_of(gatekeeper.pkey, &certificate);
	assert_ok(keyring_add_pem(ring, "v", buf_span(&key), 0, 0, &err), err);
	assert_ok(keyring_add_pem(ring, "g", buf_span(&certificate), 0, 0, &err), err);
	assert_int_equal(keyring_count(ring), 2);
	assert_true(keyring_has_spki(ring, buf_span(&vendor.spki)));
	assert_true(keyring_has_spki(ring, buf_span(&gatekeeper.spki)));
	assert_false(keyring_has_spki(ring, buf_span(&stranger.spki)));
	keyring_free(ring);
}

static void test_add_pem_refuses_other_text(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "",
	    "no PEM",
	    "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
	    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	    "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n",
	};
	struct keyring *ring = keyring_new();
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		assert_err(keyring_add_pem(ring, "x", span_str(texts[i]), 0, 0, NULL), ERR_INVALID);
	BIO *bio = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_PrivateKey(bio, vendor.pkey, NULL, NULL, 0, NULL, NULL), 1);
	char *text;
	long len = BIO_get_mem_data(bio, &text);
	assert_err(keyring_add_pem(ring, "private", span_of(text, (size_t)len), 0, 0, NULL), ERR_INVALID);
	BIO_free(bio);
	assert_int_equal(keyring_count(ring), 0);
	keyring_free(ring);
}

static void test_the_same_key_is_refused_under_any_name(void **state)
{
	(void)state;
	struct keyring *ring = ring_of_two();
	struct err err;
	assert_err(keyring_add_spki(ring, "other", buf_span(&vendor.spki), 0, 0, &err), ERR_EXISTS);
	assert_non_null(strstr(err.text, "vendor"));
	assert_int_equal(keyring_count(ring), 2);
	keyring_free(ring);
}

/* The same point, compressed: other bytes, hence another digest, and still the same key. */
static void test_the_same_key_is_refused_in_another_encoding(void **state)
{
	(void)state;
	struct test_key compressed;
	EVP_PKEY *copy = EVP_PKEY_dup(vendor.pkey);
	assert_int_equal(EVP_PKEY_set_utf8_string_param(copy, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed"), 1);
	test_key_init(&compressed, copy);
	assert_int_not_equal(compressed.spki.len, vendor.spki.len);
	struct keyring *ring = ring_of_two();
	assert_err(keyring_add_spki(ring, "compressed", buf_span(&compressed.spki), 0, 0, NULL), ERR_EXISTS);
	assert_true(keyring_has_spki(ring, buf_span(&compressed.spki)));
	keyring_free(ring);
	test_key_done(&compressed);
}

static void refuse_spki(struct span spki)
{
	struct keyring *ring = keyring_new();
	assert_err(keyring_add_spki(ring, "x", spki, 0, 0, NULL), ERR_INVALID);
	assert_int_equal(keyring_count(ring), 0);
	assert_false(keyring_has_spki(ring, spki));
	keyring_free(ring);
}

static void test_other_kinds_of_keys_are_refused(void **state)
{
	(void)state;
	static const char *const curves[] = {"P-224", "P-384", "secp256k1", "brainpoolP256r1"};
	for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
		struct test_key key;
		test_key_ec(&key, curves[i]);
		refuse_spki(buf_span(&key.spki));
		test_key_done(&key);
	}
	struct test_key key;
	test_key_rsa(&key, 2047);
	refuse_spki(buf_span(&key.spki));
	test_key_done(&key);
	test_key_init(&key, EVP_PKEY_Q_keygen(NULL, NULL, "SM2"));
	refuse_spki(buf_span(&key.spki));
	test_key_done(&key);
	test_key_init(&key, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
	refuse_spki(buf_span(&key.spki));
	test_key_done(&key);
}

static void test_explicit_curve_parameters_are_refused(void **state)
{
	(void)state;
	struct test_key key;
	EVP_PKEY *copy = EVP_PKEY_dup(vendor.pkey);
	assert_int_equal(EVP_PKEY_set_utf8_string_param(copy, OSSL_PKEY_PARAM_EC_ENCODING, "explicit"), 1);
	test_key_init(&key, copy);
	assert_true(key.spki.len > vendor.spki.len);
	refuse_spki(buf_span(&key.spki));
	test_key_done(&key);
}

static void test_damaged_spki_is_refused(void **state)
{
	(void)state;
	autobuf struct buf spki = {0};
	refuse_spki(span_of(NULL, 0));
	for (size_t len = 1; len < vendor.spki.len; len++)
		refuse_spki(span_of(vendor.spki.data, len));
	buf_append(&spki, buf_span(&vendor.spki));
	buf_append_byte(&spki, 0);
	refuse_spki(buf_span(&spki)); /* trailing byte */
	spki.len--;
	spki.data[spki.len - 1] ^= 1;
	refuse_spki(buf_span(&spki)); /* a point that is not on the curve */
}

static void test_a_key_that_ends_before_it_begins_is_refused(void **state)
{
	(void)state;
	struct keyring *ring = keyring_new();
	assert_err(keyring_add_spki(ring, "x", buf_span(&vendor.spki), 2000, 1999, NULL), ERR_INVALID);
	keyring_free(ring);
	keyring_free(NULL);
}

/* ---- verifying ---- */

/* DSSE protocol.md, "Test Vectors": the public key as decimal numbers, the signature as r || s. */
static void test_each_key_has_a_line(void **state)
{
	(void)state;
	struct keyring *ring = keyring_new();
	autobuf struct buf nothing = {0}, text = {0};
	keyring_describe(ring, &nothing);
	assert_int_equal(nothing.len, 0);
	struct err err;
	add(ring, "always", &vendor);
	assert_ok(keyring_add_spki(ring, "a year", buf_span(&gatekeeper.spki), 1767225600000, 1798761600000, &err), err);
	keyring_describe(ring, &text);
	char of_vendor[65], of_gatekeeper[65];
	uint8_t digest[32];
	text_sha256(buf_span(&vendor.spki), digest);
	text_hex(span_of(digest, sizeof digest), of_vendor);
	text_sha256(buf_span(&gatekeeper.spki), digest);
	text_hex(span_of(digest, sizeof digest), of_gatekeeper);
	autofree char *expected =
	    xasprintf("always %s\na year %s from 2026-01-01T00:00:00.000Z until 2027-01-01T00:00:00.000Z\n", of_vendor,
	              of_gatekeeper);
	assert_string_equal(buf_cstr(&text), expected);
	keyring_free(ring);
}

static void test_signature_of_the_specification(void **state)
{
	(void)state;
	static const char header[] = "3059301306072a8648ce3d020106082a8648ce3d03010703420004";
	static const char *const xy[] = {"46950820868899156662930047687818585632848591499744589407958293238635476079160",
	                                 "5640078356564379163099075877009565129882514886557779369047442380624545832820"};
	uint8_t spki[91];
	assert_true(text_unhex(header, spki, 27));
	for (int i = 0; i < 2; i++) {
		BIGNUM *n = NULL;
		assert_true(BN_dec2bn(&n, xy[i]) > 0);
		assert_int_equal(BN_bn2binpad(n, spki + 27 + 32 * i, 32), 32);
		BN_free(n);
	}
	autobuf struct buf raw = {0};
	assert_true(text_unbase64(
	    span_str("A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="), &raw));
	assert_int_equal(raw.len, 64);
	ECDSA_SIG *sig = ECDSA_SIG_new();
	ECDSA_SIG_set0(sig, BN_bin2bn(raw.data, 32, NULL), BN_bin2bn(raw.data + 32, 32, NULL));
	uint8_t *der = NULL;
	int len = i2d_ECDSA_SIG(sig, &der);

	struct keyring *ring = keyring_new();
	struct err err;
	struct envelope envelope;
	assert_ok(keyring_add_spki(ring, "dsse", span_of(spki, sizeof spki), 0, 0, &err), err);
	envelope_new("http://example.com/HelloWorld", span_str("hello world"), &envelope);
	envelope.n_signatures = 1;
	envelope.signatures[0].keyid = xstrdup("");
	buf_append(&envelope.signatures[0].sig, buf_span(&raw));
	assert_null(keyring_verify(ring, &envelope, NOW_MS)); /* not DER */
	buf_clear(&envelope.signatures[0].sig);
	buf_append(&envelope.signatures[0].sig, span_of(der, (size_t)len));
	assert_string_equal(keyring_verify(ring, &envelope, NOW_MS), "dsse");
	OPENSSL_free(der);
	ECDSA_SIG_free(sig);
	envelope_done(&envelope);
	keyring_free(ring);
}

static void test_two_distinct_keys_are_two_signers(void **state)
{
	(void)state;
	struct keyring *ring = ring_of_two();
	struct envelope envelope;
	make(&envelope);
	assert_null(keyring_verify(ring, &envelope, NOW_MS));
	assert_int_equal(keyring_count_signers(ring, &envelope, NOW_MS), 0);
	test_sign_envelope(&envelope, &vendor, NULL);
	assert_string_equal(keyring_verify(ring, &envelope, NOW_MS), "vendor");
	assert_int_equal(keyring_count_signers(ring, &envelope, NOW_MS), 1);
	test_sign_envelope(&envelope, &gatekeeper, NULL);
	assert_int_equal(keyring_count_signers(ring, &envelope, NOW_MS), 2);
	envelope_done(&envelope);
	keyring_free(ring);
}

static void test_one_key_twice_counts_once(void **state)
{
	(void)state;
	struct keyring *ring = ring_of_two();
	struct envelope envelope;
	make(&envelope);
	test_sign_envelope(&envelope, &vendor, NULL);
	test_sign_envelope(&envelope, &vendor, gatekeeper.id);
	test_sign_envelope(&envelope, &vendor, "");
	test_sign_envelope(&envelope, &vendor, "something");
	assert_int_equal(keyring_count_signers(ring, &envelope, NOW_MS), 1);
	envelope_done(&envelope);
	keyring_free(ring);
}

static void test_a_stranger_is_no_signer(void **state)
{
	(void)state;
	struct keyring *ring = ring_of_two();
	struct envelope envelope;
	make(&envelope);
	test_sign_envelope(&envelope, &stranger, vendor.id);
	test_sign_envelope(&envelope, &stranger, gatekeeper.id);
	assert_null(keyring_verify(ring, &envelope, NOW_MS));
	assert_int_equal(keyring_count_signers(ring, &envelope, NOW_MS), 0);
	envelope_done(&envelope);
	keyring_free(ring);
}

static void test_lies_in_keyids_change_nothing(void **state)
{
	(void)state;
	struct keyring *ring = ring_of_two();
	struct envelope envelope;
	make(&envelope);
	test_sign_envelope(&envelope, &vendor, gatekeeper.id);
	assert_string_equal(keyring_verify(ring, &envelope, NOW_MS), "vendor");
	test_sign_envelope(&envelope, &gatekeeper, vendor.id);
	assert_int_equal(keyring_count_signers(ring, &envelope, NOW_MS), 2);
	/* A bad signature before the good one, under the good one's keyid. */
	envelope.signatures[0].sig.data[8] ^= 1;
	test_sign_envelope(&envelope, &vendor, NULL);
	assert_int_equal(keyring_count_signers(ring, &envelope, NOW_MS), 2);
	envelope_done(&envelope);
	keyring_free(ring);
}

static void test_another_type_or_payload_has_another_signature(void **state)
{
	(void)state;
	struct keyring *ring = ring_of_two();
	struct envelope transaction, receipt;
	make(&transaction);
	test_sign_envelope(&transaction, &vendor, NULL);
	envelope_new(TRANSACTION_RECEIPT_TYPE, buf_span(&transaction.payload), &receipt);
	receipt.n_signatures = 1;
	receipt.signatures[0].keyid = xstrdup(vendor.id);
	buf_append(&receipt.signatures[0].sig, buf_span(&transaction.signatures[0].sig));
	assert_string_equal(keyring_verify(ring, &transaction, NOW_MS), "vendor");
	assert_null(keyring_verify(ring, &receipt, NOW_MS));
	envelope_done(&transaction);
	envelope_done(&receipt);
	keyring_free(ring);
}

static void test_keys_are_trusted_in_their_time_only(void **state)
{
	(void)state;
	static const struct {
		int64_t not_before, not_after, now;
		bool trusted;
	} cases[] = {
	    {0, 0, NOW_MS, true},      {NOW_MS, 0, NOW_MS, true},      {NOW_MS, 0, NOW_MS - 1, false},
	    {0, NOW_MS, NOW_MS, true}, {0, NOW_MS, NOW_MS + 1, false}, {NOW_MS - 5, NOW_MS + 5, NOW_MS, true},
	};
	struct envelope envelope;
	make(&envelope);
	test_sign_envelope(&envelope, &vendor, NULL);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct keyring *ring = keyring_new();
		struct err err;
		assert_ok(keyring_add_spki(ring, "v", buf_span(&vendor.spki), cases[i].not_before, cases[i].not_after, &err),
		          err);
		assert_int_equal(keyring_verify(ring, &envelope, cases[i].now) != NULL, cases[i].trusted);
		assert_int_equal(keyring_count_signers(ring, &envelope, cases[i].now), cases[i].trusted);
		keyring_free(ring);
	}
	envelope_done(&envelope);
}

static void test_rsa_is_pss_with_a_salt_of_32(void **state)
{
	(void)state;
	struct test_key rsa;
	test_key_rsa(&rsa, 2048);
	struct keyring *ring = keyring_new();
	add(ring, "rsa", &rsa);
	static const struct {
		int salt;
		bool good;
	} cases[] = {{32, true}, {0, false}, {20, false}, {222, false}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct envelope envelope;
		make(&envelope);
		envelope.n_signatures = 1;
		envelope.signatures[0].keyid = xstrdup(rsa.id);
		test_sign(&rsa, envelope.digest, cases[i].salt, &envelope.signatures[0].sig);
		assert_int_equal(keyring_verify(ring, &envelope, NOW_MS) != NULL, cases[i].good);
		envelope_done(&envelope);
	}
	keyring_free(ring);
	test_key_done(&rsa);
}

/* ---- Wycheproof ---- */

static void unhex(const char *hex, struct buf *out)
{
	size_t len = strlen(hex) / 2;
	buf_clear(out);
	assert_true(text_unhex(hex, buf_reserve(out, len + 1), len));
	out->len = len;
}

static void check_wycheproof(const struct keyring *ring, json_t *test)
{
	autobuf struct buf msg = {0};
	struct envelope envelope = {.n_signatures = 1, .signatures = {{.keyid = xstrdup("")}}};
	unhex(json_string_value(json_object_get(test, "msg")), &msg);
	unhex(json_string_value(json_object_get(test, "sig")), &envelope.signatures[0].sig);
	text_sha256(buf_span(&msg), envelope.digest);
	bool valid = strcmp(json_string_value(json_object_get(test, "result")), "valid") == 0;
	if ((keyring_verify(ring, &envelope, NOW_MS) != NULL) != valid)
		fail_msg("tcId %lld: %s", json_integer_value(json_object_get(test, "tcId")),
		         json_string_value(json_object_get(test, "comment")));
	envelope_done(&envelope);
}

static void test_wycheproof_ecdsa_p256_sha256(void **state)
{
	(void)state;
	json_t *root = json_load_file(TEST_SOURCE_DIR "/vectors/wycheproof/ecdsa_secp256r1_sha256_test.json", 0, NULL);
	assert_non_null(root);
	json_t *group, *test;
	size_t i, j;
	long long count = 0;
	json_array_foreach(json_object_get(root, "testGroups"), i, group)
	{
		autobuf struct buf spki = {0};
		struct err err;
		struct keyring *ring = keyring_new();
		unhex(json_string_value(json_object_get(group, "publicKeyDer")), &spki);
		assert_ok(keyring_add_spki(ring, "w", buf_span(&spki), 0, 0, &err), err);
		json_array_foreach(json_object_get(group, "tests"), j, test)
		{
			check_wycheproof(ring, test);
			count++;
		}
		keyring_free(ring);
	}
	assert_int_equal(count, json_integer_value(json_object_get(root, "numberOfTests")));
	assert_true(count > 400);
	json_decref(root);
}

/* ---- threads ---- */

struct job {
	const struct keyring *ring;
	const struct envelope *envelope;
	unsigned good;
};

static void *verify_many(void *arg)
{
	struct job *job = arg;
	for (int i = 0; i < 50; i++)
		job->good += keyring_count_signers(job->ring, job->envelope, NOW_MS) == 2;
	return NULL;
}

static void test_a_ring_verifies_in_many_threads(void **state)
{
	(void)state;
	struct keyring *ring = ring_of_two();
	struct envelope envelope;
	make(&envelope);
	test_sign_envelope(&envelope, &vendor, NULL);
	test_sign_envelope(&envelope, &gatekeeper, NULL);
	struct job jobs[4];
	pthread_t threads[4];
	for (int i = 0; i < 4; i++) {
		jobs[i] = (struct job){ring, &envelope, 0};
		assert_int_equal(pthread_create(&threads[i], NULL, verify_many, &jobs[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(jobs[i].good, 50);
	}
	envelope_done(&envelope);
	keyring_free(ring);
}

HARNESS_MAIN(make_keys, free_keys, cmocka_unit_test(test_add_pem_takes_keys_and_certificates),
             cmocka_unit_test(test_add_pem_refuses_other_text),
             cmocka_unit_test(test_the_same_key_is_refused_under_any_name),
             cmocka_unit_test(test_the_same_key_is_refused_in_another_encoding),
             cmocka_unit_test(test_other_kinds_of_keys_are_refused),
             cmocka_unit_test(test_explicit_curve_parameters_are_refused),
             cmocka_unit_test(test_damaged_spki_is_refused),
             cmocka_unit_test(test_a_key_that_ends_before_it_begins_is_refused),
             cmocka_unit_test(test_each_key_has_a_line), cmocka_unit_test(test_signature_of_the_specification),
             cmocka_unit_test(test_two_distinct_keys_are_two_signers), cmocka_unit_test(test_one_key_twice_counts_once),
             cmocka_unit_test(test_a_stranger_is_no_signer), cmocka_unit_test(test_lies_in_keyids_change_nothing),
             cmocka_unit_test(test_another_type_or_payload_has_another_signature),
             cmocka_unit_test(test_keys_are_trusted_in_their_time_only),
             cmocka_unit_test(test_rsa_is_pss_with_a_salt_of_32), cmocka_unit_test(test_wycheproof_ecdsa_p256_sha256),
             cmocka_unit_test(test_a_ring_verifies_in_many_threads))
