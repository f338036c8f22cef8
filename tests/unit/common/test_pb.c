#include "common/pb.h"

#include "tests/unit/harness.h"

/* A message with a field of every kind, as protoc-c would describe it:
 *
 *	message Sample {
 *		int32 number = 1;
 *		string text = 2;
 *		bytes blob = 3;
 *		Sample child = 4;
 *		repeated uint32 packed = 5;
 *		oneof choice { uint64 left = 6; string right = 7; }
 *		Colour colour = 8;
 *		repeated Sample kids = 9;
 *		fixed32 fixed = 10;
 *		double real = 11;
 *		bool flag = 12;
 *		repeated string words = 13;
 *		sint32 zigzag = 14;
 *		repeated fixed64 wide = 15;
 *		repeated Colour colours = 16;
 *	}
 *	enum Colour { RED = 0; GREEN = 1; BLUE = 5; } */
struct sample {
	ProtobufCMessage base;
	int32_t number;
	char *text;
	ProtobufCBinaryData blob;
	struct sample *child;
	size_t n_packed;
	uint32_t *packed;
	int choice_case;
	int colour;
	union {
		uint64_t left;
		char *right;
	};
	size_t n_kids;
	struct sample **kids;
	uint32_t fixed;
	double real;
	protobuf_c_boolean flag;
	size_t n_words;
	char **words;
	int32_t zigzag;
	size_t n_wide;
	uint64_t *wide;
	size_t n_colours;
	int *colours;
};

static const ProtobufCEnumValue colour_values[] = {{"RED", "RED", 0}, {"GREEN", "GREEN", 1}, {"BLUE", "BLUE", 5}};
static const ProtobufCIntRange colour_ranges[] = {{0, 0}, {5, 2}, {0, 3}};
static const ProtobufCEnumDescriptor colour_type = {.magic = PROTOBUF_C__ENUM_DESCRIPTOR_MAGIC,
                                                    .name = "Colour",
                                                    .n_values = 3,
                                                    .values = colour_values,
                                                    .n_value_ranges = 2,
                                                    .value_ranges = colour_ranges};

static const ProtobufCMessageDescriptor sample_type;

#define SINGLE(name_, id_, type_, ...)                                                                                 \
	{                                                                                                                  \
		.name = #name_, .id = (id_), .label = PROTOBUF_C_LABEL_NONE, .type = PROTOBUF_C_TYPE_##type_,                  \
		.offset = offsetof(struct sample, name_), __VA_ARGS__                                                          \
	}
