#include "tests/unit/transaction/support.h"

static int make_key(void **state)
{
	static struct test_key key;
	test_key_ec(&key, "P-256");
	*state = &key;
	return 0;
}

static int free_key(void **state)
{
	test_key_done(*state);
	return 0;
}

static void make(struct envelope *ret, const struct test_key *key, size_t n_signatures)
{
	struct sample sample;
	sample_init(&sample, TWOKEY__V1__OPERATION__OPERATION_GET);
	sample_envelope(&sample, ret);
	for (size_t i = 0; i < n_signatures; i++)
		test_sign_envelope(ret, key, NULL);
}

static void pack(const struct envelope *envelope, struct buf *out)
{
	struct envelope_view view;
	pb_pack(&envelope_to_pb(envelope, &view)->base, out);
}

static void assert_same(const struct envelope *a, const struct envelope *b)
{
	assert_string_equal(a->type, b->type);
	assert_true(span_eq(buf_span(&a->payload), buf_span(&b->payload)));
	assert_memory_equal(a->digest, b->digest, 32);
	assert_int_equal(a->n_signatures, b->n_signatures);
	for (size_t i = 0; i < a->n_signatures; i++) {
		assert_string_equal(a->signatures[i].keyid, b->signatures[i].keyid);
		assert_true(span_eq(buf_span(&a->signatures[i].sig), buf_span(&b->signatures[i].sig)));
	}
}

static void refuse(struct span bytes, enum err_code expected)
{
	struct envelope envelope = {0};
	assert_err(envelope_parse(bytes, &envelope, NULL), expected);
	assert_null(envelope.type);
}

/* DSSE protocol.md, "Test Vectors". */
static void test_pae_of_the_specification(void **state)
{
	(void)state;
	autobuf struct buf pae = {0};
	envelope_pae("http://example.com/HelloWorld", span_str("hello world"), &pae);
	assert_string_equal(buf_cstr(&pae), "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
	buf_clear(&pae);
	envelope_pae("", span_of(NULL, 0), &pae);
	assert_string_equal(buf_cstr(&pae), "DSSEv1 0  0 ");
}

static void test_pae_of_binary_body(void **state)
{
	(void)state;
	autobuf struct buf pae = {0};
	envelope_pae("t", span_of("a\0b\xff", 4), &pae);
	assert_true(span_eq(buf_span(&pae), span_of("DSSEv1 1 t 4 a\0b\xff", 17)));
}

static void test_new_sets_the_digest_of_the_pae(void **state)
{
	(void)state;
	struct envelope envelope;
	envelope_new("http://example.com/HelloWorld", span_str("hello world"), &envelope);
	uint8_t digest[32];
	text_sha256(span_str("DSSEv1 29 http://example.com/HelloWorld 11 hello world"), digest);
	assert_memory_equal(envelope.digest, digest, 32);
	assert_int_equal(envelope.n_signatures, 0);
	envelope_done(&envelope);
	assert_null(envelope.type);
	envelope_done(&envelope);
}

static void test_protobuf_round_trip(void **state)
{
	for (size_t n = 0; n <= TRANSACTION_SIGNATURES_MAX; n++) {
		struct envelope made, parsed;
		struct err err;
		autobuf struct buf bytes = {0};
		make(&made, *state, n);
		pack(&made, &bytes);
		assert_ok(envelope_parse(buf_span(&bytes), &parsed, &err), err);
		assert_same(&made, &parsed);
		envelope_done(&made);
		envelope_done(&parsed);
	}
}

static void test_json_round_trip(void **state)
{
	for (size_t n = 0; n <= TRANSACTION_SIGNATURES_MAX; n++) {
		struct envelope made, parsed;
		struct err err;
		autobuf struct buf text = {0};
		make(&made, *state, n);
		envelope_to_json(&made, &text);
		assert_null(memchr(text.data, '\n', text.len));
		assert_ok(envelope_parse(buf_span(&text), &parsed, &err), err);
		assert_same(&made, &parsed);
		envelope_done(&made);
		envelope_done(&parsed);
	}
}

static void test_json_is_the_form_of_the_specification(void **state)
{
	(void)state;
	static const char text[] = "{\"payload\":\"aGVsbG8gd29ybGQ=\",\"payloadType\":\"http://example.com/HelloWorld\","
	                           "\"signatures\":[{\"keyid\":\"k\",\"sig\":\"+/8=\"}]}";
	struct envelope envelope;
	struct err err;
	assert_ok(envelope_parse(span_str(text), &envelope, &err), err);
	assert_true(span_eq(buf_span(&envelope.payload), span_str("hello world")));
	assert_true(span_eq(buf_span(&envelope.signatures[0].sig), span_of("\xfb\xff", 2)));
	autobuf struct buf out = {0};
	envelope_to_json(&envelope, &out);
	assert_string_equal(buf_cstr(&out), text);
	envelope_done(&envelope);
}

static void test_json_takes_both_alphabets_and_blanks(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "{\"payload\":\"-_8\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"-_8=\"}]}",
	    "{ \"signatures\" : [ { \"sig\" : \"+/8\" } ],\n \"payloadType\" : \"t\", \"payload\" : \"+/8=\" }\n",
	};
	for (size_t i = 0; i < 2; i++) {
		struct envelope envelope;
		struct err err;
		assert_ok(envelope_parse(span_str(texts[i]), &envelope, &err), err);
		assert_true(span_eq(buf_span(&envelope.payload), span_of("\xfb\xff", 2)));
		assert_true(span_eq(buf_span(&envelope.signatures[0].sig), span_of("\xfb\xff", 2)));
		assert_string_equal(envelope.signatures[0].keyid, "");
		envelope_done(&envelope);
	}
}

