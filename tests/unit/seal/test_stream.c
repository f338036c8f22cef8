/* Streams under a given data key: every size and range, every way to tamper, and what Tink wrote. */
#include "common/text.h"
#include "tests/unit/seal/support.h"

static struct err err;
static const size_t sizes[] = {0, 1, 65479, 65480, 65481, 131000, 131001, ((size_t)1 << 20) + 1};

#define N_SIZES (sizeof sizes / sizeof sizes[0])
#define AAD     span_str("associated")

static void test_round_trip_in_pieces(void **state)
{
	(void)state;
	static const size_t pieces[] = {1000, 65536, 65480, 8u << 20};
	for (size_t i = 0; i < N_SIZES; i++) {
		autobuf struct buf plain = {0}, once = {0};
		plain_pattern(sizes[i], &plain);
		seal_all(buf_span(&plain), MIB * 8, AAD, &once);
		assert_int_equal(once.len, seal_sealed_size(sizes[i]));
		for (size_t j = 0; j < 4; j++) {
			autobuf struct buf sealed = {0}, back = {0};
			seal_all(buf_span(&plain), pieces[j], AAD, &sealed);
			assert_true(span_eq(buf_span(&once), buf_span(&sealed))); /* how it is cut does not show */
			assert_int_equal(open_all(buf_span(&sealed), pieces[j], AAD, &back), ERR_OK);
			assert_true(span_eq(buf_span(&plain), buf_span(&back)));
		}
	}
}

static void test_byte_by_byte(void **state)
{
	(void)state;
	autobuf struct buf plain = {0}, whole = {0}, sealed = {0}, back = {0};
	plain_pattern(65481, &plain);
	seal_all(buf_span(&plain), 65481, AAD, &whole);
	seal_all(buf_span(&plain), 1, AAD, &sealed);
	assert_true(span_eq(buf_span(&whole), buf_span(&sealed)));
	assert_int_equal(open_all(buf_span(&sealed), 1, AAD, &back), ERR_OK);
	assert_true(span_eq(buf_span(&plain), buf_span(&back)));
}

/* Bytes come out as segments fill, not at the end. */
static void test_bounded_memory(void **state)
{
	(void)state;
	uint8_t header[SEAL_HEADER_BYTES] = {SEAL_HEADER_BYTES};
	struct sealer *sealer = NULL;
	autobuf struct buf plain = {0}, out = {0};
	plain_pattern(65481, &plain);
	assert_ok(seal_sealer_new(test_data_key(), AAD, header, &sealer, &err), err);
	assert_ok(seal_update(sealer, span_of(plain.data, 65480), &out, &err), err);
	assert_int_equal(out.len, 0); /* it may be the last */
	assert_ok(seal_update(sealer, span_of(plain.data, 0), &out, &err), err);
	assert_int_equal(out.len, 0);
	assert_ok(seal_update(sealer, span_of(plain.data, 1), &out, &err), err);
	assert_int_equal(out.len, 65536);
	seal_free(sealer);
}

static void test_sealer_after_the_end(void **state)
{
	(void)state;
	uint8_t header[SEAL_HEADER_BYTES] = {SEAL_HEADER_BYTES};
	struct sealer *sealer = NULL;
	autobuf struct buf out = {0};
	assert_ok(seal_sealer_new(test_data_key(), AAD, header, &sealer, &err), err);
	assert_ok(seal_final(sealer, &out, &err), err);
	assert_int_equal(out.len, 56);
	assert_err(seal_update(sealer, AAD, &out, &err), ERR_INTERNAL);
	assert_err(seal_final(sealer, &out, &err), ERR_INTERNAL);
	assert_int_equal(out.len, 56);
	seal_free(sealer);
	seal_free(NULL);
}

