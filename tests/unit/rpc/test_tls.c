#include "tests/unit/rpc/fixture.h"

static void who(struct rpc_call *call, void *user)
{
	(void)user;
	const struct rpc_identity *identity = rpc_call_identity(call);
	assert_ptr_equal(identity, rpc_call_identity(call));
	autobuf struct buf answer = {0};
	if (identity) {
		buf_append_str(&answer, identity->common_name);
		for (size_t i = 0; i < identity->n_names; i++)
			buf_printf(&answer, " %s", identity->names[i]);
		buf_printf(&answer, " %s", identity->fingerprint);
	} else {
		buf_append_str(&answer, "nobody");
	}
	rpc_finish(call, rpc_send(call, buf_span(&answer), NULL, NULL), "", NULL);
}

static const struct rpc_method methods[] = {{"/t.T/Who", who, NULL, 1024, false, false, NULL}, {0}};

static struct rpc_client *client_of(const struct fixture *f, const char *ca, const char *certificate, const char *key,
                                    const char *server_name)
{
	struct rpc_client_options options = {
	    .target = f->target, .ca = ca, .certificate = certificate, .key = key, .server_name = server_name};
	struct rpc_client *client = NULL;
	struct err err = {0};
	assert_ok(rpc_client_new(&options, &client, &err), err);
	return client;
}

/* The answer of a fresh connection, or "" when there is none. */
static void ask(struct rpc_client *client, enum err_code expected, struct buf *response)
{
	buf_clear(response);
	assert_int_equal(fixture_unary(client, "/t.T/Who", "", response), expected);
	rpc_client_free(client);
}

