#include "policy/country.h"

#include "tests/unit/harness.h"

static void test_known(void **state)
{
	(void)state;
	static const char *const known[] = {"AD", "US", "CA", "GB", "AU", "NZ", "IE", "NL", "XK", "ZW"};
	static const char *const unknown[] = {"", "U", "UK", "us", "USA", "ZZ", "A ", " A", "EU", "A1", "D A"};
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		assert_true(policy_country_is_known(known[i]));
	for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
		assert_false(policy_country_is_known(unknown[i]));
}

/* As many as ISO 3166-1 has, and XK. */
static void test_there_are_250(void **state)
{
	(void)state;
	unsigned n = 0;
	for (int a = 'A'; a <= 'Z'; a++)
		for (int b = 'A'; b <= 'Z'; b++)
			n += policy_country_is_known((char[3]){(char)a, (char)b, '\0'});
	assert_int_equal(n, 250);
}

static void test_suggestions(void **state)
{
	(void)state;
	static const struct {
		const char *text, *meant;
	} cases[] = {{"UK", "GB"},
	             {"uk", "GB"},
	             {"us", "US"},
	             {"Usa", "US"},
	             {"england", "GB"},
	             {"new zealand", "NZ"},
	             {"el", "GR"},
	             {"ZZ", NULL},
	             {"", NULL},
	             {"Atlantis", NULL},
	             {"a name that is much longer than any", NULL}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char meant[3];
		assert_int_equal(policy_country_suggest(cases[i].text, meant), cases[i].meant != NULL);
		if (cases[i].meant)
			assert_string_equal(meant, cases[i].meant);
	}
}

static void test_sets(void **state)
{
	(void)state;
	struct policy_country_set set = {0};
	policy_country_add(&set, "AD");
	policy_country_add(&set, "ZW");
	assert_true(policy_country_in(&set, "AD") && policy_country_in(&set, "ZW"));
	static const char *const others[] = {"", "A", "AE", "US", "ad", "ADX", "\xff\xff"};
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		assert_false(policy_country_in(&set, others[i]));
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_known), cmocka_unit_test(test_there_are_250),
             cmocka_unit_test(test_suggestions), cmocka_unit_test(test_sets))
