#include "s3client/directory_key.h"

#include "tests/unit/harness.h"

static void expect_path(const char *key, const char *expected)
{
	autobuf struct buf path = {0};
	directory_key_path(key, &path);
	assert_string_equal(buf_cstr(&path), expected);
}

/* The key that a path stands for. */
static void decode_path(const char *path, struct buf *key)
{
	autofree char *copy = xstrdup(path);
	char *next = copy;
	enum directory_kind kind = DIRECTORY_FOLDER;
	for (char *name; (name = strsep(&next, "/"));) {
		kind = directory_key_name(name, key);
		assert_int_not_equal(kind, DIRECTORY_FOREIGN);
		assert_int_equal(kind == DIRECTORY_OBJECT, next == NULL);
		assert_true(strlen(name) <= 193);
	}
}

static void round_trip(const char *key)
{
	autobuf struct buf path = {0}, again = {0};
	directory_key_path(key, &path);
	decode_path(buf_cstr(&path), &again);
	assert_string_equal(buf_cstr(&again), key);
	assert_true(path.len < 4096 - 64);
}

static void test_paths(void **state)
{
	(void)state;
	expect_path("photos/2024/Berlin.jpg", "photos/2024/%42erlin.jpg=");
	expect_path("a//b/", "a/%/b/=");
	expect_path("/", "%/=");
	expect_path("..", "%2e.=");
	expect_path("../../etc/passwd", "%2e./%2e./etc/passwd=");
	expect_path("a=", "a%3d=");
	expect_path("%41", "%2541=");
}

static void test_long_components(void **state)
{
	(void)state;
	char key[1025];
	memset(key, 'x', 64);
	key[64] = 0;
	autofree char *exactly = xasprintf("%s+/=", key);
	expect_path(key, exactly);
	memset(key, 'A', 1024);
	key[1024] = 0;
	round_trip(key);
	memset(key, '/', 1024);
	round_trip(key);
	for (size_t i = 0; i < 1024; i += 2)
		key[i] = '\x01';
	round_trip(key);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static void random_key(uint32_t *seed, char *key)
{
	static const char alphabet[] = "aAb/.%=+-~\x01\x7f\xc3";
	size_t len = 1 + next_random(seed) % (next_random(seed) % 4 ? 6 : 140);
	bool filled = next_random(seed) % 2;
	for (size_t i = 0; i < len; i++)
		key[i] = filled && i < 62 ? 'p' : alphabet[next_random(seed) % (sizeof alphabet - 1)];
	key[len] = 0;
}

static void test_random_keys_round_trip_and_stay_inside(void **state)
{
	(void)state;
	uint32_t seed = 1;
	char key[256];
	for (int i = 0; i < 20000; i++) {
		random_key(&seed, key);
		round_trip(key);
		autobuf struct buf path = {0};
		directory_key_path(key, &path);
		autofree char *framed = xasprintf("/%s/", buf_cstr(&path));
		assert_null(strstr(framed, "/../"));
		assert_null(strstr(framed, "/./"));
		assert_null(strstr(framed, "//"));
		for (const char *c = framed; *c; c++)
			assert_false(*c >= 'A' && *c <= 'Z');
	}
}

static void test_foreign_names(void **state)
{
	(void)state;
	static const char *const foreign[] = {
	    "",  "A",     "a b",        ".hidden", "%41x%", "%4", "%2F=", "%61=", "%2f=", "%00=",  "a+",
	    "+", "x%3D=", "lost+found", "%2E.=",   "a==",   "%%", "%%=",  "..",   ".",    "a.txt~"};
	for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
		autobuf struct buf out = {0};
		if (directory_key_name(foreign[i], &out) != DIRECTORY_FOREIGN)
			fail_msg("%s is taken for a name of ours", foreign[i]);
		assert_int_equal(out.len, 0);
	}
}

static void test_names(void **state)
{
	(void)state;
	autobuf struct buf out = {0};
	assert_int_equal(directory_key_name("a.txt=", &out), DIRECTORY_OBJECT);
	assert_int_equal(directory_key_name("folder", &out), DIRECTORY_FOLDER);
	assert_int_equal(directory_key_name("%", &out), DIRECTORY_FOLDER);
	assert_int_equal(directory_key_name("=", &out), DIRECTORY_OBJECT);
	assert_string_equal(buf_cstr(&out), "a.txtfolder//");
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_paths), cmocka_unit_test(test_long_components),
             cmocka_unit_test(test_random_keys_round_trip_and_stay_inside), cmocka_unit_test(test_foreign_names),
             cmocka_unit_test(test_names))
