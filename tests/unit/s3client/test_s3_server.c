/* The S3 store against a real S3 server that nobody here wrote. */
#include "tests/unit/s3client/behaviour.h"
#include "tests/unit/s3client/s3_server.h"

static struct s3_server server;
static struct store *store;
static unsigned descriptors;

static int setup(void **state)
{
	(void)state;
	server_start(&server, false);
	struct s3_options options = server_options(&server);
	struct err err = {0};
	descriptors = open_descriptors();
	return store_open_s3(&options, &store, &err) == ERR_OK ? 0 : -1;
}

/* The bucket's own answer to a request without a key. */
static void ask_bucket(const struct sigv4_pair *query, size_t n, struct s3_reply *reply)
{
	struct s3_call call = {.operation = "test", .method = "GET", .query = query, .n_query = n};
	struct err err = {0};
	assert_ok(s3_send(s3_of(store), &call, reply, &err), err);
}

static void expect_no_open_uploads(void)
{
	struct sigv4_pair query = {"uploads", ""};
	struct s3_reply reply = {0};
	ask_bucket(&query, 1, &reply);
	const char *text = buf_cstr(&reply.body);
	assert_non_null(strstr(text, "ListMultipartUploadsResult"));
	if (strstr(text, "<UploadId>"))
		fail_msg("an upload was left open: %s", text);
	s3_reply_done(&reply);
}

static int teardown(void **state)
{
	(void)state;
	expect_no_open_uploads();
	store_free(store);
	bool leaked = open_descriptors() != descriptors;
	server_stop(&server);
	return leaked;
}

static void test_put_get_head(void **state)
{
	(void)state;
	behave_put_get_head(store);
}

static void test_sizes(void **state)
{
	(void)state;
	behave_sizes(store);
}

static void test_many_parts(void **state)
{
	(void)state;
	behave_many_parts(store);
}

static void test_ranges(void **state)
{
	(void)state;
	behave_ranges(store);
}

static void test_overwrite(void **state)
{
	(void)state;
	behave_overwrite(store);
}

static void test_missing_and_remove(void **state)
{
	(void)state;
	behave_missing_and_remove(store);
	struct err err = {0};
	assert_ok(store_remove(store, "folder/there", NULL, &err), err);
}

static void test_abort(void **state)
{
	(void)state;
	behave_abort(store);
}

static void test_cancel(void **state)
{
	(void)state;
	behave_cancel(store);
	behave_cancel_half_way(store);
}

static void test_list_order(void **state)
{
	(void)state;
	behave_list_order(store);
}

static void test_list_beyond_a_page(void **state)
{
	(void)state;
	behave_list_beyond_a_page(store);
}

static void test_race_to_create(void **state)
{
	(void)state;
	/* versitygw looks first and writes then (any client sees it): S3 itself has one winner. */
	assert_true(behave_race(store) >= 1);
}

static void test_threads_apart(void **state)
{
	(void)state;
	behave_threads_apart(store);
}

static void test_replace_meta(void **state)
{
	(void)state;
	behave_replace_meta(store);
}

static void test_early_end(void **state)
{
	(void)state;
	behave_early_end(store);
}

/* The keys that the server's file system can hold; test_s3_faults shows what is sent for all others. */
static void test_hostile_keys(void **state)
{
	(void)state;
	static const char *const keys[] = {"a b",
	                                   "a+b",
	                                   "a=b",
	                                   "a%2Fb",
	                                   "a%b",
	                                   "CASE",
	                                   "case",
	                                   "a*b?c&d#e",
	                                   "\t",
	                                   "x\x7f",
	                                   "\xc3\xa9",
	                                   "e\xcc\x81",
	                                   "a;b,c:d@e$f!g'h(i)",
	                                   "%",
	                                   "[x]",
	                                   "{y}\"z\"|~`^\\<>"};
	behave_keys(store, keys, sizeof keys / sizeof keys[0]);
}

