/* Each field, pages and free text, checked against a plain filter over all records. */
#include "tests/unit/audit/fixture.h"

#include <strings.h>

#include "common/ip.h"

static struct ledger ledger;

enum { RECORDS = 400 };

static const char *const subjects[] = {"alice@example.org", "bob@example.org", "O'Brien", ""};
static const char *const objects[] = {"reports/2026/11.pdf",
                                      "reports/2026/12.pdf",
                                      "Reports/2026/11.pdf",
                                      "re",
                                      "\xc3\xa9t\xc3\xa9/100%_*.txt",
                                      "reports/\xf4\x8f\xbf\xbf",
                                      ""};
static const char *const purposes[] = {"treatment", "quarterly review of claims",
                                       "say \"hello\" AND (NOT) NEAR/2 col:x*", "Caf\xc3\xa9 re-read", ""};
static const char *const reasons[] = {"", "RULE_DENIED", "NETWORK_DENIED"};
static const char *const addresses[] = {
    "192.0.2.1", "2001:db8::1", "198.51.100.7", "192.0.2.200", "192.0.3.1", "c000:201::7", ""};
static const char *const countries[] = {"DE", "", "US"};
static const char *const identities[] = {"", "spiffe://test/backend", "auditor.test.example"};
static const char *const whys[] = {"", "asked by the privacy officer"};
static const char *const rules[] = {"office-hours", "", "nobody"};

#define PICK(list, n) ((char *)(uintptr_t)(list)[(n) % (sizeof(list) / sizeof(*(list)))])

/* Record i of the corpus; its time is START + i / 3 seconds, so that several share one. */
static Twokey__V1__Record corpus(unsigned i, uint8_t id[16])
{
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	unsigned mixed = i * 2654435761u >> 8;
	record.event = (Twokey__V1__Event)(3 + mixed % 3);
	record.decision = TWOKEY__V1__DECISION__DECISION_DENIED;
	if (record.event == TWOKEY__V1__EVENT__EVENT_AUTHORIZE)
		record.decision = TWOKEY__V1__DECISION__DECISION_GRANTED;
	record.operation = (Twokey__V1__Operation)(1 + mixed / 3 % 4);
	record.subject = PICK(subjects, mixed / 5);
	record.object = PICK(objects, mixed / 7);
	record.purpose = PICK(purposes, mixed / 11);
	record.reason = PICK(reasons, mixed / 13);
	record.address = PICK(addresses, mixed / 17);
	record.rule = PICK(rules, mixed / 19);
	record.country = PICK(countries, mixed / 43);
	record.identity = PICK(identities, mixed / 47);
	record.why = PICK(whys, mixed / 53);
	record.account = (char *)(mixed / 23 % 2 ? "clinic-1" : "clinic-2");
	record.bucket = (char *)(mixed / 29 % 2 ? "documents" : "images");
	record.user_agent = (char *)(mixed / 31 % 2 ? "Mozilla/5.0 (X11; Linux)" : "curl/8.1");
	record.detail = (char *)(mixed / 37 % 5 ? "" : "the review was late");
	memset(id, (int)(mixed / 41 % 50) + 1, 16);
	record.transaction_id = (ProtobufCBinaryData){mixed % 2 ? 16 : 0, id};
	return record;
}

