#include "tests/unit/transaction/support.h"

#define GET  TWOKEY__V1__OPERATION__OPERATION_GET
#define PUT  TWOKEY__V1__OPERATION__OPERATION_PUT
#define LIST TWOKEY__V1__OPERATION__OPERATION_LIST

static struct test_key vendor;
static struct keyring *ring;

static int make_ring(void **state)
{
	(void)state;
	struct err err;
	test_key_ec(&vendor, "P-256");
	ring = keyring_new();
	return keyring_add_spki(ring, "vendor", buf_span(&vendor.spki), 0, 0, &err);
}

static int free_ring(void **state)
{
	(void)state;
	keyring_free(ring);
	test_key_done(&vendor);
	return 0;
}

static void refuse(struct span payload)
{
	Twokey__V1__Transaction *transaction = NULL;
	struct err detail = {0};
	assert_int_equal(transaction_parse(payload, &transaction, &detail), REASON_MALFORMED);
	assert_null(transaction);
	assert_true(detail.text[0] != 0);
}

static void test_parse_gives_back_what_was_signed(void **state)
{
	(void)state;
	struct sample sample;
	autobuf struct buf payload = {0};
	Twokey__V1__Transaction *transaction = NULL;
	struct err detail;
	sample_init(&sample, GET);
	sample.constraints.range = &sample.range;
	sample.range.first = 10;
	sample.range.length = 20;
	sample_pack(&sample, &payload);
	assert_int_equal(transaction_parse(buf_span(&payload), &transaction, &detail), REASON_NONE);
	assert_memory_equal(transaction->id.data, sample.id, 16);
	assert_int_equal(transaction->operation, GET);
	assert_string_equal(transaction->object, sample.transaction.object);
	assert_int_equal(transaction_time_ms(transaction->expires_at), NOW_MS + 300000);
	assert_int_equal(transaction->constraints->range->length, 20);
	transaction_free(transaction);
	transaction_free(NULL);
}

/* ---- the signature covers every field ---- */

#define STORAGE_LEN 64

static void change_string(char **text, char storage[STORAGE_LEN])
{
	int len = snprintf(storage, STORAGE_LEN, "%s", *text);
	assert_in_range(len, 1, STORAGE_LEN - 1);
	storage[len - 1] ^= 1;
	*text = storage;
}

static void change_field(struct sample *sample, int field, char storage[STORAGE_LEN])
{
	Twokey__V1__Transaction *t = &sample->transaction;
	char **const strings[] = {
	    [3] = &t->gatekeeper, [4] = &t->bucket, [5] = &t->object, [6] = &t->account, [7] = &t->subject};
	Google__Protobuf__Timestamp *const times[] = {[8] = t->issued_at, [9] = t->not_before, [10] = t->expires_at};
	if (field == 1)
		sample->id[15] ^= 1;
	else if (field == 2)
		t->operation = PUT;
	else if (field <= 7)
		change_string(strings[field], storage);
	else
		times[field]->seconds ^= 1;
}

static size_t differing_bytes(struct span a, struct span b)
{
	size_t count = 0;
	assert_int_equal(a.len, b.len);
	for (size_t i = 0; i < a.len; i++)
		count += a.ptr[i] != b.ptr[i];
	return count;
}

/* The vendor's signature under another payload. */
static const char *verify_other(const struct envelope *signed_one, struct span payload)
{
	struct envelope other;
	envelope_new(TRANSACTION_TYPE, payload, &other);
	other.n_signatures = 1;
	other.signatures[0].keyid = xstrdup(vendor.id);
	buf_append(&other.signatures[0].sig, buf_span(&signed_one->signatures[0].sig));
	const char *name = keyring_verify(ring, &other, NOW_MS);
	envelope_done(&other);
	return name;
}

