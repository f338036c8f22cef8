#include "tests/unit/rpc/fixture.h"

#define MESSAGE_MAX (64 << 10)

/* ---- handlers ---- */

static void echo(struct rpc_call *call, void *user)
{
	(void)user;
	struct err err = {0};
	autobuf struct buf message = {0};
	bool end = false;
	enum err_code code = rpc_recv(call, &message, &end, &err);
	if (code == ERR_OK && end)
		code = err_set(&err, ERR_INVALID, 0, "no request");
	if (code == ERR_OK)
		code = rpc_send(call, span_str("echo:"), &message, &err);
	rpc_finish(call, code, err.text, NULL);
}

static void down(struct rpc_call *call, void *user)
{
	(void)user;
	struct err err = {0};
	autobuf struct buf request = {0};
	bool end = false;
	enum err_code code = rpc_recv(call, &request, &end, &err);
	for (uint8_t i = 0; code == ERR_OK && i < 20; i++) {
		autobuf struct buf body = {0};
		memset(buf_reserve(&body, 256 << 10), i, 256 << 10);
		body.len = 256 << 10;
		code = rpc_send(call, span_of(&i, 1), &body, &err);
		assert_int_equal(body.len, 0);
	}
	rpc_finish(call, code, err.text, NULL);
}

/* How the last upload looked to its handler; done's lock guards it. */
struct upload {
	enum err_code code;
	size_t bytes;
	bool cancelled;
};
static struct signal_flag done = SIGNAL_FLAG_INIT;
static struct upload last_upload;

static void up(struct rpc_call *call, void *user)
{
	(void)user;
	struct upload u = {0};
	struct err err = {0};
	autobuf struct buf message = {0};
	bool end = false;
	enum err_code code;
	while ((code = rpc_recv(call, &message, &end, &err)) == ERR_OK && !end)
		u.bytes += message.len;
	u.code = code;
	u.cancelled = rpc_cancelled(call);
	autobuf struct buf answer = {0};
	buf_printf(&answer, "%zu", u.bytes);
	if (code == ERR_OK)
		code = rpc_send(call, buf_span(&answer), NULL, &err);
	rpc_finish(call, code, err.text, NULL);
	pthread_mutex_lock(&done.lock);
	last_upload = u;
	done.value++;
	pthread_cond_broadcast(&done.changed);
	pthread_mutex_unlock(&done.lock);
}

static struct upload upload_wait(int at_least)
{
	flag_wait(&done, at_least);
	pthread_mutex_lock(&done.lock);
	struct upload u = last_upload;
	pthread_mutex_unlock(&done.lock);
	return u;
}

static void refuse(struct rpc_call *call, void *user)
{
	(void)user;
	struct rpc_error_info info = {.reason = "NETWORK_DENIED",
	                              .domain = "twokey",
	                              .metadata_key = {"record", "rule"},
	                              .metadata_value = {"0123-4567", "office"},
	                              .n_metadata = 2};
	rpc_finish(call, ERR_DENIED, "not from h\xc3\xa9re\n", &info);
	rpc_finish(call, ERR_OK, "the second one does not count", NULL);
}

static void forget(struct rpc_call *call, void *user)
{
	(void)user;
	assert_int_equal(rpc_verdict(call), ERR_INTERNAL);
}

static void talk(struct rpc_call *call, void *user)
{
	(void)user;
	struct err err = {0};
	autobuf struct buf message = {0};
	bool end = false;
	while (rpc_recv(call, &message, &end, &err) == ERR_OK && !end)
		assert_ok(rpc_send(call, buf_span(&message), NULL, &err), err);
	assert_err(rpc_recv(call, &message, &end, &err), ERR_OK);
	rpc_finish(call, ERR_OK, "", NULL);
	assert_err(rpc_send(call, span_str("late"), NULL, &err), ERR_PRECONDITION);
}

static struct signal_flag waiting = SIGNAL_FLAG_INIT, noticed = SIGNAL_FLAG_INIT;