static void test_output_that_is_full(void **state)
{
	(void)state;
	uint8_t header[SEAL_HEADER_BYTES] = {SEAL_HEADER_BYTES};
	struct sealer *sealer = NULL;
	autobuf struct buf plain = {0}, out = {.max = 1000}, sealed = {0}, back = {.max = 1000};
	plain_pattern(70000, &plain);
	assert_ok(seal_sealer_new(test_data_key(), AAD, header, &sealer, &err), err);
	assert_err(seal_update(sealer, buf_span(&plain), &out, &err), ERR_EXHAUSTED);
	assert_err(seal_final(sealer, &out, &err), ERR_INTERNAL);
	seal_free(sealer);
	seal_all(buf_span(&plain), 70000, AAD, &sealed);
	assert_int_equal(open_all(buf_span(&sealed), 70000, AAD, &back), ERR_EXHAUSTED);
	assert_int_equal(back.len, 0);
}

/* Opens a range as a caller of the room does it: the plan's bytes, and the stream header when the plan lacks it. */
static enum err_code open_range(struct span sealed, uint64_t size, uint64_t first, uint64_t length, size_t piece,
                                struct buf *out)
{
	struct seal_range plan;
	struct opener *opener = NULL;
	seal_plan(size, first, length, &plan);
	enum err_code code = seal_opener_new(test_data_key(), AAD, sealed.len, first, length, &opener, NULL);
	if (code != ERR_OK)
		return code;
	if (!plan.has_stream_header)
		assert_ok(seal_open_stream_header(opener, span_of(sealed.ptr, SEAL_HEADER_BYTES), &err), err);
	return feed(opener, span_of(sealed.ptr + plan.stored_first, plan.stored_length), piece, out);
}

static void test_ranges_at_every_edge(void **state)
{
	(void)state;
	static const uint64_t edges[] = {0, 1, 65479, 65480, 65481, 130999, 131000, 131001, 199998, 199999, 200000};
	enum { N = sizeof edges / sizeof edges[0] };
	autobuf struct buf plain = {0}, sealed = {0};
	plain_pattern(200000, &plain);
	seal_all(buf_span(&plain), 200000, AAD, &sealed);
	for (size_t i = 0; i < N; i++) {
		for (size_t j = i + 1; j < N; j++) {
			autobuf struct buf out = {0};
			buf_append_str(&out, "kept");
			uint64_t length = edges[j] - edges[i];
			assert_int_equal(open_range(buf_span(&sealed), 200000, edges[i], length, 50000, &out), ERR_OK);
			assert_int_equal(out.len, 4 + length);
			assert_memory_equal(out.data, "kept", 4);
			assert_memory_equal(out.data + 4, plain.data + edges[i], length);
		}
	}
}

static void test_ranges_that_are_none(void **state)
{
	(void)state;
	struct opener *opener = NULL;
	uint64_t stored = seal_sealed_size(200000);
	assert_err(seal_opener_new(test_data_key(), AAD, stored, 200000, 1, &opener, &err), ERR_INVALID);
	assert_err(seal_opener_new(test_data_key(), AAD, stored, 0, 200001, &opener, &err), ERR_INVALID);
	assert_err(seal_opener_new(test_data_key(), AAD, stored, 1, UINT64_MAX, &opener, &err), ERR_INVALID);
	assert_err(seal_opener_new(test_data_key(), AAD, stored, UINT64_MAX, 2, &opener, &err), ERR_INVALID);
	assert_err(seal_opener_new(test_data_key(), AAD, stored, 5, 0, &opener, &err), ERR_INVALID);
	assert_err(seal_opener_new(test_data_key(), AAD, 56, 0, 1, &opener, &err), ERR_INVALID);
	assert_err(seal_opener_new(test_data_key(), AAD, 55, 0, 0, &opener, &err), ERR_CORRUPT);
	assert_err(seal_opener_new(test_data_key(), AAD, 65536 + 3, 0, 1, &opener, &err), ERR_CORRUPT);
	assert_null(opener);
	seal_open_free(NULL);
}

