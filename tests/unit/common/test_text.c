#include "common/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/harness.h"

static void test_hex(void **state)
{
	(void)state;
	char out[9];
	text_hex(span_of("\x00\x7f\xab\xff", 4), out);
	assert_string_equal(out, "007fabff");
	text_hex(span_of(NULL, 0), out);
	assert_string_equal(out, "");
}

static void test_unhex(void **state)
{
	(void)state;
	uint8_t out[4];
	assert_true(text_unhex("007FabfF", out, 4));
	assert_memory_equal(out, "\x00\x7f\xab\xff", 4);
	assert_true(text_unhex("", out, 0));
}

static void test_unhex_refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {"",           "0",        "007fabf",  "007fabff0",
	                                  "007fabff00", "007fabfg", "0x7fabff", "00 fabff"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		uint8_t out[4];
		if (text_unhex(bad[i], out, 4))
			fail_msg("accepted: %s", bad[i]);
	}
}

/* RFC 4648 section 10. */
static const struct {
	const char *plain, *padded, *bare;
} base64s[] = {
    {"", "", ""},
    {"f", "Zg==", "Zg"},
    {"fo", "Zm8=", "Zm8"},
    {"foo", "Zm9v", "Zm9v"},
    {"foob", "Zm9vYg==", "Zm9vYg"},
    {"fooba", "Zm9vYmE=", "Zm9vYmE"},
    {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
};

static void test_base64(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof base64s / sizeof base64s[0]; i++) {
		autobuf struct buf out = {0};
		buf_append_byte(&out, '>');
		text_base64(span_str(base64s[i].plain), &out);
		assert_string_equal(buf_cstr(&out) + 1, base64s[i].padded);
	}
}

static void test_unbase64(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof base64s / sizeof base64s[0]; i++) {
		autobuf struct buf out = {0};
		assert_true(text_unbase64(span_str(base64s[i].padded), &out));
		assert_true(span_eq(buf_span(&out), span_str(base64s[i].plain)));
		buf_clear(&out);
		assert_true(text_unbase64(span_str(base64s[i].bare), &out));
		assert_true(span_eq(buf_span(&out), span_str(base64s[i].plain)));
	}
}

static void test_unbase64_reads_both_alphabets(void **state)
{
	(void)state;
	autobuf struct buf out = {0};
	assert_true(text_unbase64(span_str("+/+/"), &out));
	assert_true(text_unbase64(span_str("-_-_"), &out));
	assert_memory_equal(out.data, out.data + 3, 3);
	assert_memory_equal(out.data, "\xfb\xff\xbf", 3);
}

static void test_unbase64_refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    "Z",      "Zg=",  "Zg===", "Zm9v=", "Zm9v====", "=",    "==",   "Zm9vY",    "Zm 9v",
	    "Zm9v\n", "Z!==", "Zh==",  "Zm9=",  "Zg==Zg==", "Z=g=", "====", "Zm9vYg=a", "\xc3\xa9v="};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		autobuf struct buf out = {0};
		if (text_unbase64(span_str(bad[i]), &out))
			fail_msg("accepted: %s", bad[i]);
	}
	autobuf struct buf small = {.max = 2};
	assert_false(text_unbase64(span_str("Zm9v"), &small));
}

static void test_base64_round_trip(void **state)
{
	(void)state;
	uint8_t bytes[256];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7);
	for (size_t len = 0; len <= sizeof bytes; len++) {
		autobuf struct buf text = {0}, back = {0};
		text_base64(span_of(bytes, len), &text);
		assert_true(text_unbase64(buf_span(&text), &back));
		assert_true(span_eq(buf_span(&back), span_of(bytes, len)));
	}
}

static void test_utf8(void **state)
{
	(void)state;
	static const char *const good[] = {"",
	                                   "plain",
	                                   "\x7f",
	                                   "\xc2\x80",
	                                   "\xdf\xbf",
	                                   "\xe0\xa0\x80",
	                                   "\xed\x9f\xbf",
	                                   "\xee\x80\x80",
	                                   "\xef\xbf\xbf",
	                                   "\xf0\x90\x80\x80",
	                                   "\xf4\x8f\xbf\xbf",
	                                   "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x91"};
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		if (!text_utf8(span_str(good[i])))
			fail_msg("refused: entry %zu", i);
}

