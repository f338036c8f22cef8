/* What is restricted, and what is not. */
#include <pthread.h>
#include <stdatomic.h>

#include "policy/policy.h"
#include "tests/unit/harness.h"

static struct restrictions *all;
static uint64_t next_record;

static int setup(void **state)
{
	(void)state;
	all = restrictions_new();
	next_record = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	restrictions_free(all);
	return 0;
}

static struct restriction_change change_of(enum restriction_action action, enum restriction_scope scope,
                                           const char *bucket, const char *name)
{
	return (struct restriction_change){
	    .scope = scope, .action = action, .bucket = bucket, .name = name, .note = {.who = "op", .why = "test"}};
}

static enum reason try(struct restriction_change change)
{
	struct err err = {0};
	enum reason reason = restrictions_judge(all, &change, &err);
	if (reason != REASON_NONE)
		return reason;
	change.note.record = next_record++;
	restrictions_apply(all, &change);
	return REASON_NONE;
}

static void apply(struct restriction_change change)
{
	assert_int_equal(try(change), REASON_NONE);
}

static void take_back(enum restriction_scope scope, const char *bucket, const char *name)
{
	apply(change_of(RESTRICT_REVOKE, scope, bucket, name));
}

static void give_again(enum restriction_scope scope, const char *bucket, const char *name)
{
	apply(change_of(RESTRICT_REINSTATE, scope, bucket, name));
}

static void expire(enum restriction_scope scope, const char *name, int64_t at)
{
	struct restriction_change change = change_of(RESTRICT_SET_EXPIRY, scope, "", name);
	change.expires_ms = at;
	apply(change);
}

static enum reason user(enum restriction_action action, const char *object, const char *who)
{
	struct restriction_change change = change_of(action, RESTRICT_OBJECT, "", object);
	change.user = who;
	return try(change);
}

static const uint8_t some_id[16] = "0123456789abcde";

static struct restriction_question ask(const char *object)
{
	return (struct restriction_question){.transaction_id = some_id,
	                                     .bucket = "b",
	                                     .object = object,
	                                     .account = "acme",
	                                     .user = "alice",
	                                     .vendor_key = "v1",
	                                     .now_ms = 1000};
}

static enum reason check(const char *object)
{
	struct restriction_question question = ask(object);
	return restrictions_check(all, &question);
}

static enum reason check_list(const char *prefix)
{
	struct restriction_question question = ask(prefix);
	question.list = true;
	return restrictions_check(all, &question);
}

static void test_nothing_is_restricted_at_first(void **state)
{
	(void)state;
	assert_int_equal(check("x"), REASON_NONE);
	assert_int_equal(check_list(""), REASON_NONE);
	assert_int_equal(restrictions_generation(all), 0);
}

static void test_each_scope(void **state)
{
	(void)state;
	static const struct {
		enum restriction_scope scope;
		const char *bucket, *name, *other;
	} cases[] = {
	    {RESTRICT_OBJECT, "", "x", "y"},      {RESTRICT_OBJECT, "b", "x", "y"},    {RESTRICT_PREFIX, "", "x", "y"},
	    {RESTRICT_PREFIX, "b", "", "y"},      {RESTRICT_USER, "", "alice", "bob"}, {RESTRICT_ACCOUNT, "", "acme", "a"},
	    {RESTRICT_VENDOR_KEY, "", "v1", "v"}, {RESTRICT_TRANSACTION, "", "", ""},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct restriction_change change = change_of(RESTRICT_REVOKE, cases[i].scope, cases[i].bucket, cases[i].other);
		if (cases[i].scope == RESTRICT_TRANSACTION)
			change.transaction_id[0] = 'x';
		apply(change);
		assert_int_equal(check("x"), REASON_NONE);
		change.name = cases[i].name;
		memcpy(change.transaction_id, some_id, sizeof some_id);
		apply(change);
		assert_int_equal(check("x"), REASON_REVOKED);
		change.action = RESTRICT_REINSTATE;
		apply(change);
		assert_int_equal(check("x"), REASON_NONE);
	}
}

