/* Making keys and listing them. */
#include "hsm/internal.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

static struct softhsm token;
static struct hsm *hsm;
static struct err err;

static int setup(void **state)
{
	(void)state;
	softhsm_setup(&token, "maker");
	struct hsm_options options = softhsm_options(&token, "pkcs11:token=maker");
	return hsm_open(&options, &hsm, &err) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}

struct seen {
	struct hsm_key_info info[8];
	char types[8][32];
	size_t n;
};

static void see(const struct hsm_key_info *info, void *user)
{
	struct seen *seen = (struct seen *)user;
	assert_true(seen->n < 8);
	assert_ok(hsm_check(hsm, &err), err); /* the token may be used meanwhile */
	seen->info[seen->n] = *info;
	snprintf(seen->types[seen->n++], sizeof seen->types[0], "%s", info->type);
}

static const struct hsm_key_info *pick(const struct seen *seen, const char *label, bool is_secret, const char *type)
{
	for (size_t i = 0; i < seen->n; i++)
		if (strcmp(seen->info[i].label, label) == 0 && seen->info[i].is_secret == is_secret) {
			assert_string_equal(seen->types[i], type);
			return &seen->info[i];
		}
	fail_msg("no %s key %s", is_secret ? "secret" : "public", label);
	return NULL;
}

