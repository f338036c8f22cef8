#include "tests/unit/rpc/fixture.h"

#include "grpc/reflection/v1/reflection.pb-c.h"
#include "rpc/descriptors.h"

#define V1      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
#define V1ALPHA "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

typedef Grpc__Reflection__V1__ServerReflectionRequest request_message;
typedef Grpc__Reflection__V1__ServerReflectionResponse response_message;
#define ASKS(name)    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define ANSWERS(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

static const struct rpc_method no_methods[] = {{0}};

static response_message *ask(struct rpc_stream *stream, const request_message *request)
{
	autobuf struct buf bytes = {0};
	struct err err = {0};
	bool end = false;
	bytes.len = grpc__reflection__v1__server_reflection_request__pack(request, buf_reserve(&bytes, 500));
	assert_ok(rpc_stream_send(stream, buf_span(&bytes), NULL, &err), err);
	assert_ok(rpc_stream_recv(stream, &bytes, &end, &err), err);
	assert_false(end);
	response_message *response = grpc__reflection__v1__server_reflection_response__unpack(NULL, bytes.len, bytes.data);
	assert_non_null(response);
	assert_int_equal(response->original_request->message_request_case, request->message_request_case);
	return response;
}

static void forget(response_message *response)
{
	grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);
}

/* The one file of an answer; it must be, byte for byte, in the descriptor set. */
static void expect_file(const response_message *response, const char *name)
{
	assert_int_equal(response->message_response_case, ANSWERS(FILE_DESCRIPTOR_RESPONSE));
	assert_int_equal(response->file_descriptor_response->n_file_descriptor_proto, 1);
	ProtobufCBinaryData file = response->file_descriptor_response->file_descriptor_proto[0];
	assert_non_null(memmem(proto_descriptors, proto_descriptors_len, file.data, file.len));
	assert_true(file.len > 2 + strlen(name));
	assert_int_equal(file.data[0], 0x0a);
	assert_int_equal(file.data[1], strlen(name));
	assert_memory_equal(file.data + 2, name, strlen(name));
}

static void expect_error(const response_message *response, int code)
{
	assert_int_equal(response->message_response_case, ANSWERS(ERROR_RESPONSE));
	assert_int_equal(response->error_response->error_code, code);
}

static request_message request_of(int which, const char *text)
{
	request_message request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
	request.message_request_case = (Grpc__Reflection__V1__ServerReflectionRequest__MessageRequestCase)which;
	request.file_by_filename = (char *)text; /* all text questions share the place */
	return request;
}

static void walk(struct fixture *f, const char *path)
{
	struct rpc_stream *stream = fixture_open(f->client, path);
	struct err err = {0};
	request_message request = request_of(ASKS(LIST_SERVICES), "");
	response_message *list = ask(stream, &request);
	assert_int_equal(list->message_response_case, ANSWERS(LIST_SERVICES_RESPONSE));
	assert_int_equal(list->list_services_response->n_service, 4);
	assert_string_equal(list->list_services_response->service[0]->name, "twokey.v1.Gatekeeper");
	/* Every service that is listed can be looked up. */
	for (size_t i = 0; i < 4; i++) {
		request = request_of(ASKS(FILE_CONTAINING_SYMBOL), list->list_services_response->service[i]->name);
		response_message *response = ask(stream, &request);
		assert_int_equal(response->message_response_case, ANSWERS(FILE_DESCRIPTOR_RESPONSE));
		forget(response);
	}
	forget(list);
	assert_ok(rpc_stream_half_close(stream, &err), err);
	assert_int_equal(fixture_finish(stream), ERR_OK);
}

static void test_walk(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, no_methods);
	walk(&f, V1);
	walk(&f, V1ALPHA);
	fixture_stop(&f);
}