static int setup(void **state)
{
	(void)state;
	ledger_init(&ledger);
	ledger_open(&ledger);
	for (unsigned i = 0; i < RECORDS; i++) {
		uint8_t id[16];
		struct audit_commit commit;
		struct err err = {0};
		Twokey__V1__Record record = corpus(i, id);
		atomic_store(&ledger.now_ms, START_TIME_MS + (int64_t)(i / 3) * 1000);
		assert_ok(audit_commit(ledger.audit, &record, NULL, &commit, &err), err);
	}
	await_indexed(&ledger, RECORDS - 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ledger_done(&ledger);
	return 0;
}

struct found {
	uint64_t indexes[RECORDS];
	uint64_t n, stop_at;
};

static bool take(uint64_t index, struct span record, void *user)
{
	struct found *found = user;
	uint64_t claimed;
	assert_true(audit_record_index(record, &claimed) && claimed == index);
	assert_true(found->n < RECORDS);
	found->indexes[found->n++] = index;
	return found->n != found->stop_at;
}

static struct audit_search_result search(const Twokey__V1__SearchRequest *request, struct found *found)
{
	struct err err = {0};
	struct audit_search_result result;
	found->n = 0;
	assert_ok(audit_search(ledger.audit, request, 60000, take, found, &result, &err), err);
	assert_int_equal(result.returned, found->n);
	assert_int_equal(result.committed, RECORDS);
	assert_int_equal(result.indexed, RECORDS);
	return result;
}

static bool text_matches(const char *wanted, const char *have)
{
	return !wanted[0] || strcmp(wanted, have) == 0;
}

static int64_t ms_of(const Google__Protobuf__Timestamp *time)
{
	return time->seconds * 1000 + time->nanos / 1000000;
}

static bool in_network(const char *network, const char *address)
{
	struct ip_net net;
	struct ip_addr addr;
	if (!network[0])
		return true;
	assert_true(ip_net_parse(network, &net));
	return ip_parse(address, &addr) && ip_net_contains(&net, &addr);
}

/* The plain filter; free text is tested by itself. */
static bool matches(const Twokey__V1__SearchRequest *request, const Twokey__V1__Record *record, unsigned i)
{
	int64_t time_ms = START_TIME_MS + (int64_t)(i / 3) * 1000;
	return text_matches(request->object, record->object) && text_matches(request->bucket, record->bucket) &&
	       text_matches(request->subject, record->subject) && text_matches(request->account, record->account) &&
	       text_matches(request->reason, record->reason) && in_network(request->address, record->address) &&
	       text_matches(request->rule, record->rule) && text_matches(request->country, record->country) &&
	       text_matches(request->identity, record->identity) && in_network(request->network, record->address) &&
	       strncmp(record->object, request->object_prefix, strlen(request->object_prefix)) == 0 &&
	       (!request->decision || request->decision == record->decision) &&
	       (!request->event || request->event == record->event) &&
	       (!request->operation || request->operation == record->operation) &&
	       (!request->transaction_id.len ||
	        span_eq(span_of(request->transaction_id.data, request->transaction_id.len),
	                span_of(record->transaction_id.data, record->transaction_id.len))) &&
	       (!request->from || time_ms >= ms_of(request->from)) &&
	       (!request->until || time_ms < ms_of(request->until)) &&
	       (request->cursor_case != TWOKEY__V1__SEARCH_REQUEST__CURSOR_BEFORE_INDEX || i < request->before_index);
}

/* All pages of a size, against the plain filter; returns how many there are. */
static uint64_t check(Twokey__V1__SearchRequest request, uint32_t page)
{
	static struct found found;
	struct audit_search_result result;
	uint64_t n = 0, below = RECORDS, total = 0;
	request.count = page % 2;
	Twokey__V1__SearchRequest whole = request;
	request.limit = page;
	do {
		result = search(&request, &found);
		assert_int_equal(result.total, whole.count ? (total ? total : result.total) : 0);
		total = result.total;
		for (uint64_t at = 0; at < found.n; at++, n++) {
			uint8_t id[16];
			Twokey__V1__Record record;
			do {
				assert_true(below > 0);
				record = corpus((unsigned)--below, id);
			} while (!matches(&whole, &record, (unsigned)below));
			assert_int_equal(found.indexes[at], below);
		}
		assert_true(!result.more || found.n == page);
		request.cursor_case = TWOKEY__V1__SEARCH_REQUEST__CURSOR_BEFORE_INDEX;
		request.before_index = below;
	} while (result.more);
	while (below-- > 0) {
		uint8_t id[16];
		Twokey__V1__Record record = corpus((unsigned)below, id);
		assert_false(matches(&whole, &record, (unsigned)below));
	}
	if (whole.count)
		assert_int_equal(total, n);
	return n;
}

/* The same in the other order, page by page. */
static void check_oldest_first(Twokey__V1__SearchRequest request, uint32_t page, uint64_t expected)
{
	static struct found found;
	struct audit_search_result result;
	uint64_t n = 0, next = 0;
	request.limit = page;
	request.oldest_first = true;
	do {
		request.start_case = TWOKEY__V1__SEARCH_REQUEST__START_FROM_INDEX;
		request.from_index = next;
		result = search(&request, &found);
		for (uint64_t at = 0; at < found.n; at++, n++) {
			assert_true(found.indexes[at] >= next);
			next = found.indexes[at] + 1;
		}
	} while (result.more);
	assert_int_equal(n, expected);
}

/* The fields that are given, and a message's usual defaults. */
static Twokey__V1__SearchRequest request_of(Twokey__V1__SearchRequest given)
{
	const ProtobufCMessageDescriptor *type = &twokey__v1__search_request__descriptor;
	given.base.descriptor = type;
	for (unsigned i = 0; i < type->n_fields; i++) {
		char **text = (char **)(void *)((uint8_t *)&given + type->fields[i].offset);
		if (type->fields[i].type == PROTOBUF_C_TYPE_STRING && !*text)
			*text = (char *)"";
	}
	return given;
}
#define REQUEST(...) request_of((Twokey__V1__SearchRequest){__VA_ARGS__})

static void test_everything(void **state)
{
	(void)state;
	Twokey__V1__SearchRequest request = TWOKEY__V1__SEARCH_REQUEST__INIT;
	assert_int_equal(check(request, RECORDS), RECORDS);
	assert_int_equal(check(request, 7), RECORDS);
}

static void test_each_field(void **state)
{
	(void)state;
	uint8_t id[16];
	for (unsigned i = 100; corpus(i, id).transaction_id.len == 0; i++)
		;
	const Twokey__V1__SearchRequest requests[] = {
	    REQUEST(.object = PICK(objects, 0)),
	    REQUEST(.object = PICK(objects, 4)),
	    REQUEST(.object_prefix = (char *)"rep"),
	    REQUEST(.object_prefix = (char *)"re"),
	    REQUEST(.object_prefix = (char *)"\xc3"),
	    REQUEST(.object_prefix = (char *)"reports/\xf4\x8f\xbf\xbf"),
	    REQUEST(.bucket = (char *)"images"),
	    REQUEST(.subject = PICK(subjects, 2)),
	    REQUEST(.account = (char *)"clinic-2"),
	    REQUEST(.decision = TWOKEY__V1__DECISION__DECISION_DENIED),
	    REQUEST(.decision = TWOKEY__V1__DECISION__DECISION_GRANTED),
	    REQUEST(.reason = (char *)"NETWORK_DENIED"),
	    REQUEST(.event = TWOKEY__V1__EVENT__EVENT_FETCH),
	    REQUEST(.operation = TWOKEY__V1__OPERATION__OPERATION_PUT),
	    REQUEST(.address = (char *)"2001:db8::1"),
	    REQUEST(.rule = (char *)"office-hours"),
	    REQUEST(.address = (char *)"2001:DB8:0::1"),
	    REQUEST(.country = (char *)"DE"),
	    REQUEST(.identity = (char *)"spiffe://test/backend"),
	    REQUEST(.network = (char *)"192.0.2.0/24"),
	    REQUEST(.network = (char *)"192.0.2.0/23"),
	    REQUEST(.network = (char *)"192.0.2.1"),
	    REQUEST(.network = (char *)"0.0.0.0/0"),
	    REQUEST(.network = (char *)"2001:db8::/32"),
	    REQUEST(.network = (char *)"c000:200::/24"),
	    REQUEST(.network = (char *)"::/0"),
	    REQUEST(.network = (char *)"::/1"),
	    REQUEST(.network = (char *)"192.0.2.0/24", .object_prefix = (char *)"re"),
	    REQUEST(.network = (char *)"192.0.2.0/24", .country = (char *)"US", .event = TWOKEY__V1__EVENT__EVENT_FETCH),
	    REQUEST(.transaction_id = {sizeof(id), id}),
	    REQUEST(.subject = PICK(subjects, 0), .decision = TWOKEY__V1__DECISION__DECISION_DENIED),
	    REQUEST(.object_prefix = (char *)"reports/", .subject = PICK(subjects, 1)),
	    REQUEST(.object = PICK(objects, 1), .object_prefix = (char *)"reports/"),
	    REQUEST(.event = TWOKEY__V1__EVENT__EVENT_FETCH, .bucket = (char *)"documents", .rule = (char *)"nobody"),
	};
	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		uint64_t n = check(requests[i], RECORDS);
		assert_true(n > 0);
		check(requests[i], 3);
		check_oldest_first(requests[i], 3, n);
	}
}