static void test_another_bucket_is_another_object(void **state)
{
	(void)state;
	take_back(RESTRICT_OBJECT, "c", "x");
	take_back(RESTRICT_PREFIX, "c", "");
	assert_int_equal(check("x"), REASON_NONE);
	assert_int_equal(check_list(""), REASON_NONE);
}

static void test_prefixes_of_all_lengths(void **state)
{
	(void)state;
	char longest[1025];
	memset(longest, 'a', 1024);
	longest[1024] = '\0';
	take_back(RESTRICT_PREFIX, "", longest);
	assert_int_equal(check(longest), REASON_REVOKED);
	assert_int_equal(check(longest + 1), REASON_NONE);
	take_back(RESTRICT_PREFIX, "", "aaa");
	assert_int_equal(check("aaa"), REASON_REVOKED);
	assert_int_equal(check("aaaa"), REASON_REVOKED);
	assert_int_equal(check("aa"), REASON_NONE);
	give_again(RESTRICT_PREFIX, "", "aaa");
	assert_int_equal(check("aaaa"), REASON_NONE);
	assert_int_equal(check(longest), REASON_REVOKED);
}

static void test_a_listing_is_stopped_from_above_and_below(void **state)
{
	(void)state;
	take_back(RESTRICT_PREFIX, "", "a/b/");
	assert_int_equal(check_list("a/b/"), REASON_REVOKED);
	assert_int_equal(check_list("a/b/c"), REASON_REVOKED);
	assert_int_equal(check_list("a/"), REASON_REVOKED);
	assert_int_equal(check_list(""), REASON_REVOKED);
	assert_int_equal(check_list("a/c"), REASON_NONE);
	assert_int_equal(check_list("b"), REASON_NONE);
	give_again(RESTRICT_PREFIX, "", "a/b/");
	assert_int_equal(check_list(""), REASON_NONE);
	take_back(RESTRICT_OBJECT, "", "a/b");
	assert_int_equal(check_list("a/b"), REASON_NONE); /* its name is no secret */
}

static void test_expiry(void **state)
{
	(void)state;
	expire(RESTRICT_OBJECT, "x", 1001);
	expire(RESTRICT_PREFIX, "x", 5000);
	assert_int_equal(check("x"), REASON_NONE);
	expire(RESTRICT_OBJECT, "x", 1000); /* from then on */
	assert_int_equal(check("x"), REASON_OBJECT_EXPIRED);
	expire(RESTRICT_OBJECT, "x", 2000);
	assert_int_equal(check("x"), REASON_NONE);
	expire(RESTRICT_PREFIX, "x", 10);
	assert_int_equal(check("xyz"), REASON_OBJECT_EXPIRED);
	apply(change_of(RESTRICT_REMOVE_EXPIRY, RESTRICT_PREFIX, "", "x"));
	assert_int_equal(check("x"), REASON_NONE);
	assert_int_equal(try(change_of(RESTRICT_REMOVE_EXPIRY, RESTRICT_PREFIX, "", "x")), REASON_NO_SUCH_RESTRICTION);
}

static void test_users(void **state)
{
	(void)state;
	assert_int_equal(user(RESTRICT_REMOVE_USER, "x", "alice"), REASON_NO_SUCH_RESTRICTION);
	assert_int_equal(user(RESTRICT_ADD_USER, "x", "bob"), REASON_NONE);
	assert_int_equal(check("x"), REASON_USER_NOT_LISTED);
	assert_int_equal(user(RESTRICT_ADD_USER, "x", "alice"), REASON_NONE);
	assert_int_equal(user(RESTRICT_ADD_USER, "x", "alice"), REASON_NONE);
	assert_int_equal(user(RESTRICT_ADD_USER, "x", "carol"), REASON_NONE);
	assert_int_equal(check("x"), REASON_NONE);
	assert_int_equal(user(RESTRICT_REMOVE_USER, "x", "alice"), REASON_NONE);
	assert_int_equal(user(RESTRICT_REMOVE_USER, "x", "alice"), REASON_NO_SUCH_RESTRICTION);
	assert_int_equal(check("x"), REASON_USER_NOT_LISTED);
	assert_int_equal(user(RESTRICT_REMOVE_USER, "x", "bob"), REASON_NONE);
	assert_int_equal(user(RESTRICT_REMOVE_USER, "x", "carol"), REASON_NONE);
	assert_int_equal(check("x"), REASON_USER_NOT_LISTED); /* an empty list is a list */
	apply(change_of(RESTRICT_REMOVE_USERS, RESTRICT_OBJECT, "", "x"));
	assert_int_equal(check("x"), REASON_NONE);
}

