#include "tests/unit/rpc/fixture.h"

#include "grpc/health/v1/health.pb-c.h"

#define CHECK "/grpc.health.v1.Health/Check"
#define WATCH "/grpc.health.v1.Health/Watch"

static const struct rpc_method no_methods[] = {{0}};

static void pack_request(const char *service, struct buf *out)
{
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	request.service = (char *)service;
	out->len = grpc__health__v1__health_check_request__pack(&request, buf_reserve(out, 300));
}

static int status_of(const struct buf *response)
{
	Grpc__Health__V1__HealthCheckResponse *message =
	    grpc__health__v1__health_check_response__unpack(NULL, response->len, response->data);
	assert_non_null(message);
	int status = (int)message->status;
	grpc__health__v1__health_check_response__free_unpacked(message, NULL);
	return status;
}

static int check(struct fixture *f, const char *service)
{
	autobuf struct buf request = {0}, response = {0};
	struct rpc_status status;
	struct err err = {0};
	pack_request(service, &request);
	assert_ok(rpc_unary(f->client, CHECK, buf_span(&request), 0, &response, &status, &err), err);
	rpc_status_done(&status);
	return status_of(&response);
}

static struct rpc_stream *watch(struct fixture *f, const char *service)
{
	autobuf struct buf request = {0};
	struct err err = {0};
	pack_request(service, &request);
	struct rpc_stream *stream = fixture_open(f->client, WATCH);
	assert_ok(rpc_stream_send(stream, buf_span(&request), NULL, &err), err);
	assert_ok(rpc_stream_half_close(stream, &err), err);
	return stream;
}

static int next(struct rpc_stream *stream)
{
	autobuf struct buf response = {0};
	struct err err = {0};
	bool end = false;
	assert_ok(rpc_stream_recv(stream, &response, &end, &err), err);
	assert_false(end);
	return status_of(&response);
}

static void test_check(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, no_methods);
	const char *const services[] = {"", "twokey.v1.Gatekeeper", "grpc.health.v1.Health",
	                                "grpc.reflection.v1.ServerReflection"};
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(check(&f, services[i]), 2);
	rpc_server_set_serving(f.server, true);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(check(&f, services[i]), 1);
	rpc_server_set_serving(f.server, false);
	assert_int_equal(check(&f, ""), 2);
	fixture_stop(&f);
}

static void test_check_refuses(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, no_methods);
	autobuf struct buf request = {0}, response = {0};
	struct rpc_status status;
	pack_request("no.such.Service", &request);
	assert_err(rpc_unary(f.client, CHECK, buf_span(&request), 0, &response, &status, NULL), ERR_NOT_FOUND);
	rpc_status_done(&status);
	assert_int_equal(fixture_unary(f.client, CHECK, "\x0a\x7fx", &response), ERR_INVALID);
	assert_int_equal(fixture_unary(f.client, CHECK, "\x0a\x01\xff", &response), ERR_INVALID);
	fixture_stop(&f);
}

static void test_watch(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, no_methods);
	struct rpc_stream *stream = watch(&f, "twokey.v1.Gatekeeper");
	assert_int_equal(next(stream), 2);
	rpc_server_set_serving(f.server, true);
	assert_int_equal(next(stream), 1);
	rpc_server_set_serving(f.server, true); /* no change, no message */
	rpc_server_set_serving(f.server, false);
	assert_int_equal(next(stream), 2);
	rpc_stream_cancel(stream);
	assert_int_equal(fixture_finish(stream), ERR_CANCELLED);
	stream = watch(&f, "no.such.Service");
	assert_int_equal(next(stream), 3);
	rpc_stream_free(stream);
	fixture_stop(&f);
}

static void test_watch_ends_at_stop(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, no_methods);
	rpc_server_set_serving(f.server, true);
	struct rpc_stream *stream = watch(&f, "");
	assert_int_equal(next(stream), 1);
	/* With this much grace the test runs into its time limit when the watch holds up the stop. */
	rpc_server_stop(f.server, 600000);
	f.server = NULL;
	assert_int_equal(next(stream), 2);
	assert_int_equal(fixture_finish(stream), ERR_UNAVAILABLE);
	fixture_stop(&f);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_check), cmocka_unit_test(test_check_refuses),
             cmocka_unit_test(test_watch), cmocka_unit_test(test_watch_ends_at_stop))
