/* What every kind of store does alike: the same checks run against the directory store and against a real S3 server. */
#ifndef TWOKEY_TESTS_UNIT_S3CLIENT_BEHAVIOUR_H
#define TWOKEY_TESTS_UNIT_S3CLIENT_BEHAVIOUR_H

#include <dirent.h>
#include <pthread.h>

#include "s3client/s3client.h"
#include "tests/unit/harness.h"

#define MIB ((size_t)1 << 20)

/* A file's worth of bytes that differ from place to place. */
static inline uint8_t *pattern(size_t len)
{
	uint8_t *bytes = xcalloc(len + 1, 1);
	uint32_t x = 12345;
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(x >> 24);
	}
	return bytes;
}

static inline unsigned open_descriptors(void)
{
	unsigned n = 0;
	DIR *dir = opendir("/proc/self/fd");
	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* In writes of odd sizes. */
static inline enum err_code put_with(struct store *store, const struct store_put *put, const uint8_t *bytes, size_t len,
                                     struct store_object *ret, struct err *err)
{
	struct store_upload *upload = NULL;
	enum err_code code = store_upload_begin(store, put, &upload, err);
	if (code != ERR_OK)
		return code;
	for (size_t at = 0, step = 1; at < len; at += step, step = step * 3 + 1) {
		if (step > len - at)
			step = len - at;
		code = store_upload_write(upload, span_of(bytes + at, step), err);
		if (code != ERR_OK) {
			store_upload_abort(upload);
			return code;
		}
	}
	return store_upload_commit(upload, ret, err);
}

static inline void put_text(struct store *store, const char *key, const char *text)
{
	struct err err = {0};
	struct store_object object = {0};
	struct store_put put = {.key = key, .overwrite = true};
	assert_ok(put_with(store, &put, (const uint8_t *)text, strlen(text), &object, &err), err);
	store_object_done(&object);
}

/* The bytes that a get gives, whole. */
static inline enum err_code get_with(struct store *store, const struct store_get *get, struct buf *out,
                                     struct store_object *ret, struct err *err)
{
	struct store_download *download = NULL;
	enum err_code code = store_download_begin(store, get, &download, ret, err);
	if (code != ERR_OK)
		return code;
	uint8_t chunk[70001];
	for (size_t len = 1; len > 0 && code == ERR_OK;) {
		code = store_download_read(download, chunk, sizeof chunk, &len, err);
		if (code == ERR_OK)
			buf_append(out, span_of(chunk, len));
	}
	store_download_end(download);
	if (code != ERR_OK)
		store_object_done(ret);
	return code;
}

static inline void expect_content(struct store *store, const char *key, struct span expected)
{
	struct err err = {0};
	struct store_object object = {0};
	autobuf struct buf bytes = {0};
	struct store_get get = {.key = key};
	assert_ok(get_with(store, &get, &bytes, &object, &err), err);
	assert_int_equal(object.size, expected.len);
	assert_true(span_eq(buf_span(&bytes), expected));
	store_object_done(&object);
}

static inline void expect_missing(struct store *store, const char *key)
{
	struct store_object object = {0};
	assert_err(store_head(store, key, NULL, &object, NULL), ERR_NOT_FOUND);
}

/* ---- the behaviours ---- */

static inline void behave_put_get_head(struct store *store)
{
	const struct store_meta meta[] = {{"plain", "value"}, {"two-words", "a  b, c=d;e"}, {"empty", ""}};
	struct store_put put = {.key = "photos/2024/Berlin.jpg", .content_type = "image/jpeg", .meta = meta, .n_meta = 3};
	struct err err = {0};
	struct store_object stored = {0}, head = {0};
	assert_ok(put_with(store, &put, (const uint8_t *)"hello", 5, &stored, &err), err);
	assert_true(stored.etag[0] != 0);
	assert_non_null(stored.version_id);
	expect_content(store, put.key, span_str("hello"));
	assert_ok(store_head(store, put.key, NULL, &head, &err), err);
	assert_int_equal(head.size, 5);
	assert_string_equal(head.content_type, "image/jpeg");
	assert_string_equal(head.etag, stored.etag);
	assert_int_equal(head.n_meta, 3);
	for (int i = 0; i < 3; i++)
		assert_string_equal(store_object_meta(&head, meta[i].name), meta[i].value);
	assert_null(store_object_meta(&head, "other"));
	assert_true(llabs(head.modified_ms - clock_now_ms(NULL)) < 60000);
	store_object_done(&stored);
	store_object_done(&head);
}

static inline void behave_sizes(struct store *store)
{
	static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 5 * MIB + 1};
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct err err = {0};
		struct store_object object = {0};
		struct store_put put = {.key = "sizes/object", .overwrite = true};
		uint8_t *bytes = pattern(sizes[i]);
		assert_ok(put_with(store, &put, bytes, sizes[i], &object, &err), err);
		expect_content(store, put.key, span_of(bytes, sizes[i]));
		store_object_done(&object);
		free(bytes);
	}
}

