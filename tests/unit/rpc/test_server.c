#include "tests/unit/rpc/fixture.h"

#include <arpa/inet.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* ---- handlers ---- */

static struct signal_flag entered = SIGNAL_FLAG_INIT, go = SIGNAL_FLAG_INIT;
static atomic_int cancelled_calls;

/* Runs until it is told to end. */
static void hold(struct rpc_call *call, void *user)
{
	(void)user;
	struct err err = {0};
	flag_add(&entered, 1);
	flag_wait(&go, 1);
	assert_ok(rpc_send(call, span_str("done"), NULL, &err), err);
	rpc_finish(call, ERR_OK, "", NULL);
}

/* Runs until it is cancelled. */
static void stuck(struct rpc_call *call, void *user)
{
	(void)user;
	autobuf struct buf message = {0};
	bool end = false;
	flag_add(&entered, 1);
	while (rpc_recv(call, &message, &end, NULL) == ERR_OK && !end) {
	}
	atomic_fetch_add(&cancelled_calls, rpc_cancelled(call));
}

static void answer(struct rpc_call *call, void *user)
{
	(void)user;
	struct err err = {0};
	assert_ok(rpc_send(call, span_str("here"), NULL, &err), err);
	rpc_finish(call, ERR_OK, "", NULL);
}

static void pass(struct rpc_call *call, void *user)
{
	(void)user;
	rpc_finish(call, ERR_OK, "", NULL);
}

static const struct rpc_method methods[] = {
    {"/t.T/Hold", hold, NULL, 1024, false, false, NULL},  {"/t.T/HoldStream", hold, NULL, 1024, true, false, NULL},
    {"/t.T/Stuck", stuck, NULL, 1024, true, false, NULL}, {"/t.T/Pass", pass, NULL, 1024, false, false, NULL},
    {"/t.T/Urgent", answer, NULL, 1024, .urgent = true},  {0},
};

static atomic_int verdicts[20];

static void unknown(struct rpc_call *call, void *user)
{
	enum err_code verdict = rpc_verdict(call);
	atomic_fetch_add(&verdicts[verdict], 1);
	struct rpc_error_info info = {.reason = user, .domain = "twokey"};
	if (strcmp(rpc_method_path(call), "/t.T/Silent") != 0)
		rpc_finish(call, verdict, "said by the handler", &info);
}

/* ---- starting ---- */

static void expect_refused(const struct rpc_server_options *options, enum err_code expected, const char *text)
{
	struct rpc_server *server = NULL;
	struct err err = {0};
	assert_err(rpc_server_start(options, &server, &err), expected);
	assert_null(server);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void test_start_refuses_addresses(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	struct rpc_server_options options = fixture_options(&f, methods);
	const char *const bad[] = {"",         "127.0.0.1", "127.0.0.1:", "localhost:99", "127.0.0.1:65536",
	                           "::1:8443", "[::1:8443", NULL};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		options.listen = bad[i];
		expect_refused(&options, ERR_INVALID, "listen");
	}
	options.listen = "192.0.2.1:8443";
	expect_refused(&options, ERR_UNAVAILABLE, "192.0.2.1:8443");
	fixture_stop(&f);
}

static void test_start_refuses_a_taken_port(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	struct rpc_server_options options = fixture_options(&f, methods);
	options.listen = f.target;
	expect_refused(&options, ERR_UNAVAILABLE, "in use");
	assert_in_range(rpc_server_port(f.server), 1, 32767);
	fixture_stop(&f);
}

static void test_start_refuses_tables(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	const struct rpc_method twice[] = {
	    {"/t.T/A", pass, NULL, 1, false, false, NULL}, {"/t.T/A", pass, NULL, 1, false, false, NULL}, {0}};
	const struct rpc_method slashless[] = {{"t.T/A", pass, NULL, 1, false, false, NULL}, {0}};
	const struct rpc_method empty[] = {{"/t.T/A", NULL, NULL, 1, false, false, NULL}, {0}};
	struct rpc_server_options options = fixture_options(&f, twice);
	expect_refused(&options, ERR_INVALID, "twice");
	options.methods = slashless;
	expect_refused(&options, ERR_INVALID, "t.T/A");
	options.methods = empty;
	expect_refused(&options, ERR_INVALID, "t.T/A");
	options = fixture_options(&f, methods);
	options.descriptors = span_str("no descriptor set");
	expect_refused(&options, ERR_INVALID, "descriptor");
	fixture_stop(&f);
}

static void test_ipv6(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	struct rpc_server_options options = fixture_options(&f, methods);
	options.listen = "[::]:0";
	fixture_serve(&f, &options);
	autobuf struct buf response = {0};
	assert_int_equal(fixture_unary(f.client, "/grpc.health.v1.Health/Check", "", &response), ERR_OK);
	fixture_stop(&f);
}

/* ---- limits ---- */