static void test_list(void **state)
{
	(void)state;
	struct seen seen = {0};
	autosecret struct secret *value = secret_from(span_str("AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
	assert_ok(hsm_key_list(hsm, see, &seen, &err), err);
	assert_int_equal(seen.n, 0);
	assert_ok(hsm_generate_ec(hsm, "transaction", &err), err);
	assert_ok(hsm_generate_aes(hsm, "kek", &err), err);
	assert_ok(hsm_import_hmac(hsm, "s3", value, &err), err);
	assert_ok(hsm_key_list(hsm, see, &seen, &err), err);
	assert_int_equal(seen.n, 4);
	assert_false(seen.info[3].is_secret); /* public keys come last */
	const struct hsm_key_info *ec = pick(&seen, "transaction", true, "EC P-256");
	const struct hsm_key_info *aes = pick(&seen, "kek", true, "AES 256");
	const struct hsm_key_info *s3 = pick(&seen, "s3", true, "secret 352 bits");
	const struct hsm_key_info *public = pick(&seen, "transaction", false, "EC P-256");
	assert_true(ec->sensitive && !ec->extractable && ec->always_sensitive && ec->never_extractable && ec->local);
	assert_true(aes->sensitive && !aes->extractable && aes->always_sensitive && aes->never_extractable && aes->local);
	/* Imported: its value was outside once, and the token says so. */
	assert_true(s3->sensitive && !s3->extractable && !s3->always_sensitive && !s3->never_extractable && !s3->local);
	assert_string_equal(ec->id, public->id);
	assert_int_equal(strlen(aes->id), 32);
	assert_string_not_equal(aes->id, ec->id);
}

/* Reads the named flags of the one object of that class: only what is needed may be on. */
static void expect_flags(CK_OBJECT_CLASS class, const CK_ATTRIBUTE_TYPE *on, size_t n_on)
{
	static const CK_ATTRIBUTE_TYPE all[] = {CKA_SIGN, CKA_VERIFY, CKA_ENCRYPT, CKA_DECRYPT,
	                                        CKA_WRAP, CKA_UNWRAP, CKA_DERIVE,  CKA_TOKEN};
	struct hsm_session *session = NULL;
	CK_ATTRIBUTE template = {CKA_CLASS, &class, sizeof class};
	CK_OBJECT_HANDLE object = 0;
	size_t count = 0;
	assert_ok(hsm_pool_take(hsm, hsm_deadline(hsm), &session, &err), err);
	assert_int_equal(hsm_call_find(session, &template, 1, &object, 1, &count), CKR_OK);
	assert_int_equal(count, 1);
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		bool expected = all[i] == CKA_TOKEN, got = false;
		for (size_t j = 0; j < n_on; j++)
			expected |= on[j] == all[i];
		assert_int_equal(hsm_attr_flag(session, object, all[i], false, &got), CKR_OK);
		if (got != expected)
			fail_msg("attribute 0x%lx is %d", all[i], got);
	}
	hsm_pool_give_back(session);
}

static void test_ec_key_can_only_sign(void **state)
{
	(void)state;
	assert_ok(hsm_generate_ec(hsm, "transaction", &err), err);
	expect_flags(CKO_PRIVATE_KEY, (CK_ATTRIBUTE_TYPE[]){CKA_SIGN}, 1);
	expect_flags(CKO_PUBLIC_KEY, (CK_ATTRIBUTE_TYPE[]){CKA_VERIFY}, 1);
}

static void test_aes_key_can_only_encrypt(void **state)
{
	(void)state;
	assert_ok(hsm_generate_aes(hsm, "kek", &err), err);
	expect_flags(CKO_SECRET_KEY, (CK_ATTRIBUTE_TYPE[]){CKA_ENCRYPT, CKA_DECRYPT}, 2);
}

static void test_hmac_key_can_only_sign(void **state)
{
	(void)state;
	autosecret struct secret *value = secret_from(span_str("0123456789abcdef0123456789abcdef"));
	assert_ok(hsm_import_hmac(hsm, "s3", value, &err), err);
	expect_flags(CKO_SECRET_KEY, (CK_ATTRIBUTE_TYPE[]){CKA_SIGN}, 1);
}

static void test_values_stay_in_the_token(void **state)
{
	(void)state;
	assert_ok(hsm_generate_aes(hsm, "kek", &err), err);
	struct hsm_session *session = NULL;
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_ATTRIBUTE template = {CKA_CLASS, &class, sizeof class};
	CK_OBJECT_HANDLE object = 0;
	size_t count = 0;
	struct hsm_attr value;
	assert_ok(hsm_pool_take(hsm, hsm_deadline(hsm), &session, &err), err);
	assert_int_equal(hsm_call_find(session, &template, 1, &object, 1, &count), CKR_OK);
	assert_int_equal(hsm_attr_read(session, object, CKA_VALUE, &value), CKR_OK);
	assert_false(value.present);
	hsm_pool_give_back(session);
}

static void test_same_label_twice(void **state)
{
	(void)state;
	autosecret struct secret *value = secret_from(span_str("0123456789abcdef0123456789abcdef"));
	assert_ok(hsm_generate_ec(hsm, "name", &err), err);
	assert_err(hsm_generate_ec(hsm, "name", &err), ERR_EXISTS);
	assert_err(hsm_generate_aes(hsm, "name", &err), ERR_EXISTS);
	assert_err(hsm_import_hmac(hsm, "name", value, &err), ERR_EXISTS);
	assert_non_null(strstr(err.text, "\"name\""));
	assert_ok(hsm_generate_aes(hsm, "name2", &err), err);
	assert_err(hsm_generate_ec(hsm, "name2", &err), ERR_EXISTS);
	struct seen seen = {0};
	assert_ok(hsm_key_list(hsm, see, &seen, &err), err);
	assert_int_equal(seen.n, 3);
}

static void test_labels_refused(void **state)
{
	(void)state;
	char longest[129];
	memset(longest, 'n', 128);
	longest[128] = 0;
	assert_err(hsm_generate_ec(hsm, "", &err), ERR_INVALID);
	assert_err(hsm_generate_ec(hsm, NULL, &err), ERR_INVALID);
	assert_err(hsm_generate_ec(hsm, "\xff", &err), ERR_INVALID);
	assert_err(hsm_generate_aes(hsm, longest, &err), ERR_INVALID);
	longest[127] = 0;
	assert_ok(hsm_generate_aes(hsm, longest, &err), err);
	autofree char *uri = xasprintf("pkcs11:object=%s", longest);
	struct hsm_key *key = NULL;
	assert_ok(hsm_key_find(hsm, HSM_KEY_AES, uri, &key, &err), err);
	assert_string_equal(hsm_key_label(key), longest);
}

static void test_secret_sizes(void **state)
{
	(void)state;
	autosecret struct secret *shorter = secret_new(31), *shortest = secret_new(32), *longest = secret_new(800),
	                         *longer = secret_new(801);
	assert_err(hsm_import_hmac(hsm, "31", shorter, &err), ERR_INVALID);
	assert_ok(hsm_import_hmac(hsm, "32", shortest, &err), err);
	assert_err(hsm_import_hmac(hsm, "801", longer, &err), ERR_INVALID);
	assert_ok(hsm_import_hmac(hsm, "800", longest, &err), err);
	struct hsm_key *key = NULL;
	assert_ok(hsm_key_find(hsm, HSM_KEY_HMAC, "pkcs11:object=32", &key, &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_HMAC, "pkcs11:object=800", &key, &err), err);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_list), cmocka_unit_test(test_ec_key_can_only_sign),
             cmocka_unit_test(test_aes_key_can_only_encrypt), cmocka_unit_test(test_hmac_key_can_only_sign),
             cmocka_unit_test(test_values_stay_in_the_token), cmocka_unit_test(test_same_label_twice),
             cmocka_unit_test(test_labels_refused), cmocka_unit_test(test_secret_sizes))