static void wait_cancel(struct rpc_call *call, void *user)
{
	(void)user;
	flag_add(&waiting, 1);
	while (!rpc_cancelled(call))
		usleep(1000);
	struct err err = {0};
	assert_err(rpc_send(call, span_str("x"), NULL, &err), ERR_CANCELLED);
	rpc_finish(call, ERR_CANCELLED, "", NULL);
	flag_add(&noticed, 1);
}

static void facts(struct rpc_call *call, void *user)
{
	(void)user;
	struct ip_addr peer = {0};
	char text[IP_TEXT_MAX];
	assert_true(rpc_peer(call, &peer));
	ip_format(&peer, text);
	autobuf struct buf answer = {0};
	int64_t left = rpc_deadline_ms(call) - clock_now_ms(NULL);
	buf_printf(&answer, "%s %s %s %s %s", rpc_method_path(call), text, left > 0 && left <= 60000 ? "in time" : "late",
	           rpc_metadata(call, "te") ? "te" : "-", rpc_metadata(call, "x-none") ? "?" : "none");
	assert_non_null(strstr(rpc_metadata(call, "user-agent"), "twokey/"));
	assert_null(rpc_metadata(call, "x-thing-bin"));
	struct err err = {0};
	assert_ok(rpc_send(call, buf_span(&answer), NULL, &err), err);
	rpc_finish(call, ERR_OK, "", NULL);
}

static const struct rpc_method methods[] = {
    {"/t.T/Echo", echo, NULL, MESSAGE_MAX, false, false, NULL},
    {"/t.T/Down", down, NULL, MESSAGE_MAX, true, false, NULL},
    {"/t.T/Up", up, NULL, 1 << 20, true, false, NULL},
    {"/t.T/Refuse", refuse, NULL, MESSAGE_MAX, false, false, NULL},
    {"/t.T/Forget", forget, NULL, MESSAGE_MAX, false, false, NULL},
    {"/t.T/Talk", talk, NULL, MESSAGE_MAX, true, false, NULL},
    {"/t.T/Wait", wait_cancel, NULL, MESSAGE_MAX, true, false, NULL},
    {"/t.T/Facts", facts, NULL, MESSAGE_MAX, false, false, NULL},
    {0},
};

/* ---- cases ---- */

static void test_unary(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	autobuf struct buf response = {0};
	assert_int_equal(fixture_unary(f.client, "/t.T/Echo", "hello", &response), ERR_OK);
	assert_string_equal(buf_cstr(&response), "echo:hello");
	assert_int_equal(fixture_unary(f.client, "/t.T/Echo", "", &response), ERR_OK);
	assert_string_equal(buf_cstr(&response), "echo:");
	fixture_stop(&f);
}

static void test_facts_of_a_call(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	autobuf struct buf response = {0};
	assert_int_equal(fixture_unary(f.client, "/t.T/Facts", "", &response), ERR_OK);
	assert_string_equal(buf_cstr(&response), "/t.T/Facts 127.0.0.1 in time - none");
	fixture_stop(&f);
}

static void test_server_stream(void **state)
{
	(void)state;
	struct fixture f;
	struct err err = {0};
	fixture_start(&f, methods);
	struct rpc_stream *stream = fixture_open(f.client, "/t.T/Down");
	assert_ok(rpc_stream_send(stream, span_str("go"), NULL, &err), err);
	assert_ok(rpc_stream_half_close(stream, &err), err);
	assert_err(rpc_stream_send(stream, span_str("more"), NULL, &err), ERR_PRECONDITION);
	autobuf struct buf message = {0};
	bool end = false;
	for (int i = 0; i < 20; i++) {
		assert_ok(rpc_stream_recv(stream, &message, &end, &err), err);
		assert_false(end);
		assert_int_equal(message.len, 1 + (256 << 10));
		assert_int_equal(message.data[0], i);
		assert_int_equal(message.data[message.len - 1], i);
	}
	assert_ok(rpc_stream_recv(stream, &message, &end, &err), err);
	assert_true(end);
	assert_int_equal(fixture_finish(stream), ERR_OK);
	fixture_stop(&f);
}