static void test_nothing_matches(void **state)
{
	(void)state;
	assert_int_equal(check(REQUEST(.subject = (char *)"nobody"), 5), 0);
	assert_int_equal(check(REQUEST(.object_prefix = (char *)"\xff\xff"), 5), 0);
	assert_int_equal(check(REQUEST(.event = (Twokey__V1__Event)77), 5), 0);
	assert_int_equal(check(REQUEST(.subject = (char *)"' OR 1=1 --"), 5), 0);
	assert_int_equal(check(REQUEST(.object_prefix = (char *)"%"), 5), 0);
}

static void test_time(void **state)
{
	(void)state;
	for (int64_t at = -1; at < RECORDS / 3 + 3; at += 11) {
		Google__Protobuf__Timestamp from = GOOGLE__PROTOBUF__TIMESTAMP__INIT, until = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
		from.seconds = START_MS + at;
		until.seconds = START_MS + at + 20;
		check(REQUEST(.from = &from), RECORDS);
		check(REQUEST(.until = &until), RECORDS);
		check(REQUEST(.from = &from, .until = &until), 10);
		check(REQUEST(.from = &until, .until = &from), 10);
		check(REQUEST(.from = &from, .until = &until, .subject = PICK(subjects, 0)), 4);
	}
	Google__Protobuf__Timestamp after = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	struct found found = {0};
	/* A nanosecond after a record's time is after the record. */
	after.seconds = START_MS + 10;
	after.nanos = 1;
	Twokey__V1__SearchRequest request = REQUEST(.until = &after, .limit = 1);
	search(&request, &found);
	assert_int_equal(found.indexes[0], 32);
	request = REQUEST(.from = &after, .limit = RECORDS);
	search(&request, &found);
	assert_int_equal(found.indexes[found.n - 1], 33);
}

