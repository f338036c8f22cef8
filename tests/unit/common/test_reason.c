#include "common/reason.h"

#include "tests/unit/harness.h"

static void test_every_reason_has_its_words(void **state)
{
	(void)state;
#define X(name, code, text)                                                                                            \
	assert_string_equal(reason_name(REASON_##name), REASON_##name == REASON_NONE ? "" : #name);                        \
	assert_string_equal(reason_text(REASON_##name), text);                                                             \
	assert_int_equal(reason_code(REASON_##name), ERR_##code);
	REASONS(X)
#undef X
}

static void test_refusals_are_never_ok(void **state)
{
	(void)state;
#define X(name, code, text)                                                                                            \
	if (REASON_##name != REASON_NONE)                                                                                  \
		assert_int_not_equal(reason_code(REASON_##name), ERR_OK);
	REASONS(X)
#undef X
	assert_int_equal(reason_code(REASON_NONE), ERR_OK);
}

static void test_unknown_reason_is_an_internal_error(void **state)
{
	(void)state;
	assert_int_equal(reason_code((enum reason)9999), ERR_INTERNAL);
	assert_non_null(reason_name((enum reason)9999));
	assert_non_null(reason_text((enum reason)9999));
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_every_reason_has_its_words),
             cmocka_unit_test(test_refusals_are_never_ok), cmocka_unit_test(test_unknown_reason_is_an_internal_error))