/* The server takes a slash for a folder and cleans the path; a component has at most 255 bytes. What it answers is its
 * own affair; what matters is that the signature it computes over the request is ours. */
static void test_keys_that_the_server_cannot_hold_are_signed_right(void **state)
{
	(void)state;
	char longest[1025] = "";
	for (int i = 0; i < 341; i++)
		strcat(longest, "\xe2\x82\xac");
	strcat(longest, "a");
	const char *const keys[] = {"a//b", "a/./b", "a/../b", longest, "/a", "a/\x01/"};
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		struct err err = {0};
		struct store_object object = {0};
		struct store_put put = {.key = keys[i], .overwrite = true};
		enum err_code code = put_with(store, &put, (const uint8_t *)"x", 1, &object, &err);
		if (code == ERR_OK)
			store_object_done(&object);
		else if (code != ERR_INVALID && code != ERR_PRECONDITION)
			fail_msg("%s: %s: %s", keys[i], err_name(code), err.text);
	}
}

/* 1,024 bytes of UTF-8 in components that a file system can hold. */
static void test_longest_key(void **state)
{
	(void)state;
	char key[1025] = "";
	for (int i = 0; i < 341; i++)
		strcat(key, i % 60 == 59 ? "//b" : "\xe2\x82\xac");
	for (char *c = key; *c; c++) {
		if (c[0] == '/' && c[1] == '/')
			*c = 'a';
	}
	strcat(key, "a");
	assert_int_equal(strlen(key), 1024);
	const char *const keys[] = {key};
	behave_keys(store, keys, 1);
}

static void test_check(void **state)
{
	(void)state;
	struct err err = {0};
	assert_ok(store_check(store, &err), err);
}

/* Opens the bucket with one option changed and expects its check to fail. */
static void expect_refusal(const struct s3_options *options, enum err_code expected, const char *text)
{
	struct store *other = NULL;
	struct err err = {0};
	assert_ok(store_open_s3(options, &other, &err), err);
	if (store_check(other, &err) != expected)
		fail_msg("%s instead of %s: %s", err_name(err.code), err_name(expected), err.text);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
	assert_null(strstr(err.text, "secret of"));
	assert_null(strstr(err.text, "Signature="));
	assert_null(strstr(err.text, "AWS4"));
	store_free(other);
}

static void test_wrong_credentials_are_denied(void **state)
{
	(void)state;
	struct s3_options options = server_options(&server);
	options.credentials.user = "another secret";
	expect_refusal(&options, ERR_DENIED, "SignatureDoesNotMatch");
	struct store *other = NULL;
	struct err err = {0};
	struct store_object object = {0};
	assert_ok(store_open_s3(&options, &other, &err), err);
	assert_err(store_head(other, "x", NULL, &object, &err), ERR_DENIED);
	store_free(other);
	options = server_options(&server);
	options.credentials.access_key_id = "AKIDUNKNOWN";
	expect_refusal(&options, ERR_DENIED, "access key id"); /* versitygw has a code of its own */
}

/* The server refuses the signature and names its region; that is then signed for. */
static void test_wrong_region_is_corrected(void **state)
{
	(void)state;
	struct s3_options options = server_options(&server);
	options.region = "us-west-2";
	struct store *other = NULL;
	struct err err = {0};
	assert_ok(store_open_s3(&options, &other, &err), err);
	assert_ok(store_check(other, &err), err);
	assert_string_equal(atomic_load(&s3_of(other)->places.now)->region, SERVER_REGION);
	store_free(other);
}

static void test_wrong_bucket_is_named(void **state)
{
	(void)state;
	struct s3_options options = server_options(&server);
	options.bucket = "no-such-bucket";
	expect_refusal(&options, ERR_PRECONDITION, "NoSuchBucket");
}

/* ---- what a killed process leaves behind ---- */

