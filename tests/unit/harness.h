/* cmocka with one process per case: `program test_name` runs one, `program` runs all. The last line of a test file is
 *	HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_a), cmocka_unit_test(test_b))
 * where setup and teardown (int f(void **state), or NULL) belong to the whole group. */
#ifndef TWOKEY_TESTS_UNIT_HARNESS_H
#define TWOKEY_TESTS_UNIT_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/err.h"

/* Expects success and shows the detail otherwise. */
#define assert_ok(expression, err)                                                                                     \
	do {                                                                                                               \
		enum err_code code_ = (expression);                                                                            \
		if (code_ != ERR_OK)                                                                                           \
			fail_msg("%s: %s: %s", #expression, err_name(code_), (err).text);                                          \
	} while (0)
#define assert_err(expression, expected)                                                                               \
	do {                                                                                                               \
		enum err_code code_ = (expression);                                                                            \
		if (code_ != (expected))                                                                                       \
			fail_msg("%s: %s instead of %s", #expression, err_name(code_), err_name(expected));                        \
	} while (0)

#define HARNESS_MAIN(setup, teardown, ...)                                                                             \
	int main(int argc, char **argv)                                                                                    \
	{                                                                                                                  \
		const struct CMUnitTest tests[] = {__VA_ARGS__};                                                               \
		if (argc > 1)                                                                                                  \
			cmocka_set_test_filter(argv[1]);                                                                           \
		return cmocka_run_group_tests(tests, setup, teardown);                                                         \
	}

#endif
