/* Calls that are stopped while they wait for their client. */
#include "tests/unit/rpc/fixture.h"

#define CHUNK (256 << 10)

static struct fixture fixture;
static struct signal_flag begun = SIGNAL_FLAG_INIT, ended = SIGNAL_FLAG_INIT;
static _Atomic(bool) stop_now;
static _Atomic(int) last_code;

static bool stop(void *user, struct rpc_stop *ret)
{
	(void)user;
	if (!atomic_load(&stop_now))
		return false;
	*ret = (struct rpc_stop){ERR_DENIED, "REVOKED: this has been revoked"};
	return true;
}

static void finish(struct rpc_call *call, enum err_code code)
{
	const struct rpc_error_info info = {.reason = "REVOKED", .domain = "twokey"};
	atomic_store(&last_code, code);
	rpc_finish(call, code == ERR_OK ? ERR_OK : ERR_DENIED, "stopped", code == ERR_OK ? NULL : &info);
	flag_add(&ended, 1);
}

static void up(struct rpc_call *call, void *user)
{
	(void)user;
	struct err err = {0};
	autobuf struct buf message = {0};
	bool end = false;
	enum err_code code = ERR_OK;
	rpc_watch(call, stop, NULL);
	while (code == ERR_OK && !end) {
		flag_add(&begun, 1);
		code = rpc_recv(call, &message, &end, &err);
	}
	if (code == ERR_OK)
		code = rpc_send(call, span_str("all"), NULL, &err);
	finish(call, code);
}

static void down(struct rpc_call *call, void *user)
{
	(void)user;
	struct err err = {0};
	enum err_code code = ERR_OK;
	rpc_watch(call, stop, NULL);
	for (int i = 0; code == ERR_OK && i < 1000; i++) {
		autobuf struct buf body = {0};
		memset(buf_reserve(&body, CHUNK), i, CHUNK);
		body.len = CHUNK;
		flag_add(&begun, 1);
		code = rpc_send(call, (struct span){0}, &body, &err);
	}
	finish(call, code);
}

static const struct rpc_method methods[] = {
    {"/twokey.v1.Gatekeeper/Store", up, NULL, CHUNK + 64, true, false, NULL},
    {"/twokey.v1.Gatekeeper/Fetch", down, NULL, CHUNK + 64, true, false, NULL},
    {0},
};

static int setup(void **state)
{
	(void)state;
	fixture_start(&fixture, methods);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fixture_stop(&fixture);
	return 0;
}

static void begin(void)
{
	atomic_store(&stop_now, false);
	flag_add(&begun, -flag_value(&begun));
	flag_add(&ended, -flag_value(&ended));
}

static void test_a_receive_that_waits_is_stopped_and_says_why(void **state)
{
	(void)state;
	begin();
	struct rpc_stream *stream = fixture_open(fixture.client, methods[0].path);
	struct err err = {0};
	assert_ok(rpc_stream_send(stream, span_str("one"), NULL, &err), err);
	flag_wait(&begun, 2); /* the first message is taken; it waits for the second */
	atomic_store(&stop_now, true);
	autobuf struct buf message = {0};
	bool end = false;
	assert_ok(rpc_stream_recv(stream, &message, &end, &err), err);
	assert_true(end);
	struct rpc_status status;
	rpc_stream_finish(stream, &status);
	assert_int_equal(status.code, ERR_DENIED);
	assert_string_equal(status.reason, "REVOKED");
	rpc_status_done(&status);
	rpc_stream_free(stream);
	flag_wait(&ended, 1);
	assert_int_equal(atomic_load(&last_code), ERR_CANCELLED);
}

static void test_a_send_that_waits_is_stopped(void **state)
{
	(void)state;
	begin();
	struct rpc_stream *stream = fixture_open(fixture.client, methods[1].path);
	struct err err = {0};
	flag_wait(&begun, 1);
	/* The client takes nothing: at some time the flow control holds the server, at the latest when memory would burst.
	 */
	atomic_store(&stop_now, true);
	flag_wait(&ended, 1);
	assert_int_equal(atomic_load(&last_code), ERR_CANCELLED);
	assert_true(flag_value(&begun) < 1000);
	autobuf struct buf message = {0};
	bool end = false;
	while (rpc_stream_recv(stream, &message, &end, &err) == ERR_OK && !end)
		;
	struct rpc_status status;
	rpc_stream_finish(stream, &status);
	assert_int_equal(status.code, ERR_DENIED);
	assert_non_null(strstr(status.message, "REVOKED"));
	rpc_status_done(&status);
	rpc_stream_free(stream);
}

static void test_a_call_that_is_not_stopped_goes_on(void **state)
{
	(void)state;
	begin();
	struct rpc_stream *stream = fixture_open(fixture.client, methods[0].path);
	struct err err = {0};
	autobuf struct buf message = {0};
	bool end = false;
	assert_ok(rpc_stream_send(stream, span_str("one"), NULL, &err), err);
	flag_wait(&begun, 2);
	assert_ok(rpc_stream_half_close(stream, &err), err);
	assert_ok(rpc_stream_recv(stream, &message, &end, &err), err);
	assert_string_equal(buf_cstr(&message), "all");
	assert_int_equal(fixture_finish(stream), ERR_OK);
	flag_wait(&ended, 1);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_a_receive_that_waits_is_stopped_and_says_why),
             cmocka_unit_test(test_a_send_that_waits_is_stopped),
             cmocka_unit_test(test_a_call_that_is_not_stopped_goes_on))