/* Beyond one part: 20 MiB and a byte. */
static inline void behave_many_parts(struct store *store)
{
	size_t len = 20 * MIB + 1;
	uint8_t *bytes = pattern(len);
	const struct store_meta meta[] = {{"kept", "with the upload"}};
	struct store_put put = {.key = "large", .content_type = "text/x-large", .meta = meta, .n_meta = 1};
	struct err err = {0};
	struct store_object object = {0}, head = {0};
	assert_ok(put_with(store, &put, bytes, len, &object, &err), err);
	assert_int_equal(object.size, len);
	expect_content(store, put.key, span_of(bytes, len));
	assert_ok(store_head(store, put.key, NULL, &head, &err), err);
	assert_string_equal(head.content_type, "text/x-large");
	assert_string_equal(head.etag, object.etag);
	assert_string_equal(store_object_meta(&head, "kept"), "with the upload");
	/* The same once more is refused only at the end, and leaves the first as it was. */
	struct store_object again = {0};
	bytes[0] ^= 1;
	assert_err(put_with(store, &put, bytes, len, &again, &err), ERR_EXISTS);
	bytes[0] ^= 1;
	expect_content(store, put.key, span_of(bytes, len));
	store_object_done(&object);
	store_object_done(&head);
	free(bytes);
}

static inline void expect_range(struct store *store, uint64_t first, uint64_t length, const char *expected)
{
	struct err err = {0};
	struct store_object object = {0};
	autobuf struct buf bytes = {0};
	struct store_get get = {.key = "ranged", .has_range = true, .first = first, .length = length};
	assert_ok(get_with(store, &get, &bytes, &object, &err), err);
	assert_string_equal(buf_cstr(&bytes), expected);
	assert_int_equal(object.size, 10);
	store_object_done(&object);
}

static inline void behave_ranges(struct store *store)
{
	put_text(store, "ranged", "0123456789");
	put_text(store, "nothing", "");
	expect_range(store, 0, 1, "0");
	expect_range(store, 3, 4, "3456");
	expect_range(store, 9, 1, "9");
	expect_range(store, 5, 500, "56789");
	expect_range(store, 5, UINT64_MAX, "56789");
	expect_range(store, 0, UINT64_MAX, "0123456789");
	expect_range(store, 4, 0, "");
	static const struct {
		const char *key;
		uint64_t first, length;
	} refused[] = {{"ranged", 10, 1},
	               {"ranged", 11, 0},
	               {"ranged", UINT64_MAX, 1},
	               {"ranged", INT64_MAX, UINT64_MAX},
	               {"nothing", 0, 1}};
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		struct store_object object = {0};
		autobuf struct buf bytes = {0};
		struct store_get get = {
		    .key = refused[i].key, .has_range = true, .first = refused[i].first, .length = refused[i].length};
		assert_err(get_with(store, &get, &bytes, &object, NULL), ERR_INVALID);
	}
}

static inline void behave_overwrite(struct store *store)
{
	struct err err = {0};
	struct store_object object = {0};
	struct store_put put = {.key = "once"};
	assert_ok(put_with(store, &put, (const uint8_t *)"first", 5, &object, &err), err);
	store_object_done(&object);
	assert_err(put_with(store, &put, (const uint8_t *)"second", 6, &object, &err), ERR_EXISTS);
	expect_content(store, "once", span_str("first"));
	put.overwrite = true;
	assert_ok(put_with(store, &put, (const uint8_t *)"third", 5, &object, &err), err);
	store_object_done(&object);
	expect_content(store, "once", span_str("third"));
}

