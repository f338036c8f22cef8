#include "rpc/token_key.h"

#include "tests/unit/rpc/fixture.h"

#define MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define KEY    "pkcs11:token=tls;object=server;type=private"

static const struct rpc_method no_methods[] = {{0}};

static void run(const char *fmt, const char *a, const char *b)
{
	autofree char *command = NULL;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	command = xasprintf(fmt, a, b);
#pragma GCC diagnostic pop
	assert_int_equal(system(command), 0);
}

static void write_text(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

/* A token with the server's key in it. */
static void token_make(const struct fixture *f, char **ret_pin_source)
{
	autofree char *conf = xasprintf("%s/softhsm2.conf", f->certs.directory);
	autofree char *text = xasprintf("directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n",
	                                f->certs.directory);
	autofree char *pin = xasprintf("%s/pin", f->certs.directory);
	run("mkdir %s/tokens%s", f->certs.directory, "");
	write_text(conf, text);
	write_text(pin, "1234");
	setenv("SOFTHSM2_CONF", conf, 1);
	run("softhsm2-util --init-token --free --label tls --pin 1234 --so-pin 5678 >/dev/null%s%s", "", "");
	run("softhsm2-util --import %s --token tls --label server --id 01 --pin 1234 >/dev/null%s", f->certs.server_key,
	    "");
	*ret_pin_source = xasprintf("file:%s/pin", f->certs.directory);
}

static void token_remove(const struct fixture *f)
{
	run("rm -r %s/tokens %s/pin", f->certs.directory, f->certs.directory);
	run("rm %s/softhsm2.conf%s", f->certs.directory, "");
}

static void skip_without_module(void)
{
	if (access(MODULE, R_OK) != 0)
		exit(77);
}

static struct rpc_server_options token_options(const struct fixture *f, const char *key, const char *pin_source)
{
	struct rpc_server_options options = fixture_options(f, no_methods);
	options.tls.key = key;
	options.tls.module = MODULE;
	options.tls.pin_source = pin_source;
	return options;
}

static void test_key_in_a_token(void **state)
{
	(void)state;
	skip_without_module();
	struct fixture f;
	char *pin_source;
	fixture_init(&f);
	token_make(&f, &pin_source);
	struct rpc_server_options options = token_options(&f, KEY, pin_source);
	fixture_serve(&f, &options);
	autobuf struct buf response = {0};
	for (int i = 0; i < 5; i++) {
		struct rpc_client *client = fixture_client(&f, i % 2);
		assert_int_equal(fixture_unary(client, "/grpc.health.v1.Health/Check", "", &response), ERR_OK);
		rpc_client_free(client);
	}
	/* The engine must not have taken over the making of keys. */
	EVP_PKEY *key = EVP_EC_gen("P-256");
	assert_non_null(key);
	EVP_PKEY_free(key);
	token_remove(&f);
	fixture_stop(&f);
	free(pin_source);
}

static void expect_refused(const struct rpc_server_options *options, const char *text)
{
	struct rpc_server *server = NULL;
	struct err err = {0};
	assert_err(rpc_server_start(options, &server, &err), ERR_INVALID);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
	assert_null(strstr(err.text, "1234"));
}

static void test_token_that_cannot_be_used(void **state)
{
	(void)state;
	skip_without_module();
	struct fixture f;
	char *pin_source;
	fixture_init(&f);
	token_make(&f, &pin_source);
	struct rpc_server_options options = token_options(&f, "pkcs11:token=tls;object=nothing;type=private", pin_source);
	expect_refused(&options, "cannot be used");
	EVP_PKEY *key = EVP_EC_gen("P-256");
	assert_non_null(key);
	EVP_PKEY_free(key);
	options = token_options(&f, KEY, pin_source);
	options.tls.certificate = f.certs.client;
	expect_refused(&options, "cannot be used");
	token_remove(&f);
	fixture_stop(&f);
	free(pin_source);
}

static void expect_name_refused(struct rpc_tls tls, const char *text)
{
	char *name = NULL;
	struct err err = {0};
	assert_err(rpc_token_key_name(&tls, &name, &err), ERR_INVALID);
	assert_null(name);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void test_name(void **state)
{
	(void)state;
	struct err err = {0};
	char *name = NULL;
	setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x", 1);
	struct rpc_tls tls = {.key = KEY, .module = MODULE, .pin_source = "credential:tls-pin"};
	assert_ok(rpc_token_key_name(&tls, &name, &err), err);
	assert_string_equal(name, "engine:pkcs11:" KEY "?pin-source=file:/run/credentials/x/tls-pin");
	assert_string_equal(getenv("PKCS11_MODULE_PATH"), MODULE);
	free(name);
	assert_true(rpc_token_key_is(KEY));
	assert_false(rpc_token_key_is("/etc/key.pem"));
	assert_false(rpc_token_key_is(NULL));
}

static void test_name_refuses(void **state)
{
	(void)state;
	unsetenv("CREDENTIALS_DIRECTORY");
	expect_name_refused((struct rpc_tls){.key = KEY "?pin-value=1234", .module = MODULE, .pin_source = "file:/p"},
	                    "PIN");
	expect_name_refused((struct rpc_tls){.key = KEY "?x=y", .module = MODULE, .pin_source = "file:/p"}, "query");
	expect_name_refused((struct rpc_tls){.key = KEY, .pin_source = "file:/p"}, "module");
	expect_name_refused((struct rpc_tls){.key = KEY, .module = "x.so", .pin_source = "file:/p"}, "module");
	expect_name_refused((struct rpc_tls){.key = KEY, .module = MODULE}, "PIN source");
	expect_name_refused((struct rpc_tls){.key = KEY, .module = MODULE, .pin_source = "prompt"}, "file:/path");
	expect_name_refused((struct rpc_tls){.key = KEY, .module = MODULE, .pin_source = "file:p"}, "absolute");
	expect_name_refused((struct rpc_tls){.key = KEY, .module = MODULE, .pin_source = "file:/p&x=y"}, "absolute");
	expect_name_refused((struct rpc_tls){.key = KEY, .module = MODULE, .pin_source = "credential:x"}, "DIRECTORY");
	setenv("PKCS11_MODULE_PATH", "/another.so", 1);
	expect_name_refused((struct rpc_tls){.key = KEY, .module = MODULE, .pin_source = "file:/p"}, "/another.so");
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_key_in_a_token), cmocka_unit_test(test_token_that_cannot_be_used),
             cmocka_unit_test(test_name), cmocka_unit_test(test_name_refuses))
