#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/text.h"
#include "policy/policy.h"
#include "tests/unit/harness.h"
#include "tests/unit/policy/mmdb.h"

#define NOW_MS INT64_C(1795305600000) /* 2026-11-22 */
#define DAY_S  86400

static const struct mmdb_network first[] = {
    {"192.0.2.0/24", "DE"},    {"192.0.2.128/25", "GB"}, {"2001:db8::/32", "NL"}, {"203.0.113.7", "US"},
    {"198.51.100.0/24", NULL}, {"10.0.0.0/8", "zz"},     {"11.0.0.0/8", "ZZ"},    {"12.0.0.0/8", "DEU"},
};
static const struct mmdb_network second[] = {{"192.0.2.0/24", "FR"}, {"2001:db8::/32", "IE"}};

struct fixture {
	char folder[32], path[64];
	struct policy_countries *countries;
};

static int setup(void **state)
{
	struct fixture *fixture = xcalloc(1, sizeof *fixture);
	snprintf(fixture->folder, sizeof fixture->folder, "/tmp/twokey-mmdb-XXXXXX");
	if (!mkdtemp(fixture->folder))
		return -1;
	snprintf(fixture->path, sizeof fixture->path, "%s/countries.mmdb", fixture->folder);
	fixture->countries = policy_countries_new(fixture->path);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = (struct fixture *)*state;
	policy_countries_free(fixture->countries);
	unlink(fixture->path);
	int failed = rmdir(fixture->folder);
	free(fixture);
	return failed;
}

/* Replaces the file, as geoipupdate does. */
static void put_database(const struct fixture *fixture, const struct mmdb_network *networks, size_t n, int64_t built_s)
{
	autobuf struct buf bytes = {0};
	mmdb_write(&bytes, networks, n, built_s);
	struct err err;
	assert_ok(text_write_file(fixture->path, buf_span(&bytes), 0600, &err), err);
}

#define PUT(fixture, networks, built_s) put_database(fixture, networks, sizeof(networks) / sizeof(networks)[0], built_s)

static void put_bytes(const struct fixture *fixture, const char *text)
{
	struct err err;
	assert_ok(text_write_file(fixture->path, span_str(text), 0600, &err), err);
}

static struct policy_countries_state refresh(const struct fixture *fixture, int64_t now_ms, enum err_code expected)
{
	struct policy_countries_state state;
	struct err err = {0};
	enum err_code code = policy_countries_refresh(fixture->countries, now_ms, &state, &err);
	if (code != expected)
		fail_msg("%s (%s) instead of %s", err_name(code), err.text, err_name(expected));
	assert_true(code == ERR_OK || strstr(err.text, fixture->path));
	return state;
}

static void assert_country(const struct fixture *fixture, const char *address, const char *expected)
{
	struct ip_addr addr;
	char country[3] = "??";
	assert_true(ip_parse(address, &addr));
	policy_country(fixture->countries, &addr, country);
	if (strcmp(country, expected) != 0)
		fail_msg("%s: \"%s\" instead of \"%s\"", address, country, expected);
}

static void test_finds_countries(void **state)
{
	struct fixture *fixture = (struct fixture *)*state;
	PUT(fixture, first, NOW_MS / 1000 - DAY_S);
	struct policy_countries_state got = refresh(fixture, NOW_MS, ERR_OK);
	assert_true(got.loaded && got.usable && !got.old);
	assert_int_equal(got.built_ms, NOW_MS - DAY_S * 1000);
	assert_country(fixture, "192.0.2.1", "DE");
	assert_country(fixture, "192.0.2.127", "DE");
	assert_country(fixture, "192.0.2.128", "GB");
	assert_country(fixture, "::ffff:192.0.2.200", "GB");
	assert_country(fixture, "203.0.113.7", "US");
	assert_country(fixture, "2001:db8:ffff::1", "NL");
}

static void test_unknown_is_unknown(void **state)
{
	struct fixture *fixture = (struct fixture *)*state;
	PUT(fixture, first, NOW_MS / 1000);
	refresh(fixture, NOW_MS, ERR_OK);
	assert_country(fixture, "203.0.113.8", "");
	assert_country(fixture, "2001:db9::1", "");
	assert_country(fixture, "198.51.100.1", ""); /* there, without a country */
	assert_country(fixture, "10.0.0.1", "");     /* with something that is no code */
	assert_country(fixture, "11.0.0.1", "");
	assert_country(fixture, "12.0.0.1", "");
	struct ip_addr addr;
	char country[3] = "??";
	assert_true(ip_parse("192.0.2.1", &addr));
	policy_country(NULL, &addr, country);
	assert_string_equal(country, "");
}

static void test_nothing_is_known_before_the_first_look(void **state)
{
	struct fixture *fixture = (struct fixture *)*state;
	PUT(fixture, first, NOW_MS / 1000);
	assert_country(fixture, "192.0.2.1", "");
}

static void test_a_missing_file(void **state)
{
	struct fixture *fixture = (struct fixture *)*state;
	assert_false(refresh(fixture, NOW_MS, ERR_NOT_FOUND).usable);
	assert_country(fixture, "192.0.2.1", "");
	PUT(fixture, first, NOW_MS / 1000);
	assert_true(refresh(fixture, NOW_MS + 2000, ERR_OK).loaded);
	assert_country(fixture, "192.0.2.1", "DE");
}

