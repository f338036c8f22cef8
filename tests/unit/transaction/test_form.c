/* Every limit of transaction.proto at its edge; each verdict is asked twice: of the message, and of its bytes. */
#include "tests/unit/transaction/support.h"

#define GET    TWOKEY__V1__OPERATION__OPERATION_GET
#define PUT    TWOKEY__V1__OPERATION__OPERATION_PUT
#define LIST   TWOKEY__V1__OPERATION__OPERATION_LIST
#define DELETE TWOKEY__V1__OPERATION__OPERATION_DELETE

static char letters[4096];

static int fill(void **state)
{
	(void)state;
	memset(letters, 'a', sizeof letters - 1);
	return 0;
}

/* A string of `len` letters. */
static char *text(size_t len)
{
	return letters + sizeof letters - 1 - len;
}

static enum reason parsed(const struct sample *sample, struct err *detail)
{
	autobuf struct buf payload = {0};
	Twokey__V1__Transaction *transaction = NULL;
	sample_pack(sample, &payload);
	enum reason reason = transaction_parse(buf_span(&payload), &transaction, detail);
	transaction_free(transaction);
	return reason;
}

static void expect(const struct sample *sample, bool good, const char *what)
{
	struct err detail = {0};
	enum reason reason = transaction_check_form(&sample->transaction, &detail);
	if (reason != (good ? REASON_NONE : REASON_MALFORMED))
		fail_msg("%s: reason %d %s", what, reason, detail.text);
	if (parsed(sample, &detail) != reason)
		fail_msg("%s: the bytes were judged otherwise: %s", what, detail.text);
	assert_int_equal(detail.text[0] == 0, good);
}

static void test_good_ones_of_every_operation(void **state)
{
	(void)state;
	for (int operation = GET; operation <= DELETE; operation++) {
		struct sample sample;
		sample_init(&sample, (Twokey__V1__Operation)operation);
		expect(&sample, true, "with empty constraints");
		sample.transaction.constraints = NULL;
		expect(&sample, true, "without constraints");
	}
}

static void test_operation(void **state)
{
	(void)state;
	static const int others[] = {0, 5, 77, -1, INT32_MIN, INT32_MAX};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		struct sample sample;
		sample_init(&sample, (Twokey__V1__Operation)others[i]);
		expect(&sample, false, "operation");
	}
}

static void test_id(void **state)
{
	(void)state;
	uint8_t bytes[17] = {0};
	static const size_t lens[] = {0, 15, 16, 17};
	for (size_t i = 0; i < 4; i++) {
		struct sample sample;
		sample_init(&sample, GET);
		sample.transaction.id = (ProtobufCBinaryData){lens[i], bytes};
		expect(&sample, lens[i] == 16, "id");
	}
}

struct text_case {
	const char *name;
	Twokey__V1__Operation operation;
	size_t offset; /* in struct sample */
	size_t min, max;
};

#define OF(path) offsetof(struct sample, path)

static const struct text_case text_cases[] = {
    {"gatekeeper", GET, OF(transaction.gatekeeper), 1, 256},
    {"bucket", GET, OF(transaction.bucket), 1, 256},
    {"object of GET", GET, OF(transaction.object), 1, 1024},
    {"object of PUT", PUT, OF(transaction.object), 1, 1024},
    {"object of DELETE", DELETE, OF(transaction.object), 1, 1024},
    {"prefix", LIST, OF(transaction.object), 0, 1024},
    {"account", GET, OF(transaction.account), 0, 256},
    {"subject", GET, OF(transaction.subject), 1, 256},
    {"purpose", GET, OF(transaction.purpose), 0, 2048},
    {"correlation_id", GET, OF(transaction.correlation_id), 0, 128},
    {"consent.given_by", GET, OF(consent.given_by), 0, 256},
    {"consent.text", GET, OF(consent.text), 0, 2048},
    {"content_type", PUT, OF(constraints.content_type), 0, 256},
    {"version_id", GET, OF(constraints.version_id), 0, 1024},
};

static void expect_text(const struct text_case *c, char *value, bool good)
{
	struct sample sample;
	sample_init(&sample, c->operation);
	sample.transaction.consent = &sample.consent;
	*(char **)((char *)&sample + c->offset) = value;
	expect(&sample, good, c->name);
}

static void test_texts_at_their_limits(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof text_cases / sizeof *text_cases; i++) {
		const struct text_case *c = &text_cases[i];
		expect_text(c, text(c->min), true);
		expect_text(c, text(c->max), true);
		expect_text(c, text(c->max + 1), false);
		if (c->min)
			expect_text(c, text(c->min - 1), false);
	}
}

static void test_texts_are_utf8(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof text_cases / sizeof *text_cases; i++) {
		expect_text(&text_cases[i], (char *)"\xc3\xa9\xf0\x9f\x97\x9d", true);
		expect_text(&text_cases[i], (char *)"a\xff", false);
		expect_text(&text_cases[i], (char *)"\xc3", false);
		expect_text(&text_cases[i], (char *)"\xed\xa0\x80", false);
	}
}

