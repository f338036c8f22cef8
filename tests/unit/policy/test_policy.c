#include "policy/policy.h"

#include "common/text.h"
#include "tests/unit/harness.h"

static struct policy *parse(const char *text)
{
	struct err err;
	struct policy *policy = NULL;
	assert_ok(policy_parse("r.yaml", span_str(text), &policy, &err), err);
	return policy;
}

static void test_parse_counts_rules(void **state)
{
	(void)state;
	struct policy *policy = parse("version: 1\nrules:\n- {name: a, effect: allow}\n- {name: b, effect: deny}\n");
	assert_int_equal(policy_count(policy), 2);
	policy_free(policy);
	policy = parse("version: 1\nrules: []\n");
	assert_int_equal(policy_count(policy), 0);
	policy_free(policy);
	policy_free(NULL);
}

#define RULE "version: 1\nrules:\n- name: a\n  effect: allow\n"

static const struct {
	const char *text, *error;
} refusals[] = {
    {"rules: []\n", "r.yaml:1:1: key \"version\" is missing; it takes 1, the version of this format"},
    {"version: 2\nrules: []\n", "r.yaml:1:10: \"version\" must be 1, the version of this format, not \"2\""},
    {"version: 1\n", "r.yaml:1:1: key \"rules\" is missing; it takes a list of groups of `key: value` lines, each "
                     "starting with `- `"},
    {"version: 1\nrules: [{effect: allow}]\n",
     "r.yaml:2:9: key \"name\" is missing; it takes a name of its own, such as hospital-reads"},
    {"version: 1\nrules: [{name: a}]\n", "r.yaml:2:9: key \"effect\" is missing; it takes allow or deny"},
    {"version: 1\nrules: [{name: a, effect: alow}]\n",
     "r.yaml:2:27: \"effect\" must be allow or deny, not \"alow\"; did you mean \"allow\"?"},
    {"version: 1\nrules: [{name: '', effect: allow}]\n",
     "r.yaml:2:9: a rule's name is 1 to 64 of the characters A-Z a-z 0-9 . _ -"},
    {"version: 1\nrules: [{name: 'a b', effect: allow}]\n",
     "r.yaml:2:9: a rule's name is 1 to 64 of the characters A-Z a-z 0-9 . _ -"},
    {"version: 1\nrules: [{effect: allow, name: "
     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}]\n",
     "r.yaml:2:9: a rule's name is 1 to 64 of the characters A-Z a-z 0-9 . _ -"},
    {"version: 1\nrules: [{name: default, effect: allow}]\n",
     "r.yaml:2:9: the name \"default\" is taken: it denies what no rule matches"},
    {"version: 1\nrules:\n- {name: a, effect: allow}\n- {name: b, effect: deny}\n- {name: a, effect: deny}\n",
     "r.yaml:5:3: there is another rule named \"a\", in line 3"},
    {RULE "  operation: GET\n", "r.yaml:5:3: unknown key \"operation\"; did you mean \"operations\"?"},
    {RULE "  operations: [GET, get]\n", "r.yaml:5:21: operations are GET, PUT, LIST and DELETE, not \"get\""},
    {RULE "  operations: []\n", "r.yaml:5:15: \"operations\" needs at least 1 entry"},
    {RULE "  operations:\n",
     "r.yaml:5:14: \"operations\" has no value; it must be a list out of GET, PUT, LIST, DELETE"},
    {RULE "  buckets: []\n", "r.yaml:5:12: \"buckets\" needs at least 1 entry"},
    {RULE "  objects: []\n", "r.yaml:5:12: \"objects\" needs at least 1 entry"},
    {RULE "  accounts: []\n", "r.yaml:5:13: \"accounts\" needs at least 1 entry"},
    {RULE "  users: []\n", "r.yaml:5:10: \"users\" needs at least 1 entry"},
    {RULE "  countries: []\n", "r.yaml:5:14: \"countries\" needs at least 1 entry"},
    {RULE "  countries: [US, UK]\n", "r.yaml:5:19: \"UK\" is no country code; did you mean \"GB\"?"},
    {RULE "  countries: [us]\n", "r.yaml:5:15: \"us\" is no country code; did you mean \"US\"?"},
    {RULE "  countries: [Holland]\n", "r.yaml:5:15: \"Holland\" is no country code; did you mean \"NL\"?"},
    {RULE "  countries:\n  - US\n  - ZZ\n",
     "r.yaml:7:5: \"ZZ\" is no country code: it must be two capital letters of ISO 3166-1, such as US, GB or NL"},
    {RULE "  hours: office\n", "r.yaml:5:10: \"hours\" must be a group such as {days: [mon-fri], from: \"08:00\", to: "
                               "\"18:00\", zone: Europe/Berlin}"},
    {RULE "  hours: {days: mon}\n", "r.yaml:5:10: key \"zone\" is missing; it takes a time zone such as Europe/Berlin"},
    {RULE "  hours: {zone: Europe/Berln}\n",
     "r.yaml:5:17: \"Europe/Berln\" is no time zone; did you mean \"Europe/Berlin\"?"},
    {RULE "  hours: {zone: berlin}\n", "r.yaml:5:17: \"berlin\" is no time zone; did you mean \"Europe/Berlin\"?"},
    {RULE "  hours: {zone: utc}\n", "r.yaml:5:17: \"utc\" is no time zone; did you mean \"UTC\"?"},
    {RULE "  hours: {zone: '+01:00'}\n", "r.yaml:5:17: \"+01:00\" is no time zone: it must be a name of the system's "
                                         "time zone database, such as Europe/Berlin or UTC"},
    {RULE "  hours: {zone: [UTC, UTC]}\n", "r.yaml:5:17: \"zone\" has 2 entries, more than 1"},
    {RULE "  hours: {zone: UTC, days: [mon-fri, sarturday]}\n",
     "r.yaml:5:38: \"sarturday\" is neither a day nor a range of days: days are mon, tue, wed, thu, fri, sat, sun, a "
     "range is mon-fri"},
    {RULE "  hours: {zone: UTC, from: '8:00', to: '18:00'}\n",
     "r.yaml:5:28: \"from\" must be a time from \"00:00\" to \"24:00\", such as \"08:00\", not \"8:00\""},
    {RULE "  hours: {zone: UTC, from: '08:00', to: '18:60'}\n",
     "r.yaml:5:41: \"to\" must be a time from \"00:00\" to \"24:00\", such as \"08:00\", not \"18:60\""},
    {RULE "  hours: {zone: UTC, from: '08:00'}\n",
     "r.yaml:5:10: `hours` has only one of `from` and `to`; without both it is the whole day"},
    {RULE "  hours: {zone: UTC, from: '08:00', to: '08:00'}\n",
     "r.yaml:5:41: `from` and `to` are the same; leave both out for the whole day"},
    {RULE "  hours: {zone: UTC, from: '24:00', to: '08:00'}\n",
     "r.yaml:5:28: a day does not start at \"24:00\"; write \"00:00\""},
    {RULE "  hours: {zone: UTC, until: '08:00'}\n", "r.yaml:5:22: unknown key \"until\"; known: days, from, to, zone"},
    {RULE "  require: [consent, purpos]\n",
     "r.yaml:5:22: what can be required is consent, purpose and id_token, not \"purpos\""},
    {"version: 1\nrules:\n- {name: a, effect: deny, require: consent}\n",
     "r.yaml:3:36: a deny rule cannot `require`: it would deny only those who have it; put it into the rules that "
     "allow"},
    {"version: 1\nrules: []\nlimits: [{requests_per_minute: 1}]\n",
     "r.yaml:3:10: key \"per\" is missing; it takes vendor_key or user"},
    {"version: 1\nrules: []\nlimits: [{per: usr, requests_per_minute: 1}]\n",
     "r.yaml:3:16: \"per\" must be vendor_key or user, not \"usr\"; did you mean \"user\"?"},
    {"version: 1\nrules: []\nlimits: [{per: user}]\n",
     "r.yaml:3:10: a limit needs `requests_per_minute`, `bytes_per_hour`, or both"},
    {"version: 1\nrules: []\nlimits: [{per: user, requests_per_minute: 0}]\n",
     "r.yaml:3:43: \"requests_per_minute\" must be a number from 1 to 1000000000, not \"0\""},
    {"version: 1\nrules: []\nlimits: [{per: user, bytes_per_hour: 1TB}]\n",
     "r.yaml:3:38: \"bytes_per_hour\" must be a size such as 500MiB or 20GiB, not \"1TB\""},
    {"version: 1\nrules: []\nlimits: [{per: user, only: ['[a'], bytes_per_hour: 1}]\n",
     "r.yaml:3:29: \"only\": this glob is malformed: the class in brackets is never closed"},
    {RULE "  networks: []\n", "r.yaml:5:13: \"networks\" needs at least 1 entry"},
    {RULE "  vendor_keys: []\n", "r.yaml:5:16: \"vendor_keys\" needs at least 1 entry"},
    {RULE "  objects: [a, 'b[']\n",
     "r.yaml:5:16: \"objects\": this glob is malformed: the class in brackets is never closed"},
    {RULE "  users: '[b-a]'\n", "r.yaml:5:10: \"users\": this glob is malformed: a range in brackets goes backwards"},
    {RULE "  networks: [10.0.0.0/8, 10.0.0.1/8]\n",
     "r.yaml:5:26: \"10.0.0.1/8\" is not a network: it must be an address, or a network whose host bits are zero, such "
     "as 10.0.0.0/8 or 2001:db8::/32"},
    {RULE "  networks: [2001:db8::/129]\n",
     "r.yaml:5:14: \"2001:db8::/129\" is not a network: it must be an address, or a network whose host bits are zero, "
     "such as 10.0.0.0/8 or 2001:db8::/32"},
    {RULE "  networks: [office]\n",
     "r.yaml:5:14: \"office\" is not a network: it must be an address, or a network whose host bits are zero, such as "
     "10.0.0.0/8 or 2001:db8::/32"},
    {RULE "  effect: deny\n", "r.yaml:5:3: key \"effect\" is repeated; the first is in line 4"},
    {"", "r.yaml:1:1: the file has no content"},
};

