/* Whole objects: data keys from a SoftHSM2 token, the header, and what binds an object to its place. */
#include "common/text.h"
#include "hsm/hsm.h"
#include "tests/unit/seal/support.h"
#include "tests/unit/softhsm.h"

static struct softhsm token;
static struct hsm *hsm;
static struct hsm_key *kek, *other_kek;
static struct err err;
static const struct seal_context context = {"gatekeeper-1", "customer-data", "reports/2026/Übersicht.pdf"};

static struct hsm_key *make_kek(const char *label)
{
	struct hsm_key *key = NULL;
	autofree char *uri = xasprintf("pkcs11:object=%s", label);
	assert_ok(hsm_generate_aes(hsm, label, &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_AES, uri, &key, &err), err);
	return key;
}

static const uint8_t some_id[SEAL_OBJECT_ID_BYTES] = {1, 2, 3};

static int setup(void **state)
{
	(void)state;
	softhsm_setup(&token, "sealer");
	struct hsm_options options = softhsm_options(&token, "pkcs11:token=sealer");
	if (hsm_open(&options, &hsm, &err) != ERR_OK)
		return -1;
	kek = make_kek("kek");
	other_kek = make_kek("other");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}

static void seal_object(struct span plain, struct seal_header *header, struct buf *out)
{
	struct sealer *sealer = NULL;
	uint8_t id[SEAL_OBJECT_ID_BYTES];
	assert_ok(seal_object_id(hsm, id, &err), err);
	assert_ok(seal_begin(hsm, kek, &context, id, &sealer, header, &err), err);
	assert_ok(seal_update(sealer, plain, out, &err), err);
	assert_ok(seal_final(sealer, out, &err), err);
	seal_free(sealer);
}

static enum err_code open_object(struct hsm_key *key, const struct seal_context *where,
                                 const struct seal_header *header, struct span sealed, struct buf *out)
{
	struct opener *opener = NULL;
	uint64_t plain_size = 0;
	if (!seal_plain_size(sealed.len, &plain_size))
		return ERR_CORRUPT;
	enum err_code code = seal_open_begin(key, where, header, sealed.len, 0, plain_size, &opener, &err);
	return code == ERR_OK ? feed(opener, sealed, 8192, out) : code;
}

static void test_round_trip(void **state)
{
	(void)state;
	static const size_t sizes[] = {0, 1, 65480, 65481, ((size_t)1 << 20) + 1};
	for (size_t i = 0; i < 5; i++) {
		struct seal_header header;
		autobuf struct buf plain = {0}, sealed = {0}, back = {0};
		plain_pattern(sizes[i], &plain);
		seal_object(buf_span(&plain), &header, &sealed);
		assert_int_equal(sealed.len, seal_sealed_size(sizes[i]));
		assert_int_equal(open_object(kek, &context, &header, buf_span(&sealed), &back), ERR_OK);
		assert_true(span_eq(buf_span(&plain), buf_span(&back)));
	}
}

static void test_range(void **state)
{
	(void)state;
	struct seal_header header;
	struct seal_range plan;
	struct opener *opener = NULL;
	autobuf struct buf plain = {0}, sealed = {0}, back = {0};
	plain_pattern(200000, &plain);
	seal_object(buf_span(&plain), &header, &sealed);
	seal_plan(200000, 100000, 50000, &plan);
	assert_false(plan.has_stream_header);
	assert_ok(seal_open_begin(kek, &context, &header, sealed.len, 100000, 50000, &opener, &err), err);
	assert_ok(seal_open_stream_header(opener, span_of(sealed.data, SEAL_HEADER_BYTES), &err), err);
	assert_int_equal(feed(opener, span_of(sealed.data + plan.stored_first, plan.stored_length), 999, &back), ERR_OK);
	assert_int_equal(back.len, 50000);
	assert_memory_equal(back.data, plain.data + 100000, 50000);
	assert_err(seal_open_begin(kek, &context, &header, sealed.len, 200000, 1, &opener, &err), ERR_INVALID);
	assert_err(seal_open_begin(kek, &context, &header, 55, 0, 0, &opener, &err), ERR_CORRUPT);
}