static void test_times_are_required(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct sample sample;
		sample_init(&sample, GET);
		Twokey__V1__Transaction *t = &sample.transaction;
		*(Google__Protobuf__Timestamp * *[]){&t->issued_at, &t->not_before, &t->expires_at}[i] = NULL;
		expect(&sample, false, "time");
	}
	struct sample sample;
	sample_init(&sample, GET);
	sample.transaction.consent = &sample.consent;
	expect(&sample, true, "consent without time");
}

static void test_times_are_in_range(void **state)
{
	(void)state;
	static const struct {
		int64_t seconds;
		int32_t nanos;
		bool good;
	} cases[] = {
	    {1795285200, 0, true},   {1795285200, 999999999, true},   {1795285200, 1000000000, false},
	    {1795285200, -1, false}, {253402300799, 999999999, true}, {253402300800, 0, false},
	    {-62135596800, 0, true}, {-62135596801, 0, false},        {INT64_MAX, 0, false},
	    {INT64_MIN, 0, false},   {1795285200, INT32_MIN, false},  {1795285200, INT32_MAX, false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (int field = 0; field < 4; field++) {
			struct sample sample;
			sample_init(&sample, GET);
			sample.transaction.consent = &sample.consent;
			sample.consent.given_at = &sample.given_at;
			Google__Protobuf__Timestamp *time = (Google__Protobuf__Timestamp *[]){
			    &sample.issued_at, &sample.not_before, &sample.expires_at, &sample.given_at}[field];
			time->seconds = cases[i].seconds;
			time->nanos = cases[i].nanos;
			expect(&sample, cases[i].good, "time");
		}
	}
}

/* ---- constraints ---- */

static void test_networks(void **state)
{
	(void)state;
	static const struct {
		const char *network;
		bool good;
	} cases[] = {
	    {"10.0.0.0/8", true}, {"192.0.2.7", true},       {"2001:db8::/32", true}, {"::/0", true},
	    {"", false},          {"10.0.0.1/8", false},     {"10.0.0.0/33", false},  {"example.com", false},
	    {"10.0.0.0/", false}, {"2001:db8::/129", false}, {" 10.0.0.0/8", false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *network = (char *)cases[i].network;
		struct sample sample;
		sample_init(&sample, GET);
		sample.constraints.networks = &network;
		sample.constraints.n_networks = 1;
		expect(&sample, cases[i].good, cases[i].network);
	}
}

static void test_at_most_16_networks(void **state)
{
	(void)state;
	char *networks[17];
	for (size_t i = 0; i < 17; i++)
		networks[i] = (char *)"10.0.0.0/8";
	for (size_t n = 15; n <= 17; n++) {
		struct sample sample;
		sample_init(&sample, GET);
		sample.constraints.networks = networks;
		sample.constraints.n_networks = n;
		expect(&sample, n <= 16, "networks");
	}
}

static void test_digests_are_32_bytes(void **state)
{
	(void)state;
	uint8_t bytes[33] = {1};
	static const size_t lens[] = {0, 1, 31, 32, 33};
	for (size_t i = 0; i < 5; i++) {
		struct sample sample;
		bool good = lens[i] == 0 || lens[i] == 32;
		sample_init(&sample, PUT);
		sample.constraints.content_sha256 = (ProtobufCBinaryData){lens[i], bytes};
		expect(&sample, good, "content_sha256");
		sample_init(&sample, GET);
		sample.constraints.holder_key_sha256 = (ProtobufCBinaryData){lens[i], bytes};
		expect(&sample, good, "holder_key_sha256");
	}
}

static void test_uses_up_to_1000(void **state)
{
	(void)state;
	static const uint32_t uses[] = {0, 1, 1000, 1001, UINT32_MAX};
	for (size_t i = 0; i < 5; i++) {
		struct sample sample;
		sample_init(&sample, GET);
		sample.constraints.uses = uses[i];
		expect(&sample, uses[i] <= 1000, "uses");
	}
}

static void test_ranges(void **state)
{
	(void)state;
	static const struct {
		uint64_t first, length;
		bool good;
	} cases[] = {
	    {0, 0, false},          {0, 1, true},           {5, 0, false},
	    {0, INT64_MAX, true},   {1, INT64_MAX, false},  {INT64_MAX - 1, 1, true},
	    {INT64_MAX, 1, false},  {UINT64_MAX, 1, false}, {UINT64_MAX, UINT64_MAX, false},
	    {1, UINT64_MAX, false}, {0, UINT64_MAX, false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct sample sample;
		sample_init(&sample, GET);
		sample.constraints.range = &sample.range;
		sample.range.first = cases[i].first;
		sample.range.length = cases[i].length;
		expect(&sample, cases[i].good, "range");
	}
}

static void test_lengths(void **state)
{
	(void)state;
	static const uint64_t lengths[] = {0, 1, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX};
	for (size_t i = 0; i < 5; i++) {
		struct sample sample;
		sample_init(&sample, PUT);
		sample.constraints.length_case = TWOKEY__V1__CONSTRAINTS__LENGTH_EXACT_BYTES;
		sample.constraints.exact_bytes = lengths[i];
		expect(&sample, lengths[i] <= INT64_MAX, "exact_bytes");
		sample.constraints.length_case = TWOKEY__V1__CONSTRAINTS__LENGTH_MAX_BYTES;
		sample.constraints.max_bytes = lengths[i];
		expect(&sample, lengths[i] <= INT64_MAX, "max_bytes");
	}
}

static uint8_t digest[32];

static void with_exact(struct sample *sample)
{
	sample->constraints.length_case = TWOKEY__V1__CONSTRAINTS__LENGTH_EXACT_BYTES;
}
static void with_max(struct sample *sample)
{
	sample->constraints.length_case = TWOKEY__V1__CONSTRAINTS__LENGTH_MAX_BYTES;
}
static void with_content_sha256(struct sample *sample)
{
	sample->constraints.content_sha256 = (ProtobufCBinaryData){32, digest};
}
static void with_content_type(struct sample *sample)
{
	sample->constraints.content_type = (char *)"text/plain";
}
static void with_overwrite(struct sample *sample)
{
	sample->constraints.overwrite = true;
}
static void with_range(struct sample *sample)
{
	sample->constraints.range = &sample->range;
	sample->range.length = 1;
}
static void with_version(struct sample *sample)
{
	sample->constraints.version_id = (char *)"v1";
}
static void with_holder(struct sample *sample)
{
	sample->constraints.holder_key_sha256 = (ProtobufCBinaryData){32, digest};
}

#define ON(operation) (1u << (operation))

static void test_constraints_fit_their_operation(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		void (*set)(struct sample *sample);
		unsigned operations;
	} cases[] = {
	    {"exact_bytes", with_exact, ON(PUT)},
	    {"max_bytes", with_max, ON(PUT)},
	    {"content_sha256", with_content_sha256, ON(PUT)},
	    {"content_type", with_content_type, ON(PUT)},
	    {"overwrite", with_overwrite, ON(PUT)},
	    {"range", with_range, ON(GET)},
	    {"version_id", with_version, ON(GET) | ON(DELETE)},
	    {"holder_key_sha256", with_holder, ON(GET) | ON(PUT) | ON(LIST) | ON(DELETE)},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (int operation = GET; operation <= DELETE; operation++) {
			struct sample sample;
			sample_init(&sample, (Twokey__V1__Operation)operation);
			cases[i].set(&sample);
			expect(&sample, cases[i].operations & ON(operation), cases[i].name);
		}
	}
}

/* The largest transaction that is well formed fits an envelope with four signatures. */
static void test_the_largest_transaction_fits_its_envelope(void **state)
{
	(void)state;
	char *networks[16];
	uint8_t sig[512] = {1};
	struct sample sample;
	struct envelope envelope, back;
	struct envelope_view view;
	struct err err;
	for (size_t i = 0; i < 16; i++)
		networks[i] = (char *)"1111:2222:3333:4444:5555:6666:7777:8888/128";
	sample_init(&sample, PUT);
	sample.transaction.consent = &sample.consent;
	for (size_t i = 0; i < sizeof text_cases / sizeof *text_cases; i++)
		if (text_cases[i].operation == PUT || text_cases[i].operation == GET)
			*(char **)((char *)&sample + text_cases[i].offset) = text(text_cases[i].max);
	sample.constraints.version_id = (char *)"";
	sample.constraints.networks = networks;
	sample.constraints.n_networks = 16;
	expect(&sample, true, "the largest");
	sample_envelope(&sample, &envelope);
	for (size_t i = 0; i < TRANSACTION_SIGNATURES_MAX; i++) {
		envelope.signatures[i].keyid = xstrdup(text(64));
		buf_append(&envelope.signatures[i].sig, span_of(sig, sizeof sig));
	}
	envelope.n_signatures = TRANSACTION_SIGNATURES_MAX;
	assert_ok(envelope_from_pb(envelope_to_pb(&envelope, &view), &back, &err), err);
	envelope_done(&back);
	envelope_done(&envelope);
}

HARNESS_MAIN(fill, NULL, cmocka_unit_test(test_good_ones_of_every_operation), cmocka_unit_test(test_operation),
             cmocka_unit_test(test_id), cmocka_unit_test(test_texts_at_their_limits),
             cmocka_unit_test(test_texts_are_utf8), cmocka_unit_test(test_times_are_required),
             cmocka_unit_test(test_times_are_in_range), cmocka_unit_test(test_networks),
             cmocka_unit_test(test_at_most_16_networks), cmocka_unit_test(test_digests_are_32_bytes),
             cmocka_unit_test(test_uses_up_to_1000), cmocka_unit_test(test_ranges), cmocka_unit_test(test_lengths),
             cmocka_unit_test(test_constraints_fit_their_operation),
             cmocka_unit_test(test_the_largest_transaction_fits_its_envelope))
