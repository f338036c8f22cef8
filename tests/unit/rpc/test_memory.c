/* What a client can make the server hold. */
#include "tests/unit/rpc/fixture.h"

#define CHUNK ((size_t)256 << 10)

static struct signal_flag sent = SIGNAL_FLAG_INIT, pushes = SIGNAL_FLAG_INIT, ended = SIGNAL_FLAG_INIT;

static void pour(struct rpc_call *call, void *user)
{
	(void)user;
	enum err_code code = ERR_OK;
	for (int i = 0; code == ERR_OK && i < 4000; i++) {
		autobuf struct buf body = {0};
		memset(buf_reserve(&body, CHUNK), i, CHUNK);
		body.len = CHUNK;
		code = rpc_send(call, (struct span){0}, &body, NULL);
		flag_add(&sent, 1);
	}
	rpc_finish(call, code, "", NULL);
	flag_add(&ended, 1);
}

/* Reads one message and no more. */
static void sip(struct rpc_call *call, void *user)
{
	(void)user;
	autobuf struct buf message = {0};
	bool end = false;
	(void)!rpc_recv(call, &message, &end, NULL);
	flag_add(&sent, 1);
	while (!rpc_cancelled(call))
		usleep(1000);
	flag_add(&ended, 1);
}

static void sink(struct rpc_call *call, void *user)
{
	(void)user;
	autobuf struct buf message = {0};
	bool end = false;
	enum err_code code;
	while ((code = rpc_recv(call, &message, &end, NULL)) == ERR_OK && !end) {
	}
	rpc_finish(call, code, "", NULL);
}

static const struct rpc_method methods[] = {{"/t.T/Pour", pour, NULL, 1024, true, false, NULL},
                                            {"/t.T/Sip", sip, NULL, CHUNK, true, false, NULL},
                                            {"/t.T/Sink", sink, NULL, 64 << 10, true, false, NULL},
                                            {0}};

/* Waits until nothing moves any more; 16 readers that stand still leave no event to wait for. */
static int settled(struct signal_flag *flag)
{
	int before, now = flag_value(flag);
	do {
		before = now;
		usleep(300000);
		now = flag_value(flag);
	} while (now != before);
	return now;
}

/* Sixteen gigabytes are offered to clients that read one chunk each: the handlers wait. */
static void test_slow_readers(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	struct rpc_stream *streams[16];
	struct err err = {0};
	autobuf struct buf message = {0};
	bool end = false;
	for (int i = 0; i < 16; i++) {
		streams[i] = fixture_open(f.client, "/t.T/Pour");
		assert_ok(rpc_stream_recv(streams[i], &message, &end, &err), err);
		assert_int_equal(message.len, CHUNK);
	}
	int chunks = settled(&sent);
	/* What is under way lies in the client's window, which the core lets grow; it is a small part of the whole. */
	assert_true(chunks < 16 * 400);
	for (int i = 0; i < 16; i++)
		rpc_stream_free(streams[i]);
	flag_wait(&ended, 16);
	fixture_stop(&f);
}

static void *push(void *user)
{
	struct rpc_stream *stream = user;
	enum err_code code = ERR_OK;
	for (int i = 0; code == ERR_OK && i < 4000; i++) {
		autobuf struct buf body = {0};
		memset(buf_reserve(&body, CHUNK), 'x', CHUNK);
		body.len = CHUNK;
		code = rpc_stream_send(stream, (struct span){0}, &body, NULL);
		flag_add(&pushes, 1);
	}
	return NULL;
}

static void test_slow_handler(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, methods);
	struct rpc_stream *stream = fixture_open(f.client, "/t.T/Sip");
	pthread_t pusher;
	assert_int_equal(pthread_create(&pusher, NULL, push, stream), 0);
	flag_wait(&sent, 1);
	assert_true(settled(&pushes) < 400);
	rpc_stream_cancel(stream);
	pthread_join(pusher, NULL);
	flag_wait(&ended, 1);
	rpc_stream_free(stream);
	fixture_stop(&f);
}

/* One message of 300 MiB to a method that takes 64 KiB: the server does not take all of it before it says no. */
static void test_huge_message(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	struct rpc_server_options options = fixture_options(&f, methods);
	options.max_buffered_bytes = 32 << 20;
	fixture_serve(&f, &options);
	size_t len = (size_t)300 << 20;
	struct buf body = {.max = len};
	struct err err = {0};
	memset(buf_reserve(&body, len), 0, len);
	body.len = len;
	struct rpc_stream *stream = fixture_open(f.client, "/t.T/Sink");
	assert_err(rpc_stream_send(stream, (struct span){0}, &body, &err), ERR_UNAVAILABLE);
	assert_int_equal(fixture_finish(stream), ERR_EXHAUSTED);
	/* And goes on serving. */
	autobuf struct buf response = {0};
	assert_int_equal(fixture_unary(f.client, "/grpc.health.v1.Health/Check", "", &response), ERR_OK);
	fixture_stop(&f);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_slow_readers), cmocka_unit_test(test_slow_handler),
             cmocka_unit_test(test_huge_message))
