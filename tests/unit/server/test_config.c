/* What a configuration file may say, and how a mistake is told. */
#include "server/config.h"

#include "common/text.h"
#include "tests/unit/harness.h"

#define VENDOR                                                                                                         \
	"role: vendor\n"                                                                                                   \
	"name: acme\n"                                                                                                     \
	"tls: {certificate: tls/v.pem, key: tls/v.key, client_ca: /etc/ca.pem}\n"                                          \
	"token: {uri: 'pkcs11:token=vendor', pin_source: 'file:v.pin'}\n"                                                  \
	"ledger: {directory: ledger}\n"
#define GATEKEEPER_HEAD                                                                                                \
	"role: gatekeeper\n"                                                                                               \
	"name: clinic\n"                                                                                                   \
	"tls: {certificate: g.pem, key: 'pkcs11:token=g;object=tls'}\n"                                                    \
	"token: {uri: 'pkcs11:token=g', gcm_iv: token}\n"                                                                  \
	"ledger: {directory: /var/lib/twokey, segment_size: 2MiB}\n"
#define KEYS                                                                                                           \
	"vendor_keys:\n"                                                                                                   \
	"  - {name: acme-2026, public_key: v.pub, not_before: 2026-01-01}\n"
#define BUCKET                                                                                                         \
	"buckets:\n"                                                                                                       \
	"  - {name: scans, store: directory, directory: objects}\n"
#define RULES "rules: rules.yaml\n"
#define S3    "buckets:\n  - {name: a, store: s3, endpoint: https://s3.example, region: eu-central-1"

static char *folder;