static void test_each_of_the_first_ten_fields_is_signed(void **state)
{
	(void)state;
	struct sample sample;
	struct envelope envelope;
	sample_init(&sample, GET);
	sample_envelope(&sample, &envelope);
	test_sign_envelope(&envelope, &vendor, NULL);
	assert_string_equal(verify_other(&envelope, buf_span(&envelope.payload)), "vendor");
	for (int field = 1; field <= 10; field++) {
		char storage[STORAGE_LEN];
		autobuf struct buf payload = {0};
		sample_init(&sample, GET);
		change_field(&sample, field, storage);
		sample_pack(&sample, &payload);
		assert_int_equal(differing_bytes(buf_span(&envelope.payload), buf_span(&payload)), 1);
		assert_null(verify_other(&envelope, buf_span(&payload)));
	}
	envelope_done(&envelope);
}

static void test_each_byte_is_signed(void **state)
{
	(void)state;
	struct sample sample;
	struct envelope envelope;
	sample_init(&sample, GET);
	sample_envelope(&sample, &envelope);
	test_sign_envelope(&envelope, &vendor, NULL);
	autobuf struct buf payload = {0};
	buf_append(&payload, buf_span(&envelope.payload));
	for (size_t i = 0; i < payload.len; i++) {
		payload.data[i] ^= 1;
		assert_null(verify_other(&envelope, buf_span(&payload)));
		payload.data[i] ^= 1;
	}
	assert_null(verify_other(&envelope, span_of(payload.data, payload.len - 1)));
	buf_append_byte(&payload, 0);
	assert_null(verify_other(&envelope, buf_span(&payload)));
	envelope_done(&envelope);
}

/* ---- form ---- */

static void test_parse_refuses_additions(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
	} tails[] = {
	    {"\x78\x01", 2},             /* field 15 is unknown */
	    {"\x00", 1},                 /* no field at all */
	    {"\x3a\x01x", 3},            /* a second subject */
	    {"\x10\x01", 2},             /* a second operation */
	    {"\x5a\x00", 2},             /* second constraints */
	    {"\x6a\x02\x20\x01", 4},     /* consent with an unknown field */
	    {"\x62\x02x\x00", 4},        /* purpose with a NUL */
	    {"\x62\x02\xc0\x80", 4},     /* purpose with overlong UTF-8 */
	    {"\x62\x03\xed\xa0\x80", 5}, /* purpose with a surrogate */
	    {"\x62\x05x", 3},            /* purpose cut short */
	    {"\x60\x01", 2},             /* purpose as a number */
	};
	for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
		struct sample sample;
		autobuf struct buf payload = {0};
		sample_init(&sample, GET);
		sample_pack(&sample, &payload);
		buf_append(&payload, span_of(tails[i].bytes, tails[i].len));
		refuse(buf_span(&payload));
	}
}

static void test_parse_refuses_both_lengths(void **state)
{
	(void)state;
	struct sample sample;
	autobuf struct buf payload = {0};
	sample_init(&sample, PUT);
	sample.transaction.constraints = NULL;
	sample_pack(&sample, &payload);
	buf_append(&payload, span_of("\x5a\x04\x18\x01\x20\x01", 6));
	refuse(buf_span(&payload));
}

static void test_parse_refuses_every_truncation(void **state)
{
	(void)state;
	struct sample sample;
	autobuf struct buf payload = {0};
	sample_init(&sample, GET);
	sample.transaction.constraints = NULL;
	sample_pack(&sample, &payload);
	for (size_t len = 0; len < payload.len; len++)
		refuse(span_of(payload.data, len));
}

static void test_parse_refuses_what_is_too_large(void **state)
{
	(void)state;
	autobuf struct buf payload = {0};
	for (size_t i = 0; i <= TRANSACTION_ENVELOPE_MAX; i++)
		buf_append_byte(&payload, 0);
	refuse(buf_span(&payload));
}