static void test_nothing_repeats(void **state)
{
	(void)state;
	struct seal_header a, b;
	autobuf struct buf sealed_a = {0}, sealed_b = {0};
	seal_object(span_str("the same"), &a, &sealed_a);
	seal_object(span_str("the same"), &b, &sealed_b);
	assert_string_not_equal(a.object_id, b.object_id);
	assert_string_not_equal(a.wrapped, b.wrapped);
	assert_string_not_equal(a.commitment, b.commitment);
	assert_string_equal(a.kek_id, hsm_key_id(kek));
	assert_string_equal(a.format, "1");
	assert_memory_not_equal(sealed_a.data + 1, sealed_b.data + 1, 32);
	assert_memory_not_equal(sealed_a.data + 33, sealed_b.data + 33, 7);
}

/* docs/SEALING.md, followed step by step with other functions than the room's own. */
static void test_opens_by_the_book(void **state)
{
	(void)state;
	struct seal_header header;
	autobuf struct buf sealed = {0}, aad = {0}, wrapped = {0}, out = {0};
	seal_object(span_str("by the book"), &header, &sealed);
	buf_append_str(&aad, "twokey-seal-v1");
	const char *names[] = {context.gatekeeper, context.bucket, context.object};
	for (int i = 0; i < 3; i++) {
		buf_append_u32be(&aad, (uint32_t)strlen(names[i]));
		buf_append_str(&aad, names[i]);
	}
	uint8_t object_id[16];
	assert_true(text_unhex(header.object_id, object_id, 16));
	buf_append_u32be(&aad, 16);
	buf_append(&aad, span_of(object_id, 16));
	assert_true(text_unbase64(span_str(header.wrapped), &wrapped));
	assert_int_equal(wrapped.len, 12 + 32 + 16);
	struct secret *data_key = NULL;
	assert_ok(hsm_unwrap(kek, buf_span(&aad), buf_span(&wrapped), &data_key, &err), err);
	struct opener *opener = NULL;
	assert_ok(seal_opener_new(data_key, buf_span(&aad), sealed.len, 0, 11, &opener, &err), err);
	assert_int_equal(feed(opener, buf_span(&sealed), 100, &out), ERR_OK);
	assert_memory_equal(out.data, "by the book", 11);
}

static void test_bound_to_its_place(void **state)
{
	(void)state;
	static const struct seal_context places[] = {
	    {"gatekeeper-2", "customer-data", "reports/2026/Übersicht.pdf"},
	    {"gatekeeper-1", "customer-dat", "areports/2026/Übersicht.pdf"},
	    {"gatekeeper-1", "customer-data", "reports/2026/Übersicht.pd"},
	    {"customer-data", "gatekeeper-1", "reports/2026/Übersicht.pdf"},
	};
	struct seal_header header;
	autobuf struct buf sealed = {0}, out = {0};
	seal_object(span_str("stays here"), &header, &sealed);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(open_object(kek, &places[i], &header, buf_span(&sealed), &out), ERR_CORRUPT);
	assert_int_equal(out.len, 0);
}

static void test_contexts_refused(void **state)
{
	(void)state;
	char name[1026];
	memset(name, 'n', 1025);
	name[1025] = 0;
	const struct seal_context bad[] = {
	    {NULL, "b", "o"}, {"g", "", "o"}, {"g", "b", NULL}, {"g", "b", name}, {name, "b", "o"},
	};
	struct sealer *sealer = NULL;
	struct seal_header header = {.format = "1"};
	for (size_t i = 0; i < 5; i++)
		assert_err(seal_begin(hsm, kek, &bad[i], some_id, &sealer, &header, &err), ERR_INVALID);
	assert_null(sealer);
	assert_string_equal(header.object_id, "");
}

static void test_longest_context(void **state)
{
	(void)state;
	char name[1025];
	memset(name, 'n', 1024);
	name[1024] = 0;
	const struct seal_context longest = {name, name, name};
	struct sealer *sealer = NULL;
	struct seal_header header;
	autobuf struct buf sealed = {0}, out = {0};
	assert_ok(seal_begin(hsm, kek, &longest, some_id, &sealer, &header, &err), err);
	assert_ok(seal_update(sealer, span_str("x"), &sealed, &err), err);
	assert_ok(seal_final(sealer, &sealed, &err), err);
	seal_free(sealer);
	assert_int_equal(open_object(kek, &longest, &header, buf_span(&sealed), &out), ERR_OK);
	assert_int_equal(out.len, 1);
}

