/* What is refused before any store is asked. */
#include "tests/unit/s3client/behaviour.h"

#include <ftw.h>
#include <sys/stat.h>

#include "s3client/s3.h"

static char folder[64];
static struct store *store;

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/twokey-store-XXXXXX");
	return mkdtemp(folder) && store_open_directory(folder, &store, NULL) == ERR_OK ? 0 : -1;
}

static int remove_one(const char *name, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(name);
}

static int teardown(void **state)
{
	(void)state;
	store_free(store);
	store_free(NULL);
	return nftw(folder, remove_one, 64, FTW_DEPTH | FTW_PHYS);
}

static void test_keys_that_are_none(void **state)
{
	(void)state;
	char longest[1026];
	memset(longest, 'a', sizeof longest);
	longest[1025] = 0;
	const char *const keys[] = {NULL, "", longest, "\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf"};
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		struct store_upload *upload = NULL;
		struct store_download *download = NULL;
		struct store_object object = {0};
		struct store_put put = {.key = keys[i]};
		struct store_get get = {.key = keys[i]};
		assert_err(store_upload_begin(store, &put, &upload, NULL), ERR_INVALID);
		assert_err(store_download_begin(store, &get, &download, &object, NULL), ERR_INVALID);
		assert_err(store_head(store, keys[i], NULL, &object, NULL), ERR_INVALID);
		assert_err(store_remove(store, keys[i], NULL, NULL), ERR_INVALID);
	}
	assert_err(store_list(store, "\xff", NULL, expect_entry, NULL, NULL), ERR_INVALID);
	assert_err(store_list(store, longest, NULL, expect_entry, NULL, NULL), ERR_INVALID);
}

static void expect_meta(const struct store_meta *meta, size_t n, enum err_code expected)
{
	struct store_upload *upload = NULL;
	struct store_put put = {.key = "key", .meta = meta, .n_meta = n, .overwrite = true};
	assert_err(store_upload_begin(store, &put, &upload, NULL), expected);
	store_upload_abort(upload);
}

static void test_metadata_limits(void **state)
{
	(void)state;
	static const struct store_meta refused[] = {{"", "v"},         {"Name", "v"},      {"a b", "v"}, {"a_b", "v"},
	                                            {"a", "\n"},       {"a", "v\r\nx: y"}, {"a", " v"},  {"a", "v "},
	                                            {"a", "\xc3\xa9"}, {"a", "\x7f"},      {"a:", "v"}};
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		expect_meta(&refused[i], 1, ERR_INVALID);
	const struct store_meta twice[] = {{"a", "1"}, {"b", "2"}, {"a", "3"}};
	expect_meta(twice, 2, ERR_OK);
	expect_meta(twice, 3, ERR_INVALID);
	char most[2048], names[17][4];
	memset(most, 'x', sizeof most);
	most[2047] = 0;
	struct store_meta large = {"a", most};
	expect_meta(&large, 1, ERR_OK);
	large.name = "ab";
	expect_meta(&large, 1, ERR_INVALID);
	struct store_meta many[17];
	for (int i = 0; i < 17; i++) {
		snprintf(names[i], sizeof names[i], "n%d", i);
		many[i] = (struct store_meta){names[i], "v"};
	}
	expect_meta(many, 16, ERR_OK);
	expect_meta(many, 17, ERR_INVALID);
}

static void test_content_types(void **state)
{
	(void)state;
	char longest[258];
	memset(longest, 'x', sizeof longest);
	longest[257] = 0;
	const char *const refused[] = {longest, "a\r\nb: c", " a", "\xc3\xa9"};
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		struct store_upload *upload = NULL;
		struct store_put put = {.key = "key", .content_type = refused[i]};
		assert_err(store_upload_begin(store, &put, &upload, NULL), ERR_INVALID);
	}
	struct err err = {0};
	struct store_object head = {0};
	put_text(store, "key", "x");
	assert_ok(store_head(store, "key", NULL, &head, &err), err);
	assert_string_equal(head.content_type, "application/octet-stream");
	store_object_done(&head);
}

/* The largest head that the limits allow fits a file's. */
static void test_everything_at_its_limit(void **state)
{
	(void)state;
	char type[257], names[16][8], values[16][128];
	struct store_meta meta[16];
	memset(type, 't', 256);
	type[256] = 0;
	for (int i = 0; i < 16; i++) {
		snprintf(names[i], sizeof names[i], "name-%02d", i);
		memset(values[i], 'v', 121);
		values[i][121] = 0;
		meta[i] = (struct store_meta){names[i], values[i]};
	}
	struct err err = {0};
	struct store_object object = {0}, head = {0};
	struct store_put put = {.key = "limit", .content_type = type, .meta = meta, .n_meta = 16};
	assert_ok(put_with(store, &put, (const uint8_t *)"x", 1, &object, &err), err);
	assert_ok(store_head(store, "limit", NULL, &head, &err), err);
	assert_int_equal(head.n_meta, 16);
	for (int i = 0; i < 16; i++)
		assert_string_equal(store_object_meta(&head, names[i]), values[i]);
	assert_string_equal(head.content_type, type);
	store_object_done(&object);
	store_object_done(&head);
}

