/* Sizes and ranges: numbers only. */
#include "tests/unit/seal/support.h"

static void test_sealed_sizes(void **state)
{
	(void)state;
	static const struct {
		uint64_t plain, sealed;
	} cases[] = {
	    {0, 56},
	    {1, 57},
	    {65479, 65535},
	    {65480, 65536},
	    {65481, 65553},
	    {131000, 131072},
	    {131001, 131089},
	    {1048577, 1048889},
	    {(uint64_t)5 << 40, 5498900643976},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		uint64_t plain = 7;
		assert_int_equal(seal_sealed_size(cases[i].plain), cases[i].sealed);
		assert_true(seal_plain_size(cases[i].sealed, &plain));
		assert_int_equal(plain, cases[i].plain);
	}
}

static void test_every_size_there_and_back(void **state)
{
	(void)state;
	uint64_t last = 0;
	for (uint64_t plain = 0; plain < 140000; plain++) {
		uint64_t sealed = seal_sealed_size(plain), back = 0;
		assert_true(sealed > last);
		for (uint64_t gap = last + 1; gap < sealed; gap++) /* what lies between is no sealed size */
			assert_false(seal_plain_size(gap, &back));
		assert_true(seal_plain_size(sealed, &back));
		assert_int_equal(back, plain);
		last = sealed;
	}
}

static void test_sizes_that_cannot_be(void **state)
{
	(void)state;
	uint64_t plain = 0, most = ((uint64_t)1 << 48);
	assert_false(seal_plain_size(0, &plain));
	assert_false(seal_plain_size(55, &plain));
	assert_false(seal_plain_size(65536 + 16, &plain));
	assert_true(seal_plain_size(65536 + 17, &plain));
	assert_true(seal_plain_size(most, &plain));
	assert_int_equal(seal_sealed_size(plain), most);
	assert_int_equal(seal_sealed_size(plain + 1), UINT64_MAX);
	assert_int_equal(seal_sealed_size(UINT64_MAX), UINT64_MAX);
	assert_false(seal_plain_size(most + 17, &plain));
	assert_false(seal_plain_size(UINT64_MAX, &plain));
}

static void expect_plan(uint64_t size, uint64_t first, uint64_t length, struct seal_range expected)
{
	struct seal_range range;
	seal_plan(size, first, length, &range);
	assert_int_equal(range.stored_first, expected.stored_first);
	assert_int_equal(range.stored_length, expected.stored_length);
	assert_int_equal(range.has_stream_header, expected.has_stream_header);
}

static void test_plans(void **state)
{
	(void)state;
	expect_plan(0, 0, 0, (struct seal_range){0, 56, true});
	expect_plan(1, 0, 1, (struct seal_range){0, 57, true});
	expect_plan(200000, 0, 200000, (struct seal_range){0, seal_sealed_size(200000), true});
	expect_plan(200000, 65479, 1, (struct seal_range){0, 65536, true});
	expect_plan(200000, 65480, 1, (struct seal_range){65536, 65536, false});
	expect_plan(200000, 65479, 2, (struct seal_range){0, 131072, true});
	expect_plan(200000, 130999, 1, (struct seal_range){65536, 65536, false});
	expect_plan(200000, 131000, 1, (struct seal_range){131072, 65536, false});
	expect_plan(200000, 199999, 1, (struct seal_range){196608, seal_sealed_size(200000) - 196608, false});
	expect_plan(65480, 65479, 1, (struct seal_range){0, 65536, true});
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_sealed_sizes), cmocka_unit_test(test_every_size_there_and_back),
             cmocka_unit_test(test_sizes_that_cannot_be), cmocka_unit_test(test_plans))