#define REPEATED(name_, id_, type_, ...)                                                                               \
	{                                                                                                                  \
		.name = #name_, .id = (id_), .label = PROTOBUF_C_LABEL_REPEATED, .type = PROTOBUF_C_TYPE_##type_,              \
		.offset = offsetof(struct sample, name_), .quantifier_offset = offsetof(struct sample, n_##name_), __VA_ARGS__ \
	}
#define CHOICE .flags = PROTOBUF_C_FIELD_FLAG_ONEOF, .quantifier_offset = offsetof(struct sample, choice_case)
#define EMPTY  .default_value = protobuf_c_empty_string

static const ProtobufCFieldDescriptor sample_fields[] = {
    SINGLE(number, 1, INT32),
    SINGLE(text, 2, STRING, EMPTY),
    SINGLE(blob, 3, BYTES),
    SINGLE(child, 4, MESSAGE, .descriptor = &sample_type),
    REPEATED(packed, 5, UINT32, .flags = PROTOBUF_C_FIELD_FLAG_PACKED),
    SINGLE(left, 6, UINT64, CHOICE),
    SINGLE(right, 7, STRING, CHOICE, EMPTY),
    SINGLE(colour, 8, ENUM, .descriptor = &colour_type),
    REPEATED(kids, 9, MESSAGE, .descriptor = &sample_type),
    SINGLE(fixed, 10, FIXED32),
    SINGLE(real, 11, DOUBLE),
    SINGLE(flag, 12, BOOL),
    REPEATED(words, 13, STRING),
    SINGLE(zigzag, 14, SINT32),
    REPEATED(wide, 15, FIXED64, .flags = PROTOBUF_C_FIELD_FLAG_PACKED),
    REPEATED(colours, 16, ENUM, .flags = PROTOBUF_C_FIELD_FLAG_PACKED, .descriptor = &colour_type),
};
static const ProtobufCIntRange sample_ranges[] = {{1, 0}, {0, 16}};
static const ProtobufCMessageDescriptor sample_type = {.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
                                                       .name = "Sample",
                                                       .sizeof_message = sizeof(struct sample),
                                                       .n_fields = 16,
                                                       .fields = sample_fields,
                                                       .n_field_ranges = 1,
                                                       .field_ranges = sample_ranges};

#define BUDGET ((size_t)1 << 20)

static struct span bytes_of(const char *hex)
{
	static uint8_t out[512];
	size_t n = 0;
	for (; *hex; hex += 2) {
		while (*hex == ' ')
			hex++;
		unsigned byte;
		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		assert_true(n < sizeof out);
		out[n++] = (uint8_t)byte;
	}
	return span_of(out, n);
}

static struct sample *unpack(const char *hex, enum pb_strictness strictness)
{
	struct err err;
	ProtobufCMessage *message = NULL;
	assert_ok(pb_unpack(&sample_type, bytes_of(hex), strictness, BUDGET, &message, &err), err);
	return (struct sample *)message;
}

static void test_a_field_of_every_kind(void **state)
{
	(void)state;
	struct sample *s = unpack("08ffffffffffffffffff01 1203c3a961 1a03000102 22020805 2a0301ac02"
	                          "3007 4005 4a020801 4a00 5504030201 59000000000000f03f 6001 6a0161 6a0162 7001"
	                          "7a080100000000000000 8201020005",
	                          PB_STRICT);
	assert_int_equal(s->number, -1);
	assert_string_equal(s->text, "\xc3\xa9"
	                             "a");
	assert_true(span_eq(span_of(s->blob.data, s->blob.len), span_of("\0\1\2", 3)));
	assert_int_equal(s->child->number, 5);
	assert_int_equal(s->n_packed, 2);
	assert_int_equal(s->packed[1], 300);
	assert_int_equal(s->choice_case, 6);
	assert_int_equal(s->left, 7);
	assert_int_equal(s->colour, 5);
	assert_int_equal(s->n_kids, 2);
	assert_int_equal(s->kids[0]->number, 1);
	assert_int_equal(s->fixed, 0x01020304);
	assert_true(s->real == 1.0);
	assert_true(s->flag);
	assert_int_equal(s->n_words, 2);
	assert_string_equal(s->words[1], "b");
	assert_int_equal(s->zigzag, -1);
	assert_int_equal(s->wide[0], 1);
	assert_int_equal(s->n_colours, 2);
	assert_int_equal(s->colours[1], 5);
	pb_free(&s->base);
}

static void test_an_empty_message(void **state)
{
	(void)state;
	struct sample *s = unpack("", PB_STRICT);
	assert_int_equal(s->number, 0);
	assert_string_equal(s->text, "");
	assert_null(s->child);
	pb_free(&s->base);
	pb_free(NULL);
}

static void test_repeated_numbers_packed_or_not(void **state)
{
	(void)state;
	static const char *const forms[] = {"2a020102", "28012802", "28012a0102"};
	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		struct sample *s = unpack(forms[i], PB_STRICT);
		assert_int_equal(s->n_packed, 2);
		assert_int_equal(s->packed[0], 1);
		assert_int_equal(s->packed[1], 2);
		pb_free(&s->base);
	}
}

struct refusal {
	const char *hex, *text;
};

static void assert_refused(const struct refusal *refusal, enum pb_strictness strictness)
{
	struct err err = {0};
	ProtobufCMessage *message = NULL;
	enum err_code code = pb_unpack(&sample_type, bytes_of(refusal->hex), strictness, BUDGET, &message, &err);
	if (code != ERR_INVALID || message || strcmp(err.text, refusal->text) != 0)
		fail_msg("%s: %s: \"%s\" instead of \"%s\"", refusal->hex, err_name(code), err.text, refusal->text);
}