static void send_chunks(struct rpc_stream *stream, int n)
{
	struct err err = {0};
	for (int i = 0; i < n; i++) {
		autobuf struct buf body = {0};
		memset(buf_reserve(&body, 256 << 10), 'x', 256 << 10);
		body.len = 256 << 10;
		assert_ok(rpc_stream_send(stream, (struct span){0}, &body, &err), err);
	}
}

static void test_client_stream(void **state)
{
	(void)state;
	struct fixture f;
	struct err err = {0};
	fixture_start(&f, methods);
	struct rpc_stream *stream = fixture_open(f.client, "/t.T/Up");
	send_chunks(stream, 20);
	assert_ok(rpc_stream_half_close(stream, &err), err);
	autobuf struct buf message = {0};
	bool end = false;
	assert_ok(rpc_stream_recv(stream, &message, &end, &err), err);
	assert_string_equal(buf_cstr(&message), "5242880");
	assert_int_equal(fixture_finish(stream), ERR_OK);
	struct upload upload = upload_wait(1);
	assert_int_equal(upload.code, ERR_OK);
	assert_false(upload.cancelled);
	fixture_stop(&f);
}

/* An upload that breaks off must never look like one that is complete, whenever it breaks. */
static void test_broken_upload_is_not_complete(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	for (int i = 0; i < 200; i++) {
		struct rpc_stream *stream = fixture_open(f.client, "/t.T/Up");
		send_chunks(stream, 1 + i % 3);
		rpc_stream_cancel(stream);
		assert_int_equal(fixture_finish(stream), ERR_CANCELLED);
		struct upload upload = upload_wait(i + 1);
		assert_int_equal(upload.code, ERR_CANCELLED);
		assert_true(upload.cancelled);
	}
	fixture_stop(&f);
}

static void test_both_ways(void **state)
{
	(void)state;
	struct fixture f;
	struct err err = {0};
	fixture_start(&f, methods);
	struct rpc_stream *stream = fixture_open(f.client, "/t.T/Talk");
	autobuf struct buf message = {0};
	bool end = false;
	for (int i = 0; i < 50; i++) {
		assert_ok(rpc_stream_send(stream, span_of(&i, sizeof(i)), NULL, &err), err);
		assert_ok(rpc_stream_recv(stream, &message, &end, &err), err);
		assert_int_equal(message.len, sizeof(i));
		assert_memory_equal(message.data, &i, sizeof(i));
	}
	assert_ok(rpc_stream_half_close(stream, &err), err);
	assert_int_equal(fixture_finish(stream), ERR_OK);
	fixture_stop(&f);
}

static void test_error_info(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	autobuf struct buf response = {0};
	struct rpc_status status;
	struct err err = {0};
	assert_err(rpc_unary(f.client, "/t.T/Refuse", span_str("x"), 0, &response, &status, &err), ERR_DENIED);
	assert_int_equal(status.code, ERR_DENIED);
	assert_string_equal(status.message, "not from h\xc3\xa9re?");
	assert_string_equal(status.reason, "NETWORK_DENIED");
	assert_string_equal(status.record, "0123-4567");
	rpc_status_done(&status);
	fixture_stop(&f);
}

static void test_no_answer_is_internal(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	autobuf struct buf response = {0};
	assert_int_equal(fixture_unary(f.client, "/t.T/Forget", "x", &response), ERR_INTERNAL);
	fixture_stop(&f);
}

static void test_cancel_is_seen(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	struct rpc_stream *stream = fixture_open(f.client, "/t.T/Wait");
	flag_wait(&waiting, 1);
	rpc_stream_cancel(stream);
	flag_wait(&noticed, 1);
	assert_int_equal(fixture_finish(stream), ERR_CANCELLED);
	/* As is a client that is simply gone. */
	stream = fixture_open(f.client, "/t.T/Wait");
	flag_wait(&waiting, 2);
	rpc_stream_free(stream);
	flag_wait(&noticed, 2);
	fixture_stop(&f);
}