static void test_lookup(void **state)
{
	(void)state;
	static const struct {
		int asks;
		const char *text, *file;
	} cases[] = {
	    {ASKS(FILE_BY_FILENAME), "grpc/health/v1/health.proto", "grpc/health/v1/health.proto"},
	    {ASKS(FILE_BY_FILENAME), "google/protobuf/any.proto", "google/protobuf/any.proto"},
	    {ASKS(FILE_BY_FILENAME), "no/such.proto", NULL},
	    {ASKS(FILE_BY_FILENAME), "", NULL},
	    {ASKS(FILE_CONTAINING_SYMBOL), "twokey.v1.Gatekeeper.CoSign", "twokey/v1/gatekeeper.proto"},
	    {ASKS(FILE_CONTAINING_SYMBOL), "grpc.health.v1.HealthCheckResponse.ServingStatus",
	     "grpc/health/v1/health.proto"},
	    {ASKS(FILE_CONTAINING_SYMBOL), "grpc.health.v1.HealthCheckResponse.SERVING", "grpc/health/v1/health.proto"},
	    {ASKS(FILE_CONTAINING_SYMBOL), "grpc.health.v1.HealthCheckRequest.service", "grpc/health/v1/health.proto"},
	    {ASKS(FILE_CONTAINING_SYMBOL), "google.rpc.ErrorInfo.MetadataEntry", "google/rpc/error_details.proto"},
	    {ASKS(FILE_CONTAINING_SYMBOL), "grpc.health.v1", NULL},
	    {ASKS(FILE_CONTAINING_SYMBOL), ".grpc.health.v1.Health", NULL},
	    {ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE), "grpc.health.v1.HealthCheckRequest", NULL},
	};
	struct fixture f;
	fixture_start(&f, no_methods);
	struct rpc_stream *stream = fixture_open(f.client, V1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		request_message request = request_of(cases[i].asks, cases[i].text);
		response_message *response = ask(stream, &request);
		if (cases[i].file)
			expect_file(response, cases[i].file);
		else
			expect_error(response, ERR_NOT_FOUND);
		forget(response);
	}
	rpc_stream_free(stream);
	fixture_stop(&f);
}

static void test_odd_requests(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, no_methods);
	struct rpc_stream *stream = fixture_open(f.client, V1);
	Grpc__Reflection__V1__ExtensionRequest extension = GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;
	request_message request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
	response_message *response = ask(stream, &request);
	expect_error(response, ERR_INVALID);
	forget(response);
	request.message_request_case = ASKS(FILE_CONTAINING_EXTENSION);
	request.file_containing_extension = &extension;
	response = ask(stream, &request);
	expect_error(response, ERR_NOT_FOUND);
	forget(response);
	struct err err = {0};
	assert_ok(rpc_stream_send(stream, span_str("\xff\xff"), NULL, &err), err);
	assert_int_equal(fixture_finish(stream), ERR_INVALID);
	fixture_stop(&f);
}

static void test_turned_off(void **state)
{
	(void)state;
	struct fixture f;
	fixture_init(&f);
	struct rpc_server_options options = fixture_options(&f, no_methods);
	options.descriptors = (struct span){0};
	fixture_serve(&f, &options);
	autobuf struct buf response = {0};
	assert_int_equal(fixture_unary(f.client, V1, "", &response), ERR_UNIMPLEMENTED);
	assert_int_equal(fixture_unary(f.client, V1ALPHA, "", &response), ERR_UNIMPLEMENTED);
	fixture_stop(&f);
}

static void test_idle_stream_does_not_hold_up_the_stop(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, no_methods);
	struct rpc_stream *stream = fixture_open(f.client, V1);
	request_message request = request_of(ASKS(LIST_SERVICES), "");
	forget(ask(stream, &request));
	rpc_server_stop(f.server, 600000);
	f.server = NULL;
	assert_int_equal(fixture_finish(stream), ERR_UNAVAILABLE);
	fixture_stop(&f);
}

/* Whatever the bytes are cut down to, the walk stays inside them. */
static void test_cut_descriptors(void **state)
{
	(void)state;
	for (size_t len = 0; len < proto_descriptors_len; len++) {
		uint8_t *bytes = malloc(len ? len : 1);
		memcpy(bytes, proto_descriptors, len);
		struct rpc_descriptors *descriptors = NULL;
		if (rpc_descriptors_new(span_of(bytes, len), &descriptors, NULL) == ERR_OK)
			assert_int_equal(rpc_descriptors_symbol(descriptors, "no.such").len, 0);
		rpc_descriptors_free(descriptors);
		free(bytes);
	}
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_walk), cmocka_unit_test(test_lookup),
             cmocka_unit_test(test_odd_requests), cmocka_unit_test(test_turned_off),
             cmocka_unit_test(test_idle_stream_does_not_hold_up_the_stop), cmocka_unit_test(test_cut_descriptors))
