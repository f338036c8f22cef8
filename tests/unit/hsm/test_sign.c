/* Signatures and HMACs by a SoftHSM2 token, checked by OpenSSL. */
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "common/text.h"
#include "hsm/internal.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

static struct softhsm token;
static struct hsm *hsm;
static struct err err;

static int setup(void **state)
{
	(void)state;
	softhsm_setup(&token, "signer");
	struct hsm_options options = softhsm_options(&token, "pkcs11:token=signer");
	return hsm_open(&options, &hsm, &err) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}

/* With OpenSSL's one-call interface, which hashes by itself: another road than the room's own check. */
static bool verifies(struct span spki, const char *message, struct span sig)
{
	const uint8_t *der = spki.ptr;
	EVP_PKEY *pkey = d2i_PUBKEY(NULL, &der, (long)spki.len);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL;
	assert_int_equal(EVP_DigestVerifyInit(ctx, &pctx, EVP_sha256(), NULL, pkey), 1);
	if (EVP_PKEY_get_id(pkey) == EVP_PKEY_RSA) {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, 32), 1);
	}
	bool ok = EVP_DigestVerify(ctx, sig.ptr, sig.len, (const uint8_t *)message, strlen(message)) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return ok;
}

static void check_signatures(struct hsm_key *key)
{
	uint8_t digest[32], spki_hash[32];
	char id[65];
	text_sha256(span_str("pay 5 to Alice"), digest);
	autobuf struct buf a = {0}, b = {0};
	buf_append_str(&b, "kept");
	assert_ok(hsm_sign(key, digest, &a, &err), err);
	assert_ok(hsm_sign(key, digest, &b, &err), err);
	assert_true(verifies(hsm_key_spki(key), "pay 5 to Alice", buf_span(&a)));
	assert_memory_equal(b.data, "kept", 4);
	assert_true(verifies(hsm_key_spki(key), "pay 5 to Alice", span_of(b.data + 4, b.len - 4)));
	assert_false(verifies(hsm_key_spki(key), "pay 6 to Alice", buf_span(&a)));
	text_sha256(hsm_key_spki(key), spki_hash);
	text_hex(span_of(spki_hash, sizeof spki_hash), id);
	assert_string_equal(hsm_key_id(key), id);
}

