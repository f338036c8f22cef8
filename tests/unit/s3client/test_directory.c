#include "tests/unit/s3client/behaviour.h"

#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char folder[64], path[80];
static struct store *store;
static unsigned descriptors;

static int setup(void **state)
{
	(void)state;
	struct err err = {0};
	snprintf(folder, sizeof folder, "/tmp/twokey-directory-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof path, "%s/store", folder);
	descriptors = open_descriptors();
	return store_open_directory(path, &store, &err) == ERR_OK ? 0 : -1;
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
	bool leaked = open_descriptors() != descriptors;
	return nftw(folder, remove_one, 64, FTW_DEPTH | FTW_PHYS) != 0 || leaked;
}

static unsigned files_in(const char *below)
{
	autofree char *name = xasprintf("%s/%s", path, below);
	unsigned n = 0;
	DIR *dir = opendir(name);
	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void test_put_get_head(void **state)
{
	(void)state;
	behave_put_get_head(store);
	struct err err = {0};
	struct store_object head = {0};
	assert_ok(store_head(store, "photos/2024/Berlin.jpg", "", &head, &err), err);
	assert_string_equal(head.version_id, "");
	store_object_done(&head);
	autofree char *file = xasprintf("%s/objects/photos/2024/%%42erlin.jpg=", path);
	struct stat st;
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void test_sizes(void **state)
{
	(void)state;
	behave_sizes(store);
}

static void test_large(void **state)
{
	(void)state;
	behave_many_parts(store);
	assert_int_equal(files_in("tmp"), 0);
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
	assert_err(store_remove(store, "folder/there", NULL, NULL), ERR_NOT_FOUND);
	assert_err(store_remove(store, "folder/stays", "v1", NULL), ERR_NOT_FOUND);
	struct store_object head = {0};
	assert_err(store_head(store, "folder/stays", "v1", &head, NULL), ERR_NOT_FOUND);
}

static void test_abort(void **state)
{
	(void)state;
	behave_abort(store);
	assert_int_equal(files_in("tmp"), 0);
	assert_int_equal(files_in("objects"), 0);
}

static void test_cancel(void **state)
{
	(void)state;
	behave_cancel(store);
	behave_cancel_half_way(store);
	assert_int_equal(files_in("tmp"), 0);
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

static void test_one_winner(void **state)
{
	(void)state;
	assert_int_equal(behave_race(store), 1);
	assert_int_equal(files_in("tmp"), 0);
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

static void test_hostile_keys(void **state)
{
	(void)state;
	char longest[1025] = "", slashes[1025];
	for (int i = 0; i < 341; i++)
		strcat(longest, "\xe2\x82\xac");
	strcat(longest, "a");
	memset(slashes, '/', 1024);
	slashes[1024] = 0;
	const char *const keys[] = {"a b",       "a+b", "a=b",  "a%2Fb", "../x", "..",    ".",    "a/../b", "a//b",
	                            "/",         "//",  "dir/", "CASE",  "case", "\t\n",  "%",    "x\x7f",  "\xc3\xa9",
	                            "e\xcc\x81", "con", "a=/b", "a=",    "+",    longest, slashes};
	behave_keys(store, keys, sizeof keys / sizeof keys[0]);
	assert_int_equal(files_in("objects"), 0);
	assert_int_equal(files_in("."), 2);
}

/* Keys that a file system with folders cannot hold side by side. */
static void test_object_and_folder_of_one_name(void **state)
{
	(void)state;
	static const char *const keys[] = {"a", "a/", "a/b", "a/b/", "a//", "a0"};
	static const char *const sorted[] = {"a", "a/", "a//", "a/b", "a/b/", "a0"};
	for (int i = 5; i >= 0; i--)
		put_text(store, keys[i], keys[i]);
	for (int i = 0; i < 6; i++)
		expect_content(store, keys[i], span_str(keys[i]));
	expect_list(store, "", sorted, 6);
	expect_list(store, "a/", sorted + 1, 4);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Long components and bytes on both sides of the slash, in every combination. */
static void test_order_is_that_of_the_bytes(void **state)
{
	(void)state;
	static const char *const ends[] = {"",  "!",  "/",  "/a", "0",        "\x01", "\x01/", "/\x01", "A",
	                                   "a", "b/", "//", "~",  "\xc3\xa4", "-",    "+",     "=",     "%"};
	static const size_t lengths[] = {0, 1, 62, 63, 64, 65, 127, 128, 129};
	const char *keys[200];
	size_t n = 0;
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		for (size_t j = 0; j < sizeof ends / sizeof ends[0]; j++) {
			char text[200] = "";
			memset(text, i % 2 ? 'k' : 'K', lengths[i]);
			strcat(text, ends[j]);
			if (text[0])
				keys[n++] = xstrdup(text);
		}
	}
	for (size_t i = 0; i < n; i++)
		put_text(store, keys[i], "x");
	qsort(keys, n, sizeof keys[0], by_bytes);
	expect_list(store, "", keys, n);
	expect_list(store, NULL, keys, n);
	for (size_t i = 0; i < n; i++)
		free((char *)keys[i]);
}

static void test_check(void **state)
{
	(void)state;
	struct err err = {0};
	assert_ok(store_check(store, &err), err);
	assert_int_equal(files_in("tmp"), 0);
	assert_int_equal(nftw(path, remove_one, 64, FTW_DEPTH | FTW_PHYS), 0);
	assert_err(store_check(store, &err), ERR_UNAVAILABLE);
}

static void test_open_refusals(void **state)
{
	(void)state;
	struct store *other = NULL;
	assert_err(store_open_directory("/nonexistent/a/b", &other, NULL), ERR_NOT_FOUND);
	assert_err(store_open_directory("", &other, NULL), ERR_INVALID);
	assert_err(store_open_directory("/dev/null", &other, NULL), ERR_NOT_FOUND);
	assert_null(other);
}

/* A reader goes on reading what it opened. */
static void test_replace_and_remove_while_reading(void **state)
{
	(void)state;
	put_text(store, "read", "the first content");
	struct err err = {0};
	struct store_get get = {.key = "read"};
	struct store_download *download = NULL;
	struct store_object object = {0};
	uint8_t out[64];
	size_t len, total = 0;
	assert_ok(store_download_begin(store, &get, &download, &object, &err), err);
	store_object_done(&object);
	assert_ok(store_download_read(download, out, 3, &total, &err), err);
	put_text(store, "read", "another");
	assert_ok(store_remove(store, "read", NULL, &err), err);
	do {
		assert_ok(store_download_read(download, out + total, sizeof out - total, &len, &err), err);
		total += len;
	} while (len > 0);
	assert_int_equal(total, strlen("the first content"));
	assert_memory_equal(out, "the first content", total);
	store_download_end(download);
}

static void test_damaged_files_are_refused(void **state)
{
	(void)state;
	struct err err = {0};
	struct store_object object = {0};
	autofree char *file = xasprintf("%s/objects/damaged=", path);
	put_text(store, "damaged", "0123456789");
	assert_int_equal(truncate(file, 4096 + 9), 0);
	assert_err(store_head(store, "damaged", NULL, &object, &err), ERR_CORRUPT);
	assert_int_equal(truncate(file, 4096 + 11), 0);
	assert_err(store_head(store, "damaged", NULL, &object, &err), ERR_CORRUPT);
	assert_int_equal(truncate(file, 100), 0);
	assert_err(store_head(store, "damaged", NULL, &object, &err), ERR_CORRUPT);
	assert_int_equal(truncate(file, 0), 0);
	assert_err(store_head(store, "damaged", NULL, &object, &err), ERR_CORRUPT);
	static const char *const only[] = {"damaged"};
	expect_list(store, "", only, 1);
	put_text(store, "damaged", "whole again");
	expect_content(store, "damaged", span_str("whole again"));
}

/* Cut off while it is read. */
static void test_file_cut_while_reading(void **state)
{
	(void)state;
	struct err err = {0};
	autofree char *file = xasprintf("%s/objects/cut=", path);
	put_text(store, "cut", "0123456789");
	struct store_get get = {.key = "cut"};
	struct store_download *download = NULL;
	struct store_object object = {0};
	uint8_t out[16];
	size_t len;
	assert_ok(store_download_begin(store, &get, &download, &object, &err), err);
	store_object_done(&object);
	assert_int_equal(truncate(file, 4096 + 4), 0);
	assert_ok(store_download_read(download, out, sizeof out, &len, &err), err);
	assert_int_equal(len, 4);
	assert_err(store_download_read(download, out, sizeof out, &len, &err), ERR_CORRUPT);
	store_download_end(download);
}

static void test_foreign_files_are_left_alone(void **state)
{
	(void)state;
	autofree char *file = xasprintf("%s/objects/README", path), *lost = xasprintf("%s/objects/lost+found", path);
	FILE *out = fopen(file, "w");
	assert_non_null(out);
	fclose(out);
	assert_int_equal(mkdir(lost, 0700), 0);
	put_text(store, "a", "x");
	static const char *const only[] = {"a"};
	expect_list(store, "", only, 1);
	assert_int_equal(access(file, F_OK), 0);
}

/* What a writer that was killed left is removed at the next start; what one that lives is writing is not. */
static void test_temporary_files_of_the_dead_are_removed(void **state)
{
	(void)state;
	struct err err = {0};
	struct store_upload *upload = NULL;
	struct store_object object = {0};
	struct store *second = NULL;
	struct store_put put = {.key = "mine"};
	assert_ok(store_upload_begin(store, &put, &upload, &err), err);
	assert_ok(store_upload_write(upload, span_str("text"), &err), err);
	pid_t pid = fork();
	if (pid == 0) {
		struct store_put other = {.key = "theirs"};
		struct store_upload *left = NULL;
		_exit(store_upload_begin(store, &other, &left, NULL) == ERR_OK ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(files_in("tmp"), 2);
	assert_ok(store_open_directory(path, &second, &err), err);
	assert_int_equal(files_in("tmp"), 1);
	assert_ok(store_upload_commit(upload, &object, &err), err);
	store_object_done(&object);
	expect_content(second, "mine", span_str("text"));
	store_free(second);
}

static void *churn(void *user)
{
	struct racer *racer = user;
	for (int i = 0; i < 200; i++) {
		put_text(racer->store, racer->content, "x");
		enum err_code code = store_remove(racer->store, racer->content, NULL, NULL);
		assert_true(code == ERR_OK || code == ERR_NOT_FOUND);
	}
	return NULL;
}

/* One writer's folder is another's empty folder. */
static void test_folders_come_and_go(void **state)
{
	(void)state;
	struct racer racers[4];
	for (int i = 0; i < 4; i++) {
		racers[i] = (struct racer){.store = store};
		snprintf(racers[i].content, sizeof racers[i].content, "a/b/c/%d", i % 2);
		pthread_create(&racers[i].thread, NULL, churn, &racers[i]);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(racers[i].thread, NULL);
	assert_int_equal(files_in("objects"), 0);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test_setup_teardown(test_put_get_head, setup, teardown),
             cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
             cmocka_unit_test_setup_teardown(test_large, setup, teardown),
             cmocka_unit_test_setup_teardown(test_ranges, setup, teardown),
             cmocka_unit_test_setup_teardown(test_overwrite, setup, teardown),
             cmocka_unit_test_setup_teardown(test_missing_and_remove, setup, teardown),
             cmocka_unit_test_setup_teardown(test_abort, setup, teardown),
             cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
             cmocka_unit_test_setup_teardown(test_list_order, setup, teardown),
             cmocka_unit_test_setup_teardown(test_list_beyond_a_page, setup, teardown),
             cmocka_unit_test_setup_teardown(test_one_winner, setup, teardown),
             cmocka_unit_test_setup_teardown(test_threads_apart, setup, teardown),
             cmocka_unit_test_setup_teardown(test_early_end, setup, teardown),
             cmocka_unit_test_setup_teardown(test_replace_meta, setup, teardown),
             cmocka_unit_test_setup_teardown(test_hostile_keys, setup, teardown),
             cmocka_unit_test_setup_teardown(test_object_and_folder_of_one_name, setup, teardown),
             cmocka_unit_test_setup_teardown(test_order_is_that_of_the_bytes, setup, teardown),
             cmocka_unit_test_setup_teardown(test_check, setup, teardown),
             cmocka_unit_test_setup_teardown(test_open_refusals, setup, teardown),
             cmocka_unit_test_setup_teardown(test_replace_and_remove_while_reading, setup, teardown),
             cmocka_unit_test_setup_teardown(test_damaged_files_are_refused, setup, teardown),
             cmocka_unit_test_setup_teardown(test_file_cut_while_reading, setup, teardown),
             cmocka_unit_test_setup_teardown(test_foreign_files_are_left_alone, setup, teardown),
             cmocka_unit_test_setup_teardown(test_temporary_files_of_the_dead_are_removed, setup, teardown),
             cmocka_unit_test_setup_teardown(test_folders_come_and_go, setup, teardown))