static void test_deadline_is_seen(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	autobuf struct buf response = {0};
	struct rpc_status status;
	struct err err = {0};
	assert_err(rpc_unary(f.client, "/t.T/Wait", span_str("x"), clock_now_ms(NULL) + 700, &response, &status, &err),
	           ERR_DEADLINE);
	rpc_status_done(&status);
	/* Within the time, the call may not even have reached the handler: then nothing waits. */
	flag_wait(&noticed, flag_value(&waiting));
	fixture_stop(&f);
}

static void test_large_message(void **state)
{
	(void)state;
	struct fixture f;
	struct err err = {0};
	struct rpc_status status;
	fixture_start(&f, methods);
	autobuf struct buf big = {0}, response = {0};
	size_t sizes[] = {MESSAGE_MAX + 1, (1 << 20) + 1, 3 << 20};
	memset(buf_reserve(&big, 3 << 20), 'x', 3 << 20);
	big.len = MESSAGE_MAX;
	assert_ok(rpc_unary(f.client, "/t.T/Echo", buf_span(&big), 0, &response, &status, &err), err);
	rpc_status_done(&status);
	assert_int_equal(response.len, 5 + MESSAGE_MAX);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		big.len = sizes[i];
		assert_err(rpc_unary(f.client, "/t.T/Echo", buf_span(&big), 0, &response, &status, &err), ERR_EXHAUSTED);
		rpc_status_done(&status);
		struct rpc_stream *stream = fixture_open(f.client, "/t.T/Up");
		bool sent = rpc_stream_send(stream, buf_span(&big), NULL, &err) == ERR_OK;
		assert_int_equal(fixture_finish(stream), sizes[i] <= 1 << 20 ? ERR_OK : ERR_EXHAUSTED);
		struct upload upload = upload_wait((int)i + 1);
		assert_true(sent || sizes[i] > 1 << 20);
		assert_int_equal(upload.code, sizes[i] <= 1 << 20 ? ERR_OK : ERR_EXHAUSTED);
	}
	fixture_stop(&f);
}

static void *call_often(void *user)
{
	struct rpc_client *client = user;
	autobuf struct buf response = {0};
	intptr_t failed = 0;
	for (int i = 0; i < 10; i++)
		failed += fixture_unary(client, "/t.T/Echo", "many", &response) != ERR_OK;
	return (void *)failed;
}

static void test_many_at_once(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	struct rpc_server_options options = fixture_options(&f, methods);
	options.max_calls = 200; /* as many as are outstanding: none may be refused */
	fixture_serve(&f, &options);
	pthread_t threads[200];
	struct rpc_client *clients[4];
	for (int i = 0; i < 4; i++)
		clients[i] = fixture_client(&f, i % 2 == 0);
	for (int i = 0; i < 200; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, call_often, clients[i % 4]), 0);
	intptr_t failed = 0;
	for (int i = 0; i < 200; i++) {
		void *result;
		pthread_join(threads[i], &result);
		failed += (intptr_t)result;
	}
	assert_int_equal(failed, 0);
	for (int i = 0; i < 4; i++)
		rpc_client_free(clients[i]);
	fixture_stop(&f);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_unary), cmocka_unit_test(test_facts_of_a_call),
             cmocka_unit_test(test_server_stream), cmocka_unit_test(test_client_stream),
             cmocka_unit_test(test_broken_upload_is_not_complete), cmocka_unit_test(test_both_ways),
             cmocka_unit_test(test_error_info), cmocka_unit_test(test_no_answer_is_internal),
             cmocka_unit_test(test_cancel_is_seen), cmocka_unit_test(test_deadline_is_seen),
             cmocka_unit_test(test_large_message), cmocka_unit_test(test_many_at_once))