static void test_parse_refuses(void **state)
{
	(void)state;
	unsigned wrong = 0;
	for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
		struct err err = {0};
		struct policy *policy = NULL;
		enum err_code code = policy_parse("r.yaml", span_str(refusals[i].text), &policy, &err);
		if (code == ERR_INVALID && !policy && strcmp(err.text, refusals[i].error) == 0)
			continue;
		wrong++;
		print_error("%s: %s\n  got  %s\n  want %s\n", refusals[i].text, err_name(code), err.text, refusals[i].error);
		policy_free(policy);
	}
	assert_int_equal(wrong, 0);
}

static void test_load(void **state)
{
	(void)state;
	struct err err;
	struct policy *policy = NULL;
	char folder[] = "/tmp/twokey-policy-XXXXXX";
	assert_non_null(mkdtemp(folder));
	autofree char *path = xasprintf("%s/rules.yaml", folder);
	assert_err(policy_load(path, &policy, &err), ERR_NOT_FOUND);
	assert_ok(text_write_file(path, span_str(RULE), 0600, &err), err);
	assert_ok(policy_load(path, &policy, &err), err);
	assert_int_equal(policy_count(policy), 1);
	policy_free(policy);

	assert_ok(text_write_file(path, span_str(RULE "  x: y\n"), 0600, &err), err);
	policy = NULL;
	assert_err(policy_load(path, &policy, &err), ERR_INVALID);
	assert_null(policy);
	assert_memory_equal(err.text, path, strlen(path));
	assert_memory_equal(err.text + strlen(path), ":5:3: ", 6);
	unlink(path);
	rmdir(folder);
}

