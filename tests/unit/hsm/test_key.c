/* Finding keys: exactly one, of the right kind, that the token never gives away. */
#include "common/text.h"
#include "hsm/internal.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

static struct softhsm token;
static struct hsm *hsm;
static struct err err;
static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static int setup(void **state)
{
	(void)state;
	softhsm_setup(&token, "keys");
	struct hsm_options options = softhsm_options(&token, "pkcs11:token=keys");
	return hsm_open(&options, &hsm, &err) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}

static void expect_refusal(enum hsm_key_kind kind, const char *uri, enum err_code code, const char *text)
{
	struct hsm_key *key = NULL;
	assert_err(hsm_key_find(hsm, kind, uri, &key, &err), code);
	assert_null(key);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

/* A secret key as somebody careless would make it. */
struct careless {
	const char *label;
	CK_KEY_TYPE type;
	CK_ULONG bytes;
	CK_BBOOL *sensitive, *extractable, *on_token;
	size_t id_len;
};

static void make_careless(struct careless with)
{
	struct hsm_session *session = NULL;
	assert_ok(hsm_pool_take(hsm, hsm_deadline(hsm), &session, &err), err);
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	uint8_t value[64] = {1, 2, 3}, id[40] = {0xaa};
	CK_ATTRIBUTE template[] = {
	    {CKA_CLASS, &class, sizeof class},
	    {CKA_KEY_TYPE, &with.type, sizeof with.type},
	    {CKA_TOKEN, with.on_token ? with.on_token : &yes, sizeof yes},
	    {CKA_PRIVATE, &yes, sizeof yes},
	    {CKA_SENSITIVE, with.sensitive ? with.sensitive : &yes, sizeof yes},
	    {CKA_EXTRACTABLE, with.extractable ? with.extractable : &no, sizeof no},
	    {CKA_SIGN, &yes, sizeof yes},
	    {CKA_ENCRYPT, &yes, sizeof yes},
	    {CKA_DECRYPT, &yes, sizeof yes},
	    {CKA_LABEL, (void *)with.label, strlen(with.label)},
	    {CKA_VALUE, value, with.bytes},
	    {CKA_ID, id, with.id_len},
	};
	assert_int_equal(hsm_call_create(session, template, with.id_len ? 12 : 11), CKR_OK);
	if (with.on_token) /* a session object lives as long as its session, which stays open in the pool */
		assert_int_equal(session->rv, CKR_OK);
	hsm_pool_give_back(session);
}

static void test_find_by_label_id_and_both(void **state)
{
	(void)state;
	struct hsm_key *by_label = NULL, *by_id = NULL, *by_all = NULL;
	assert_ok(hsm_generate_aes(hsm, "kek", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_AES, "pkcs11:object=kek", &by_label, &err), err);
	uint8_t id[16];
	assert_true(text_unhex(hsm_key_id(by_label), id, sizeof id));
	autobuf struct buf uri = {0};
	buf_append_str(&uri, "pkcs11:id=");
	for (size_t i = 0; i < sizeof id; i++)
		buf_printf(&uri, "%%%02X", id[i]);
	assert_ok(hsm_key_find(hsm, HSM_KEY_AES, buf_cstr(&uri), &by_id, &err), err);
	buf_append_str(&uri, ";object=kek;type=secret-key;token=keys");
	assert_ok(hsm_key_find(hsm, HSM_KEY_AES, buf_cstr(&uri), &by_all, &err), err);
	/* One key, however it is named. */
	assert_ptr_equal(by_label, by_id);
	assert_ptr_equal(by_label, by_all);
	assert_string_equal(hsm_key_label(by_id), "kek");
	assert_int_equal(strlen(hsm_key_id(by_id)), 32);
	buf_append_str(&uri, "X");
	expect_refusal(HSM_KEY_AES, buf_cstr(&uri), ERR_NOT_FOUND, "another token");
}

static void test_find_nothing(void **state)
{
	(void)state;
	expect_refusal(HSM_KEY_AES, "pkcs11:object=nobody", ERR_NOT_FOUND, "no such key");
	expect_refusal(HSM_KEY_SIGN, "pkcs11:object=nobody;token=other", ERR_NOT_FOUND, "another token");
	expect_refusal(HSM_KEY_SIGN, "pkcs11:id=%01", ERR_NOT_FOUND, "no such key");
}

static void test_uri_refused(void **state)
{
	(void)state;
	expect_refusal(HSM_KEY_AES, NULL, ERR_INVALID, "RFC 7512");
	expect_refusal(HSM_KEY_AES, "kek", ERR_INVALID, "RFC 7512");
	expect_refusal(HSM_KEY_AES, "pkcs11:object=%zz", ERR_INVALID, "RFC 7512");
	expect_refusal(HSM_KEY_AES, "pkcs11:", ERR_INVALID, "object or id");
	expect_refusal(HSM_KEY_AES, "pkcs11:token=keys", ERR_INVALID, "object or id");
	expect_refusal(HSM_KEY_AES, "pkcs11:object=kek;shape=round", ERR_INVALID, "nobody knows");
	expect_refusal(HSM_KEY_AES, "pkcs11:object=kek?pin-value=98765", ERR_INVALID, "PIN");
	assert_null(strstr(err.text, "98765"));
}

static void test_two_keys_of_one_label(void **state)
{
	(void)state;
	make_careless((struct careless){.label = "twin", .type = CKK_AES, .bytes = 32, .id_len = 4});
	make_careless((struct careless){.label = "twin", .type = CKK_AES, .bytes = 32, .id_len = 5});
	expect_refusal(HSM_KEY_AES, "pkcs11:object=twin", ERR_INVALID, "several");
	struct hsm_key *key = NULL;
	assert_ok(hsm_key_find(hsm, HSM_KEY_AES, "pkcs11:object=twin;id=%AA%00%00%00", &key, &err), err);
	assert_string_equal(hsm_key_id(key), "aa000000");
}

static void test_very_many_keys_of_one_label(void **state)
{
	(void)state;
	for (int i = 0; i < 17; i++)
		make_careless((struct careless){.label = "crowd", .type = CKK_AES, .bytes = 32, .id_len = 4});
	expect_refusal(HSM_KEY_AES, "pkcs11:object=crowd", ERR_INVALID, "several");
}

static void test_wrong_kind(void **state)
{
	(void)state;
	autosecret struct secret *value = secret_from(span_str("0123456789abcdef0123456789abcdef"));
	assert_ok(hsm_generate_aes(hsm, "aes", &err), err);
	assert_ok(hsm_generate_ec(hsm, "ec", &err), err);
	assert_ok(hsm_import_hmac(hsm, "hmac", value, &err), err);
	expect_refusal(HSM_KEY_SIGN, "pkcs11:object=aes", ERR_INVALID, "not a private key");
	expect_refusal(HSM_KEY_SIGN, "pkcs11:object=hmac", ERR_INVALID, "not a private key");
	expect_refusal(HSM_KEY_AES, "pkcs11:object=ec", ERR_INVALID, "not an AES key");
	expect_refusal(HSM_KEY_AES, "pkcs11:object=hmac", ERR_INVALID, "not an AES key");
	expect_refusal(HSM_KEY_HMAC, "pkcs11:object=aes", ERR_INVALID, "not a generic secret");
	expect_refusal(HSM_KEY_SIGN, "pkcs11:object=ec;type=public", ERR_INVALID, "type attribute");
}

static void test_custody_is_checked(void **state)
{
	(void)state;
	make_careless((struct careless){
	    .label = "naked", .type = CKK_AES, .bytes = 32, .sensitive = &no, .extractable = &no, .id_len = 4});
	make_careless((struct careless){
	    .label = "movable", .type = CKK_AES, .bytes = 32, .sensitive = &yes, .extractable = &yes, .id_len = 4});
	make_careless((struct careless){.label = "movable-secret",
	                                .type = CKK_GENERIC_SECRET,
	                                .bytes = 32,
	                                .sensitive = &yes,
	                                .extractable = &yes,
	                                .id_len = 4});
	expect_refusal(HSM_KEY_AES, "pkcs11:object=naked", ERR_DENIED, "CKA_SENSITIVE 0");
	expect_refusal(HSM_KEY_AES, "pkcs11:object=movable", ERR_DENIED, "CKA_EXTRACTABLE 1");
	expect_refusal(HSM_KEY_HMAC, "pkcs11:object=movable-secret", ERR_DENIED, "CKA_EXTRACTABLE 1");
}

static void test_unfit_secrets(void **state)
{
	(void)state;
	make_careless((struct careless){.label = "aes128", .type = CKK_AES, .bytes = 16, .id_len = 4});
	make_careless((struct careless){.label = "anonymous", .type = CKK_AES, .bytes = 32});
	make_careless((struct careless){.label = "long-id", .type = CKK_AES, .bytes = 32, .id_len = 33});
	make_careless((struct careless){.label = "passing", .type = CKK_AES, .bytes = 32, .id_len = 4, .on_token = &no});
	expect_refusal(HSM_KEY_AES, "pkcs11:object=aes128", ERR_INVALID, "AES-256");
	expect_refusal(HSM_KEY_AES, "pkcs11:object=anonymous", ERR_INVALID, "no CKA_ID");
	expect_refusal(HSM_KEY_AES, "pkcs11:object=long-id", ERR_INVALID, "longer than 32");
	expect_refusal(HSM_KEY_AES, "pkcs11:object=passing", ERR_NOT_FOUND, "no such key");
}

static void make_pair(const char *label, const uint8_t *oid, size_t oid_len, CK_BBOOL *public_on_token,
                      CK_BBOOL *extractable)
{
	struct hsm_session *session = NULL;
	assert_ok(hsm_pool_take(hsm, hsm_deadline(hsm), &session, &err), err);
	uint8_t id[] = {1, (uint8_t)label[0]};
	CK_ATTRIBUTE public[] = {
	    {CKA_TOKEN, public_on_token, sizeof yes},
	    {CKA_VERIFY, &yes, sizeof yes},
	    {CKA_EC_PARAMS, (void *)oid, oid_len},
	    {CKA_LABEL, (void *)label, strlen(label)},
	    {CKA_ID, id, sizeof id},
	};
	CK_ATTRIBUTE private[] = {
	    {CKA_TOKEN, &yes, sizeof yes},
	    {CKA_PRIVATE, &yes, sizeof yes},
	    {CKA_SIGN, &yes, sizeof yes},
	    {CKA_SENSITIVE, &yes, sizeof yes},
	    {CKA_EXTRACTABLE, extractable, sizeof no},
	    {CKA_LABEL, (void *)label, strlen(label)},
	    {CKA_ID, id, sizeof id},
	};
	assert_int_equal(hsm_call_generate_pair(session, CKM_EC_KEY_PAIR_GEN, public, 5, private, 7), CKR_OK);
	hsm_pool_give_back(session);
}

static void test_unfit_private_keys(void **state)
{
	(void)state;
	static const uint8_t p384[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
	make_pair("a-384", p384, sizeof p384, &yes, &no);
	make_pair("b-lonely", hsm_p256_oid, sizeof hsm_p256_oid, &no, &no);
	make_pair("c-movable", hsm_p256_oid, sizeof hsm_p256_oid, &yes, &yes);
	make_pair("d-good", hsm_p256_oid, sizeof hsm_p256_oid, &yes, &no);
	make_pair("d-second-public-of-that-id", hsm_p256_oid, sizeof hsm_p256_oid, &yes, &no);
	expect_refusal(HSM_KEY_SIGN, "pkcs11:object=a-384", ERR_INVALID, "P-256");
	expect_refusal(HSM_KEY_SIGN, "pkcs11:object=b-lonely", ERR_INVALID, "no public key");
	expect_refusal(HSM_KEY_SIGN, "pkcs11:object=c-movable", ERR_DENIED, "CKA_EXTRACTABLE 1");
	expect_refusal(HSM_KEY_SIGN, "pkcs11:object=d-good", ERR_INVALID, "more than one public key");
}

/* A public key object that lies beside a private key must not pass for its public key. */
static void test_foreign_public_key(void **state)
{
	(void)state;
	struct hsm_session *session = NULL;
	struct hsm_key *honest = NULL;
	make_pair("honest", hsm_p256_oid, sizeof hsm_p256_oid, &yes, &no);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=honest", &honest, &err), err);
	make_pair("victim", hsm_p256_oid, sizeof hsm_p256_oid, &no, &no);
	struct span spki = hsm_key_spki(honest);
	uint8_t point[67] = {0x04, 65}, id[] = {1, 'v'};
	memcpy(point + 2, spki.ptr + spki.len - 65, 65);
	CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
	CK_KEY_TYPE type = CKK_EC;
	CK_ATTRIBUTE template[] = {
	    {CKA_CLASS, &class, sizeof class},   {CKA_KEY_TYPE, &type, sizeof type},
	    {CKA_TOKEN, &yes, sizeof yes},       {CKA_VERIFY, &yes, sizeof yes},
	    {CKA_LABEL, (void *)"victim", 6},    {CKA_EC_PARAMS, (void *)hsm_p256_oid, sizeof hsm_p256_oid},
	    {CKA_EC_POINT, point, sizeof point}, {CKA_ID, id, sizeof id},
	};
	assert_ok(hsm_pool_take(hsm, hsm_deadline(hsm), &session, &err), err);
	assert_int_equal(hsm_call_create(session, template, 8), CKR_OK);
	hsm_pool_give_back(session);
	expect_refusal(HSM_KEY_SIGN, "pkcs11:object=victim", ERR_INVALID, "does not verify");
}

static void test_ec_points(void **state)
{
	(void)state;
	struct hsm_key *key = NULL;
	assert_ok(hsm_generate_ec(hsm, "point", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=point", &key, &err), err);
	struct hsm_attr attr = {.present = true, .len = 65};
	memcpy(attr.value, hsm_key_spki(key).ptr + 26, 65);
	autobuf struct buf bare = {0}, bad = {0};
	assert_ok(hsm_spki_ec(&attr, &bare, &err), err); /* without the OCTET STRING around it */
	assert_true(span_eq(buf_span(&bare), hsm_key_spki(key)));
	attr.value[64] ^= 1; /* not on the curve */
	assert_err(hsm_spki_ec(&attr, &bad, &err), ERR_INVALID);
	attr.len = 64;
	assert_err(hsm_spki_ec(&attr, &bad, &err), ERR_INVALID);
	attr.len = 0;
	assert_err(hsm_spki_ec(&attr, &bad, &err), ERR_INVALID);
	assert_int_equal(bad.len, 0);
}

static void test_uri_object(void **state)
{
	(void)state;
	char label[8] = "before";
	assert_ok(hsm_uri_object("pkcs11:token=keys;object=a%20b%C3%BC", label, sizeof label, &err), err);
	assert_string_equal(label, "a b\xc3\xbc");
	assert_ok(hsm_uri_object("pkcs11:object=1234567", label, sizeof label, &err), err);
	assert_err(hsm_uri_object("pkcs11:object=12345678", label, sizeof label, &err), ERR_INVALID);
	assert_err(hsm_uri_object("pkcs11:token=keys", label, sizeof label, &err), ERR_INVALID);
	assert_err(hsm_uri_object("pkcs11:object=", label, sizeof label, &err), ERR_INVALID);
	assert_err(hsm_uri_object("pkcs11:object=a%00b", label, sizeof label, &err), ERR_INVALID);
	assert_err(hsm_uri_object("object=a", label, sizeof label, &err), ERR_INVALID);
	assert_err(hsm_uri_object(NULL, label, sizeof label, &err), ERR_INVALID);
	assert_string_equal(label, "1234567");
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_find_by_label_id_and_both), cmocka_unit_test(test_find_nothing),
             cmocka_unit_test(test_uri_refused), cmocka_unit_test(test_two_keys_of_one_label),
             cmocka_unit_test(test_very_many_keys_of_one_label), cmocka_unit_test(test_wrong_kind),
             cmocka_unit_test(test_custody_is_checked), cmocka_unit_test(test_unfit_secrets),
             cmocka_unit_test(test_unfit_private_keys), cmocka_unit_test(test_foreign_public_key),
             cmocka_unit_test(test_ec_points), cmocka_unit_test(test_uri_object))