static inline void behave_missing_and_remove(struct store *store)
{
	struct err err = {0};
	struct store_object object = {0};
	struct store_get get = {.key = "folder/not-there"};
	autobuf struct buf bytes = {0};
	assert_err(get_with(store, &get, &bytes, &object, NULL), ERR_NOT_FOUND);
	expect_missing(store, "folder/not-there");
	put_text(store, "folder/there", "x");
	put_text(store, "folder/stays", "y");
	assert_ok(store_remove(store, "folder/there", NULL, &err), err);
	expect_missing(store, "folder/there");
	expect_content(store, "folder/stays", span_str("y"));
}

/* An upload that ends early, before and after its first part went out. */
static inline void behave_abort(struct store *store)
{
	uint8_t *bytes = pattern(12 * MIB);
	static const size_t lengths[] = {0, 100, 12 * MIB};
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		struct err err = {0};
		struct store_upload *upload = NULL;
		struct store_put put = {.key = "aborted/object"};
		assert_ok(store_upload_begin(store, &put, &upload, &err), err);
		assert_ok(store_upload_write(upload, span_of(bytes, lengths[i]), &err), err);
		expect_missing(store, put.key);
		store_upload_abort(upload);
		expect_missing(store, put.key);
	}
	store_upload_abort(NULL);
	store_download_end(NULL);
	free(bytes);
}

static inline bool always_cancelled(void *user)
{
	(void)user;
	return true;
}

static inline void behave_cancel(struct store *store)
{
	put_text(store, "cancelled", "text");
	struct store_cancel cancel = {.cancelled = always_cancelled}, late = {.deadline_ms = 1};
	struct store_object object = {0};
	autobuf struct buf bytes = {0};
	struct store_put put = {.key = "cancelled", .overwrite = true, .cancel = &cancel};
	assert_err(put_with(store, &put, (const uint8_t *)"other", 5, &object, NULL), ERR_CANCELLED);
	put.cancel = &late;
	assert_err(put_with(store, &put, (const uint8_t *)"other", 5, &object, NULL), ERR_DEADLINE);
	struct store_get get = {.key = "cancelled", .cancel = &cancel};
	assert_err(get_with(store, &get, &bytes, &object, NULL), ERR_CANCELLED);
	get.cancel = &late;
	assert_err(get_with(store, &get, &bytes, &object, NULL), ERR_DEADLINE);
	assert_err(store_list(store, "", &cancel, NULL, NULL, NULL), ERR_CANCELLED);
	expect_content(store, "cancelled", span_str("text"));
}

/* Cancelled once the upload is under way: what was there stays. */
static inline bool cancelled_by_flag(void *user)
{
	return *(bool *)user;
}

static inline void behave_cancel_half_way(struct store *store)
{
	bool flag = false;
	struct err err = {0};
	struct store_cancel cancel = {.cancelled = cancelled_by_flag, .user = &flag};
	struct store_upload *upload = NULL;
	struct store_object object = {0};
	struct store_put put = {.key = "half-way", .cancel = &cancel};
	uint8_t *bytes = pattern(12 * MIB);
	assert_ok(store_upload_begin(store, &put, &upload, &err), err);
	assert_ok(store_upload_write(upload, span_of(bytes, 12 * MIB), &err), err);
	flag = true;
	assert_err(store_upload_write(upload, span_of(bytes, 1), &err), ERR_CANCELLED);
	assert_err(store_upload_write(upload, span_of(bytes, 1), &err), ERR_CANCELLED);
	assert_err(store_upload_commit(upload, &object, &err), ERR_CANCELLED);
	expect_missing(store, "half-way");
	free(bytes);
}

struct expected_list {
	const char *const *keys;
	size_t n, at, stop_at;
};

static inline bool expect_entry(const struct store_entry *entry, void *user)
{
	struct expected_list *expected = user;
	if (expected->at >= expected->n)
		fail_msg("listed beyond the expected: %s", entry->key);
	assert_string_equal(entry->key, expected->keys[expected->at]);
	expected->at++;
	return expected->at != expected->stop_at;
}

static inline void expect_list(struct store *store, const char *prefix, const char *const *keys, size_t n)
{
	struct err err = {0};
	struct expected_list expected = {keys, n, 0, 0};
	assert_ok(store_list(store, prefix, NULL, expect_entry, &expected, &err), err);
	assert_int_equal(expected.at, n);
}