static void test_an_operation_that_does_not_exist_is_denied(void **state)
{
	(void)state;
	struct policy *policy = parse(RULE);
	static const unsigned operations[] = {0, 5, 31, 32, 33, 1000, UINT32_MAX};
	for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
		struct policy_request request = {.bucket = "b", .object = "o", .account = "a", .user = "u", .vendor_key = "k"};
		struct policy_decision decision;
		memcpy(&request.operation, &operations[i], sizeof request.operation);
		policy_decide(policy, &request, &decision);
		assert_false(decision.allowed);
		assert_int_equal(decision.reason, REASON_RULE_DENIED);
	}
	policy_free(policy);
}

static void test_many_rules(void **state)
{
	(void)state;
	autobuf struct buf text = {0};
	buf_append_str(&text, "version: 1\nrules:\n");
	for (int i = 0; i < 5000; i++)
		buf_printf(&text, "- {name: rule-%d, effect: allow, objects: [\"reports/%d/**\"]}\n", i, i);
	struct policy *policy = parse(buf_cstr(&text));
	assert_int_equal(policy_count(policy), 5000);
	const struct policy_request request = {.operation = POLICY_GET,
	                                       .bucket = "b",
	                                       .object = "reports/4999/x",
	                                       .account = "a",
	                                       .user = "u",
	                                       .vendor_key = "k"};
	struct policy_decision decision;
	policy_decide(policy, &request, &decision);
	assert_true(decision.allowed);
	assert_string_equal(decision.rule, "rule-4999");
	policy_free(policy);
}

