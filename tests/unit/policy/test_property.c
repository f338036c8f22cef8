/* Random requests under random rule files: policy/ decides as the reference does, for the same reason. */
#include "common/span.h"
#include "policy/policy.h"
#include "tests/unit/harness.h"
#include "tests/unit/policy/reference.h"

#define REQUESTS_PER_FILE 100
#define FILES             500
#define FILES_TORTURE     10000

#define COUNT(array) ((unsigned)(sizeof(array) / sizeof(array)[0]))

static const char *const operations[] = {"GET", "PUT", "LIST", "DELETE"};
static const char *const buckets[] = {"reports", "scans"};
static const char *const bucket_globs[] = {"reports", "s*", "*", "r?ports"};
static const char *const names[] = {"", "a", "ab", "acme", "acme-2", "x/y", "acme/x"};
static const char *const name_globs[] = {"a", "a*", "*", "?", "acme", "acme-?", "*x*", "[!a]*", "**", "a?", "acm\\e"};
static const char *const objects[] = {"",     "a",    "b",  "ab",   "a/",     "a/b",   "a/b/", "b/", "z",     "a/a/",
                                      "a//b", "a/zb", "//", "z/ab", "b/ab/z", "a/b/a", "bb",   "A",  "a/z/b", "*a"};
static const char *const object_globs[] = {"**",      "*",   "a",      "a/*",   "a/**", "a/b",   "**/b",    "a/**/b",
                                           "?",       "a?",  "[ab]/*", "a*",    "a**",  "*/a",   "[!a]/**", "b/a*/**",
                                           "**/a/**", "?/b", "[a-b]b", "a/**b", "*/*",  "**/*b", "a/b/**",  "\\a/*"};
static const char *const networks[] = {
    "0.0.0.0/0",   "::/0",    "10.0.0.0/8",    "10.1.0.0/16", "10.1.2.0/24",     "10.1.2.3",  "10.1.2.3/32",
    "128.0.0.0/1", "::/1",    "2001:db8::/32", "2001:db8::1", "2001:db8::/127",  "8000::/1",  "::ffff:10.1.0.0/112",
    "10.1.2.2/31", "::1/128", "10.128.0.0/9",  "2000::/3",    "::ffff:10.1.2.3", "11.0.0.0/8"};
static const char *const addresses[] = {
    "10.1.2.3",   "10.1.2.4",    "10.1.3.0",    "10.2.0.0",   "11.0.0.1",        "127.0.0.1",       "::1",
    "::",         "2001:db8::1", "2001:db8::2", "2001:db9::", "::ffff:10.1.2.3", "255.255.255.255", "9.255.255.255",
    "10.200.0.1", "ffff::1",     "::10.1.2.3",  "0.0.0.0",    "::fffe:a01:203",  "10.1.2.2"};
static const char *const countries[] = {"", "US", "GB", "DE", "NZ"};
static const char *const country_codes[] = {"US", "GB", "DE", "FR"};
static const char *const zones[] = {"UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu",
                                    "Australia/Lord_Howe"};
static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* When summer time begins or ends in those zones in 2026, and the turn of a day and of a year. */
static const int64_t moments[] = {1774746000, 1792890000, 1772953200, 1793512800, 1775314800,
                                  1791040200, 1795392000, 1798761600, 0,          2540000000};

static uint64_t state_of_dice;

static unsigned draw(unsigned below)
{
	state_of_dice ^= state_of_dice << 13;
	state_of_dice ^= state_of_dice >> 7;
	state_of_dice ^= state_of_dice << 17;
	return (unsigned)((state_of_dice >> 32) % below);
}

#define PICK(array) (array)[draw(COUNT(array))]

/* Absent two times out of three. */
static void draw_list(struct reference_list *list, const char *const *pool, unsigned n)
{
	list->n = draw(3) ? 0 : 1 + draw(draw(2) ? 2 : REFERENCE_LIST_MAX);
	for (unsigned i = 0; i < list->n; i++)
		list->items[i] = pool[draw(n)];
}