static const struct refusal always[] = {
    /* wire format */
    {"08", "Sample: not protobuf wire format"},
    {"80", "Sample: not protobuf wire format"},
    {"0001", "Sample: not protobuf wire format"},                     /* field number 0 */
    {"0800 0000", "Sample: not protobuf wire format"},                /* trailing zero bytes */
    {"0b0c", "Sample: not protobuf wire format"},                     /* a group */
    {"a306a406", "Sample: not protobuf wire format"},                 /* a group of an unknown number */
    {"0c", "Sample: not protobuf wire format"},                       /* end of a group */
    {"0e01", "Sample: not protobuf wire format"},                     /* wire types 6 and 7 */
    {"0f01", "Sample: not protobuf wire format"},                     /* */
    {"08ffffffffffffffffff02", "Sample: not protobuf wire format"},   /* 65 bits */
    {"08ffffffffffffffffffff01", "Sample: not protobuf wire format"}, /* 11 bytes */
    {"888080808000 01", "Sample: not protobuf wire format"},          /* a tag of 6 bytes */
    {"808080801001", "Sample: not protobuf wire format"},             /* field number 2^29 */
    {"1205 6162", "Sample: not protobuf wire format"},                /* shorter than its length */
    {"12ffffffffffffffffff01", "Sample: not protobuf wire format"},   /* length 2^64 - 1 */
    {"55010203", "Sample: not protobuf wire format"},                 /* half a fixed32 */
    {"5901020304050607", "Sample: not protobuf wire format"},         /* half a double */
    {"a20605 00", "Sample: not protobuf wire format"},                /* inside an unknown field */
    /* types */
    {"0a0101", "Sample.number: wrong wire type"},
    {"0d01020304", "Sample.number: wrong wire type"},
    {"1001", "Sample.text: wrong wire type"},
    {"2001", "Sample.child: wrong wire type"},
    {"5001", "Sample.fixed: wrong wire type"},
    {"520401020304", "Sample.fixed: wrong wire type"},
    {"2d01020304", "Sample.packed: wrong wire type"},
    {"2a0180", "Sample.packed: bad packed values"},
    {"7a0701020304050607", "Sample.wide: bad packed values"},
    /* text */
    {"1201ff", "Sample.text: not UTF-8 text without NUL"},
    {"1203610062", "Sample.text: not UTF-8 text without NUL"},
    {"1203eda080", "Sample.text: not UTF-8 text without NUL"},
    {"6a01c3", "Sample.words: not UTF-8 text without NUL"},
    {"3a0100", "Sample.right: not UTF-8 text without NUL"},
    {"22031201ff", "Sample.text: not UTF-8 text without NUL"},
    /* repetition that protobuf-c gets wrong */
    {"22002200", "Sample.child: given more than once"},
    {"30013002", "Sample.left: given more than once"},
    {"30013a0161", "Sample.right: given more than once"},
    {"3a01613001", "Sample.left: given more than once"},
    {"4a0822020801 22020801", "Sample.child: given more than once"},
};

static void test_refused_always(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof always / sizeof always[0]; i++) {
		assert_refused(&always[i], PB_STRICT);
		assert_refused(&always[i], PB_LENIENT);
	}
}

static const struct refusal when_strict[] = {
    {"a00601", "Sample: unknown field 100"},
    {"a2060161", "Sample: unknown field 100"},
    {"2203a00601", "Sample: unknown field 100"},
    {"4002", "Sample.colour: value out of range"},
    {"40ffffffffffffffffff01", "Sample.colour: value out of range"},
    {"408180808010", "Sample.colour: value out of range"}, /* 2^32 + 1, which some read as 1 */
    {"820102 0002", "Sample.colours: bad packed values"},
    {"800102", "Sample.colours: value out of range"},
    {"088080808008", "Sample.number: value out of range"},
    {"28808080808001", "Sample.packed: value out of range"},
    {"2a06808080808001", "Sample.packed: bad packed values"},
    {"70808080808001", "Sample.zigzag: value out of range"},
    {"6002", "Sample.flag: value out of range"},
    {"08010802", "Sample.number: given more than once"},
    {"120161120162", "Sample.text: given more than once"},
    {"1a001a00", "Sample.blob: given more than once"},
    {"2204 08010801", "Sample.number: given more than once"},
};

static void test_refused_when_strict_only(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof when_strict / sizeof when_strict[0]; i++) {
		assert_refused(&when_strict[i], PB_STRICT);
		struct sample *s = unpack(when_strict[i].hex, PB_LENIENT);
		pb_free(&s->base);
	}
}

static void test_the_last_of_repeated_scalars_counts_when_lenient(void **state)
{
	(void)state;
	struct sample *s = unpack("08010802 120161120162", PB_LENIENT);
	assert_int_equal(s->number, 2);
	assert_string_equal(s->text, "b");
	pb_free(&s->base);
}

/* Sample messages inside one another, `levels` below the outermost. */
static struct buf nested(unsigned levels)
{
	struct buf out = {0};
	for (unsigned i = 0; i < levels; i++) {
		struct buf outer = {0};
		pb_append_bytes_header(&outer, 4, out.len);
		buf_append(&outer, buf_span(&out));
		buf_done(&out);
		out = outer;
	}
	return out;
}

