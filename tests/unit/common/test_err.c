#include "tests/unit/harness.h"

static void test_set_fills_the_detail(void **state)
{
	(void)state;
	struct err err = {0};
	assert_int_equal(err_set(&err, ERR_NOT_FOUND, 404, "no %s", "object"), ERR_NOT_FOUND);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	assert_int_equal(err.native, 404);
	assert_string_equal(err.text, "no object");
}

static void test_set_accepts_no_detail(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, ERR_DENIED, 0, "no"), ERR_DENIED);
}

static void test_set_cuts_long_text(void **state)
{
	(void)state;
	struct err err;
	char text[1000];
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	err_set(&err, ERR_INTERNAL, 0, "%s", text);
	assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void test_prefix_goes_before(void **state)
{
	(void)state;
	struct err err;
	err_set(&err, ERR_CORRUPT, 7, "bad tag");
	err_prefix(&err, "segment %d", 3);
	assert_string_equal(err.text, "segment 3: bad tag");
	assert_int_equal(err.code, ERR_CORRUPT);
	assert_int_equal(err.native, 7);
	err_prefix(NULL, "nothing happens");
}

static void test_prefix_cuts_the_old_text(void **state)
{
	(void)state;
	struct err err;
	char text[sizeof err.text];
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	err_set(&err, ERR_INTERNAL, 0, "%s", text);
	err_prefix(&err, "here");
	assert_memory_equal(err.text, "here: xxx", 9);
	assert_true(strlen(err.text) < sizeof err.text);
}

static void test_names_and_texts(void **state)
{
	(void)state;
	assert_string_equal(err_name(ERR_NOT_FOUND), "NOT_FOUND");
	assert_string_equal(err_text(ERR_DENIED), "permission denied");
	assert_string_equal(err_name((enum err_code)99), "UNKNOWN");
	assert_string_equal(err_text((enum err_code)99), "unknown error");
#define X(name, grpc, text)                                                                                            \
	assert_string_equal(err_name(ERR_##name), #name);                                                                  \
	assert_string_equal(err_text(ERR_##name), text);
	ERR_CODES(X)
#undef X
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_set_fills_the_detail), cmocka_unit_test(test_set_accepts_no_detail),
             cmocka_unit_test(test_set_cuts_long_text), cmocka_unit_test(test_prefix_goes_before),
             cmocka_unit_test(test_prefix_cuts_the_old_text), cmocka_unit_test(test_names_and_texts))