static void test_unknown_method(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	autobuf struct buf response = {0};
	for (int i = 0; i < 200; i++)
		assert_int_equal(fixture_unary(f.client, "/t.T/Nothing", "x", &response), ERR_UNIMPLEMENTED);
	fixture_stop(&f);
}

static void test_unknown_handler(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	struct rpc_server_options options = fixture_options(&f, methods);
	options.unknown = unknown;
	options.unknown_user = (void *)"UNKNOWN_METHOD";
	fixture_serve(&f, &options);
	autobuf struct buf response = {0};
	struct rpc_status status;
	assert_err(rpc_unary(f.client, "/t.T/Nothing", span_str("x"), 0, &response, &status, NULL), ERR_UNIMPLEMENTED);
	assert_string_equal(status.message, "said by the handler");
	assert_string_equal(status.reason, "UNKNOWN_METHOD");
	rpc_status_done(&status);
	assert_int_equal(fixture_unary(f.client, "/t.T/Silent", "x", &response), ERR_UNIMPLEMENTED);
	assert_int_equal(verdicts[ERR_UNIMPLEMENTED], 2);
	fixture_stop(&f);
}

static void check_cap(struct fixture *f, const char *path)
{
	autobuf struct buf response = {0};
	struct err err = {0};
	bool end = false;
	struct rpc_stream *first = fixture_open(f->client, path);
	flag_wait(&entered, 1);
	assert_int_equal(fixture_unary(f->client, path, "x", &response), ERR_EXHAUSTED);
	assert_int_equal(fixture_unary(f->client, path, "x", &response), ERR_EXHAUSTED);
	assert_int_equal(fixture_unary(f->client, "/t.T/Urgent", "x", &response), ERR_OK);
	flag_add(&go, 1);
	assert_ok(rpc_stream_recv(first, &response, &end, &err), err);
	assert_string_equal(buf_cstr(&response), "done");
	assert_int_equal(fixture_finish(first), ERR_OK);
	/* One client that waits for each answer is never over a cap of one. */
	for (int i = 0; i < 300; i++)
		assert_int_equal(fixture_unary(f->client, path, "x", &response), ERR_OK);
}

static void test_call_cap(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	struct rpc_server_options options = fixture_options(&f, methods);
	options.max_calls = 1;
	fixture_serve(&f, &options);
	check_cap(&f, "/t.T/Hold");
	fixture_stop(&f);
}

static void test_stream_cap(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	struct rpc_server_options options = fixture_options(&f, methods);
	options.max_streams = 1;
	options.unknown = unknown;
	options.unknown_user = (void *)"OVERLOADED";
	fixture_serve(&f, &options);
	check_cap(&f, "/t.T/HoldStream");
	assert_int_equal(verdicts[ERR_EXHAUSTED], 2);
	fixture_stop(&f);
}

/* ---- stopping ---- */

static void *stop_server(void *user)
{
	struct fixture *f = user;
	rpc_server_stop(f->server, 20000);
	return NULL;
}

static void test_stop_lets_a_call_end(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	struct rpc_stream *watch = fixture_open(f.client, "/grpc.health.v1.Health/Watch");
	struct err err = {0};
	autobuf struct buf message = {0};
	bool end = false;
	assert_ok(rpc_stream_send(watch, (struct span){0}, NULL, &err), err);
	assert_ok(rpc_stream_recv(watch, &message, &end, &err), err);
	struct rpc_stream *running = fixture_open(f.client, "/t.T/Hold");
	flag_wait(&entered, 1);
	pthread_t stopper;
	assert_int_equal(pthread_create(&stopper, NULL, stop_server, &f), 0);
	/* The end of the watch says that the stop has begun. */
	assert_int_equal(fixture_finish(watch), ERR_UNAVAILABLE);
	flag_add(&go, 1);
	assert_ok(rpc_stream_recv(running, &message, &end, &err), err);
	assert_string_equal(buf_cstr(&message), "done");
	assert_int_equal(fixture_finish(running), ERR_OK);
	pthread_join(stopper, NULL);
	f.server = NULL;
	fixture_stop(&f);
}

static void test_stop_cuts_a_stuck_call(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	struct rpc_stream *streams[8];
	for (int i = 0; i < 8; i++)
		streams[i] = fixture_open(f.client, "/t.T/Stuck");
	flag_wait(&entered, 8);
	rpc_server_stop(f.server, 50);
	f.server = NULL;
	assert_int_equal(cancelled_calls, 8);
	for (int i = 0; i < 8; i++)
		assert_int_not_equal(fixture_finish(streams[i]), ERR_OK);
	fixture_stop(&f);
}

static atomic_bool stopped;

static void *call_until_stopped(void *user)
{
	struct fixture *f = user;
	struct rpc_client *client = fixture_client(f, false);
	autobuf struct buf response = {0};
	while (!atomic_load(&stopped)) {
		struct rpc_status status;
		(void)!rpc_unary(client, "/t.T/Pass", span_str("x"), clock_now_ms(NULL) + 5000, &response, &status, NULL);
		rpc_status_done(&status);
		(void)!rpc_unary(client, "/t.T/Nothing", span_str("x"), clock_now_ms(NULL) + 5000, &response, &status, NULL);
		rpc_status_done(&status);
		flag_add(&entered, 1);
	}
	rpc_client_free(client);
	return NULL;
}

