#include "common/span.h"

#include <errno.h>
#include <fcntl.h>

#include "tests/unit/harness.h"

static void test_span_equality(void **state)
{
	(void)state;
	assert_true(span_eq(span_str("abc"), span_of("abcd", 3)));
	assert_false(span_eq(span_str("abc"), span_str("abd")));
	assert_false(span_eq(span_str("abc"), span_str("ab")));
	assert_true(span_eq(span_of(NULL, 0), span_str("")));
	assert_int_equal(span_str(NULL).len, 0);
}

static void test_buf_appends(void **state)
{
	(void)state;
	autobuf struct buf buf = {0};
	buf_append(&buf, span_str("ab"));
	buf_append(&buf, span_of(NULL, 0));
	buf_append_str(&buf, "cd");
	buf_append_byte(&buf, 'e');
	buf_append_u32be(&buf, 0x01020304);
	buf_append_u64be(&buf, 0x0506070809000102);
	buf_printf(&buf, "%d-%s", 42, "z");
	assert_false(buf.failed);
	assert_true(span_eq(buf_span(&buf), span_of("abcde\1\2\3\4\5\6\7\10\11\0\1\0024"
	                                            "2-z",
	                                            21)));
}

static void test_buf_grows(void **state)
{
	(void)state;
	autobuf struct buf buf = {0};
	for (unsigned i = 0; i < 10000; i++)
		buf_append_byte(&buf, (uint8_t)i);
	assert_int_equal(buf.len, 10000);
	for (unsigned i = 0; i < 10000; i++)
		assert_int_equal(buf.data[i], (uint8_t)i);
}

static void test_buf_maximum_is_hard_and_sticky(void **state)
{
	(void)state;
	autobuf struct buf buf = {.max = 4};
	buf_append_str(&buf, "abcd");
	assert_false(buf.failed);
	buf_append_byte(&buf, 'e');
	assert_true(buf.failed);
	assert_int_equal(buf.len, 4);
	assert_null(buf_reserve(&buf, 0));
	buf_clear(&buf);
	assert_false(buf.failed);
	buf_append_str(&buf, "abcde");
	assert_true(buf.failed);
	assert_int_equal(buf.len, 0);
}

static void test_buf_reserve(void **state)
{
	(void)state;
	autobuf struct buf buf = {.max = 100};
	uint8_t *at = buf_reserve(&buf, 100);
	assert_non_null(at);
	memset(at, 7, 100);
	assert_int_equal(buf.len, 0);
	buf.len += 100;
	assert_null(buf_reserve(&buf, 1));
	assert_true(buf.failed);
	struct buf huge = {0};
	assert_null(buf_reserve(&huge, SIZE_MAX));
	assert_true(huge.failed);
}

static void test_buf_as_a_string(void **state)
{
	(void)state;
	autobuf struct buf buf = {.max = 64};
	assert_string_equal(buf_cstr(&buf), "");
	for (int i = 0; i < 64; i++)
		buf_append_byte(&buf, 'x');
	assert_int_equal(strlen(buf_cstr(&buf)), 64);
	assert_int_equal(buf.len, 64);
	assert_false(buf.failed);
}

static void test_buf_done_keeps_the_maximum(void **state)
{
	(void)state;
	struct buf buf = {.max = 3};
	buf_append_str(&buf, "abc");
	buf_done(&buf);
	assert_null(buf.data);
	assert_int_equal(buf.len, 0);
	assert_int_equal(buf.max, 3);
}

static void test_heap_helpers(void **state)
{
	(void)state;
	autofree uint64_t *zeros = xcalloc(4, sizeof *zeros);
	for (int i = 0; i < 4; i++)
		assert_int_equal(zeros[i], 0);
	autofree void *nothing = xcalloc(0, 0);
	assert_non_null(nothing);
	autofree char *copy = xstrdup("abc"), *part = xstrndup("abcdef", 2), *text = xasprintf("%s%d", "n", 5);
	assert_string_equal(copy, "abc");
	assert_string_equal(part, "ab");
	assert_string_equal(text, "n5");
}

static int open_and_leave(void)
{
	autofd int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	autofd int none = -1;
	assert_true(fd >= 0 && none < 0);
	return fd;
}

static void test_descriptors_are_closed(void **state)
{
	(void)state;
	int fd = open_and_leave();
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(errno, EBADF);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_span_equality), cmocka_unit_test(test_buf_appends),
             cmocka_unit_test(test_buf_grows), cmocka_unit_test(test_buf_maximum_is_hard_and_sticky),
             cmocka_unit_test(test_buf_reserve), cmocka_unit_test(test_buf_as_a_string),
             cmocka_unit_test(test_buf_done_keeps_the_maximum), cmocka_unit_test(test_heap_helpers),
             cmocka_unit_test(test_descriptors_are_closed))