static void test_before_index(void **state)
{
	(void)state;
	Twokey__V1__SearchRequest request = REQUEST(.cursor_case = TWOKEY__V1__SEARCH_REQUEST__CURSOR_BEFORE_INDEX);
	static const uint64_t below[] = {0, 1, 200, RECORDS, UINT64_MAX};
	for (size_t i = 0; i < sizeof(below) / sizeof(*below); i++) {
		struct found found = {0};
		request.before_index = below[i];
		request.limit = RECORDS;
		search(&request, &found);
		assert_int_equal(found.n, below[i] < RECORDS ? below[i] : RECORDS);
	}
}

static void test_limits(void **state)
{
	(void)state;
	struct found found = {0};
	struct audit_search_result result;
	Twokey__V1__SearchRequest request = REQUEST(.limit = 0);
	result = search(&request, &found);
	assert_int_equal(result.returned, 100);
	assert_true(result.more);
	request.limit = 10000;
	assert_int_equal(search(&request, &found).returned, RECORDS);
	request.limit = 10001;
	assert_err(audit_search(ledger.audit, &request, 1000, take, &found, &result, NULL), ERR_INVALID);
}

static void test_callback_stops(void **state)
{
	(void)state;
	struct found found = {.stop_at = 3};
	Twokey__V1__SearchRequest request = REQUEST(.limit = 50);
	struct audit_search_result result = search(&request, &found);
	assert_int_equal(result.returned, 3);
	assert_true(result.more);
}