static void test_ec_signature_verifies(void **state)
{
	(void)state;
	struct hsm_key *key = NULL;
	assert_ok(hsm_generate_ec(hsm, "transaction", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=transaction", &key, &err), err);
	assert_string_equal(hsm_key_label(key), "transaction");
	assert_int_equal(hsm_key_spki(key).len, 91);
	for (int i = 0; i < 20; i++) /* DER of r and s varies in length */
		check_signatures(key);
}

/* Makes an RSA key pair in the token; there is no public function for that. */
static void make_rsa(const char *label, CK_ULONG bits)
{
	struct hsm_session *session = NULL;
	assert_ok(hsm_pool_take(hsm, hsm_deadline(hsm), &session, &err), err);
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	uint8_t exponent[] = {1, 0, 1}, id[] = {0xab, 0xcd, (uint8_t)(bits >> 8)};
	CK_ATTRIBUTE public[] = {
	    {CKA_TOKEN, &yes, sizeof yes},
	    {CKA_VERIFY, &yes, sizeof yes},
	    {CKA_MODULUS_BITS, &bits, sizeof bits},
	    {CKA_PUBLIC_EXPONENT, exponent, sizeof exponent},
	    {CKA_ID, id, sizeof id},
	    {CKA_LABEL, (void *)label, strlen(label)},
	};
	CK_ATTRIBUTE private[] = {
	    {CKA_TOKEN, &yes, sizeof yes},
	    {CKA_PRIVATE, &yes, sizeof yes},
	    {CKA_SIGN, &yes, sizeof yes},
	    {CKA_SENSITIVE, &yes, sizeof yes},
	    {CKA_EXTRACTABLE, &no, sizeof no},
	    {CKA_ID, id, sizeof id},
	    {CKA_LABEL, (void *)label, strlen(label)},
	};
	assert_int_equal(hsm_call_generate_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, public, 6, private, 7), CKR_OK);
	hsm_pool_give_back(session);
}

static void test_rsa_pss_signature_verifies(void **state)
{
	(void)state;
	struct hsm_key *key = NULL;
	make_rsa("rsa", 2048);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=rsa", &key, &err), err);
	check_signatures(key);
}

static void test_short_rsa_is_refused(void **state)
{
	(void)state;
	struct hsm_key *key = NULL;
	make_rsa("short", 1024);
	assert_err(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=short", &key, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "1024"));
}

static void test_hmac_is_the_published_date_key(void **state)
{
	(void)state;
	struct hsm_key *key = NULL;
	autosecret struct secret *value = secret_from(span_str("AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
	assert_ok(hsm_import_hmac(hsm, "s3", value, &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_HMAC, "pkcs11:object=s3", &key, &err), err);
	assert_int_equal(hsm_key_spki(key).len, 0);
	assert_int_equal(strlen(hsm_key_id(key)), 32);
	uint8_t mac[32];
	char hex[65];
	assert_ok(hsm_hmac(key, span_str("20150830"), mac, &err), err);
	text_hex(span_of(mac, sizeof mac), hex);
	assert_string_equal(hex, "0138c7a6cbd60aa727b2f653a522567439dfb9f3e72b21f9b25941a42f04a7cd");
}

static void test_hmac_sizes(void **state)
{
	(void)state;
	struct hsm_key *key = NULL;
	autosecret struct secret *value = secret_from(span_str("a key that is long enough for HMAC"));
	assert_ok(hsm_import_hmac(hsm, "sizes", value, &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_HMAC, "pkcs11:object=sizes", &key, &err), err);
	uint8_t data[4097] = {0}, mac[32];
	assert_ok(hsm_hmac(key, span_of(data, 1), mac, &err), err);
	assert_ok(hsm_hmac(key, span_of(data, 4096), mac, &err), err);
	assert_err(hsm_hmac(key, span_of(data, 4097), mac, &err), ERR_INVALID);
	assert_err(hsm_hmac(key, span_of(data, 0), mac, &err), ERR_INVALID);
}

static void test_keys_do_only_their_own_work(void **state)
{
	(void)state;
	struct hsm_key *aes = NULL, *ec = NULL;
	uint8_t digest[32] = {0}, mac[32];
	autobuf struct buf out = {0};
	assert_ok(hsm_generate_aes(hsm, "only-aes", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_AES, "pkcs11:object=only-aes", &aes, &err), err);
	assert_ok(hsm_generate_ec(hsm, "only-ec", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=only-ec", &ec, &err), err);
	assert_err(hsm_sign(aes, digest, &out, &err), ERR_INVALID);
	assert_err(hsm_hmac(ec, span_str("x"), mac, &err), ERR_INVALID);
	assert_int_equal(out.len, 0);
}

static void test_foreign_signature_does_not_verify(void **state)
{
	(void)state;
	struct hsm_key *a = NULL, *b = NULL;
	uint8_t digest[32] = {7};
	autobuf struct buf sig = {0};
	assert_ok(hsm_generate_ec(hsm, "one", &err), err);
	assert_ok(hsm_generate_ec(hsm, "two", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=one", &a, &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=two", &b, &err), err);
	assert_ok(hsm_sign(a, digest, &sig, &err), err);
	assert_true(hsm_spki_verify(hsm_key_spki(a), digest, buf_span(&sig)));
	assert_false(hsm_spki_verify(hsm_key_spki(b), digest, buf_span(&sig)));
	sig.data[sig.len - 1] ^= 1;
	assert_false(hsm_spki_verify(hsm_key_spki(a), digest, buf_span(&sig)));
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_ec_signature_verifies),
             cmocka_unit_test(test_rsa_pss_signature_verifies), cmocka_unit_test(test_short_rsa_is_refused),
             cmocka_unit_test(test_hmac_is_the_published_date_key), cmocka_unit_test(test_hmac_sizes),
             cmocka_unit_test(test_keys_do_only_their_own_work),
             cmocka_unit_test(test_foreign_signature_does_not_verify))