static enum err_code date_key(void *user, const char *yyyymmdd, uint8_t out[32], struct err *err)
{
	(void)user, (void)yyyymmdd, (void)out;
	return err_set(err, ERR_INTERNAL, 0, "not to be asked");
}

static struct s3_options right_options(void)
{
	return (struct s3_options){.endpoint = "https://s3.example.com",
	                           .region = "eu-central-1",
	                           .bucket = "bucket",
	                           .credentials = {"AKID", date_key, NULL}};
}

static void expect_options(const struct s3_options *options, enum err_code expected)
{
	struct store *other = NULL;
	assert_err(store_open_s3(options, &other, NULL), expected);
	store_free(other);
}

static void test_s3_options(void **state)
{
	(void)state;
	struct s3_options options = right_options();
	expect_options(&options, ERR_OK);
	static const char *const endpoints[] = {NULL,
	                                        "",
	                                        "s3.example.com:x",
	                                        "ftp://h",
	                                        "https://h/path",
	                                        "https://h?q=1",
	                                        "https://u:p@h",
	                                        "https://u@h",
	                                        "https://h#f",
	                                        "file:///etc",
	                                        "https://"};
	for (size_t i = 0; i < sizeof endpoints / sizeof endpoints[0]; i++) {
		options.endpoint = endpoints[i];
		expect_options(&options, ERR_INVALID);
	}
	const struct {
		size_t offset;
		const char *value;
	} words[] = {{offsetof(struct s3_options, region), NULL},
	             {offsetof(struct s3_options, region), "a/b"},
	             {offsetof(struct s3_options, bucket), ""},
	             {offsetof(struct s3_options, bucket), "../x"},
	             {offsetof(struct s3_options, bucket), "a/b"},
	             {offsetof(struct s3_options, sse), "none"},
	             {offsetof(struct s3_options, credentials.access_key_id), "a b"},
	             {offsetof(struct s3_options, credentials.access_key_id), NULL}};
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		options = right_options();
		memcpy((char *)&options + words[i].offset, &words[i].value, sizeof words[i].value);
		expect_options(&options, ERR_INVALID);
	}
	options = right_options();
	options.part_bytes = 5 * MIB - 1;
	expect_options(&options, ERR_INVALID);
	options = right_options();
	options.credentials.date_key = NULL;
	expect_options(&options, ERR_INVALID);
}

static void expect_address(const char *endpoint, bool path_style, const char *host, const char *origin)
{
	struct s3_options options = right_options();
	options.endpoint = endpoint;
	options.path_style = path_style;
	struct store *other = NULL;
	struct err err = {0};
	assert_ok(store_open_s3(&options, &other, &err), err);
	assert_string_equal(atomic_load(&s3_of(other)->places.now)->host, host);
	assert_string_equal(atomic_load(&s3_of(other)->places.now)->origin, origin);
	assert_string_equal(s3_of(other)->object_path, path_style ? "/bucket/" : "/");
	assert_string_equal(s3_of(other)->bucket_path, path_style ? "/bucket" : "/");
	store_free(other);
}

static void test_s3_addresses(void **state)
{
	(void)state;
	expect_address("https://s3.example.com", false, "bucket.s3.example.com", "https://bucket.s3.example.com");
	expect_address("https://s3.example.com/", true, "s3.example.com", "https://s3.example.com");
	expect_address("https://s3.example.com:443", true, "s3.example.com", "https://s3.example.com");
	expect_address("http://127.0.0.1:7070", true, "127.0.0.1:7070", "http://127.0.0.1:7070");
	expect_address("http://[::1]:7070", true, "[::1]:7070", "http://[::1]:7070");
	expect_address("https://h:80", false, "bucket.h:80", "https://bucket.h:80");
}

static void test_verdicts(void **state)
{
	(void)state;
	static const struct {
		long status;
		const char *code;
		enum err_code expected;
		bool retry;
	} cases[] = {{404, "NoSuchKey", ERR_NOT_FOUND, false},
	             {404, "", ERR_NOT_FOUND, false},
	             {404, "Whatever", ERR_PRECONDITION, false},
	             {403, "", ERR_DENIED, false},
	             {403, "Unheard", ERR_DENIED, false},
	             {412, "", ERR_EXISTS, false},
	             {416, "", ERR_INVALID, false},
	             {503, "", ERR_UNAVAILABLE, true},
	             {500, "Unheard", ERR_UNAVAILABLE, true},
	             {200, "InternalError", ERR_UNAVAILABLE, true},
	             {400, "RequestTimeout", ERR_UNAVAILABLE, true},
	             {507, "", ERR_EXHAUSTED, false},
	             {418, "", ERR_UNAVAILABLE, false},
	             {304, "", ERR_UNAVAILABLE, false}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct s3_verdict verdict = s3_judge(cases[i].status, cases[i].code);
		if (verdict.code != cases[i].expected || verdict.retry != cases[i].retry)
			fail_msg("%ld %s: %s", cases[i].status, cases[i].code, err_name(verdict.code));
		assert_non_null(verdict.hint);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

HARNESS_MAIN(NULL, NULL, CASE(test_keys_that_are_none), CASE(test_metadata_limits), CASE(test_content_types),
             CASE(test_everything_at_its_limit), CASE(test_s3_options), CASE(test_s3_addresses), CASE(test_verdicts))