static void test_other_kek(void **state)
{
	(void)state;
	struct seal_header header;
	autobuf struct buf sealed = {0}, out = {0};
	seal_object(span_str("mine"), &header, &sealed);
	assert_int_equal(open_object(other_kek, &context, &header, buf_span(&sealed), &out), ERR_NOT_FOUND);
	assert_non_null(strstr(err.text, hsm_key_id(kek)));
	/* The name of the KEK is only a hint. */
	snprintf(header.kek_id, sizeof header.kek_id, "%s", hsm_key_id(other_kek));
	assert_int_equal(open_object(other_kek, &context, &header, buf_span(&sealed), &out), ERR_CORRUPT);
	assert_int_equal(out.len, 0);
}

static void test_rewrap(void **state)
{
	(void)state;
	struct seal_header header, next;
	autobuf struct buf sealed = {0}, out = {0};
	seal_object(span_str("content"), &header, &sealed);
	assert_ok(seal_rewrap(kek, other_kek, &context, &header, &next, &err), err);
	assert_string_equal(next.kek_id, hsm_key_id(other_kek));
	assert_string_equal(next.object_id, header.object_id);
	assert_string_equal(next.commitment, header.commitment);
	assert_string_not_equal(next.wrapped, header.wrapped);
	assert_int_equal(open_object(other_kek, &context, &next, buf_span(&sealed), &out), ERR_OK);
	assert_string_equal(buf_cstr(&out), "content");
	assert_int_equal(open_object(kek, &context, &next, buf_span(&sealed), &out), ERR_NOT_FOUND);
}

static void test_rewrap_refused(void **state)
{
	(void)state;
	struct seal_header header, next, bad;
	autobuf struct buf sealed = {0};
	seal_object(span_str("content"), &header, &sealed);
	const struct seal_context elsewhere = {context.gatekeeper, context.bucket, "elsewhere"};
	assert_err(seal_rewrap(other_kek, kek, &context, &header, &next, &err), ERR_NOT_FOUND);
	assert_err(seal_rewrap(kek, other_kek, &elsewhere, &header, &next, &err), ERR_CORRUPT);
	bad = header;
	bad.commitment[0] = bad.commitment[0] == '0' ? '1' : '0';
	assert_err(seal_rewrap(kek, other_kek, &context, &bad, &next, &err), ERR_CORRUPT);
	bad = header;
	bad.object_id[0] = 'x';
	assert_err(seal_rewrap(kek, other_kek, &context, &bad, &next, &err), ERR_CORRUPT);
}

static void test_header_tampered(void **state)
{
	(void)state;
	struct seal_header header;
	autobuf struct buf sealed = {0}, out = {0};
	seal_object(span_str("whole"), &header, &sealed);
	struct seal_header bad = header;
	bad.object_id[0] = bad.object_id[0] == '0' ? '1' : '0';
	assert_int_equal(open_object(kek, &context, &bad, buf_span(&sealed), &out), ERR_CORRUPT);
	bad = header;
	bad.wrapped[20] = bad.wrapped[20] == 'A' ? 'B' : 'A';
	assert_int_equal(open_object(kek, &context, &bad, buf_span(&sealed), &out), ERR_CORRUPT);
	bad = header;
	bad.wrapped[4] = 0;
	assert_int_equal(open_object(kek, &context, &bad, buf_span(&sealed), &out), ERR_CORRUPT);
	bad = header;
	bad.format[0] = '2';
	assert_int_equal(open_object(kek, &context, &bad, buf_span(&sealed), &out), ERR_CORRUPT);
	bad = header;
	bad.commitment[63] = bad.commitment[63] == '0' ? '1' : '0';
	assert_int_equal(open_object(kek, &context, &bad, buf_span(&sealed), &out), ERR_CORRUPT);
	assert_non_null(strstr(err.text, "committed"));
	bad = header;
	bad.commitment[10] = 'x';
	assert_int_equal(open_object(kek, &context, &bad, buf_span(&sealed), &out), ERR_CORRUPT);
	assert_int_equal(out.len, 0);
}