static void test_what_is_no_database(void **state)
{
	struct fixture *fixture = (struct fixture *)*state;
	static const char *const texts[] = {"", "x", "not a database at all", "\xab\xcd\xefMaxMind.com",
	                                    "\xab\xcd\xefMaxMind.com\xe1"};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		put_bytes(fixture, texts[i]);
		assert_false(refresh(fixture, NOW_MS, ERR_CORRUPT).usable);
		assert_country(fixture, "192.0.2.1", "");
	}
	struct policy_countries *folder = policy_countries_new(fixture->folder);
	struct policy_countries_state got;
	struct err err;
	assert_err(policy_countries_refresh(folder, NOW_MS, &got, &err), ERR_INVALID);
	policy_countries_free(folder);
}

static void test_a_replaced_file_is_taken_up(void **state)
{
	struct fixture *fixture = (struct fixture *)*state;
	PUT(fixture, first, NOW_MS / 1000);
	refresh(fixture, NOW_MS, ERR_OK);
	assert_false(refresh(fixture, NOW_MS + 2000, ERR_OK).loaded); /* it is the same */
	PUT(fixture, second, NOW_MS / 1000);
	assert_country(fixture, "192.0.2.1", "DE");
	assert_true(refresh(fixture, NOW_MS + 4000, ERR_OK).loaded);
	assert_country(fixture, "192.0.2.1", "FR");
	assert_country(fixture, "203.0.113.7", "");
}

/* What happens to the file does not happen to what was read. */
static void test_a_file_cut_in_place_harms_nobody(void **state)
{
	struct fixture *fixture = (struct fixture *)*state;
	PUT(fixture, first, NOW_MS / 1000);
	refresh(fixture, NOW_MS, ERR_OK);
	assert_int_equal(truncate(fixture->path, 0), 0);
	assert_country(fixture, "192.0.2.1", "DE");
}

static void test_a_file_gone_bad_is_forgiven_for_a_minute(void **state)
{
	struct fixture *fixture = (struct fixture *)*state;
	PUT(fixture, first, NOW_MS / 1000);
	refresh(fixture, NOW_MS, ERR_OK);
	put_bytes(fixture, "being written");
	assert_true(refresh(fixture, NOW_MS + 1000, ERR_CORRUPT).usable);
	assert_int_equal(unlink(fixture->path), 0);
	assert_true(refresh(fixture, NOW_MS + POLICY_COUNTRIES_GRACE_MS + 999, ERR_NOT_FOUND).usable);
	assert_country(fixture, "192.0.2.1", "DE");
	assert_false(refresh(fixture, NOW_MS + POLICY_COUNTRIES_GRACE_MS + 1000, ERR_NOT_FOUND).usable);
	assert_country(fixture, "192.0.2.1", "");
	PUT(fixture, second, NOW_MS / 1000);
	assert_true(refresh(fixture, NOW_MS + 200000, ERR_OK).loaded);
	assert_country(fixture, "192.0.2.1", "FR");
}

static void test_an_old_database_is_told(void **state)
{
	struct fixture *fixture = (struct fixture *)*state;
	PUT(fixture, first, NOW_MS / 1000 - POLICY_COUNTRIES_OLD_DAYS * DAY_S);
	assert_false(refresh(fixture, NOW_MS, ERR_OK).old);
	assert_true(refresh(fixture, NOW_MS + 1, ERR_OK).old);
	assert_country(fixture, "192.0.2.1", "DE");
}

struct race {
	const struct fixture *fixture;
	atomic_bool stop;
	atomic_uint wrong, asked;
};

static void *ask_all_the_time(void *user)
{
	struct race *race = (struct race *)user;
	struct ip_addr addr;
	if (!ip_parse("192.0.2.1", &addr))
		abort();
	while (!atomic_load(&race->stop)) {
		char country[3];
		policy_country(race->fixture->countries, &addr, country);
		atomic_fetch_add(&race->wrong, strcmp(country, "DE") != 0 && strcmp(country, "FR") != 0);
		atomic_fetch_add(&race->asked, 1);
	}
	return NULL;
}

static void test_replaced_while_others_ask(void **state)
{
	struct fixture *fixture = (struct fixture *)*state;
	PUT(fixture, first, NOW_MS / 1000);
	refresh(fixture, NOW_MS, ERR_OK);
	struct race race = {.fixture = fixture};
	pthread_t threads[3];
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_all_the_time, &race), 0);
	for (int i = 0; i < 200 || atomic_load(&race.asked) < 1000; i++) {
		if (i % 2)
			PUT(fixture, first, NOW_MS / 1000);
		else
			PUT(fixture, second, NOW_MS / 1000);
		refresh(fixture, NOW_MS, ERR_OK);
	}
	atomic_store(&race.stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&race.wrong), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
HARNESS_MAIN(NULL, NULL, TEST(test_finds_countries), TEST(test_unknown_is_unknown),
             TEST(test_nothing_is_known_before_the_first_look), TEST(test_a_missing_file),
             TEST(test_what_is_no_database), TEST(test_a_replaced_file_is_taken_up),
             TEST(test_a_file_cut_in_place_harms_nobody), TEST(test_a_file_gone_bad_is_forgiven_for_a_minute),
             TEST(test_an_old_database_is_told), TEST(test_replaced_while_others_ask))
