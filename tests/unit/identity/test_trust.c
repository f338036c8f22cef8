/* A certificate is verified at every call: in time, vouched for, not revoked, by files that are taken up anew. */
#include "common/text.h"
#include "identity/identity.h"
#include "tests/unit/rpc/certs.h"

static struct certs certs;
static char *list_path;
static int64_t offset_ms;

static int64_t shifted(void *user)
{
	(void)user;
	return clock_now_ms(NULL) + offset_ms;
}

static const struct clock later = {shifted, NULL};

static int set_up(void **state)
{
	(void)state;
	certs_init(&certs);
	list_path = certs_path(&certs, "revoked.pem");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(list_path);
	free(list_path);
	certs_done(&certs);
	return 0;
}

static X509 *read_certificate(const char *path)
{
	FILE *in = fopen(path, "r");
	assert_non_null(in);
	X509 *certificate = PEM_read_X509(in, NULL, NULL, NULL);
	fclose(in);
	return certificate;
}

static EVP_PKEY *read_key(const char *path)
{
	FILE *in = fopen(path, "r");
	assert_non_null(in);
	EVP_PKEY *key = PEM_read_PrivateKey(in, NULL, NULL, NULL);
	fclose(in);
	return key;
}

/* A list of the authority, good for an hour, in which stands one certificate, or none; signed with that key. */
static void write_list(const char *revoked_path, const char *key_path)
{
	X509_CRL *list = X509_CRL_new();
	X509 *ca = read_certificate(certs.ca), *revoked = revoked_path ? read_certificate(revoked_path) : NULL;
	EVP_PKEY *key = read_key(key_path);
	ASN1_TIME *time = X509_gmtime_adj(NULL, -60);
	X509_CRL_set_version(list, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(list, X509_get_subject_name(ca));
	X509_CRL_set1_lastUpdate(list, time);
	if (revoked) {
		X509_REVOKED *entry = X509_REVOKED_new();
		X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked));
		X509_REVOKED_set_revocationDate(entry, time);
		assert_int_equal(X509_CRL_add0_revoked(list, entry), 1);
	}
	X509_gmtime_adj(time, 3600);
	X509_CRL_set1_nextUpdate(list, time);
	assert_true(X509_CRL_sign(list, key, EVP_sha256()) > 0);
	FILE *out = fopen(list_path, "w");
	assert_int_equal(PEM_write_X509_CRL(out, list), 1);
	fclose(out);
	ASN1_TIME_free(time);
	EVP_PKEY_free(key);
	X509_free(ca);
	X509_free(revoked);
	X509_CRL_free(list);
}

static enum reason check(struct identity_trust *trust, const char *path)
{
	autobuf struct buf pem = {0};
	struct err err = {0};
	uint8_t digest[32];
	unsigned len = sizeof digest;
	char fingerprint[65];
	assert_ok(text_read_file(path, 65536, &pem, &err), err);
	X509 *certificate = read_certificate(path);
	assert_int_equal(X509_digest(certificate, EVP_sha256(), digest, &len), 1);
	X509_free(certificate);
	text_hex(span_of(digest, sizeof digest), fingerprint);
	const struct identity_certificate asked = {buf_cstr(&pem), "", fingerprint};
	err = (struct err){0};
	enum reason reason = identity_trust_check(trust, &asked, &err);
	assert_int_equal(reason == REASON_NONE, err.text[0] == '\0');
	return reason;
}

static struct identity_trust *make(size_t n_lists)
{
	const struct identity_trust_options options = {certs.ca, (const char *const *)&list_path, n_lists, &later};
	struct identity_trust *trust = NULL;
	struct err err = {0};
	offset_ms = 0;
	assert_ok(identity_trust_new(&options, &trust, &err), err);
	return trust;
}

static void test_without_lists(void **state)
{
	(void)state;
	struct identity_trust *trust = make(0);
	assert_int_equal(check(trust, certs.client), REASON_NONE);
	assert_int_equal(check(trust, certs.client), REASON_NONE); /* remembered */
	assert_int_equal(check(trust, certs.stranger), REASON_CERTIFICATE_UNTRUSTED);
	assert_false(identity_trust_changed(trust));
	identity_trust_free(trust);
	trust = make(0);
	offset_ms = 2 * 86400000;
	assert_int_equal(check(trust, certs.client), REASON_CERTIFICATE_EXPIRED);
	offset_ms = -2 * 86400000;
	identity_trust_free(trust);
	identity_trust_free(NULL);
}

static void test_revoked_and_reinstated(void **state)
{
	(void)state;
	struct identity_trust_state seen;
	struct err err = {0};
	write_list(NULL, certs.ca_key);
	struct identity_trust *trust = make(1);
	const unsigned generation = identity_trust_generation(trust);
	assert_int_equal(check(trust, certs.client), REASON_NONE);
	write_list(certs.client, certs.ca_key);
	assert_true(identity_trust_changed(trust));
	assert_ok(identity_trust_reload(trust, &err), err);
	assert_false(identity_trust_changed(trust));
	assert_int_equal(check(trust, certs.client), REASON_CERTIFICATE_REVOKED);
	assert_int_equal(check(trust, certs.server), REASON_NONE);
	identity_trust_state(trust, &seen);
	assert_int_equal(seen.revoked, 1);
	assert_int_equal(seen.lists, 1);
	assert_true(seen.next_update_ms > clock_now_ms(NULL));
	assert_int_equal(identity_trust_generation(trust), generation + 1);
	write_list(NULL, certs.ca_key);
	assert_ok(identity_trust_reload(trust, &err), err);
	assert_int_equal(check(trust, certs.client), REASON_NONE);
	identity_trust_free(trust);
}

static void test_a_list_out_of_date_closes(void **state)
{
	(void)state;
	write_list(NULL, certs.ca_key);
	struct identity_trust *trust = make(1);
	offset_ms = 3700 * 1000;
	assert_int_equal(check(trust, certs.client), REASON_REVOCATION_UNKNOWN);
	identity_trust_free(trust);
}

static void test_wrong_files_change_nothing(void **state)
{
	(void)state;
	static const char *const texts[] = {"", "nonsense", "-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n"};
	struct err err = {0};
	write_list(certs.client, certs.ca_key);
	struct identity_trust *trust = make(1);
	for (size_t i = 0; i <= sizeof texts / sizeof texts[0]; i++) {
		if (i < sizeof texts / sizeof texts[0])
			assert_ok(text_write_file(list_path, span_str(texts[i]), 0600, &err), err);
		else
			write_list(NULL, certs.stranger_key); /* the authority's name, another key */
		assert_err(identity_trust_reload(trust, &err), ERR_INVALID);
		assert_non_null(strstr(err.text, "revoked.pem"));
		assert_int_equal(check(trust, certs.client), REASON_CERTIFICATE_REVOKED);
	}
	unlink(list_path);
	assert_err(identity_trust_reload(trust, &err), ERR_NOT_FOUND);
	assert_int_equal(check(trust, certs.client), REASON_CERTIFICATE_REVOKED);
	identity_trust_free(trust);
	const struct identity_trust_options options = {certs.client_key, NULL, 0, NULL};
	assert_err(identity_trust_new(&options, &trust, &err), ERR_INVALID);
}

HARNESS_MAIN(set_up, tear_down, cmocka_unit_test(test_without_lists), cmocka_unit_test(test_revoked_and_reinstated),
             cmocka_unit_test(test_a_list_out_of_date_closes), cmocka_unit_test(test_wrong_files_change_nothing))
