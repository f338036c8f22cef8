#include "rpc/signer.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "tests/unit/rpc/fixture.h"

static const struct rpc_method no_methods[] = {{0}};

/* The server's key, as if it were in a token: what is asked of it can be counted, refused and held up. */
struct vault {
	EVP_PKEY *key;
	struct buf spki;
	atomic_uint asked;
	atomic_bool refuse;
	pthread_mutex_t held; /* while it is locked, nothing is signed */
};

static EVP_PKEY *key_read(const char *path)
{
	FILE *in = fopen(path, "r");
	assert_non_null(in);
	EVP_PKEY *key = PEM_read_PrivateKey(in, NULL, NULL, NULL);
	fclose(in);
	assert_non_null(key);
	return key;
}

static void vault_init(struct vault *vault, const char *path)
{
	*vault = (struct vault){.key = key_read(path)};
	pthread_mutex_init(&vault->held, NULL);
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(vault->key, &der);
	assert_true(len > 0);
	buf_append(&vault->spki, span_of(der, (size_t)len));
	OPENSSL_free(der);
}

static void vault_done(struct vault *vault)
{
	EVP_PKEY_free(vault->key);
	buf_done(&vault->spki);
	pthread_mutex_destroy(&vault->held);
}

static enum err_code vault_sign(void *user, const uint8_t digest[32], struct buf *sig, struct err *err)
{
	struct vault *vault = user;
	atomic_fetch_add(&vault->asked, 1);
	pthread_mutex_lock(&vault->held);
	pthread_mutex_unlock(&vault->held);
	if (atomic_load(&vault->refuse))
		return err_set(err, ERR_UNAVAILABLE, 0, "the vault is shut");
	unsigned char out[128];
	size_t len = sizeof(out);
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(vault->key, NULL);
	assert_true(EVP_PKEY_sign_init(context) == 1 && EVP_PKEY_sign(context, out, &len, digest, 32) == 1);
	EVP_PKEY_CTX_free(context);
	buf_append(sig, span_of(out, len));
	return ERR_OK;
}

static struct rpc_token_key vault_key(struct vault *vault)
{
	return (struct rpc_token_key){.spki = buf_span(&vault->spki), .sign = vault_sign, .user = vault};
}

static void serve(struct fixture *f, const struct rpc_token_key *key)
{
	struct rpc_server_options options = fixture_options(f, no_methods);
	options.tls.key = NULL;
	options.tls.token_key = key;
	fixture_serve(f, &options);
}

static enum err_code health(struct rpc_client *client)
{
	autobuf struct buf response = {0};
	return fixture_unary(client, "/grpc.health.v1.Health/Check", "", &response);
}

static enum err_code fresh_health(const struct fixture *f, bool with_certificate)
{
	struct rpc_client *client = fixture_client(f, with_certificate);
	enum err_code code = health(client);
	rpc_client_free(client);
	return code;
}

static void test_handshakes_are_signed_elsewhere(void **state)
{
	(void)state;
	struct fixture f;
	struct vault vault;
	fixture_init(&f);
	vault_init(&vault, f.certs.server_key);
	const struct rpc_token_key key = vault_key(&vault);
	serve(&f, &key);
	for (int i = 0; i < 5; i++)
		assert_int_equal(fresh_health(&f, i % 2), ERR_OK);
	assert_true(atomic_load(&vault.asked) >= 5);
	/* Nothing else in the process goes there. */
	unsigned asked = atomic_load(&vault.asked);
	EVP_PKEY *made = EVP_EC_gen("P-256");
	assert_non_null(made);
	EVP_PKEY_free(made);
	assert_int_equal(atomic_load(&vault.asked), asked);
	fixture_stop(&f);
	vault_done(&vault);
}

/* One handshake of a plain TLS client; which version and which hash are its choice. */
static bool handshake(const struct fixture *f, int version, const char *algorithms)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_min_proto_version(context, version);
	SSL_CTX_set_max_proto_version(context, version);
	assert_int_equal(SSL_CTX_set1_sigalgs_list(context, algorithms), 1);
	assert_int_equal(SSL_CTX_load_verify_file(context, f->certs.ca), 1);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	static const unsigned char h2[] = {2, 'h', '2'};
	SSL_CTX_set_alpn_protos(context, h2, sizeof(h2));
	BIO *bio = BIO_new_ssl_connect(context);
	BIO_set_conn_hostname(bio, f->target);
	bool ok = BIO_do_handshake(bio) == 1;
	BIO_free_all(bio);
	SSL_CTX_free(context);
	return ok;
}

static void test_versions_and_hashes(void **state)
{
	(void)state;
	struct fixture f;
	struct vault vault;
	fixture_init(&f);
	vault_init(&vault, f.certs.server_key);
	const struct rpc_token_key key = vault_key(&vault);
	serve(&f, &key);
	assert_true(handshake(&f, TLS1_3_VERSION, "ECDSA+SHA256"));
	assert_true(handshake(&f, TLS1_2_VERSION, "ECDSA+SHA256"));
	assert_true(handshake(&f, TLS1_2_VERSION, "ECDSA+SHA384"));
	assert_true(handshake(&f, TLS1_2_VERSION, "ECDSA+SHA512"));
	assert_false(handshake(&f, TLS1_3_VERSION, "RSA-PSS+SHA256"));
	assert_int_equal(health(f.client), ERR_OK);
	fixture_stop(&f);
	vault_done(&vault);
}