static void test_bad_requests(void **state)
{
	(void)state;
	struct found found = {0};
	struct audit_search_result result;
	uint8_t id[65] = {0};
	char text[1100];
	Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	time.seconds = INT64_MAX;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	const Twokey__V1__SearchRequest requests[] = {
	    REQUEST(.from = &time),
	    REQUEST(.until = &time),
	    REQUEST(.transaction_id = {sizeof(id), id}),
	    REQUEST(.address = (char *)"192.0.2"),
	    REQUEST(.network = (char *)"192.0.2.1/24"),
	    REQUEST(.network = (char *)"example"),
	    REQUEST(.text = text),
	    REQUEST(.text = (char *)"a a a a a a a a a a a a a a a a a a a a a a a a a "
	                            "a a a a a a a a a a a a a a a a a a a a a a")};
	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++)
		assert_err(audit_search(ledger.audit, &requests[i], 1000, take, &found, &result, NULL), ERR_INVALID);
}

/* ASCII words of one text, as the index cuts them. */
static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);
	for (const char *at = text; *at; at++)
		if (strncasecmp(at, word, len) == 0 && (at == text || !((at[-1] | 32) >= 'a' && (at[-1] | 32) <= 'z')) &&
		    !((at[len] | 32) >= 'a' && (at[len] | 32) <= 'z'))
			return true;
	return false;
}

static bool record_has_word(const Twokey__V1__Record *record, const char *word)
{
	return has_word(record->object, word) || has_word(record->purpose, word) || has_word(record->user_agent, word) ||
	       has_word(record->reason, word) || has_word(record->detail, word) || has_word(record->why, word);
}

static uint64_t count_with(const char *one, const char *two)
{
	uint64_t n = 0;
	for (unsigned i = 0; i < RECORDS; i++) {
		uint8_t id[16];
		Twokey__V1__Record record = corpus(i, id);
		n += record_has_word(&record, one) && record_has_word(&record, two);
	}
	return n;
}

static uint64_t text_count(const char *text)
{
	struct found found = {0};
	Twokey__V1__SearchRequest request = REQUEST(.text = (char *)(uintptr_t)text, .limit = RECORDS);
	search(&request, &found);
	for (uint64_t i = 1; i < found.n; i++)
		assert_true(found.indexes[i] < found.indexes[i - 1]);
	return found.n;
}

static void test_text(void **state)
{
	(void)state;
	assert_true(count_with("review", "review") > 0 && count_with("review", "curl") > 0);
	assert_int_equal(text_count("review"), count_with("review", "review"));
	assert_int_equal(text_count("privacy"), count_with("privacy", "privacy"));
	assert_int_equal(text_count("REVIEW"), count_with("review", "review"));
	/* Words may be in different fields. */
	assert_int_equal(text_count("review curl"), count_with("review", "curl"));
	assert_int_equal(text_count("  curl\t\nreview "), count_with("review", "curl"));
	assert_int_equal(text_count("review nowhere"), 0);
	assert_int_equal(text_count("treat"), 0);
	assert_int_equal(text_count("caf\xc3\xa9"), count_with("Caf\xc3\xa9", "Caf\xc3\xa9"));
	assert_int_equal(text_count("NETWORK_DENIED"), count_with("NETWORK_DENIED", "NETWORK_DENIED"));
	assert_int_equal(text_count("reports/2026/11.pdf"), count_with("reports/2026/11.pdf", "reports/2026/11.pdf"));
	assert_int_equal(text_count("   "), RECORDS);
}