static void test_stream_header_out_of_turn(void **state)
{
	(void)state;
	autobuf struct buf plain = {0}, sealed = {0}, out = {0};
	plain_pattern(131001, &plain);
	seal_all(buf_span(&plain), 131001, AAD, &sealed);
	struct span header = span_of(sealed.data, 40);
	struct opener *opener = NULL;
	assert_ok(seal_opener_new(test_data_key(), AAD, sealed.len, 0, 10, &opener, &err), err);
	assert_err(seal_open_stream_header(opener, header, &err), ERR_INVALID); /* it comes with segment 0 */
	seal_open_free(opener);
	assert_ok(seal_opener_new(test_data_key(), AAD, sealed.len, 65480, 10, &opener, &err), err);
	assert_err(seal_open_update(opener, span_of(sealed.data + 65536, 10), &out, &err), ERR_INVALID);
	assert_ok(seal_open_stream_header(opener, header, &err), err);
	assert_err(seal_open_stream_header(opener, header, &err), ERR_INVALID);
	assert_ok(seal_open_update(opener, span_of(sealed.data + 65536, 65536), &out, &err), err);
	assert_ok(seal_open_final(opener, &out, &err), err);
	seal_open_free(opener);
	assert_ok(seal_opener_new(test_data_key(), AAD, sealed.len, 65480, 10, &opener, &err), err);
	assert_err(seal_open_stream_header(opener, span_of(sealed.data, 39), &err), ERR_CORRUPT);
	assert_err(seal_open_stream_header(opener, header, &err), ERR_CORRUPT);
	seal_open_free(opener);
	assert_memory_equal(out.data, plain.data + 65480, 10);
}

/* A stream that was tampered with: refused, and of the plain bytes only whole segments before the bad one are out. */
static void expect_refusal(struct span stored, struct span plain, size_t most)
{
	static const size_t pieces[] = {4096, 1u << 20};
	for (size_t i = 0; i < 2; i++) {
		autobuf struct buf out = {0};
		assert_int_equal(open_all(stored, pieces[i], AAD, &out), ERR_CORRUPT);
		assert_true(out.len <= most);
		assert_true(out.len == 0 || memcmp(out.data, plain.ptr, out.len) == 0);
	}
}

static void test_flips(void **state)
{
	(void)state;
	static const struct {
		size_t at, most;
	} flips[] = {
	    {0, 0},     {1, 0},     {32, 0},        {33, 0},         {39, 0},          {40, 0},          {65519, 0},
	    {65520, 0}, {65535, 0}, {65536, 65480}, {131071, 65480}, {131072, 131000}, {196607, 131000}, {196608, 196520},
	};
	autobuf struct buf plain = {0}, sealed = {0};
	plain_pattern(200000, &plain);
	seal_all(buf_span(&plain), 200000, AAD, &sealed);
	for (size_t i = 0; i < sizeof flips / sizeof flips[0]; i++) {
		for (unsigned bit = 1; bit < 256; bit <<= 1) {
			sealed.data[flips[i].at] ^= (uint8_t)bit;
			expect_refusal(buf_span(&sealed), buf_span(&plain), flips[i].most);
			sealed.data[flips[i].at] ^= (uint8_t)bit;
		}
	}
	sealed.data[sealed.len - 1] ^= 1;
	expect_refusal(buf_span(&sealed), buf_span(&plain), 196520);
}

static void test_every_byte_of_a_small_stream(void **state)
{
	(void)state;
	autobuf struct buf plain = {0}, sealed = {0};
	plain_pattern(20, &plain);
	seal_all(buf_span(&plain), 20, AAD, &sealed);
	for (size_t i = 0; i < sealed.len; i++) {
		sealed.data[i] ^= 0x10;
		expect_refusal(buf_span(&sealed), buf_span(&plain), 0);
		sealed.data[i] ^= 0x10;
	}
}

static void test_truncations(void **state)
{
	(void)state;
	static const size_t lengths[] = {0,     1,     39,    40,     55,     56,     57,     65535,  65536,
	                                 65537, 65552, 65553, 131071, 131072, 131073, 131089, 196608, 196625};
	autobuf struct buf plain = {0}, sealed = {0};
	plain_pattern(200000, &plain);
	seal_all(buf_span(&plain), 200000, AAD, &sealed);
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
		expect_refusal(span_of(sealed.data, lengths[i]), buf_span(&plain), lengths[i] <= 196608 ? 131000 : 196520);
	expect_refusal(span_of(sealed.data, sealed.len - 1), buf_span(&plain), 196520);
	/* The store says the right size and gives less. */
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
		struct opener *opener = NULL;
		autobuf struct buf out = {0};
		assert_ok(seal_opener_new(test_data_key(), AAD, sealed.len, 0, 200000, &opener, &err), err);
		assert_int_equal(feed(opener, span_of(sealed.data, lengths[i]), 60000, &out), ERR_CORRUPT);
		assert_true(out.len <= lengths[i]);
	}
}