static void test_a_key_that_refuses_comes_back(void **state)
{
	(void)state;
	struct fixture f;
	struct vault vault;
	fixture_init(&f);
	vault_init(&vault, f.certs.server_key);
	const struct rpc_token_key key = vault_key(&vault);
	serve(&f, &key);
	assert_int_equal(health(f.client), ERR_OK);
	atomic_store(&vault.refuse, true);
	assert_int_equal(fresh_health(&f, true), ERR_UNAVAILABLE);
	assert_int_equal(health(f.client), ERR_OK); /* connections that are there go on */
	atomic_store(&vault.refuse, false);
	assert_int_equal(fresh_health(&f, true), ERR_OK);
	fixture_stop(&f);
	vault_done(&vault);
}

/* Handshakes that the token keeps must keep nobody else: there are two pollers, and more clients than that. */
static void test_a_key_that_hangs_keeps_nobody(void **state)
{
	(void)state;
	struct fixture f;
	struct vault vault;
	fixture_init(&f);
	vault_init(&vault, f.certs.server_key);
	const struct rpc_token_key key = vault_key(&vault);
	serve(&f, &key);
	assert_int_equal(health(f.client), ERR_OK);
	pthread_mutex_lock(&vault.held);
	for (int i = 0; i < 6; i++)
		assert_int_equal(fresh_health(&f, true), ERR_UNAVAILABLE);
	assert_int_equal(health(f.client), ERR_OK);
	pthread_mutex_unlock(&vault.held);
	enum err_code code = ERR_UNAVAILABLE;
	for (int i = 0; i < 600 && code != ERR_OK; i++) /* until the last abandoned signature is done */
		code = fresh_health(&f, true);
	assert_int_equal(code, ERR_OK);
	fixture_stop(&f);
	vault_done(&vault);
}

static void test_signer_alone(void **state)
{
	(void)state;
	struct fixture f;
	struct vault vault;
	struct err err = {0};
	fixture_init(&f);
	vault_init(&vault, f.certs.server_key);
	const struct rpc_token_key key = vault_key(&vault);
	struct rpc_signer *signer = NULL;
	assert_ok(rpc_signer_new(&key, &signer, &err), err);
	assert_true(span_eq(rpc_signer_spki(signer), buf_span(&vault.spki)));
	const uint8_t digest[32] = {1};
	autobuf struct buf sig = {0};
	assert_true(rpc_signer_sign(signer, digest, &sig));
	assert_true(sig.len > 60);
	pthread_mutex_lock(&vault.held);
	assert_false(rpc_signer_sign(signer, digest, &sig));
	assert_false(rpc_signer_sign(signer, digest, &sig)); /* at once */
	assert_true(atomic_load(&vault.asked) <= 2);
	pthread_mutex_unlock(&vault.held);
	rpc_signer_close(signer);
	assert_false(rpc_signer_sign(signer, digest, &sig));
	rpc_signer_unref(signer);
	rpc_signer_unref(NULL);
	vault_done(&vault);
	fixture_stop(&f);
}

static void test_keys_of_other_kinds_are_refused(void **state)
{
	(void)state;
	struct err err = {0};
	struct rpc_signer *signer = NULL;
	EVP_PKEY *keys[] = {EVP_RSA_gen(2048), EVP_EC_gen("P-384"), NULL};
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		unsigned char *der = NULL;
		int len = keys[i] ? i2d_PUBKEY(keys[i], &der) : 0;
		const struct rpc_token_key key = {.spki = span_of(der, (size_t)len), .sign = vault_sign};
		assert_err(rpc_signer_new(&key, &signer, &err), ERR_INVALID);
		assert_non_null(strstr(err.text, "P-256"));
		OPENSSL_free(der);
		EVP_PKEY_free(keys[i]);
	}
}

static void test_a_key_of_another_certificate_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	struct vault vault;
	fixture_init(&f);
	vault_init(&vault, f.certs.client_key);
	const struct rpc_token_key key = vault_key(&vault);
	struct rpc_server_options options = fixture_options(&f, no_methods);
	options.tls.token_key = &key;
	struct err err = {0};
	assert_err(rpc_server_check(&options, &err), ERR_INVALID); /* two keys */
	assert_non_null(strstr(err.text, "go together"));
	options.tls.key = NULL;
	assert_err(rpc_server_check(&options, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "does not belong to the certificate"));
	fixture_stop(&f);
	vault_done(&vault);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_handshakes_are_signed_elsewhere),
             cmocka_unit_test(test_versions_and_hashes), cmocka_unit_test(test_a_key_that_refuses_comes_back),
             cmocka_unit_test(test_a_key_that_hangs_keeps_nobody), cmocka_unit_test(test_signer_alone),
             cmocka_unit_test(test_keys_of_other_kinds_are_refused),
             cmocka_unit_test(test_a_key_of_another_certificate_is_refused))
