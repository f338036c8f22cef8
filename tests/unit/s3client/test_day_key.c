#include "s3client/day_key.h"

#include "tests/unit/harness.h"

struct token {
	unsigned asked;
	char day[9];
	bool broken;
};

static enum err_code date_key(void *user, const char *yyyymmdd, uint8_t out[32], struct err *err)
{
	struct token *token = user;
	token->asked++;
	if (token->broken)
		return err_set(err, ERR_UNAVAILABLE, 0x30, "the token is away");
	snprintf(token->day, sizeof token->day, "%s", yyyymmdd);
	memset(out, yyyymmdd[7], 32);
	return ERR_OK;
}

static void start(struct day_key *key, struct token *token)
{
	*token = (struct token){0};
	struct s3_credentials credentials = {"AKIDEXAMPLE", date_key, token};
	day_key_init(key, &credentials);
}

static void sign_at(struct day_key *key, const char *timestamp, char hex[65])
{
	struct err err = {0};
	const struct sigv4_scope scope = {timestamp, "eu-central-1", "s3", NULL};
	assert_ok(day_key_sign(key, &scope, span_str("text"), hex, &err), err);
}

static void test_one_question_per_day(void **state)
{
	(void)state;
	struct day_key key;
	struct token token;
	start(&key, &token);
	char first[65], second[65], next_day[65];
	sign_at(&key, "20261121T000000Z", first);
	sign_at(&key, "20261121T235959Z", second);
	assert_string_equal(first, second);
	assert_int_equal(token.asked, 1);
	assert_string_equal(token.day, "20261121");
	sign_at(&key, "20261122T000000Z", next_day);
	assert_string_not_equal(first, next_day);
	assert_int_equal(token.asked, 2);
	day_key_done(&key);
}

static void test_forgotten_key_is_asked_for_again(void **state)
{
	(void)state;
	struct day_key key;
	struct token token;
	start(&key, &token);
	char hex[65];
	sign_at(&key, "20261121T000000Z", hex);
	day_key_forget(&key);
	assert_null(key.key);
	sign_at(&key, "20261121T000000Z", hex);
	assert_int_equal(token.asked, 2);
	day_key_done(&key);
}

static void test_token_failure_is_passed_on_and_not_kept(void **state)
{
	(void)state;
	struct day_key key;
	struct token token;
	start(&key, &token);
	char hex[65];
	token.broken = true;
	struct err err = {0};
	const struct sigv4_scope scope = {"20261121T000000Z", "eu-central-1", "s3", NULL};
	assert_err(day_key_sign(&key, &scope, span_str("text"), hex, &err), ERR_UNAVAILABLE);
	assert_int_equal(err.native, 0x30);
	token.broken = false;
	sign_at(&key, "20261121T000000Z", hex);
	day_key_done(&key);
}

static void test_regions_have_keys_of_their_own(void **state)
{
	(void)state;
	struct day_key key;
	struct token token;
	start(&key, &token);
	char here[65], there[65], again[65];
	sign_at(&key, "20261121T000000Z", here);
	const struct sigv4_scope scope = {"20261121T000000Z", "us-west-2", "s3", NULL};
	struct err err = {0};
	assert_ok(day_key_sign(&key, &scope, span_str("text"), there, &err), err);
	assert_string_not_equal(here, there);
	sign_at(&key, "20261121T000000Z", again);
	assert_string_equal(here, again);
	char region[128];
	memset(region, 'a', sizeof region - 1);
	region[sizeof region - 1] = 0;
	const struct sigv4_scope too_long = {"20261121T000000Z", region, "s3", NULL};
	assert_err(day_key_sign(&key, &too_long, span_str("text"), here, &err), ERR_INVALID);
	day_key_done(&key);
}

static void *sign_many(void *user)
{
	char hex[65];
	for (int i = 0; i < 200; i++)
		sign_at(user, i % 2 ? "20261121T000000Z" : "20261122T000000Z", hex);
	return NULL;
}

static void test_threads_around_midnight(void **state)
{
	(void)state;
	struct day_key key;
	struct token token;
	start(&key, &token);
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, sign_many, &key);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	char first[65], again[65];
	sign_at(&key, "20261121T000000Z", first);
	sign_at(&key, "20261122T000000Z", again);
	assert_string_not_equal(first, again);
	day_key_done(&key);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_one_question_per_day),
             cmocka_unit_test(test_forgotten_key_is_asked_for_again),
             cmocka_unit_test(test_token_failure_is_passed_on_and_not_kept),
             cmocka_unit_test(test_regions_have_keys_of_their_own), cmocka_unit_test(test_threads_around_midnight))