static void test_stop_while_calls_come(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	pthread_t threads[8];
	for (int i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, call_until_stopped, &f), 0);
	struct rpc_server_options options = fixture_options(&f, methods);
	options.listen = f.target;
	for (int round = 1; round <= 6; round++) {
		struct err err = {0};
		flag_wait(&entered, round * 40);
		rpc_server_stop(f.server, round % 2 ? 0 : 1000);
		assert_ok(rpc_server_start(&options, &f.server, &err), err);
	}
	atomic_store(&stopped, true);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	fixture_stop(&f);
}

/* ---- raw clients ---- */

/* What the room's own client would not do: plaintext, and gzip. */
static grpc_status_code raw_call(const char *target, const char *path, bool gzip)
{
	grpc_arg arg = {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM};
	arg.value.integer = gzip ? GRPC_COMPRESS_GZIP : GRPC_COMPRESS_NONE;
	grpc_channel_args args = {1, &arg};
	grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
	grpc_channel *channel = grpc_channel_create(target, credentials, &args);
	grpc_completion_queue *queue = grpc_completion_queue_create_for_pluck(NULL);
	grpc_slice method = grpc_slice_from_copied_string(path);
	grpc_call *call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue, method, NULL,
	                                           gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	static uint8_t zeros[4096];
	grpc_slice slice = grpc_slice_from_static_buffer(zeros, sizeof(zeros));
	grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&slice, 1);
	grpc_metadata_array initial, trailing;
	grpc_metadata_array_init(&initial);
	grpc_metadata_array_init(&trailing);
	grpc_status_code status;
	grpc_slice details;
	grpc_byte_buffer *answer = NULL;
	grpc_op ops[6] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},  {.op = GRPC_OP_SEND_MESSAGE},
	                  {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}, {.op = GRPC_OP_RECV_INITIAL_METADATA},
	                  {.op = GRPC_OP_RECV_STATUS_ON_CLIENT},  {.op = GRPC_OP_RECV_MESSAGE}};
	ops[1].data.send_message.send_message = message;
	ops[3].data.recv_initial_metadata.recv_initial_metadata = &initial;
	ops[4].data.recv_status_on_client.trailing_metadata = &trailing;
	ops[4].data.recv_status_on_client.status = &status;
	ops[4].data.recv_status_on_client.status_details = &details;
	ops[5].data.recv_message.recv_message = &answer;
	assert_int_equal(grpc_call_start_batch(call, ops, 6, call, NULL), GRPC_CALL_OK);
	grpc_completion_queue_pluck(queue, call, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	grpc_slice_unref(details);
	grpc_slice_unref(method);
	grpc_metadata_array_destroy(&initial);
	grpc_metadata_array_destroy(&trailing);
	grpc_byte_buffer_destroy(message);
	if (answer)
		grpc_byte_buffer_destroy(answer);
	grpc_call_unref(call);
	grpc_completion_queue_shutdown(queue);
	grpc_completion_queue_destroy(queue);
	grpc_channel_destroy(channel);
	grpc_channel_credentials_release(credentials);
	return status;
}

static void take_and_pass(struct rpc_call *call, void *user)
{
	(void)user;
	autobuf struct buf message = {0};
	bool end = false;
	enum err_code code = rpc_recv(call, &message, &end, NULL);
	flag_add(&entered, 1);
	if (code == ERR_OK)
		rpc_finish(call, rpc_send(call, buf_span(&message), NULL, NULL), "", NULL);
}

static void test_compression_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	const struct rpc_method table[] = {{"/t.T/Take", take_and_pass, NULL, 8192, false, false, NULL}, {0}};
	struct rpc_server_options options = fixture_options(&f, table);
	options.tls = (struct rpc_tls){0};
	fixture_serve(&f, &options);
	assert_int_equal(raw_call(f.target, "/t.T/Take", false), GRPC_STATUS_OK);
	assert_int_equal(raw_call(f.target, "/t.T/Take", true), GRPC_STATUS_UNIMPLEMENTED);
	fixture_stop(&f);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_start_refuses_addresses),
             cmocka_unit_test(test_start_refuses_a_taken_port), cmocka_unit_test(test_start_refuses_tables),
             cmocka_unit_test(test_ipv6), cmocka_unit_test(test_unknown_method), cmocka_unit_test(test_unknown_handler),
             cmocka_unit_test(test_call_cap), cmocka_unit_test(test_stream_cap),
             cmocka_unit_test(test_stop_lets_a_call_end), cmocka_unit_test(test_stop_cuts_a_stuck_call),
             cmocka_unit_test(test_stop_while_calls_come), cmocka_unit_test(test_compression_is_refused))