static void test_utf8_refuses(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
	    {"\0", 1},           {"a\0b", 3},         {"\x80", 1},         {"\xbf", 1},         {"\xc0\x80", 2},
	    {"\xc1\xbf", 2},     {"\xc2", 1},         {"\xc2\x41", 2},     {"\xe0\x80\x80", 3}, {"\xe0\x9f\xbf", 3},
	    {"\xe2\x82", 2},     {"\xe2\x82\x41", 3}, {"\xed\xa0\x80", 3}, {"\xed\xbf\xbf", 3}, {"\xf0\x80\x80\x80", 4},
	    {"\xf0\x9f\x94", 3}, {"\xf5\x80\x80", 3}, {"\xfe", 1},         {"\xff", 1},         {"\xf4\x90\x80\x80", 4},
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (text_utf8(span_of(bad[i].bytes, bad[i].len)))
			fail_msg("accepted: entry %zu", i);
}

static void test_sha256(void **state)
{
	(void)state;
	uint8_t out[32];
	char hex[65];
	text_sha256(span_str("abc"), out);
	text_hex(span_of(out, 32), hex);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	text_sha256(span_of(NULL, 0), out);
	text_hex(span_of(out, 32), hex);
	assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static char folder[] = "/tmp/twokey-text-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

static void test_write_and_read_a_file(void **state)
{
	(void)state;
	struct err err;
	autofree char *path = xasprintf("%s/file", folder);
	assert_ok(text_write_file(path, span_str("first"), 0644, &err), err);
	assert_ok(text_write_file(path, span_str("second"), 0600, &err), err);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	autobuf struct buf out = {0};
	assert_ok(text_read_file(path, 6, &out, &err), err);
	assert_string_equal(buf_cstr(&out), "second");
	assert_err(text_read_file(path, 5, &out, &err), ERR_EXHAUSTED);
	unlink(path);
}

static unsigned count_entries(void)
{
	unsigned n = 0;
	DIR *dir = opendir(folder);
	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void test_files_that_cannot_be(void **state)
{
	(void)state;
	struct err err;
	autofree char *absent = xasprintf("%s/absent", folder), *inside = xasprintf("%s/absent/file", folder);
	autobuf struct buf out = {0};
	assert_err(text_read_file(absent, 100, &out, &err), ERR_NOT_FOUND);
	assert_non_null(strstr(err.text, absent));
	assert_err(text_read_file(folder, 100, &out, &err), ERR_UNAVAILABLE);
	assert_err(text_write_file(inside, span_str("x"), 0600, &err), ERR_UNAVAILABLE);
	/* A folder of that name: the rename fails, and nothing is left behind. */
	assert_int_equal(mkdir(absent, 0700), 0);
	assert_err(text_write_file(absent, span_str("x"), 0600, &err), ERR_UNAVAILABLE);
	assert_int_equal(count_entries(), 1);
	rmdir(absent);
}

static void test_a_pipe_is_written_to_and_stays(void **state)
{
	(void)state;
	struct err err;
	struct stat st;
	char got[8] = "";
	autofree char *pipe_path = xasprintf("%s/pipe", folder);
	assert_int_equal(mkfifo(pipe_path, 0600), 0);
	autofd int fd = open(pipe_path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_ok(text_write_file(pipe_path, span_str("through"), 0600, &err), err);
	assert_int_equal(read(fd, got, 7), 7);
	assert_string_equal(got, "through");
	assert_int_equal(lstat(pipe_path, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	assert_int_equal(count_entries(), 1);
	unlink(pipe_path);
}

HARNESS_MAIN(make_folder, remove_folder, cmocka_unit_test(test_hex), cmocka_unit_test(test_unhex),
             cmocka_unit_test(test_unhex_refuses), cmocka_unit_test(test_base64), cmocka_unit_test(test_unbase64),
             cmocka_unit_test(test_unbase64_reads_both_alphabets), cmocka_unit_test(test_unbase64_refuses),
             cmocka_unit_test(test_base64_round_trip), cmocka_unit_test(test_utf8), cmocka_unit_test(test_utf8_refuses),
             cmocka_unit_test(test_sha256), cmocka_unit_test(test_write_and_read_a_file),
             cmocka_unit_test(test_files_that_cannot_be), cmocka_unit_test(test_a_pipe_is_written_to_and_stays))