static void test_json_without_signatures_is_unsigned(void **state)
{
	(void)state;
	struct envelope envelope;
	struct err err;
	assert_ok(envelope_parse(span_str("{\"payload\":\"YQ==\",\"payloadType\":\"t\"}"), &envelope, &err), err);
	assert_int_equal(envelope.n_signatures, 0);
	envelope_done(&envelope);
}

static void test_json_of_other_shapes_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "{",
	    "{}",
	    "{\"payload\":\"YQ==\"}",
	    "{\"payloadType\":\"t\"}",
	    "{\"payload\":\"\",\"payloadType\":\"t\"}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"\"}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"t\\u0000x\"}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"\xc3\x28\"}",
	    "{\"payload\":\"Y\",\"payloadType\":\"t\"}",
	    "{\"payload\":\"Y Q==\",\"payloadType\":\"t\"}",
	    "{\"payload\":1,\"payloadType\":\"t\"}",
	    "{\"payload\":\"YQ==\",\"payloadType\":null}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"t\",\"payloadType\":\"t\"}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"t\",\"more\":1}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"t\"}{}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"t\",\"signatures\":{}}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"t\",\"signatures\":[1]}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"t\",\"signatures\":[{}]}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"\"}]}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"!\"}]}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"YQ==\",\"keyid\":7}]}",
	    "{\"payload\":\"YQ==\",\"payloadType\":\"t\",\"signatures\":[{\"sig\":\"YQ==\",\"cert\":\"\"}]}",
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		refuse(span_str(texts[i]), ERR_INVALID);
	refuse(span_str(" {\"payload\":\"YQ==\",\"payloadType\":\"t\"}"), ERR_INVALID);
}

static void test_five_signatures_are_refused(void **state)
{
	struct envelope envelope;
	autobuf struct buf bytes = {0}, text = {0};
	make(&envelope, *state, TRANSACTION_SIGNATURES_MAX);
	pack(&envelope, &bytes);
	pb_append_bytes_header(&bytes, 3, 3);
	buf_append(&bytes, span_of("\x0a\x01x", 3));
	refuse(buf_span(&bytes), ERR_EXHAUSTED);
	buf_append_str(&text, "{\"payload\":\"YQ==\",\"payloadType\":\"t\",\"signatures\":[");
	for (int i = 0; i < 5; i++)
		buf_append_str(&text, i ? ",{\"sig\":\"YQ==\"}" : "{\"sig\":\"YQ==\"}");
	buf_append_str(&text, "]}");
	refuse(buf_span(&text), ERR_EXHAUSTED);
	envelope_done(&envelope);
}

static void test_protobuf_of_other_shapes_is_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} tails[] = {
	    {"\x22\x01x", 3},            /* unknown field */
	    {"\x12\x01t", 3},            /* a second type */
	    {"\x0a\x01p", 3},            /* a second payload */
	    {"\x1a\x02\x0a", 3},         /* truncated signature */
	    {"\x1a\x00", 2},             /* empty signature */
	    {"\x1a\x03\x12\x01\xff", 5}, /* keyid that is not UTF-8 */
	    {"\x00", 1},                 /* trailing byte */
	};
	for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
		struct envelope envelope;
		autobuf struct buf bytes = {0};
		make(&envelope, *state, 1);
		pack(&envelope, &bytes);
		buf_append(&bytes, span_of(tails[i].bytes, tails[i].len));
		refuse(buf_span(&bytes), ERR_INVALID);
		envelope_done(&envelope);
	}
	refuse(span_of(NULL, 0), ERR_INVALID);
	refuse(span_of("\x12\x01t", 3), ERR_INVALID);
	refuse(span_of("\x0a\x01p", 3), ERR_INVALID);
}