/* Another object's header, all of it: the data key unwraps, and the stream does not. */
static void test_header_of_another_object(void **state)
{
	(void)state;
	struct seal_header a, b;
	autobuf struct buf sealed_a = {0}, sealed_b = {0}, out = {0};
	seal_object(span_str("older content"), &a, &sealed_a);
	seal_object(span_str("newer content"), &b, &sealed_b);
	assert_int_equal(open_object(kek, &context, &a, buf_span(&sealed_b), &out), ERR_CORRUPT);
	assert_int_equal(out.len, 0);
}

static void test_wrong_key_kind(void **state)
{
	(void)state;
	struct hsm_key *ec = NULL;
	struct sealer *sealer = NULL;
	struct seal_header header;
	assert_ok(hsm_generate_ec(hsm, "ec", &err), err);
	assert_ok(hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=ec", &ec, &err), err);
	assert_err(seal_begin(hsm, ec, &context, some_id, &sealer, &header, &err), ERR_INVALID);
	assert_null(sealer);
}

struct meta {
	const char *name, *value;
};

static const char *lookup(void *user, const char *name)
{
	const struct meta *meta = (const struct meta *)user;
	for (size_t i = 0; i < 5; i++)
		if (strcmp(meta[i].name, name) == 0)
			return meta[i].value;
	return NULL;
}

#define HEX32   "00112233445566778899aabbccddeeff"
#define BASE64S "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static const struct meta good[5] = {
    {"twokey-format", "1"},      {"twokey-object-id", HEX32},        {"twokey-kek", "ab01"},
    {"twokey-wrapped", BASE64S}, {"twokey-commitment", HEX32 HEX32},
};

static void test_header_read(void **state)
{
	(void)state;
	struct seal_header header;
	assert_ok(seal_header_read(lookup, (void *)good, &header, &err), err);
	assert_string_equal(header.format, "1");
	assert_string_equal(header.object_id, HEX32);
	assert_string_equal(header.kek_id, "ab01");
	assert_string_equal(header.wrapped, BASE64S);
	assert_string_equal(header.commitment, HEX32 HEX32);
}

static void test_header_of_bad_form(void **state)
{
	(void)state;
	static const struct {
		int field;
		const char *value;
	} bad[] = {
	    {0, NULL},
	    {0, ""},
	    {0, "2"},
	    {0, "11"},
	    {0, "1111111"},
	    {1, NULL},
	    {1, ""},
	    {1, "00112233445566778899AABBCCDDEEFF"},
	    {1, HEX32 "00"},
	    {1, "00112233445566778899aabbccddeef"},
	    {1, "00112233445566778899aabbccddeefg"},
	    {2, NULL},
	    {2, ""},
	    {2, "a kek"},
	    {2, HEX32 HEX32 "0"},
	    {3, NULL},
	    {3, ""},
	    {3, "AAAA"},
	    {3, BASE64S "AAAA"},
	    {3, "====" BASE64S},
	    {3, "****AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	    {4, NULL},
	    {4, HEX32},
	    {4, HEX32 "00112233445566778899aabbccddeefG"},
	};
	struct seal_header header = {.format = "x"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct meta meta[5];
		memcpy(meta, good, sizeof meta);
		meta[bad[i].field].value = bad[i].value;
		err.text[0] = 0;
		assert_err(seal_header_read(lookup, meta, &header, &err), ERR_CORRUPT);
		assert_non_null(strstr(err.text, meta[bad[i].field].name));
	}
	assert_string_equal(header.format, "x");
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_round_trip), cmocka_unit_test(test_range),
             cmocka_unit_test(test_nothing_repeats), cmocka_unit_test(test_opens_by_the_book),
             cmocka_unit_test(test_bound_to_its_place), cmocka_unit_test(test_contexts_refused),
             cmocka_unit_test(test_longest_context), cmocka_unit_test(test_other_kek), cmocka_unit_test(test_rewrap),
             cmocka_unit_test(test_rewrap_refused), cmocka_unit_test(test_header_tampered),
             cmocka_unit_test(test_header_of_another_object), cmocka_unit_test(test_wrong_key_kind),
             cmocka_unit_test(test_header_read), cmocka_unit_test(test_header_of_bad_form))