static void test_extensions(void **state)
{
	(void)state;
	autobuf struct buf plain = {0}, sealed = {0}, out = {0};
	plain_pattern(131000, &plain);
	seal_all(buf_span(&plain), 131000, AAD, &sealed);
	struct opener *opener = NULL;
	uint64_t stored = sealed.len;
	buf_append_byte(&sealed, 0);
	assert_ok(seal_opener_new(test_data_key(), AAD, stored, 0, 131000, &opener, &err), err);
	assert_int_equal(feed(opener, buf_span(&sealed), MIB, &out), ERR_CORRUPT);
	uint8_t zeros[100] = {0};
	buf_append(&sealed, span_of(zeros, sizeof zeros));
	expect_refusal(buf_span(&sealed), buf_span(&plain), 65480); /* the old last segment is not last now */
}

static void test_swaps_and_drops(void **state)
{
	(void)state;
	enum { SEG = SEAL_SEGMENT_BYTES };
	static uint8_t kept[SEG];
	autobuf struct buf plain = {0}, sealed = {0};
	plain_pattern(300000, &plain);
	seal_all(buf_span(&plain), 300000, AAD, &sealed);
	memcpy(kept, sealed.data + SEG, SEG);
	memcpy(sealed.data + SEG, sealed.data + 2 * SEG, SEG);
	expect_refusal(buf_span(&sealed), buf_span(&plain), 65480); /* one twice */
	memcpy(sealed.data + 2 * SEG, kept, SEG);
	expect_refusal(buf_span(&sealed), buf_span(&plain), 65480); /* two swapped */
	memmove(sealed.data + 2 * SEG, sealed.data + 3 * SEG, sealed.len - 3 * SEG);
	sealed.len -= SEG;
	expect_refusal(buf_span(&sealed), buf_span(&plain), 65480); /* one missing */
}

static void test_segments_of_another_stream(void **state)
{
	(void)state;
	enum { SEG = SEAL_SEGMENT_BYTES };
	autobuf struct buf plain = {0}, a = {0}, b = {0};
	plain_pattern(200000, &plain);
	seal_all(buf_span(&plain), 200000, AAD, &a);
	seal_all(buf_span(&plain), 200000, span_str("associated too"), &b);
	memcpy(a.data + SEG, b.data + SEG, SEG);
	expect_refusal(buf_span(&a), buf_span(&plain), 65480);
	expect_refusal(buf_span(&b), buf_span(&plain), 0); /* all of it, under another context */
}

static void test_nothing_after_a_failure(void **state)
{
	(void)state;
	autobuf struct buf plain = {0}, sealed = {0}, out = {0};
	plain_pattern(200000, &plain);
	seal_all(buf_span(&plain), 200000, AAD, &sealed);
	struct opener *opener = NULL;
	assert_ok(seal_opener_new(test_data_key(), AAD, sealed.len, 0, 200000, &opener, &err), err);
	sealed.data[100] ^= 1;
	assert_err(seal_open_update(opener, span_of(sealed.data, 65536), &out, &err), ERR_CORRUPT);
	assert_err(seal_open_update(opener, span_of(sealed.data + 65536, 65536), &out, &err), ERR_CORRUPT);
	assert_err(seal_open_final(opener, &out, &err), ERR_CORRUPT);
	assert_int_equal(out.len, 0);
	for (size_t i = 0; i < out.cap && i < 65480; i++) /* not even in the spare room of the buffer */
		assert_int_equal(out.data[i], 0);
	seal_open_free(opener);
}

/* ---- what Tink wrote ---- */

struct vector {
	struct secret *key;
	struct buf aad, sealed, plain;
	char sha256[65];
};

static char *next_line(char **text)
{
	char *line = strsep(text, "\n");
	assert_non_null(line);
	return line;
}