static void test_every_truncation_is_refused_or_another_envelope(void **state)
{
	struct envelope made;
	autobuf struct buf bytes = {0};
	make(&made, *state, 1);
	pack(&made, &bytes);
	size_t parsed = 0;
	for (size_t len = 0; len < bytes.len; len++) {
		struct envelope cut;
		if (envelope_parse(span_of(bytes.data, len), &cut, NULL) == ERR_OK) {
			assert_int_equal(cut.n_signatures, 0);
			envelope_done(&cut);
			parsed++;
		}
	}
	assert_int_equal(parsed, 1); /* exactly before the signature */
	envelope_done(&made);
}

/* An envelope whose serialised form has exactly `size` bytes. */
static void make_of_size(size_t size, struct envelope *ret)
{
	autobuf struct buf payload = {0};
	struct envelope_view view;
	for (size_t len = size;; len--) {
		buf_clear(&payload);
		memset(buf_reserve(&payload, len), 'x', len);
		payload.len = len;
		envelope_new("t", buf_span(&payload), ret);
		if (protobuf_c_message_get_packed_size(&envelope_to_pb(ret, &view)->base) == size)
			return;
		envelope_done(ret);
	}
}

static void test_size_limit_at_its_edge(void **state)
{
	(void)state;
	for (size_t over = 0; over <= 1; over++) {
		struct envelope made, parsed;
		struct envelope_view view;
		autobuf struct buf bytes = {0}, text = {0};
		make_of_size(TRANSACTION_ENVELOPE_MAX + over, &made);
		pack(&made, &bytes);
		envelope_to_json(&made, &text);
		enum err_code expected = over ? ERR_EXHAUSTED : ERR_OK;
		struct span forms[] = {buf_span(&bytes), buf_span(&text)};
		for (size_t i = 0; i < 2; i++) {
			assert_err(envelope_parse(forms[i], &parsed, NULL), expected);
			if (!over)
				envelope_done(&parsed);
		}
		assert_err(envelope_from_pb(envelope_to_pb(&made, &view), &parsed, NULL), expected);
		if (!over)
			envelope_done(&parsed);
		envelope_done(&made);
	}
}

static void test_json_text_limit(void **state)
{
	(void)state;
	autobuf struct buf text = {0};
	buf_append_str(&text, "{\"payload\":\"YQ==\",\"payloadType\":\"t\"}");
	while (text.len < 2 * TRANSACTION_ENVELOPE_MAX)
		buf_append_byte(&text, ' ');
	struct envelope envelope;
	struct err err;
	assert_ok(envelope_parse(buf_span(&text), &envelope, &err), err);
	envelope_done(&envelope);
	buf_append_byte(&text, ' ');
	refuse(buf_span(&text), ERR_EXHAUSTED);
}

static void test_no_message_is_refused(void **state)
{
	(void)state;
	struct envelope envelope;
	struct err err;
	assert_err(envelope_from_pb(NULL, &envelope, &err), ERR_INVALID);
	Twokey__V1__Envelope empty = TWOKEY__V1__ENVELOPE__INIT;
	assert_err(envelope_from_pb(&empty, &envelope, &err), ERR_INVALID);
}

HARNESS_MAIN(make_key, free_key, cmocka_unit_test(test_pae_of_the_specification),
             cmocka_unit_test(test_pae_of_binary_body), cmocka_unit_test(test_new_sets_the_digest_of_the_pae),
             cmocka_unit_test(test_protobuf_round_trip), cmocka_unit_test(test_json_round_trip),
             cmocka_unit_test(test_json_is_the_form_of_the_specification),
             cmocka_unit_test(test_json_takes_both_alphabets_and_blanks),
             cmocka_unit_test(test_json_without_signatures_is_unsigned),
             cmocka_unit_test(test_json_of_other_shapes_is_refused), cmocka_unit_test(test_five_signatures_are_refused),
             cmocka_unit_test(test_protobuf_of_other_shapes_is_refused),
             cmocka_unit_test(test_every_truncation_is_refused_or_another_envelope),
             cmocka_unit_test(test_size_limit_at_its_edge), cmocka_unit_test(test_json_text_limit),
             cmocka_unit_test(test_no_message_is_refused))