static void test_lockdown_comes_first(void **state)
{
	(void)state;
	assert_int_equal(try(change_of(RESTRICT_RELEASE, RESTRICT_EVERYTHING, "", "")), REASON_NO_SUCH_RESTRICTION);
	take_back(RESTRICT_OBJECT, "", "x");
	apply(change_of(RESTRICT_LOCKDOWN, RESTRICT_EVERYTHING, "", ""));
	apply(change_of(RESTRICT_LOCKDOWN, RESTRICT_EVERYTHING, "", ""));
	assert_int_equal(check("x"), REASON_LOCKDOWN);
	assert_int_equal(check("y"), REASON_LOCKDOWN);
	apply(change_of(RESTRICT_RELEASE, RESTRICT_EVERYTHING, "", ""));
	assert_int_equal(check("x"), REASON_REVOKED);
	assert_int_equal(check("y"), REASON_NONE);
}

static void test_malformed_changes(void **state)
{
	(void)state;
	char name[1026], why[514];
	memset(name, 'n', 1025);
	name[1025] = '\0';
	memset(why, 'w', 513);
	why[513] = '\0';
	const struct restriction_change changes[] = {
	    change_of(RESTRICT_REVOKE, RESTRICT_OBJECT, "", ""),
	    change_of(RESTRICT_REVOKE, RESTRICT_OBJECT, "", name),
	    change_of(RESTRICT_REVOKE, RESTRICT_OBJECT, name, "x"),
	    change_of(RESTRICT_REVOKE, RESTRICT_PREFIX, "", ""),
	    change_of(RESTRICT_REVOKE, RESTRICT_USER, "", ""),
	    change_of(RESTRICT_REVOKE, RESTRICT_ACCOUNT, "", name),
	    change_of(RESTRICT_REVOKE, RESTRICT_EVERYTHING, "", ""),
	    change_of(RESTRICT_LOCKDOWN, RESTRICT_OBJECT, "", "x"),
	    change_of(RESTRICT_SET_EXPIRY, RESTRICT_USER, "", "x"),
	    change_of(RESTRICT_ADD_USER, RESTRICT_OBJECT, "", "x"),
	    change_of((enum restriction_action)0, RESTRICT_OBJECT, "", "x"),
	    change_of((enum restriction_action)99, RESTRICT_OBJECT, "", "x"),
	    change_of(RESTRICT_REVOKE, (enum restriction_scope)8, "", "x"),
	};
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++)
		assert_int_equal(try(changes[i]), REASON_MALFORMED);
	struct restriction_change change = change_of(RESTRICT_REVOKE, RESTRICT_OBJECT, "", "x");
	change.note.why = "";
	assert_int_equal(try(change), REASON_MALFORMED);
	change.note.why = why;
	assert_int_equal(try(change), REASON_MALFORMED);
	change.note.why = why + 1;
	assert_int_equal(try(change), REASON_NONE);
}

static void test_a_record_counts_once(void **state)
{
	(void)state;
	struct restriction_change change = change_of(RESTRICT_REVOKE, RESTRICT_OBJECT, "", "x");
	change.note.record = 7;
	restrictions_apply(all, &change);
	change.action = RESTRICT_REINSTATE;
	change.note.record = 8;
	restrictions_apply(all, &change);
	uint64_t generation = restrictions_generation(all);
	change.action = RESTRICT_REVOKE;
	change.note.record = 7;
	restrictions_apply(all, &change);
	assert_int_equal(check("x"), REASON_NONE);
	assert_int_equal(restrictions_generation(all), generation);
}

/* Against an array that says what should be. */
enum { NAMES = 3000, CHANGES = 30000 };

