/* The version of the rules in force: taken, replaced, and noticed when it changes. */
#include "server/rules.h"

#include <pthread.h>
#include <stdatomic.h>

#include "common/text.h"
#include "tests/unit/harness.h"

#define RULE(name) "version: 1\nrules:\n  - {name: " name ", effect: allow}\n"

static char folder[64], *path;

static void write_rules(const char *text)
{
	struct err err = {0};
	assert_ok(text_write_file(path, span_str(text), 0600, &err), err);
}

static int setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/twokey-rules-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	path = xasprintf("%s/rules.yaml", folder);
	write_rules(RULE("one"));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	free(path);
	return rmdir(folder);
}

static struct rules *open_rules(void)
{
	struct rules *rules = NULL;
	struct err err = {0};
	write_rules(RULE("one"));
	assert_ok(rules_open(path, NULL, &rules, &err), err);
	return rules;
}

static const char *decides(const struct rules_version *version)
{
	const struct policy_request request = {
	    .operation = POLICY_GET, .bucket = "b", .object = "o", .account = "", .user = "u", .vendor_key = "v"};
	struct policy_decision decision;
	policy_decide(version->policy, &request, &decision);
	return decision.rule;
}

static void put(struct rules *rules)
{
	struct rules_version *version = NULL;
	struct err err = {0};
	assert_ok(rules_read(rules, &version, &err), err);
	rules_put(rules, version);
}

static void test_who_holds_a_version_keeps_it(void **state)
{
	(void)state;
	struct rules *rules = open_rules();
	const struct rules_version *old = rules_take(rules);
	uint8_t sha256[32];
	text_sha256(span_str(RULE("one")), sha256);
	assert_memory_equal(old->sha256, sha256, sizeof sha256);
	assert_true(span_eq(buf_span(&old->text), span_str(RULE("one"))));
	write_rules(RULE("two"));
	put(rules);
	const struct rules_version *new = rules_take(rules);
	assert_string_equal(decides(old), "one");
	assert_string_equal(decides(new), "two");
	rules_give_back(old);
	rules_give_back(new);
	rules_free(rules);
}

static void test_a_mistake_is_told_and_changes_nothing(void **state)
{
	(void)state;
	struct rules *rules = open_rules();
	struct rules_version *version = NULL;
	struct err err = {0};
	write_rules("version: 1\nrules:\n  - {name: x, effect: perhaps}\n");
	assert_err(rules_read(rules, &version, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "rules.yaml:3:"));
	unlink(path);
	assert_err(rules_read(rules, &version, &err), ERR_NOT_FOUND);
	const struct rules_version *held = rules_take(rules);
	assert_string_equal(decides(held), "one");
	rules_give_back(held);
	struct err trouble;
	rules_trouble(rules, &trouble);
	assert_string_equal(trouble.text, "");
	rules_set_trouble(rules, "x");
	rules_trouble(rules, &trouble);
	assert_string_equal(trouble.text, "x");
	rules_free(rules);
	write_rules(RULE("one"));
}

static void test_no_file_no_rules(void **state)
{
	(void)state;
	struct rules *rules = NULL;
	struct err err = {0};
	unlink(path);
	assert_err(rules_open(path, NULL, &rules, &err), ERR_NOT_FOUND);
	write_rules(RULE("one"));
}

static void test_a_change_is_noticed_when_it_rests(void **state)
{
	(void)state;
	struct rules *rules = open_rules();
	assert_false(rules_changed(rules));
	assert_false(rules_changed(rules));
	write_rules(RULE("another"));
	assert_false(rules_changed(rules)); /* it may still be written */
	assert_true(rules_changed(rules));
	put(rules);
	assert_false(rules_changed(rules));
	rules_free(rules);
}

/* ---- threads ---- */

struct taker {
	struct rules *rules;
	_Atomic(bool) stop;
	_Atomic(int) wrong;
};

static void *take(void *user)
{
	struct taker *taker = user;
	while (!atomic_load(&taker->stop)) {
		const struct rules_version *version = rules_take(taker->rules);
		const char *name = decides(version);
		if (strcmp(name, "one") != 0 && strcmp(name, "two") != 0)
			atomic_fetch_add(&taker->wrong, 1);
		rules_give_back(version);
	}
	return NULL;
}

static void test_takers_beside_a_reloader(void **state)
{
	(void)state;
	struct taker taker = {.rules = open_rules()};
	pthread_t threads[3];
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take, &taker), 0);
	for (int i = 0; i < 200; i++) {
		write_rules(i % 2 ? RULE("one") : RULE("two"));
		put(taker.rules);
	}
	atomic_store(&taker.stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&taker.wrong), 0);
	rules_free(taker.rules);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_who_holds_a_version_keeps_it),
             cmocka_unit_test(test_a_mistake_is_told_and_changes_nothing), cmocka_unit_test(test_no_file_no_rules),
             cmocka_unit_test(test_a_change_is_noticed_when_it_rests), cmocka_unit_test(test_takers_beside_a_reloader))