static int age_folder(const char *name, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)ftw;
	const struct timespec day_and_more[2] = {{.tv_sec = st->st_atime - 90000}, {.tv_sec = st->st_mtime - 90000}};
	return flag == FTW_D || flag == FTW_DP ? utimensat(AT_FDCWD, name, day_and_more, 0) : 0;
}

/* A multipart upload that is never finished: as one that was killed would leave it. */
static void leave_behind(struct store *of, const char *key, bool with_checksums)
{
	const struct sigv4_pair query = {"uploads", ""}, header = {"x-amz-checksum-algorithm", "SHA256"};
	struct s3_call call = {.operation = "CreateMultipartUpload",
	                       .method = "POST",
	                       .key = key,
	                       .query = &query,
	                       .n_query = 1,
	                       .headers = &header,
	                       .n_headers = with_checksums ? 1 : 0};
	struct s3_reply reply = {0};
	struct err err = {0};
	assert_ok(s3_send(s3_of(of), &call, &reply, &err), err);
	s3_reply_done(&reply);
}

static void expect_sweep(struct store *of, unsigned expected)
{
	unsigned removed = 99;
	struct err err = {0};
	assert_ok(store_sweep(of, NULL, &removed, &err), err);
	assert_int_equal(removed, expected);
}

static void test_stale_uploads_are_swept(void **state)
{
	(void)state;
	struct s3_options options = server_options(&server);
	struct store *other = NULL;
	struct err err = {0};
	assert_ok(store_open_s3(&options, &other, &err), err);
	leave_behind(other, "left/a b+c", true);
	leave_behind(other, "left/two", true);
	leave_behind(other, "left/two", true);
	leave_behind(other, "left/of somebody else", false);
	expect_sweep(other, 0); /* they may be under way */
	autofree char *folder = xasprintf("%s/data/%s/.sgwtmp", server.folder, SERVER_BUCKET);
	assert_int_equal(nftw(folder, age_folder, 16, FTW_PHYS | FTW_DEPTH), 0);
	leave_behind(other, "left/new", true);
	expect_sweep(other, 3);
	expect_sweep(other, 0);
	store_free(other);
	assert_int_equal(nftw(folder, server_remove_one, 16, FTW_PHYS | FTW_DEPTH), 0);
}

static int64_t hours_ahead(void *user)
{
	return clock_now_ms(NULL) + *(int *)user * 3600000LL;
}

/* The server refuses what is signed 15 minutes from its own time; its time is learnt from the refusal. */
static void test_wrong_clock_is_corrected(void **state)
{
	(void)state;
	static const int hours[] = {-2, 2};
	for (int i = 0; i < 2; i++) {
		struct clock clock = {hours_ahead, (void *)&hours[i]};
		struct s3_options options = server_options(&server);
		options.clock = &clock;
		struct store *other = NULL;
		struct err err = {0};
		assert_ok(store_open_s3(&options, &other, &err), err);
		put_text(other, "skewed", "text");
		expect_content(other, "skewed", span_str("text"));
		store_free(other);
	}
	int days = 48;
	struct clock clock = {hours_ahead, &days};
	struct s3_options options = server_options(&server);
	options.clock = &clock;
	expect_refusal(&options, ERR_DENIED, "clock");
}

static void test_encryption_is_asked_for(void **state)
{
	(void)state;
	struct s3_options options = server_options(&server);
	options.sse = "AES256";
	struct store *other = NULL;
	struct err err = {0};
	assert_ok(store_open_s3(&options, &other, &err), err);
	put_text(other, "encrypted", "text");
	uint8_t *bytes = pattern(6 * MIB);
	struct store_object object = {0};
	struct store_put put = {.key = "encrypted-parts"};
	assert_ok(put_with(other, &put, bytes, 6 * MIB, &object, &err), err);
	store_object_done(&object);
	free(bytes);
	store_free(other);
}