static void test_many_come_and_go(void **state)
{
	(void)state;
	static bool is[2][NAMES];
	memset(is, 0, sizeof is);
	srand(4711);
	for (int i = 0; i < CHANGES; i++) {
		int n = rand() % NAMES, kind = rand() % 2;
		char name[32];
		snprintf(name, sizeof name, kind ? "p%d/" : "o%d", n);
		is[kind][n] = !is[kind][n];
		(is[kind][n] ? take_back : give_again)(kind ? RESTRICT_PREFIX : RESTRICT_OBJECT, kind && n % 2 ? "b" : "",
		                                       name);
	}
	for (int n = 0; n < NAMES; n++) {
		char name[32];
		snprintf(name, sizeof name, "o%d", n);
		assert_int_equal(check(name), is[0][n] ? REASON_REVOKED : REASON_NONE);
		snprintf(name, sizeof name, "p%d/x", n);
		assert_int_equal(check(name), is[1][n] ? REASON_REVOKED : REASON_NONE);
		snprintf(name, sizeof name, "p%d/", n);
		assert_int_equal(check_list(name), is[1][n] ? REASON_REVOKED : REASON_NONE);
	}
}

struct told {
	size_t n, users;
	unsigned kinds;
};

static void tell(const struct restriction_view *view, void *user)
{
	struct told *told = user;
	told->n++;
	told->kinds |= 1u << view->kind;
	told->users += view->kind == RESTRICTION_USERS ? view->n_users : 0;
	assert_string_equal(view->note.who, "op");
	assert_string_equal(view->note.why, "test");
}

static void test_pages_tell_everything_once(void **state)
{
	(void)state;
	for (int i = 0; i < 100; i++) {
		char name[16];
		snprintf(name, sizeof name, "x%d", i);
		take_back(RESTRICT_OBJECT, "", name);
		expire(RESTRICT_OBJECT, name, 99);
	}
	for (int i = 0; i < 100; i += 2) {
		char name[16];
		snprintf(name, sizeof name, "x%d", i);
		give_again(RESTRICT_OBJECT, "", name);
		apply(change_of(RESTRICT_REMOVE_EXPIRY, RESTRICT_OBJECT, "", name));
	}
	apply(change_of(RESTRICT_LOCKDOWN, RESTRICT_EVERYTHING, "", ""));
	assert_int_equal(user(RESTRICT_ADD_USER, "u", "bob"), REASON_NONE);
	struct told told = {0};
	size_t cursor = 0;
	while (restrictions_page(all, &cursor, 7, tell, &told))
		;
	assert_int_equal(told.n, 50 * 2 + 2);
	assert_int_equal(told.users, 1);
	assert_int_equal(told.kinds, 0x1e);
}

/* ---- threads ---- */

static _Atomic(bool) stop;

static void *reader(void *user)
{
	_Atomic(int) *wrong = user;
	while (!atomic_load(&stop)) {
		if (check("always") != REASON_REVOKED || check("never") != REASON_NONE)
			atomic_fetch_add(wrong, 1);
		check("p/x");
		check_list("p");
	}
	return NULL;
}

static void test_readers_beside_a_writer(void **state)
{
	(void)state;
	_Atomic(int) wrong = 0;
	pthread_t threads[3];
	take_back(RESTRICT_OBJECT, "", "always");
	atomic_store(&stop, false);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reader, &wrong), 0);
	for (int i = 0; i < 3000; i++) {
		char name[32];
		snprintf(name, sizeof name, "p/%d", i % 500);
		(i / 500 % 2 ? give_again : take_back)(RESTRICT_PREFIX, "", name);
		assert_int_equal(user(RESTRICT_ADD_USER, "never2", name), REASON_NONE);
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&wrong), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
HARNESS_MAIN(NULL, NULL, TEST(test_nothing_is_restricted_at_first), TEST(test_each_scope),
             TEST(test_another_bucket_is_another_object), TEST(test_prefixes_of_all_lengths),
             TEST(test_a_listing_is_stopped_from_above_and_below), TEST(test_expiry), TEST(test_users),
             TEST(test_lockdown_comes_first), TEST(test_malformed_changes), TEST(test_a_record_counts_once),
             TEST(test_many_come_and_go), TEST(test_pages_tell_everything_once), TEST(test_readers_beside_a_writer))