static void test_nesting_is_limited(void **state)
{
	(void)state;
	struct err err;
	ProtobufCMessage *message = NULL;
	autobuf struct buf most = nested(8), more = nested(9), bomb = nested(5000);
	assert_ok(pb_unpack(&sample_type, buf_span(&most), PB_STRICT, BUDGET, &message, &err), err);
	pb_free(message);
	assert_err(pb_unpack(&sample_type, buf_span(&more), PB_LENIENT, BUDGET, &message, &err), ERR_INVALID);
	assert_string_equal(err.text, "Sample.child: nested too deeply");
	assert_err(pb_unpack(&sample_type, buf_span(&bomb), PB_LENIENT, BUDGET, &message, &err), ERR_INVALID);
}

static void test_a_bomb_exceeds_the_budget(void **state)
{
	(void)state;
	struct err err;
	ProtobufCMessage *message = NULL;
	autobuf struct buf kids = {0}, unknown = {0};
	for (int i = 0; i < 10000; i++) {
		buf_append(&kids, span_of("\x4a\x00", 2));
		buf_append(&unknown, span_of("\xa0\x06\x01", 3));
	}
	assert_err(pb_unpack(&sample_type, buf_span(&kids), PB_STRICT, BUDGET, &message, &err), ERR_EXHAUSTED);
	assert_string_equal(err.text, "Sample: needs more than 1048576 bytes of memory");
	assert_err(pb_unpack(&sample_type, buf_span(&unknown), PB_LENIENT, BUDGET / 4, &message, &err), ERR_EXHAUSTED);
	assert_null(message);
}

/* Whichever allocation is the one too many, nothing leaks and nothing is half there. */
static void test_every_budget_ends_well(void **state)
{
	(void)state;
	static const char hex[] = "1203c3a961 1a03000102 22020805 2a0301ac02 3a0161 4a020801 4a021a00 6a0161 6a0162"
	                          "7a080100000000000000 a00601 a206020102";
	size_t budget = 0;
	for (;; budget++) {
		struct err err;
		ProtobufCMessage *message = NULL;
		enum err_code code = pb_unpack(&sample_type, bytes_of(hex), PB_LENIENT, budget, &message, &err);
		if (code == ERR_OK) {
			pb_free(message);
			break;
		}
		assert_int_equal(code, ERR_EXHAUSTED);
		assert_null(message);
		assert_true(budget < 100000);
	}
	assert_true(budget > sizeof(struct sample));
}

static void test_pack(void **state)
{
	(void)state;
	struct sample *s = unpack("0805 120161 22020807 4a00", PB_STRICT);
	autobuf struct buf out = {.max = 16};
	buf_append_byte(&out, '>');
	pb_pack(&s->base, &out);
	struct span expected = bytes_of("3e 0805 120161 22020807 4a00");
	assert_true(span_eq(buf_span(&out), expected));
	pb_pack(&s->base, &out);
	assert_true(out.failed);
	assert_int_equal(out.len, expected.len);
	pb_free(&s->base);
}

static void test_single_bytes_field(void **state)
{
	(void)state;
	struct span content;
	autobuf struct buf out = {0};
	for (size_t len = 0; len < 400; len += 57) {
		buf_clear(&out);
		pb_append_bytes_header(&out, 3, len);
		memset(buf_reserve(&out, len), 'x', len);
		out.len += len;
		assert_true(pb_single_bytes_field(buf_span(&out), 3, &content));
		assert_int_equal(content.len, len);
		assert_ptr_equal(content.ptr + len, out.data + out.len);
		assert_false(pb_single_bytes_field(buf_span(&out), 4, &content));
	}
	assert_true(pb_single_bytes_field(bytes_of("a2060161"), 100, &content));
}

static void test_single_bytes_field_refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {"",       "1a",       "1a01",         "1a016162",           "1a0261",
	                                  "180161", "1a01610a", "1a01611a0161", "1affffffffffffff7f", "120161"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct span content;
		if (pb_single_bytes_field(bytes_of(bad[i]), 3, &content))
			fail_msg("accepted: %s", bad[i]);
	}
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_a_field_of_every_kind), cmocka_unit_test(test_an_empty_message),
             cmocka_unit_test(test_repeated_numbers_packed_or_not), cmocka_unit_test(test_refused_always),
             cmocka_unit_test(test_refused_when_strict_only),
             cmocka_unit_test(test_the_last_of_repeated_scalars_counts_when_lenient),
             cmocka_unit_test(test_nesting_is_limited), cmocka_unit_test(test_a_bomb_exceeds_the_budget),
             cmocka_unit_test(test_every_budget_ends_well), cmocka_unit_test(test_pack),
             cmocka_unit_test(test_single_bytes_field), cmocka_unit_test(test_single_bytes_field_refuses))