static void draw_hours(struct reference_hours *hours)
{
	*hours = (struct reference_hours){.present = !draw(4), .zone = PICK(zones), .all_day = !draw(4)};
	for (unsigned i = 0; i < 7; i++)
		hours->days[i] = draw(3) != 0;
	hours->days[draw(7)] = true;
	hours->from = draw(48) * 30;
	hours->to = draw(49) * 30;
	if (hours->from == hours->to)
		hours->to = hours->from ? 0 : 720;
}

static void draw_rule(struct reference_rule *rule, unsigned number)
{
	*rule = (struct reference_rule){.allow = draw(3) != 0};
	snprintf(rule->name, sizeof rule->name, "r%u", number);
	draw_list(&rule->operations, operations, COUNT(operations));
	draw_list(&rule->buckets, bucket_globs, COUNT(bucket_globs));
	draw_list(&rule->objects, object_globs, COUNT(object_globs));
	draw_list(&rule->accounts, name_globs, COUNT(name_globs));
	draw_list(&rule->users, name_globs, COUNT(name_globs));
	draw_list(&rule->vendor_keys, name_globs, COUNT(name_globs));
	draw_list(&rule->networks, networks, COUNT(networks));
	draw_list(&rule->countries, country_codes, COUNT(country_codes));
	draw_hours(&rule->hours);
	rule->need_consent = rule->allow && !draw(5);
	rule->need_purpose = rule->allow && !draw(5);
}

static void draw_request(struct reference_request *request)
{
	*request = (struct reference_request){
	    .operation = PICK(operations),
	    .bucket = PICK(buckets),
	    .object = PICK(objects),
	    .account = PICK(names),
	    .user = PICK(names),
	    .vendor_key = PICK(names),
	    .address = PICK(addresses),
	    .country = PICK(countries),
	    .time_s = PICK(moments) + ((int64_t)draw(9) - 4) * 1800 - draw(2),
	    .has_consent = draw(2),
	    .has_purpose = draw(2),
	};
}

static void write_list(struct buf *out, const char *key, const struct reference_list *list)
{
	if (list->n == 0)
		return;
	buf_printf(out, "  %s: [", key);
	for (unsigned i = 0; i < list->n; i++)
		buf_printf(out, "%s'%s'", i ? ", " : "", list->items[i]);
	buf_append_str(out, "]\n");
}

static void write_hours(struct buf *out, const struct reference_hours *hours)
{
	if (!hours->present)
		return;
	buf_printf(out, "  hours:\n    zone: %s\n    days: [", hours->zone);
	for (unsigned i = 0, n = 0; i < 7; i++)
		if (hours->days[i])
			buf_printf(out, "%s%s", n++ ? ", " : "", days[i]);
	buf_append_str(out, "]\n");
	if (!hours->all_day)
		buf_printf(out, "    from: \"%02u:%02u\"\n    to: \"%02u:%02u\"\n", hours->from / 60, hours->from % 60,
		           hours->to / 60, hours->to % 60);
}

static void write_file(struct buf *out, const struct reference_rule *rules, unsigned n)
{
	buf_append_str(out, n ? "version: 1\nrules:\n" : "version: 1\nrules: []\n");
	for (unsigned i = 0; i < n; i++) {
		const struct reference_rule *rule = &rules[i];
		buf_printf(out, "- name: %s\n  effect: %s\n", rule->name, rule->allow ? "allow" : "deny");
		write_list(out, "operations", &rule->operations);
		write_list(out, "buckets", &rule->buckets);
		write_list(out, "objects", &rule->objects);
		write_list(out, "accounts", &rule->accounts);
		write_list(out, "users", &rule->users);
		write_list(out, "vendor_keys", &rule->vendor_keys);
		write_list(out, "networks", &rule->networks);
		write_list(out, "countries", &rule->countries);
		write_hours(out, &rule->hours);
		if (rule->need_consent || rule->need_purpose)
			buf_printf(out, "  require: [%s%s%s]\n", rule->need_consent ? "consent" : "",
			           rule->need_consent && rule->need_purpose ? ", " : "", rule->need_purpose ? "purpose" : "");
	}
}

static enum policy_operation number_of(const char *operation)
{
	unsigned i = 0;
	while (strcmp(operations[i], operation) != 0)
		i++;
	return (enum policy_operation)(POLICY_GET + i);
}