static int make_folder(void **state)
{
	(void)state;
	folder = strdup("/tmp/twokey-config-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	char *path = xasprintf("%s/twokey.yaml", folder);
	unlink(path);
	free(path);
	int failed = rmdir(folder);
	free(folder);
	return failed;
}

static enum err_code load(const char *text, struct config *ret, struct err *err)
{
	autofree char *path = xasprintf("%s/twokey.yaml", folder);
	struct err ignored = {0};
	assert_ok(text_write_file(path, span_str(text), 0600, &ignored), ignored);
	return config_load(path, ret, err);
}

static void test_vendor_defaults_and_paths(void **state)
{
	(void)state;
	struct config config;
	struct err err = {0};
	assert_ok(load(VENDOR, &config, &err), err);
	assert_int_equal(config.role, CONFIG_VENDOR);
	assert_string_equal(config.listen, "127.0.0.1:7401");
	assert_string_equal(config.token.module, "/usr/lib/softhsm/libsofthsm2.so");
	assert_string_equal(config.keys.transaction, "pkcs11:object=twokey-transaction");
	assert_string_equal(config.tls.client_ca, "/etc/ca.pem");
	assert_int_equal(config.lifetime.standard, 300);
	assert_true(config.reflection);
	autofree char *pin = xasprintf("file:%s/v.pin", folder), *certificate = xasprintf("%s/tls/v.pem", folder);
	assert_string_equal(config.token.pin_source, pin);
	assert_string_equal(config.tls.certificate, certificate);
	config_done(&config);
}

static void test_a_relative_name_gives_absolute_paths(void **state)
{
	(void)state;
	struct config config;
	struct err err = {0};
	autofree char *path = xasprintf("%s/twokey.yaml", folder), *pin = xasprintf("file:%s/v.pin", folder);
	assert_ok(text_write_file(path, span_str(VENDOR), 0600, &err), err);
	assert_int_equal(chdir(folder), 0);
	assert_ok(config_load("twokey.yaml", &config, &err), err);
	assert_string_equal(config.token.pin_source, pin);
	config_done(&config);
	assert_int_equal(chdir("/"), 0);
}

static void test_gatekeeper(void **state)
{
	(void)state;
	struct config config;
	struct err err = {0};
	assert_ok(load(GATEKEEPER_HEAD KEYS BUCKET RULES
	               "callers:\n  - {identity: a.example, roles: [auditor, operator]}\n",
	               &config, &err),
	          err);
	assert_int_equal(config.token.gcm_iv, HSM_GCM_IV_TOKEN);
	assert_int_equal(config.ledger.segment_size, 2 << 20);
	assert_string_equal(config.tls.key, "pkcs11:token=g;object=tls");
	assert_string_equal(config_bucket(&config, 0)->kek, "pkcs11:object=twokey-kek-scans");
	assert_string_equal(config_bucket(&config, 0)->bucket, "scans");
	assert_int_equal(config_caller(&config, 0)->role_bits, CALLER_AUDITOR | CALLER_OPERATOR);
	assert_int_equal(config_vendor_key(&config, 0)->not_before, 1767225600000);
	config_done(&config);
}

static void test_callers(void **state)
{
	(void)state;
	struct config config;
	struct err err = {0};
	assert_ok(load(VENDOR
	               "callers:\n"
	               "  - {identity: b, roles: backend, networks: 10.0.0.0/8, operations: GET, max_lifetime: 60}\n"
	               "  - identity: alice\n"
	               "    roles: [operator, admin]\n"
	               "    certificates: ['twokey://operator/alice', 'subject:CN=a,O=Clinic',\n"
	               "      'sha256:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00112233445566778899aabbccddeeff']\n",
	               &config, &err),
	          err);
	const struct config_caller *backend = config_caller(&config, 0), *alice = config_caller(&config, 1);
	assert_int_equal(backend->max_lifetime, 60);
	assert_int_equal(backend->n_matches, 1);
	assert_string_equal(backend->matches[0].name, "b");
	assert_int_equal(alice->role_bits, CALLER_OPERATOR | CALLER_ADMIN);
	assert_int_equal(alice->n_matches, 3);
	assert_int_equal(alice->matches[1].kind, CONFIG_BY_SUBJECT);
	assert_string_equal(alice->matches[1].name, "CN=a,O=Clinic");
	assert_string_equal(alice->matches[2].fingerprint,
	                    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
	config_done(&config);
}

static void test_sources_of_credentials(void **state)
{
	(void)state;
	struct config config;
	struct err err = {0};
	assert_ok(load(GATEKEEPER_HEAD KEYS RULES S3
	               ", credentials: roles-anywhere, roles_anywhere: {trust_anchor: t, profile: p, role: r,"
	               " certificate: c.pem, duration: 900}}\n",
	               &config, &err),
	          err);
	assert_int_equal(config_bucket(&config, 0)->credentials, CONFIG_ROLES_ANYWHERE);
	assert_string_equal(config_bucket(&config, 0)->roles_anywhere.key, "pkcs11:object=twokey-roles-anywhere-a");
	assert_int_equal(config_bucket(&config, 0)->roles_anywhere.duration, 900);
	autofree char *certificate = xasprintf("%s/c.pem", folder);
	assert_string_equal(config_bucket(&config, 0)->roles_anywhere.certificate, certificate);
	config_done(&config);
	assert_ok(load(GATEKEEPER_HEAD KEYS RULES S3 ", credentials: imds}\n", &config, &err), err);
	assert_int_equal(config_bucket(&config, 0)->credentials, CONFIG_IMDS);
	config_done(&config);
}

static void test_containers_are_told_by_their_environment(void **state)
{
	(void)state;
	struct config config;
	struct err err = {0};
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials", 1);
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/run/token", 1);
	assert_ok(load(GATEKEEPER_HEAD KEYS RULES S3 ", credentials: container}\n", &config, &err), err);
	assert_string_equal(config_bucket(&config, 0)->container.full_uri, "http://169.254.170.23/v1/credentials");
	assert_string_equal(config_bucket(&config, 0)->container.token_file, "/run/token");
	assert_null(config_bucket(&config, 0)->container.relative_uri);
	config_done(&config);
	/* What the file says comes first, whole. */
	assert_ok(load(GATEKEEPER_HEAD KEYS RULES S3 ", credentials: container, container: {relative_uri: /v2/x}}\n",
	               &config, &err),
	          err);
	assert_string_equal(config_bucket(&config, 0)->container.relative_uri, "/v2/x");
	assert_null(config_bucket(&config, 0)->container.full_uri);
	assert_null(config_bucket(&config, 0)->container.token_file);
	config_done(&config);
	unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
}

static void test_mistakes_say_where_and_what(void **state)
{
	(void)state;
	static const struct {
		const char *text, *said;
	} cases[] = {
	    {VENDOR "lisen: 127.0.0.1:1\n", "lisen"},
	    {VENDOR "listen: a\nlisten: b\n", "listen"},
	    {"role: wendor\n", "vendor"},
	    {"name: acme\n", "role"},
	    {VENDOR "lifetime: {max: 3601}\n", "3600"},
	    {VENDOR "lifetime: {default: 200, max: 100}\n", "lifetime.default"},
	    {VENDOR RULES, "belong to a gatekeeper"},
	    {VENDOR "data_clients: reader\n", "belong to a gatekeeper"},
	    {VENDOR "callers:\n  - {identity: a, roles: [auditor], objects: [x]}\n", "yaml:7:5: operations"},
	    {VENDOR "callers:\n  - {identity: a, roles: [boss]}\n", "reader and admin, not boss"},
	    {VENDOR "callers:\n  - {identity: a, roles: [backend], network: [x]}\n", "networks"},
	    {VENDOR "callers:\n  - {identity: a, roles: [backend], networks: [10.0.0.1/8]}\n", ":7:48:"},
	    {VENDOR "callers:\n  - {identity: a, roles: [backend], certificates: ['sha256:12']}\n", "64 hex digits"},
	    {VENDOR "callers:\n  - {identity: a, roles: [backend], max_lifetime: 4000}\n", "max_lifetime"},
	    {VENDOR "callers:\n  - {identity: a, roles: [king]}\n", ":7:"},
	    {GATEKEEPER_HEAD KEYS BUCKET, "rules"},
	    {GATEKEEPER_HEAD KEYS RULES, "buckets"},
	    {GATEKEEPER_HEAD BUCKET RULES, "vendor_keys"},
	    {GATEKEEPER_HEAD KEYS RULES "buckets:\n  - {name: a, store: directory}\n", "needs `directory`"},
	    {GATEKEEPER_HEAD KEYS RULES "buckets:\n  - {name: a, store: s3, endpoint: x}\n", "`region`"},
	    {GATEKEEPER_HEAD KEYS RULES S3 "}\n", "access_key_id"},
	    {GATEKEEPER_HEAD KEYS RULES S3 ", credentials: magic}\n", "roles-anywhere"},
	    {GATEKEEPER_HEAD KEYS RULES S3 ", credentials: roles-anywhere}\n", "needs the section"},
	    {GATEKEEPER_HEAD KEYS RULES S3 ", credentials: imds, access_key_id: A}\n", "other `credentials`"},
	    {GATEKEEPER_HEAD KEYS RULES S3 ", access_key_id: A, imds: {role: r}}\n", "chosen: imds"},
	    {GATEKEEPER_HEAD KEYS RULES S3 ", credentials: container}\n", "relative_uri"},
	    {GATEKEEPER_HEAD KEYS RULES S3 ", credentials: roles-anywhere, roles_anywhere: {role: r}}\n", "missing"},
	    {GATEKEEPER_HEAD KEYS RULES BUCKET "  - {name: scans, store: directory, directory: d}\n", "another bucket"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct config config;
		struct err err = {0};
		assert_err(load(cases[i].text, &config, &err), ERR_INVALID);
		if (!strstr(err.text, cases[i].said))
			fail_msg("case %zu: \"%s\" does not say \"%s\"", i, err.text, cases[i].said);
		config_done(&config);
	}
}

static void test_a_missing_file_is_not_found(void **state)
{
	(void)state;
	struct config config;
	struct err err = {0};
	assert_err(config_load("/nonexistent/twokey.yaml", &config, &err), ERR_NOT_FOUND);
	config_done(&config);
}

static void test_circumstances(void **state)
{
	(void)state;
	struct config config;
	struct err err = {0};
	assert_ok(load(GATEKEEPER_HEAD KEYS BUCKET RULES "countries_database: geo.mmdb\n"
	                                                 "trusted_proxies: [10.0.0.1, '2001:db8::/32']\n"
	                                                 "limits: {flood: 0}\n",
	               &config, &err),
	          err);
	autofree char *database = xasprintf("%s/geo.mmdb", folder);
	assert_string_equal(config.countries_database, database);
	assert_int_equal(config.trusted_proxies.n, 2);
	assert_int_equal(config.proxies[0].prefix, 128);
	assert_int_equal(config.proxies[1].prefix, 32);
	assert_int_equal(config.limits.flood, 0);
	config_done(&config);
	assert_ok(load(GATEKEEPER_HEAD KEYS BUCKET RULES, &config, &err), err);
	assert_null(config.countries_database);
	assert_int_equal(config.trusted_proxies.n, 0);
	assert_int_equal(config.limits.flood, 6000);
	assert_int_equal(config.limits.proofs, 524288);
	config_done(&config);
}

static void test_proxies_that_are_none(void **state)
{
	(void)state;
	struct config config;
	struct err err = {0};
	assert_err(load(GATEKEEPER_HEAD KEYS BUCKET RULES "trusted_proxies: [10.0.0.1, 10.0.0.1/8]\n", &config, &err),
	           ERR_INVALID);
	assert_non_null(strstr(err.text, "twokey.yaml:11:29: `trusted_proxies` are addresses"));
	config_done(&config);
	assert_err(load(VENDOR "countries_database: geo.mmdb\n", &config, &err), ERR_INVALID);
	config_done(&config);
}

HARNESS_MAIN(make_folder, remove_folder, cmocka_unit_test(test_vendor_defaults_and_paths),
             cmocka_unit_test(test_a_relative_name_gives_absolute_paths), cmocka_unit_test(test_gatekeeper),
             cmocka_unit_test(test_callers), cmocka_unit_test(test_sources_of_credentials),
             cmocka_unit_test(test_containers_are_told_by_their_environment),
             cmocka_unit_test(test_mistakes_say_where_and_what), cmocka_unit_test(test_a_missing_file_is_not_found),
             cmocka_unit_test(test_circumstances), cmocka_unit_test(test_proxies_that_are_none))