static void enable_versions(void)
{
	static const char body[] = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
	                           "<Status>Enabled</Status></VersioningConfiguration>";
	struct sigv4_pair query = {"versioning", ""};
	struct s3_call call = {
	    .operation = "PutBucketVersioning", .method = "PUT", .query = &query, .n_query = 1, .body = span_str(body)};
	struct s3_reply reply = {0};
	struct err err = {0};
	assert_ok(s3_send(s3_of(store), &call, &reply, &err), err);
	s3_reply_done(&reply);
}

static void test_versions(void **state)
{
	(void)state;
	enable_versions();
	struct err err = {0};
	struct store_object old = {0}, head = {0}, object = {0};
	struct store_put put = {.key = "versioned", .overwrite = true};
	assert_ok(put_with(store, &put, (const uint8_t *)"old", 3, &old, &err), err);
	assert_true(old.version_id[0] != 0);
	put_text(store, "versioned", "newer");
	autobuf struct buf bytes = {0};
	struct store_get get = {.key = "versioned", .version_id = old.version_id};
	assert_ok(get_with(store, &get, &bytes, &object, &err), err);
	assert_string_equal(buf_cstr(&bytes), "old");
	assert_ok(store_head(store, "versioned", old.version_id, &head, &err), err);
	assert_int_equal(head.size, 3);
	assert_string_equal(head.version_id, old.version_id);
	assert_ok(store_remove(store, "versioned", NULL, &err), err);
	expect_missing(store, "versioned");
	assert_ok(store_remove(store, "versioned", old.version_id, &err), err);
	struct store_object gone = {0};
	assert_err(store_head(store, "versioned", old.version_id, &gone, NULL), ERR_NOT_FOUND);
	store_object_done(&old);
	store_object_done(&head);
	store_object_done(&object);
}

/* After a lost answer an upload has to be told from another writer's. */
static void test_checksums_tell_whose_object_it_is(void **state)
{
	(void)state;
	uint8_t *bytes = pattern(6 * MIB);
	struct err err = {0};
	struct store_object object = {0};
	struct store_put put = {.key = "whose"};
	assert_ok(put_with(store, &put, bytes, 6 * MIB, &object, &err), err);
	store_object_done(&object);
	char *sha256 = NULL;
	assert_ok(s3_head_object(s3_of(store), "whose", NULL, NULL, &object, &sha256, &err), err);
	assert_non_null(sha256);
	assert_int_equal(strlen(sha256), 46); /* 44 of base64, "-2" for two parts */
	assert_string_equal(sha256 + 44, "-2");
	store_object_done(&object);
	free(sha256);
	free(bytes);
}

static void test_connections_are_kept(void **state)
{
	(void)state;
	for (int i = 0; i < 30; i++) {
		put_text(store, "kept", "text");
		expect_content(store, "kept", span_str("text"));
	}
	assert_int_equal(http_pool_idle(s3_of(store)->pool), 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

HARNESS_MAIN(NULL, NULL, CASE(test_put_get_head), CASE(test_sizes), CASE(test_many_parts), CASE(test_ranges),
             CASE(test_overwrite), CASE(test_missing_and_remove), CASE(test_abort), CASE(test_cancel),
             CASE(test_list_order), CASE(test_list_beyond_a_page), CASE(test_race_to_create), CASE(test_threads_apart),
             CASE(test_early_end), CASE(test_replace_meta), CASE(test_hostile_keys),
             CASE(test_keys_that_the_server_cannot_hold_are_signed_right), CASE(test_longest_key), CASE(test_check),
             CASE(test_wrong_credentials_are_denied), CASE(test_wrong_region_is_corrected),
             CASE(test_wrong_bucket_is_named), CASE(test_stale_uploads_are_swept), CASE(test_wrong_clock_is_corrected),
             CASE(test_encryption_is_asked_for), CASE(test_versions), CASE(test_checksums_tell_whose_object_it_is),
             CASE(test_connections_are_kept))
