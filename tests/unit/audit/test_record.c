#include "tests/unit/audit/fixture.h"

/* Encodes, puts index and time in front, and reads it back as any protobuf reader would. */
static Twokey__V1__Record *round_trip(const Twokey__V1__Record *record, const struct audit_use *use, uint64_t index,
                                      int64_t time_ms)
{
	struct err err = {0};
	autobuf struct buf rest = {0}, whole = {0};
	uint8_t prefix[AUDIT_PREFIX_MAX];
	assert_ok(audit_record_encode(record, use, &rest, &err), err);
	buf_append(&whole, span_of(prefix, audit_record_prefix(index, time_ms, prefix)));
	buf_append(&whole, buf_span(&rest));
	uint64_t claimed;
	assert_true(audit_record_index(buf_span(&whole), &claimed));
	assert_int_equal(claimed, index);
	Twokey__V1__Record *back = audit_record_decode(buf_span(&whole));
	assert_non_null(back);
	/* The same bytes that protobuf-c would have written in one go. */
	autobuf struct buf again = {0};
	again.len = twokey__v1__record__pack(back, buf_reserve(&again, whole.len));
	assert_true(span_eq(buf_span(&again), buf_span(&whole)));
	return back;
}

static void test_prefix(void **state)
{
	(void)state;
	static const struct {
		uint64_t index;
		int64_t time_ms;
	} cases[] = {
	    {0, 0}, {0, 1}, {1, 999}, {127, 1000}, {128, START_TIME_MS + 123}, {UINT64_MAX, -1}, {1ull << 63, -1500}};
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_START, TWOKEY__V1__DECISION__DECISION_UNSPECIFIED);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		Twokey__V1__Record *back = round_trip(&record, NULL, cases[i].index, cases[i].time_ms);
		assert_int_equal(back->index, cases[i].index);
		assert_int_equal(audit_record_time_ms(back), cases[i].time_ms);
		assert_true(back->time->nanos >= 0);
		assert_string_equal(back->object, record.object);
		twokey__v1__record__free_unpacked(back, NULL);
	}
}

static void test_index_refuses_junk(void **state)
{
	(void)state;
	uint64_t index;
	const uint8_t endless[12] = {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	assert_false(audit_record_index(span_of(endless, sizeof(endless)), &index));
	assert_false(audit_record_index(span_of(endless, 3), &index));
	assert_false(audit_record_index(span_of("x", 1), &index));
	assert_false(audit_record_index((struct span){0}, &index));
}

static void test_use_fields_come_from_the_use(void **state)
{
	(void)state;
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_STORE, TWOKEY__V1__DECISION__DECISION_GRANTED);
	struct audit_use use = use_of(77, 5, true), back_use;
	Twokey__V1__Record *back = round_trip(&record, &use, 9, START_TIME_MS);
	assert_true(audit_record_use(back, &back_use));
	assert_memory_equal(back_use.transaction_id, use.transaction_id, sizeof(use.transaction_id));
	assert_memory_equal(back_use.transaction_sha256, use.transaction_sha256, sizeof(use.transaction_sha256));
	assert_int_equal(back_use.max_uses, 5);
	assert_int_equal(back_use.expires_at_ms, use.expires_at_ms);
	assert_true(back_use.spend);
	twokey__v1__record__free_unpacked(back, NULL);
}

static void test_use_and_event_must_fit(void **state)
{
	(void)state;
	static const struct {
		Twokey__V1__Event event;
		Twokey__V1__Decision decision;
		bool with_use, spend;
		enum err_code expected;
	} cases[] = {
	    {TWOKEY__V1__EVENT__EVENT_COSIGN, TWOKEY__V1__DECISION__DECISION_GRANTED, true, false, ERR_OK},
	    {TWOKEY__V1__EVENT__EVENT_COSIGN, TWOKEY__V1__DECISION__DECISION_GRANTED, true, true, ERR_INVALID},
	    {TWOKEY__V1__EVENT__EVENT_COSIGN, TWOKEY__V1__DECISION__DECISION_GRANTED, false, false, ERR_INVALID},
	    {TWOKEY__V1__EVENT__EVENT_COSIGN, TWOKEY__V1__DECISION__DECISION_DENIED, true, false, ERR_INVALID},
	    {TWOKEY__V1__EVENT__EVENT_COSIGN, TWOKEY__V1__DECISION__DECISION_DENIED, false, false, ERR_OK},
	    {TWOKEY__V1__EVENT__EVENT_FETCH, TWOKEY__V1__DECISION__DECISION_GRANTED, true, true, ERR_OK},
	    {TWOKEY__V1__EVENT__EVENT_FETCH, TWOKEY__V1__DECISION__DECISION_GRANTED, true, false, ERR_INVALID},
	    {TWOKEY__V1__EVENT__EVENT_LIST, TWOKEY__V1__DECISION__DECISION_GRANTED, false, false, ERR_INVALID},
	    {TWOKEY__V1__EVENT__EVENT_REMOVE, TWOKEY__V1__DECISION__DECISION_GRANTED, true, true, ERR_OK},
	    {TWOKEY__V1__EVENT__EVENT_AUTHORIZE, TWOKEY__V1__DECISION__DECISION_GRANTED, false, false, ERR_OK},
	    {TWOKEY__V1__EVENT__EVENT_COMPLETION, TWOKEY__V1__DECISION__DECISION_GRANTED, false, false, ERR_OK},
	    {TWOKEY__V1__EVENT__EVENT_COMPLETION, TWOKEY__V1__DECISION__DECISION_GRANTED, true, true, ERR_INVALID},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		autobuf struct buf out = {0};
		Twokey__V1__Record record = record_of(cases[i].event, cases[i].decision);
		struct audit_use use = use_of(1, 1, cases[i].spend);
		assert_err(audit_record_encode(&record, cases[i].with_use ? &use : NULL, &out, NULL), cases[i].expected);
	}
}