static inline void behave_list_order(struct store *store)
{
	static const char *const keys[] = {"o/a b", "o/a-b", "o/a.b",   "o/a/x", "o/a0",
	                                   "o/aa",  "o/b/c", "o/b/d/e", "o/b0",  "o/\xc3\xa4"};
	size_t n = sizeof keys / sizeof keys[0];
	for (size_t i = n; i-- > 0;)
		put_text(store, keys[i], "x");
	put_text(store, "n", "before");
	put_text(store, "p", "after");
	expect_list(store, "o/", keys, n);
	expect_list(store, "o/b/", keys + 6, 2);
	expect_list(store, "o/b/d/e", keys + 7, 1);
	expect_list(store, "o/c", NULL, 0);
	expect_list(store, "zzz/none", NULL, 0);
	struct err err = {0};
	struct expected_list stopped = {keys, n, 0, 3};
	assert_ok(store_list(store, "o/", NULL, expect_entry, &stopped, &err), err);
	assert_int_equal(stopped.at, 3);
}

#define MANY 2300

static inline bool count_entry(const struct store_entry *entry, void *user)
{
	unsigned *n = user;
	char expected[32];
	snprintf(expected, sizeof expected, "many/%05u", *n);
	assert_string_equal(entry->key, expected);
	assert_int_equal(entry->size, *n % 3);
	assert_true(llabs(entry->modified_ms - clock_now_ms(NULL)) < 600000);
	++*n;
	return true;
}

static inline void behave_list_beyond_a_page(struct store *store)
{
	for (unsigned i = 0; i < MANY; i++) {
		char key[32];
		snprintf(key, sizeof key, "many/%05u", i);
		put_text(store, key, &"xx"[2 - i % 3]);
	}
	struct err err = {0};
	unsigned n = 0;
	assert_ok(store_list(store, "many/", NULL, count_entry, &n, &err), err);
	assert_int_equal(n, MANY);
}

struct racer {
	pthread_t thread;
	struct store *store;
	char content[32];
	enum err_code code;
	struct err err;
};

static inline void *race_to_create(void *user)
{
	struct racer *racer = user;
	struct store_object object = {0};
	struct store_put put = {.key = "race/object"};
	racer->code =
	    put_with(racer->store, &put, (const uint8_t *)racer->content, strlen(racer->content), &object, &racer->err);
	store_object_done(&object);
	return NULL;
}

/* Many writers that refuse to overwrite, at once: how many were told that they wrote it; what is there is one of
 * theirs. */
static inline unsigned behave_race(struct store *store)
{
	struct racer racers[8];
	for (int i = 0; i < 8; i++) {
		racers[i] = (struct racer){.store = store};
		snprintf(racers[i].content, sizeof racers[i].content, "written by %d", i);
		pthread_create(&racers[i].thread, NULL, race_to_create, &racers[i]);
	}
	for (int i = 0; i < 8; i++)
		pthread_join(racers[i].thread, NULL);
	struct err err = {0};
	struct store_object object = {0};
	autobuf struct buf bytes = {0};
	struct store_get get = {.key = "race/object"};
	assert_ok(get_with(store, &get, &bytes, &object, &err), err);
	store_object_done(&object);
	unsigned winners = 0, found = 0;
	for (int i = 0; i < 8; i++) {
		if (racers[i].code != ERR_OK && racers[i].code != ERR_EXISTS)
			fail_msg("%s: %s", err_name(racers[i].code), racers[i].err.text);
		winners += racers[i].code == ERR_OK;
		found += racers[i].code == ERR_OK && strcmp(racers[i].content, buf_cstr(&bytes)) == 0;
	}
	assert_int_equal(found, 1);
	return winners;
}

static inline void *work_apart(void *user)
{
	struct racer *racer = user;
	char key[64];
	/* The server has races of its own when a folder's last object goes. */
	snprintf(key, sizeof key, "apart/%s/stays", racer->content);
	put_text(racer->store, key, racer->content);
	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof key, "apart/%s/%d", racer->content, i);
		put_text(racer->store, key, racer->content);
		expect_content(racer->store, key, span_str(racer->content));
		assert_int_equal(store_remove(racer->store, key, NULL, NULL), ERR_OK);
		expect_missing(racer->store, key);
	}
	return NULL;
}