static void ask(const struct policy *policy, const struct reference_request *asked, struct policy_decision *ret)
{
	struct policy_request request = {
	    .operation = number_of(asked->operation),
	    .bucket = asked->bucket,
	    .object = asked->object,
	    .account = asked->account,
	    .user = asked->user,
	    .vendor_key = asked->vendor_key,
	    .time_ms = asked->time_s * 1000,
	    .has_consent = asked->has_consent,
	    .has_purpose = asked->has_purpose,
	};
	snprintf(request.country, sizeof request.country, "%s", asked->country);
	assert_true(ip_parse(asked->address, &request.address));
	policy_decide(policy, &request, ret);
}

/* How often each answer was given: a property that was never put to the test shows nothing. */
struct tally {
	unsigned allowed, by_default, by_reason[8];
};

static void count(struct tally *tally, const struct reference_decision *decision)
{
	static const char *const reasons[] = {
	    "", "RULE_DENIED", "NETWORK_DENIED", "COUNTRY_DENIED", "HOURS_DENIED", "CONSENT_REQUIRED", "PURPOSE_REQUIRED"};
	tally->allowed += decision->allowed;
	tally->by_default += strcmp(decision->rule, "default") == 0;
	for (unsigned i = 0; i < COUNT(reasons); i++)
		tally->by_reason[i] += strcmp(reasons[i], decision->reason) == 0;
}

static void check_request(const struct policy *policy, const struct reference_rule *rules, unsigned n, const char *file,
                          struct tally *tally)
{
	struct reference_request request;
	draw_request(&request);
	struct reference_decision expected;
	reference_decide(rules, n, &request, &expected);
	count(tally, &expected);
	struct policy_decision got;
	ask(policy, &request, &got);
	if (got.allowed == expected.allowed && strcmp(got.rule, expected.rule) == 0 &&
	    strcmp(reason_name(got.reason), expected.reason) == 0)
		return;
	print_error("%s\n", file);
	fail_msg("%s %s \"%s\" account \"%s\" user \"%s\" key \"%s\" from %s (%s) at %lld, consent %d, purpose %d:\n"
	         "got %d by %s, %s; expected %d by %s, %s",
	         request.operation, request.bucket, request.object, request.account, request.user, request.vendor_key,
	         request.address, request.country, (long long)request.time_s, request.has_consent, request.has_purpose,
	         got.allowed, got.rule, reason_name(got.reason), expected.allowed, expected.rule, expected.reason);
}

static void check_file(struct tally *tally)
{
	static struct reference_rule rules[REFERENCE_RULES_MAX];
	unsigned n = draw(draw(2) ? REFERENCE_RULES_MAX + 1 : 4);
	for (unsigned i = 0; i < n; i++)
		draw_rule(&rules[i], i);
	autobuf struct buf text = {0};
	write_file(&text, rules, n);
	struct policy *policy = NULL;
	struct err err;
	if (policy_parse("random.yaml", buf_span(&text), &policy, &err) != ERR_OK)
		fail_msg("%s\n%s", err.text, buf_cstr(&text));
	for (unsigned i = 0; i < REQUESTS_PER_FILE; i++)
		check_request(policy, rules, n, buf_cstr(&text), tally);
	policy_free(policy);
}

static void test_decides_as_the_reference(void **state)
{
	(void)state;
	struct tally tally = {0};
	unsigned files = getenv("TWOKEY_TORTURE") ? FILES_TORTURE : FILES;
	for (unsigned i = 0; i < files; i++) {
		state_of_dice = 0x9e3779b97f4a7c15u + i * 0x100000001b3u;
		check_file(&tally);
	}
	print_message("%u rule files, %u requests: %u allowed, %u by default; reasons %u %u %u %u %u %u %u\n", files,
	              files * REQUESTS_PER_FILE, tally.allowed, tally.by_default, tally.by_reason[0], tally.by_reason[1],
	              tally.by_reason[2], tally.by_reason[3], tally.by_reason[4], tally.by_reason[5], tally.by_reason[6]);
	for (unsigned i = 0; i < 7; i++)
		assert_true(tally.by_reason[i] >= files / 10);
	assert_true(tally.by_default > files && tally.allowed > files);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_decides_as_the_reference))
