#include "rpc/status.h"

#include "tests/unit/harness.h"

static void expect_clean(const char *message, const char *expected)
{
	char out[RPC_STATUS_MESSAGE_MAX];
	rpc_status_clean(message, out);
	assert_string_equal(out, expected);
}

static void test_clean(void **state)
{
	(void)state;
	expect_clean(NULL, "");
	expect_clean("", "");
	expect_clean("plain", "plain");
	expect_clean("h\xc3\xa9re", "h\xc3\xa9re");
	expect_clean("a\nb\x7f", "a?b?");
	expect_clean("\xff\xfe", "??");
}

static void test_clean_cuts(void **state)
{
	(void)state;
	char message[3000], out[RPC_STATUS_MESSAGE_MAX];
	memset(message, 'x', sizeof(message));
	message[sizeof(message) - 1] = '\0';
	rpc_status_clean(message, out);
	assert_int_equal(strlen(out), RPC_STATUS_MESSAGE_MAX - 1);
	/* Not through a character. */
	memcpy(message + RPC_STATUS_MESSAGE_MAX - 2, "\xc3\xa9", 2);
	rpc_status_clean(message, out);
	assert_int_equal(strlen(out), RPC_STATUS_MESSAGE_MAX - 2);
}

static void test_round_trip(void **state)
{
	(void)state;
	autobuf struct buf packed = {0};
	struct rpc_error_info info = {.reason = "RULE_DENIED",
	                              .domain = "twokey",
	                              .metadata_key = {"bad", "record", NULL},
	                              .metadata_value = {"\xff", "r1", "x"},
	                              .n_metadata = 3};
	rpc_status_pack(ERR_DENIED, "no", &info, &packed);
	struct rpc_status status = {.code = ERR_DENIED};
	rpc_status_unpack(buf_span(&packed), &status);
	assert_string_equal(status.reason, "RULE_DENIED");
	assert_string_equal(status.record, "r1");
	/* What makes no sense changes nothing. */
	for (size_t len = 0; len < packed.len; len++) {
		struct rpc_status cut = {0};
		rpc_status_unpack(span_of(packed.data, len), &cut);
		assert_null(cut.reason);
		assert_null(cut.record);
	}
	rpc_status_done(&status);
	assert_null(status.reason);
}

static void test_codes(void **state)
{
	(void)state;
	assert_int_equal(rpc_status_code(GRPC_STATUS_OK), ERR_OK);
	assert_int_equal(rpc_status_code(GRPC_STATUS_PERMISSION_DENIED), ERR_DENIED);
	assert_int_equal(rpc_status_code(GRPC_STATUS_DATA_LOSS), ERR_CORRUPT);
	assert_int_equal(rpc_status_code(GRPC_STATUS_UNKNOWN), ERR_INTERNAL);
	assert_int_equal(rpc_status_code(GRPC_STATUS_ABORTED), ERR_UNAVAILABLE);
	assert_int_equal(rpc_status_code(GRPC_STATUS_OUT_OF_RANGE), ERR_INVALID);
	assert_int_equal(rpc_status_code((grpc_status_code)999), ERR_INTERNAL);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_clean), cmocka_unit_test(test_clean_cuts),
             cmocka_unit_test(test_round_trip), cmocka_unit_test(test_codes))