static void vector_load(size_t size, struct vector *ret)
{
	autofree char *folder = xasprintf("%s/vectors/seal/tink-%zu", TEST_SOURCE_DIR, size);
	autofree char *sealed_path = xasprintf("%s/sealed.bin", folder), *text_path = xasprintf("%s/vector.txt", folder);
	autobuf struct buf text = {0};
	assert_ok(text_read_file(sealed_path, 4 * MIB, &ret->sealed, &err), err);
	assert_ok(text_read_file(text_path, 65536, &text, &err), err);
	autofree char *copy = xstrdup(buf_cstr(&text));
	char *at = copy, *line = next_line(&at);
	ret->key = secret_new(SEAL_KEY_BYTES);
	assert_true(text_unhex(line, secret_bytes(ret->key), SEAL_KEY_BYTES));
	line = next_line(&at);
	size_t aad_len = strlen(line) / 2;
	assert_true(text_unhex(line, buf_reserve(&ret->aad, aad_len), aad_len));
	ret->aad.len = aad_len;
	assert_int_equal(strtoul(next_line(&at), NULL, 10), size);
	snprintf(ret->sha256, sizeof ret->sha256, "%s", next_line(&at));
	plain_pattern(size, &ret->plain);
}

static void vector_done(struct vector *vector)
{
	secret_free(vector->key);
	buf_done(&vector->aad);
	buf_done(&vector->sealed);
	buf_done(&vector->plain);
}

static struct secret *copy_of(const struct secret *key)
{
	return secret_from(secret_span(key));
}

static void check_opens(const struct vector *vector)
{
	struct opener *opener = NULL;
	autobuf struct buf out = {0};
	assert_ok(seal_opener_new(copy_of(vector->key), buf_span(&vector->aad), vector->sealed.len, 0, vector->plain.len,
	                          &opener, &err),
	          err);
	assert_int_equal(feed(opener, buf_span(&vector->sealed), 10000, &out), ERR_OK);
	assert_true(span_eq(buf_span(&out), buf_span(&vector->plain)));
}

/* Under Tink's salt and nonce prefix we write Tink's bytes: so Tink reads what we write. */
static void check_writes_the_same(const struct vector *vector)
{
	struct sealer *sealer = NULL;
	autobuf struct buf out = {0};
	uint8_t hash[32];
	char hex[65];
	assert_ok(seal_sealer_new(copy_of(vector->key), buf_span(&vector->aad), vector->sealed.data, &sealer, &err), err);
	assert_ok(seal_update(sealer, buf_span(&vector->plain), &out, &err), err);
	assert_ok(seal_final(sealer, &out, &err), err);
	seal_free(sealer);
	text_sha256(buf_span(&out), hash);
	text_hex(span_of(hash, sizeof hash), hex);
	assert_string_equal(hex, vector->sha256);
}

static void test_tink_streams_open(void **state)
{
	(void)state;
	static const size_t cases[] = {0, 1, 65480, 65481, 131001};
	for (size_t i = 0; i < 5; i++) {
		struct vector vector = {0};
		vector_load(cases[i], &vector);
		check_opens(&vector);
		vector_done(&vector);
	}
}

static void test_tink_would_have_written_the_same(void **state)
{
	(void)state;
	static const size_t cases[] = {0, 1, 65480, 65481, 131001, 1048577};
	for (size_t i = 0; i < 6; i++) {
		struct vector vector = {0};
		vector_load(cases[i], &vector);
		check_writes_the_same(&vector);
		vector_done(&vector);
	}
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_round_trip_in_pieces), cmocka_unit_test(test_byte_by_byte),
             cmocka_unit_test(test_bounded_memory), cmocka_unit_test(test_sealer_after_the_end),
             cmocka_unit_test(test_output_that_is_full), cmocka_unit_test(test_ranges_at_every_edge),
             cmocka_unit_test(test_ranges_that_are_none), cmocka_unit_test(test_stream_header_out_of_turn),
             cmocka_unit_test(test_flips), cmocka_unit_test(test_every_byte_of_a_small_stream),
             cmocka_unit_test(test_truncations), cmocka_unit_test(test_extensions),
             cmocka_unit_test(test_swaps_and_drops), cmocka_unit_test(test_segments_of_another_stream),
             cmocka_unit_test(test_nothing_after_a_failure), cmocka_unit_test(test_tink_streams_open),
             cmocka_unit_test(test_tink_would_have_written_the_same))