static void fingerprint_of(const char *path, char *out)
{
	FILE *in = fopen(path, "r");
	X509 *certificate = PEM_read_X509(in, NULL, NULL, NULL);
	fclose(in);
	uint8_t digest[32];
	assert_int_equal(X509_digest(certificate, EVP_sha256(), digest, NULL), 1);
	X509_free(certificate);
	for (int i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static void test_with_a_certificate(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	autobuf struct buf answer = {0}, expected = {0};
	char fingerprint[65];
	fingerprint_of(f.certs.client, fingerprint);
	buf_printf(&expected, "alice spiffe://test/alice alice.test alice@test %s", fingerprint);
	ask(client_of(&f, f.certs.ca, f.certs.client, f.certs.client_key, NULL), ERR_OK, &answer);
	assert_string_equal(buf_cstr(&answer), buf_cstr(&expected));
	fixture_stop(&f);
}

static void test_without_a_certificate(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	autobuf struct buf answer = {0};
	ask(client_of(&f, f.certs.ca, NULL, NULL, NULL), ERR_OK, &answer);
	assert_string_equal(buf_cstr(&answer), "nobody");
	fixture_stop(&f);
}

static void test_a_strangers_certificate(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	autobuf struct buf answer = {0};
	ask(client_of(&f, f.certs.ca, f.certs.stranger, f.certs.stranger_key, NULL), ERR_UNAVAILABLE, &answer);
	assert_string_equal(buf_cstr(&answer), "");
	fixture_stop(&f);
}

static void test_certificates_not_asked_for(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	struct rpc_server_options options = fixture_options(&f, methods);
	options.tls.client_ca = NULL;
	fixture_serve(&f, &options);
	autobuf struct buf answer = {0};
	ask(client_of(&f, f.certs.ca, f.certs.client, f.certs.client_key, NULL), ERR_OK, &answer);
	assert_string_equal(buf_cstr(&answer), "nobody");
	fixture_stop(&f);
}

static void test_the_server_is_verified(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	autobuf struct buf answer = {0};
	ask(client_of(&f, f.certs.other_ca, NULL, NULL, NULL), ERR_UNAVAILABLE, &answer);
	ask(client_of(&f, NULL, NULL, NULL, NULL), ERR_UNAVAILABLE, &answer);
	ask(client_of(&f, f.certs.ca, NULL, NULL, "elsewhere.test"), ERR_UNAVAILABLE, &answer);
	ask(client_of(&f, f.certs.ca, NULL, NULL, "gatekeeper.test"), ERR_OK, &answer);
	fixture_stop(&f);
}

static void write_text(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static void expect_refused(const struct fixture *f, struct rpc_tls tls, const char *text)
{
	struct rpc_server_options options = fixture_options(f, methods);
	options.tls = tls;
	struct rpc_server *server = NULL;
	struct err err = {0};
	assert_err(rpc_server_start(&options, &server, &err), ERR_INVALID);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void test_files_that_cannot_be_used(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	const struct certs *c = &f.certs;
	expect_refused(&f, (struct rpc_tls){.certificate = "/nowhere.pem", .key = c->server_key}, "/nowhere.pem");
	expect_refused(&f, (struct rpc_tls){.certificate = c->server, .key = "/nowhere.key"}, "/nowhere.key");
	expect_refused(&f, (struct rpc_tls){.certificate = c->server, .key = c->server_key, .client_ca = "/no"}, "/no");
	expect_refused(&f, (struct rpc_tls){.certificate = c->server, .key = c->client_key}, "does not belong");
	expect_refused(&f, (struct rpc_tls){.certificate = c->server_key, .key = c->server_key}, "no certificate");
	expect_refused(&f, (struct rpc_tls){.certificate = c->server, .key = c->server}, "no unencrypted private key");
	expect_refused(&f, (struct rpc_tls){.certificate = c->server}, "go together");
	expect_refused(&f, (struct rpc_tls){.client_ca = c->ca}, "no certificate");
	fixture_stop(&f);
}

static void test_client_options_that_cannot_be_used(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	const struct rpc_client_options bad[] = {
	    {.target = NULL, .ca = f.certs.ca},
	    {.target = "127.0.0.1", .ca = f.certs.ca},
	    {.target = "unix:/tmp/x", .ca = f.certs.ca},
	    {.target = "127.0.0.1:99x", .ca = f.certs.ca},
	    {.target = "127.0.0.1:99", .ca = "/nowhere.pem"},
	    {.target = "127.0.0.1:99", .ca = f.certs.ca, .certificate = f.certs.client},
	    {.target = "127.0.0.1:99", .ca = f.certs.ca, .certificate = f.certs.client, .key = f.certs.server_key},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct rpc_client *client = NULL;
		struct err err = {0};
		assert_err(rpc_client_new(&bad[i], &client, &err), ERR_INVALID);
		assert_null(client);
		assert_true(err.text[0]);
	}
	fixture_stop(&f);
}

static void copy_file(const char *from, const char *to)
{
	autobuf struct buf bytes = {0};
	FILE *in = fopen(from, "r");
	bytes.len = fread(buf_reserve(&bytes, 16384), 1, 16384, in);
	fclose(in);
	write_text(to, buf_cstr(&bytes));
}

static void test_reload(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	autobuf struct buf answer = {0};
	/* The files' state in between, a certificate without its key, changes nothing. */
	copy_file(f.certs.stranger, f.certs.server);
	ask(client_of(&f, f.certs.ca, NULL, NULL, NULL), ERR_OK, &answer);
	copy_file(f.certs.stranger_key, f.certs.server_key);
	ask(client_of(&f, f.certs.ca, NULL, NULL, NULL), ERR_UNAVAILABLE, &answer);
	ask(client_of(&f, f.certs.other_ca, NULL, NULL, "alice.test"), ERR_OK, &answer);
	write_text(f.certs.server, "rubbish");
	ask(client_of(&f, f.certs.other_ca, NULL, NULL, "alice.test"), ERR_OK, &answer);
	fixture_stop(&f);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_with_a_certificate), cmocka_unit_test(test_without_a_certificate),
             cmocka_unit_test(test_a_strangers_certificate), cmocka_unit_test(test_certificates_not_asked_for),
             cmocka_unit_test(test_the_server_is_verified), cmocka_unit_test(test_files_that_cannot_be_used),
             cmocka_unit_test(test_client_options_that_cannot_be_used), cmocka_unit_test(test_reload))