static void test_no_uses_are_invalid(void **state)
{
	(void)state;
	autobuf struct buf out = {0};
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_FETCH, TWOKEY__V1__DECISION__DECISION_GRANTED);
	struct audit_use use = use_of(1, 0, true);
	assert_err(audit_record_encode(&record, &use, &out, NULL), ERR_INVALID);
}

static void test_long_text_is_cut_at_a_character(void **state)
{
	(void)state;
	char text[5000];
	for (size_t i = 0; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa9", 3);
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_REQUEST, TWOKEY__V1__DECISION__DECISION_DENIED);
	record.user_agent = text;
	record.detail = text + 2;
	Twokey__V1__Record *back = round_trip(&record, NULL, 1, START_TIME_MS);
	assert_true(strlen(back->user_agent) <= 1024 && strlen(back->user_agent) > 1000);
	assert_true(strlen(back->detail) <= 2048 && strlen(back->detail) > 2000);
	assert_string_equal(back->user_agent + strlen(back->user_agent) - 5, "\xc3\xa9...");
	assert_true(text_utf8(span_str(back->user_agent)));
	twokey__v1__record__free_unpacked(back, NULL);
}

static void test_every_text_at_its_longest_fits(void **state)
{
	(void)state;
	char *text = xcalloc(1, 100001);
	memset(text, 'x', 100000);
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_REQUEST, TWOKEY__V1__DECISION__DECISION_DENIED);
	const ProtobufCMessageDescriptor *type = record.base.descriptor;
	for (unsigned i = 0; i < type->n_fields; i++)
		if (type->fields[i].type == PROTOBUF_C_TYPE_STRING)
			*(char **)(void *)((uint8_t *)&record + type->fields[i].offset) = text;
	Twokey__V1__Record *back = round_trip(&record, NULL, 1, START_TIME_MS);
	assert_int_equal(strlen(back->object), 1024);
	twokey__v1__record__free_unpacked(back, NULL);
	free(text);
}

static void test_what_is_not_utf8_is_tamed(void **state)
{
	(void)state;
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_REQUEST, TWOKEY__V1__DECISION__DECISION_DENIED);
	record.user_agent = (char *)"curl \xff\xfe 1";
	Twokey__V1__Record *back = round_trip(&record, NULL, 1, START_TIME_MS);
	assert_string_equal(back->user_agent, "curl ?? 1");
	twokey__v1__record__free_unpacked(back, NULL);
}

static void test_long_bytes_are_refused(void **state)
{
	(void)state;
	uint8_t bytes[65] = {0};
	struct err err = {0};
	autobuf struct buf out = {0};
	Twokey__V1__Record record =
	    record_of(TWOKEY__V1__EVENT__EVENT_COMPLETION, TWOKEY__V1__DECISION__DECISION_UNSPECIFIED);
	record.object_id = (ProtobufCBinaryData){sizeof(bytes), bytes};
	assert_err(audit_record_encode(&record, NULL, &out, &err), ERR_INVALID);
	assert_non_null(strstr(err.text, "object_id"));
	record.object_id.len--;
	assert_ok(audit_record_encode(&record, NULL, &out, &err), err);
}

static void test_denials_carry_no_state(void **state)
{
	(void)state;
	struct audit_use use;
	uint8_t bytes[32] = {1};
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_FETCH, TWOKEY__V1__DECISION__DECISION_DENIED);
	record.transaction_id = (ProtobufCBinaryData){16, bytes};
	record.transaction_sha256 = (ProtobufCBinaryData){32, bytes};
	assert_false(audit_record_use(&record, &use));
	assert_false(audit_record_grants(&record));
	record.decision = TWOKEY__V1__DECISION__DECISION_GRANTED;
	assert_true(audit_record_use(&record, &use));
	assert_true(audit_record_grants(&record));
	record.event = TWOKEY__V1__EVENT__EVENT_COMPLETION;
	assert_false(audit_record_use(&record, &use));
	assert_false(audit_record_grants(&record));
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_prefix), cmocka_unit_test(test_index_refuses_junk),
             cmocka_unit_test(test_use_fields_come_from_the_use), cmocka_unit_test(test_use_and_event_must_fit),
             cmocka_unit_test(test_no_uses_are_invalid), cmocka_unit_test(test_long_text_is_cut_at_a_character),
             cmocka_unit_test(test_every_text_at_its_longest_fits), cmocka_unit_test(test_what_is_not_utf8_is_tamed),
             cmocka_unit_test(test_long_bytes_are_refused), cmocka_unit_test(test_denials_carry_no_state))
