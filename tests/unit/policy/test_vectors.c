#include "common/clock.h"
#include "common/text.h"
#include "policy/policy.h"
#include "tests/unit/harness.h"

/* The decision tables of tests/vectors/policy (README.md there). */
#define COLUMNS      10
#define COLUMNS_LONG 13 /* with circumstances */

static enum policy_operation operation_of(const char *name)
{
	static const char *const names[] = {
	    [POLICY_GET] = "GET", [POLICY_PUT] = "PUT", [POLICY_LIST] = "LIST", [POLICY_DELETE] = "DELETE"};
	for (int i = POLICY_GET; i <= POLICY_DELETE; i++)
		if (strcmp(names[i], name) == 0)
			return (enum policy_operation)i;
	fail_msg("no such operation: %s", name);
	return 0;
}

static char *trim(char *text)
{
	text += strspn(text, " ");
	for (size_t len = strlen(text); len > 0 && text[len - 1] == ' '; len--)
		text[len - 1] = '\0';
	return text;
}

static size_t split(char *line, char *columns[COLUMNS_LONG])
{
	size_t n = 0;
	for (char *part; (part = strsep(&line, "|"));) {
		assert_true(n < COLUMNS_LONG);
		columns[n++] = trim(part);
	}
	assert_true(n == COLUMNS || n == COLUMNS_LONG);
	return n;
}

static void read_circumstances(char *const columns[], struct policy_request *request)
{
	if (strcmp(columns[0], "-") != 0)
		memccpy(request->country, columns[0], '\0', sizeof request->country - 1);
	assert_true(clock_parse(columns[1], &request->time_ms));
	bool both = strcmp(columns[2], "both") == 0;
	request->has_consent = both || strcmp(columns[2], "consent") == 0;
	request->has_purpose = both || strcmp(columns[2], "purpose") == 0;
	assert_true(request->has_consent || request->has_purpose || strcmp(columns[2], "-") == 0);
}

/* What is explained is what is decided. */
struct explained {
	const char *rule;
	size_t n;
};

static void note(void *user, const struct policy_verdict *verdict)
{
	struct explained *explained = (struct explained *)user;
	explained->n++;
	assert_true(verdict->matches == (verdict->failed == POLICY_NO_CONDITION));
	if (verdict->decides) {
		assert_null(explained->rule);
		explained->rule = verdict->rule;
	}
}

static void check_explanation(const struct policy *policy, const struct policy_request *request,
                              const struct policy_decision *decision)
{
	struct explained explained = {0};
	struct policy_decision again;
	policy_explain(policy, request, note, &explained, &again);
	assert_int_equal(explained.n, policy_count(policy) + 1);
	assert_string_equal(explained.rule, decision->rule);
	assert_string_equal(again.rule, decision->rule);
	assert_int_equal(again.allowed, decision->allowed);
	assert_int_equal(again.reason, decision->reason);
}

static bool check_line(const struct policy *policy, const char *line)
{
	autofree char *copy = xstrdup(line);
	char *c[COLUMNS_LONG];
	size_t n = split(copy, c);
	struct policy_request request = {.operation = operation_of(c[0]),
	                                 .bucket = c[1],
	                                 .object = c[2],
	                                 .account = c[3],
	                                 .user = c[4],
	                                 .vendor_key = c[5]};
	assert_true(ip_parse(c[6], &request.address));
	if (n == COLUMNS_LONG)
		read_circumstances(c + 7, &request);
	char **expected = c + n - 3;
	bool allowed = strcmp(expected[0], "allow") == 0;
	assert_true(allowed || strcmp(expected[0], "deny") == 0);
	struct policy_decision decision;
	policy_decide(policy, &request, &decision);
	const char *reason = decision.reason == REASON_NONE ? "NONE" : reason_name(decision.reason);
	bool right =
	    decision.allowed == allowed && strcmp(decision.rule, expected[1]) == 0 && strcmp(reason, expected[2]) == 0;
	check_explanation(policy, &request, &decision);
	if (!right)
		print_error("%s\n  got %s by %s, %s\n", line, decision.allowed ? "allow" : "deny", decision.rule, reason);
	return right;
}

static void check_folder(const char *name, unsigned at_least)
{
	struct err err;
	struct policy *policy = NULL;
	autofree char *rules = xasprintf("%s/vectors/policy/%s/rules.yaml", TEST_SOURCE_DIR, name);
	autofree char *requests = xasprintf("%s/vectors/policy/%s/requests.txt", TEST_SOURCE_DIR, name);
	autobuf struct buf text = {0};
	assert_ok(policy_load(rules, &policy, &err), err);
	assert_ok(text_read_file(requests, 1 << 20, &text, &err), err);
	unsigned checked = 0, wrong = 0;
	char *rest = (char *)buf_cstr(&text);
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (!*line || *line == '#')
			continue;
		checked++;
		wrong += !check_line(policy, line);
	}
	policy_free(policy);
	assert_int_equal(wrong, 0);
	assert_true(checked >= at_least);
}

static void test_hospital(void **state)
{
	(void)state;
	check_folder("hospital", 40);
}

static void test_lists(void **state)
{
	(void)state;
	check_folder("lists", 17);
}

static void test_covers(void **state)
{
	(void)state;
	check_folder("covers", 20);
}

static void test_networks(void **state)
{
	(void)state;
	check_folder("networks", 30);
}

static void test_globs(void **state)
{
	(void)state;
	check_folder("globs", 26);
}

static void test_order(void **state)
{
	(void)state;
	check_folder("order", 11);
}

static void test_empty(void **state)
{
	(void)state;
	check_folder("empty", 4);
}

static void test_hours(void **state)
{
	(void)state;
	check_folder("hours", 85);
}

static void test_countries(void **state)
{
	(void)state;
	check_folder("countries", 32);
}

static void test_require(void **state)
{
	(void)state;
	check_folder("require", 18);
}

static void test_blame(void **state)
{
	(void)state;
	check_folder("blame", 21);
}

static void test_edges(void **state)
{
	(void)state;
	check_folder("edges", 43);
}

/* The example that users start from is the one that the table decides about. */
static void test_the_example_is_the_one_in_the_table(void **state)
{
	(void)state;
	struct err err;
	autobuf struct buf example = {0}, table = {0};
	assert_ok(text_read_file(TEST_SOURCE_DIR "/../policy/rules.example.yaml", 1 << 20, &example, &err), err);
	assert_ok(text_read_file(TEST_SOURCE_DIR "/vectors/policy/hospital/rules.yaml", 1 << 20, &table, &err), err);
	assert_true(span_eq(buf_span(&example), buf_span(&table)));
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_hospital), cmocka_unit_test(test_lists), cmocka_unit_test(test_covers),
             cmocka_unit_test(test_networks), cmocka_unit_test(test_globs), cmocka_unit_test(test_order),
             cmocka_unit_test(test_empty), cmocka_unit_test(test_hours), cmocka_unit_test(test_countries),
             cmocka_unit_test(test_require), cmocka_unit_test(test_blame), cmocka_unit_test(test_edges),
             cmocka_unit_test(test_the_example_is_the_one_in_the_table))