static void test_limits(void **state)
{
	(void)state;
	struct policy *policy = parse("version: 1\nrules: []\nlimits:\n"
	                              "- {per: vendor_key, only: [acme-*], requests_per_minute: 10}\n"
	                              "- {per: user, only: [ann], bytes_per_hour: 2GiB}\n"
	                              "- {per: vendor_key, requests_per_minute: 5, bytes_per_hour: 1KiB}\n");
	struct policy_limit limit;
	policy_limit(policy, POLICY_PER_VENDOR_KEY, "acme-2026", &limit);
	assert_true(limit.requests_per_minute == 10 && limit.bytes_per_hour == 0);
	policy_limit(policy, POLICY_PER_VENDOR_KEY, "other", &limit);
	assert_true(limit.requests_per_minute == 5 && limit.bytes_per_hour == 1024);
	policy_limit(policy, POLICY_PER_USER, "ann", &limit);
	assert_true(limit.requests_per_minute == 0 && limit.bytes_per_hour == UINT64_C(2) << 30);
	policy_limit(policy, POLICY_PER_USER, "bob", &limit);
	assert_true(limit.requests_per_minute == 0 && limit.bytes_per_hour == 0);
	assert_false(policy_asks_countries(policy));
	policy_free(policy);
	policy = parse("version: 1\nrules:\n- {name: a, effect: deny}\n- {name: b, effect: allow, countries: US}\n");
	assert_true(policy_asks_countries(policy));
	policy_free(policy);
}

static void keep(void *user, const struct policy_verdict *verdict)
{
	struct policy_verdict **next = (struct policy_verdict **)user;
	*(*next)++ = *verdict;
}

static void test_explain_tells_of_every_rule(void **state)
{
	(void)state;
	struct policy *policy = parse("version: 1\nrules:\n"
	                              "- {name: a, effect: allow, users: [bob], networks: [10.0.0.0/8]}\n"
	                              "- {name: b, effect: deny, operations: PUT}\n"
	                              "- {name: c, effect: allow, networks: [192.0.2.0/24]}\n"
	                              "- {name: d, effect: deny}\n");
	struct policy_request request = {
	    .operation = POLICY_GET, .bucket = "r", .object = "o", .account = "", .user = "ann", .vendor_key = "k"};
	assert_true(ip_parse("192.0.2.1", &request.address));
	struct policy_verdict verdicts[5], *next = verdicts;
	struct policy_decision decision;
	policy_explain(policy, &request, keep, &next, &decision);
	assert_ptr_equal(next, verdicts + 5);
	assert_true(decision.allowed);
	assert_string_equal(decision.rule, "c");
	static const struct policy_verdict expected[] = {
	    {"a", true, false, false, POLICY_USERS},
	    {"b", false, false, false, POLICY_OPERATIONS},
	    {"c", true, true, true, POLICY_NO_CONDITION},
	    {"d", false, true, false, POLICY_NO_CONDITION},
	    {"default", false, true, false, POLICY_NO_CONDITION},
	};
	for (size_t i = 0; i < 5; i++) {
		assert_string_equal(verdicts[i].rule, expected[i].rule);
		assert_int_equal(verdicts[i].allow, expected[i].allow);
		assert_int_equal(verdicts[i].matches, expected[i].matches);
		assert_int_equal(verdicts[i].decides, expected[i].decides);
		assert_int_equal(verdicts[i].failed, expected[i].failed);
	}
	policy_free(policy);
}

static void test_names_of_conditions(void **state)
{
	(void)state;
	assert_string_equal(policy_condition_name(POLICY_OPERATIONS), "operations");
	assert_string_equal(policy_condition_name(POLICY_PURPOSE), "require: purpose");
	assert_string_equal(policy_condition_name(POLICY_NO_CONDITION), "");
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_parse_counts_rules), cmocka_unit_test(test_parse_refuses),
             cmocka_unit_test(test_load), cmocka_unit_test(test_an_operation_that_does_not_exist_is_denied),
             cmocka_unit_test(test_many_rules), cmocka_unit_test(test_limits),
             cmocka_unit_test(test_explain_tells_of_every_rule), cmocka_unit_test(test_names_of_conditions))