static void test_text_with_fields_and_pages(void **state)
{
	(void)state;
	struct found found = {0};
	uint64_t n = 0;
	Twokey__V1__SearchRequest request =
	    REQUEST(.text = (char *)"review", .subject = PICK(subjects, 0), .object_prefix = (char *)"re", .limit = 2);
	struct audit_search_result result;
	do {
		result = search(&request, &found);
		for (uint64_t i = 0; i < found.n; i++) {
			uint8_t id[16];
			Twokey__V1__Record record = corpus((unsigned)found.indexes[i], id);
			assert_true(record_has_word(&record, "review"));
			assert_string_equal(record.subject, subjects[0]);
		}
		n += found.n;
		request.cursor_case = TWOKEY__V1__SEARCH_REQUEST__CURSOR_BEFORE_INDEX;
		request.before_index = found.n ? found.indexes[found.n - 1] : 0;
	} while (result.more);
	uint64_t expected = 0;
	for (unsigned i = 0; i < RECORDS; i++) {
		uint8_t id[16];
		Twokey__V1__Record record = corpus(i, id);
		expected += record_has_word(&record, "review") && strcmp(record.subject, subjects[0]) == 0 &&
		            strncmp(record.object, "re", 2) == 0;
	}
	assert_true(expected > 0);
	assert_int_equal(n, expected);
}

static void test_hostile_text(void **state)
{
	(void)state;
	static const char *const hostile[] = {"\"",
	                                      "\"\"",
	                                      "\"\"\"",
	                                      "a\"b",
	                                      "\" OR \"x",
	                                      "NEAR(",
	                                      "NOT",
	                                      "AND OR NOT",
	                                      "(",
	                                      ")",
	                                      "col:x",
	                                      "object:reports",
	                                      "-review",
	                                      "^review",
	                                      "rev*",
	                                      "*",
	                                      "+",
	                                      "{a b}",
	                                      "'",
	                                      "';DROP TABLE record;--",
	                                      "\\",
	                                      "\xff\xfe",
	                                      "\xf0\x9f\x94\x91",
	                                      "--",
	                                      "%",
	                                      "_",
	                                      "x\" * OR \"y"};
	uint64_t with_operators = count_with("hello", "hello");
	assert_true(with_operators > 0);
	for (size_t i = 0; i < sizeof(hostile) / sizeof(*hostile); i++)
		text_count(hostile[i]);
	/* What is syntax elsewhere is a word here. */
	assert_int_equal(text_count("\"hello\""), with_operators);
	assert_int_equal(text_count("(NOT) NEAR/2"), with_operators);
	assert_int_equal(text_count("hello AND"), with_operators);
	assert_int_equal(text_count("treatment OR review"), 0);
	assert_int_equal(text_count("rev*"), 0);
}

static void test_wait_for_index(void **state)
{
	(void)state;
	struct found found = {0};
	struct audit_search_result result;
	Twokey__V1__SearchRequest request =
	    REQUEST(.freshness_case = TWOKEY__V1__SEARCH_REQUEST__FRESHNESS_WAIT_FOR_INDEX, .wait_for_index = RECORDS);
	assert_err(audit_search(ledger.audit, &request, 20, take, &found, &result, NULL), ERR_DEADLINE);
	assert_err(audit_search(ledger.audit, &request, 0, take, &found, &result, NULL), ERR_DEADLINE);
	struct audit_commit commit = commit_denial(&ledger);
	assert_int_equal(commit.index, RECORDS);
	request.limit = 1;
	struct err err = {0};
	assert_ok(audit_search(ledger.audit, &request, 60000, take, &found, &result, &err), err);
	assert_int_equal(found.indexes[0], RECORDS);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_everything), cmocka_unit_test(test_each_field),
             cmocka_unit_test(test_nothing_matches), cmocka_unit_test(test_time), cmocka_unit_test(test_before_index),
             cmocka_unit_test(test_limits), cmocka_unit_test(test_callback_stops), cmocka_unit_test(test_bad_requests),
             cmocka_unit_test(test_text), cmocka_unit_test(test_text_with_fields_and_pages),
             cmocka_unit_test(test_hostile_text), cmocka_unit_test(test_wait_for_index))
