/* The server's certificate decides who gets the bytes. */
#include "tests/unit/s3client/behaviour.h"
#include "tests/unit/s3client/s3_server.h"

static struct s3_server server;

static int setup(void **state)
{
	(void)state;
	server_start(&server, true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	server_stop(&server);
	return 0;
}

static struct store *open_with(const char *ca_file, const char *endpoint)
{
	struct s3_options options = server_options(&server);
	options.ca_file = ca_file;
	if (endpoint)
		options.endpoint = endpoint;
	struct store *store = NULL;
	struct err err = {0};
	assert_ok(store_open_s3(&options, &store, &err), err);
	return store;
}

static void test_trusted_certificate(void **state)
{
	(void)state;
	struct store *store = open_with(server.certificate, NULL);
	behave_many_parts(store);
	behave_early_end(store);
	behave_threads_apart(store);
	store_free(store);
}

static void expect_untrusted(const char *ca_file, const char *endpoint)
{
	struct store *store = open_with(ca_file, endpoint);
	struct err err = {0};
	assert_err(store_check(store, &err), ERR_PRECONDITION);
	store_free(store);
}

static void test_untrusted_certificates(void **state)
{
	(void)state;
	expect_untrusted(NULL, NULL);
	expect_untrusted("/nonexistent/ca.pem", NULL);
	autofree char *other_name = xasprintf("https://localhost:%d", server.port);
	expect_untrusted(server.certificate, other_name);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_trusted_certificate), cmocka_unit_test(test_untrusted_certificates))
