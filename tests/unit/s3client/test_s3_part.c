#include "s3client/s3_part.h"

#include "tests/unit/harness.h"

#define MIB ((uint64_t)1 << 20)

static void test_ten_thousand_parts_reach_five_tebibytes(void **state)
{
	(void)state;
	static const uint64_t starts[] = {5 * MIB, 8 * MIB, 64 * MIB, 1024 * MIB};
	for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
		uint64_t total = 0, largest = 0;
		for (unsigned number = 1; number <= S3_PARTS_MAX; number++) {
			uint64_t size = s3_part_size(starts[i], number);
			assert_true(size >= largest);
			largest = size;
			total += size;
		}
		assert_true(total >= S3_OBJECT_MAX);
		assert_true(largest <= 5 * 1024 * MIB);
	}
}

static void test_first_parts_have_the_size_asked_for(void **state)
{
	(void)state;
	assert_int_equal(s3_part_size(8 * MIB, 1), 8 * MIB);
	assert_int_equal(s3_part_size(8 * MIB, 900), 8 * MIB);
	assert_int_equal(s3_part_size(8 * MIB, 901), 16 * MIB);
	assert_int_equal(s3_part_size(8 * MIB, 1801), 32 * MIB);
}

static void append(struct part *part, uint64_t limit, struct span bytes, size_t expected)
{
	size_t taken;
	struct err err = {0};
	assert_ok(part_append(part, limit, bytes, &taken, &err), err);
	assert_int_equal(taken, expected);
}

static void test_append_stops_at_the_limit(void **state)
{
	(void)state;
	struct part part = {0};
	append(&part, 5, span_str("abc"), 3);
	append(&part, 5, span_str("defg"), 2);
	append(&part, 5, span_str("x"), 0);
	assert_memory_equal(part.data, "abcde", 5);
	part_clear(&part);
	append(&part, 5, span_str("z"), 1);
	assert_int_equal(part.len, 1);
	part_done(&part);
}

static void test_large_part_moves_to_an_unlinked_file(void **state)
{
	(void)state;
	char folder[] = "/tmp/twokey-part-XXXXXX";
	assert_non_null(mkdtemp(folder));
	setenv("TMPDIR", folder, 1);
	struct part part = {0};
	uint8_t *chunk = xcalloc(1, 16 * MIB);
	for (uint8_t i = 0; i < 5; i++) {
		memset(chunk, i + 1, 16 * MIB);
		append(&part, 80 * MIB, span_of(chunk, 16 * MIB), 16 * MIB);
	}
	assert_true(part.mapped);
	for (uint8_t i = 0; i < 5; i++) {
		assert_int_equal(part.data[i * 16 * MIB], i + 1);
		assert_int_equal(part.data[(i + 1) * 16 * MIB - 1], i + 1);
	}
	append(&part, 80 * MIB, span_str("x"), 0);
	assert_int_equal(rmdir(folder), 0); /* nothing has a name there */
	part_done(&part);
	free(chunk);
}

static void test_no_room_for_the_file(void **state)
{
	(void)state;
	setenv("TMPDIR", "/nonexistent/folder", 1);
	struct part part = {0};
	uint8_t *chunk = xcalloc(1, 65 * MIB);
	size_t taken;
	assert_err(part_append(&part, 80 * MIB, span_of(chunk, 65 * MIB), &taken, NULL), ERR_EXHAUSTED);
	part_done(&part);
	free(chunk);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_ten_thousand_parts_reach_five_tebibytes),
             cmocka_unit_test(test_first_parts_have_the_size_asked_for),
             cmocka_unit_test(test_append_stops_at_the_limit),
             cmocka_unit_test(test_large_part_moves_to_an_unlinked_file), cmocka_unit_test(test_no_room_for_the_file))