/* Other encodings of the same message are as good: what is signed is what was sent. */
static void test_parse_takes_fields_in_any_order(void **state)
{
	(void)state;
	struct sample sample;
	autobuf struct buf payload = {0}, turned = {0};
	Twokey__V1__Transaction *transaction = NULL;
	struct err detail;
	sample_init(&sample, GET);
	sample_pack(&sample, &payload);
	buf_append(&turned, span_of(payload.data + 18, payload.len - 18));
	buf_append(&turned, span_of(payload.data, 18)); /* the id: tag, length, 16 bytes */
	assert_int_equal(transaction_parse(buf_span(&turned), &transaction, &detail), REASON_NONE);
	assert_string_equal(transaction->subject, "dr.o@example.com");
	transaction_free(transaction);
}

/* ---- the small questions ---- */

static enum reason from(const struct sample *sample, const char *address)
{
	struct ip_addr client;
	assert_true(ip_parse(address, &client));
	return transaction_check_network(&sample->transaction, &client);
}

static void test_network(void **state)
{
	(void)state;
	char *networks[] = {(char *)"192.0.2.0/24", (char *)"2001:db8::/32"};
	struct sample sample;
	sample_init(&sample, GET);
	assert_int_equal(from(&sample, "203.0.113.9"), REASON_NONE);
	sample.constraints.networks = networks;
	sample.constraints.n_networks = 2;
	assert_int_equal(from(&sample, "192.0.2.255"), REASON_NONE);
	assert_int_equal(from(&sample, "::ffff:192.0.2.1"), REASON_NONE);
	assert_int_equal(from(&sample, "2001:db8:1::1"), REASON_NONE);
	assert_int_equal(from(&sample, "192.0.3.0"), REASON_NETWORK_DENIED);
	assert_int_equal(from(&sample, "2001:db9::1"), REASON_NETWORK_DENIED);
	networks[0] = networks[1] = (char *)"nonsense";
	assert_int_equal(from(&sample, "192.0.2.1"), REASON_NETWORK_DENIED);
	sample.transaction.constraints = NULL;
	assert_int_equal(from(&sample, "203.0.113.9"), REASON_NONE);
}

static void test_uses(void **state)
{
	(void)state;
	struct sample sample;
	sample_init(&sample, GET);
	assert_int_equal(transaction_uses(&sample.transaction), 1);
	sample.constraints.uses = 7;
	assert_int_equal(transaction_uses(&sample.transaction), 7);
	sample.transaction.constraints = NULL;
	assert_int_equal(transaction_uses(&sample.transaction), 1);
}

static void test_operation_names(void **state)
{
	(void)state;
	assert_string_equal(transaction_operation_name(GET), "GET");
	assert_string_equal(transaction_operation_name(TWOKEY__V1__OPERATION__OPERATION_DELETE), "DELETE");
	assert_string_equal(transaction_operation_name(TWOKEY__V1__OPERATION__OPERATION_UNSPECIFIED), "UNSPECIFIED");
	assert_string_equal(transaction_operation_name((Twokey__V1__Operation)99), "UNSPECIFIED");
	assert_int_equal(transaction_operation_from_name("PUT"), PUT);
	assert_int_equal(transaction_operation_from_name("list"), LIST);
	assert_int_equal(transaction_operation_from_name("UNSPECIFIED"), 0);
	assert_int_equal(transaction_operation_from_name(""), 0);
	assert_int_equal(transaction_operation_from_name(NULL), 0);
}

HARNESS_MAIN(make_ring, free_ring, cmocka_unit_test(test_parse_gives_back_what_was_signed),
             cmocka_unit_test(test_each_of_the_first_ten_fields_is_signed), cmocka_unit_test(test_each_byte_is_signed),
             cmocka_unit_test(test_parse_refuses_additions), cmocka_unit_test(test_parse_refuses_both_lengths),
             cmocka_unit_test(test_parse_refuses_every_truncation),
             cmocka_unit_test(test_parse_refuses_what_is_too_large),
             cmocka_unit_test(test_parse_takes_fields_in_any_order), cmocka_unit_test(test_network),
             cmocka_unit_test(test_uses), cmocka_unit_test(test_operation_names))