static inline void behave_threads_apart(struct store *store)
{
	struct racer racers[4];
	for (int i = 0; i < 4; i++) {
		racers[i] = (struct racer){.store = store};
		snprintf(racers[i].content, sizeof racers[i].content, "thread-%d", i);
		pthread_create(&racers[i].thread, NULL, work_apart, &racers[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(racers[i].thread, NULL);
	static const char *const left[] = {"apart/thread-0/stays", "apart/thread-1/stays", "apart/thread-2/stays",
	                                   "apart/thread-3/stays"};
	expect_list(store, "apart/", left, 4);
}

/* Each key holds what was put under it, and nothing is taken for another. */
static inline void behave_keys(struct store *store, const char *const *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		put_text(store, keys[i], keys[i]);
	for (size_t i = 0; i < n; i++)
		expect_content(store, keys[i], span_str(keys[i]));
	for (size_t i = 0; i < n; i++) {
		const char *const *only = &keys[i];
		struct err err = {0};
		struct expected_list expected = {only, 1, 0, 1};
		assert_ok(store_list(store, keys[i], NULL, expect_entry, &expected, &err), err);
		assert_int_equal(expected.at, 1);
	}
	for (size_t i = 0; i < n; i++) {
		struct err err = {0};
		assert_ok(store_remove(store, keys[i], NULL, &err), err);
		expect_missing(store, keys[i]);
	}
}

/* A download that nobody finishes, and one that is read byte by byte. */
static inline void behave_early_end(struct store *store)
{
	size_t len = 6 * MIB;
	uint8_t *bytes = pattern(len), out[3];
	struct err err = {0};
	struct store_put put = {.key = "early", .overwrite = true};
	struct store_object object = {0};
	assert_ok(put_with(store, &put, bytes, len, &object, &err), err);
	store_object_done(&object);
	for (int i = 0; i < 5; i++) {
		struct store_get get = {.key = "early"};
		struct store_download *download = NULL;
		assert_ok(store_download_begin(store, &get, &download, &object, &err), err);
		store_object_done(&object);
		for (size_t at = 0, n = 0; at < 30; at += n) {
			assert_ok(store_download_read(download, out, sizeof out, &n, &err), err);
			assert_memory_equal(out, bytes + at, n);
		}
		store_download_end(download);
	}
	expect_content(store, "early", span_of(bytes, len));
	free(bytes);
}

/* Other metadata, the same bytes; only while it is the object that was seen. */
static inline void behave_replace_meta(struct store *store)
{
	size_t len = 6 * MIB;
	uint8_t *bytes = pattern(len);
	struct err err = {0};
	const struct store_meta before[] = {{"a", "1"}, {"b", "2"}}, after[] = {{"a", "3"}, {"b", "2"}};
	struct store_put put = {
	    .key = "meta/\xc3\xa4 +&?", .content_type = "text/plain", .meta = before, .n_meta = 2, .overwrite = true};
	struct store_object seen = {0}, now = {0};
	char *version = NULL;
	assert_ok(put_with(store, &put, bytes, len, &now, &err), err);
	store_object_done(&now);
	assert_ok(store_head(store, put.key, NULL, &seen, &err), err);
	assert_ok(store_replace_meta(store, put.key, &seen, after, 2, NULL, &version, &err), err);
	free(version);
	assert_ok(store_head(store, put.key, NULL, &now, &err), err);
	assert_string_equal(store_object_meta(&now, "a"), "3");
	assert_string_equal(store_object_meta(&now, "b"), "2");
	assert_string_equal(now.content_type, "text/plain");
	assert_int_equal(now.size, len);
	store_object_done(&now);
	expect_content(store, put.key, span_of(bytes, len));
	free(bytes);

	put_text(store, put.key, "another");
	assert_err(store_replace_meta(store, put.key, &seen, after, 2, NULL, &version, &err), ERR_PRECONDITION);
	expect_content(store, put.key, span_str("another"));
	assert_ok(store_remove(store, put.key, NULL, &err), err);
	assert_err(store_replace_meta(store, put.key, &seen, after, 2, NULL, &version, &err), ERR_NOT_FOUND);
	expect_missing(store, put.key);
	const struct store_meta bad = {"A", "not a name"};
	assert_err(store_replace_meta(store, put.key, &seen, &bad, 1, NULL, &version, &err), ERR_INVALID);
	store_object_done(&seen);
}

#endif
