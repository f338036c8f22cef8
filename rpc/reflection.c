#include "rpc/reflection.h"

#include <stdlib.h>

#include "common/pb.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "rpc/descriptors.h"
#include "rpc/internal.h"

#define REQUEST_BUDGET (64 << 10)
#define STOP_LOOK_MS   250
#define SERVICES_MAX   64

typedef Grpc__Reflection__V1__ServerReflectionRequest request_message;
typedef Grpc__Reflection__V1__ServerReflectionResponse response_message;
#define ASKS(name)    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define ANSWERS(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

struct rpc_reflection {
	struct rpc_descriptors *descriptors;
	atomic_bool stopping;
	size_t n_services;
	Grpc__Reflection__V1__ServiceResponse services[SERVICES_MAX];
	Grpc__Reflection__V1__ServiceResponse *list[SERVICES_MAX];
};

enum err_code rpc_reflection_new(struct span descriptors, const char *const *services, struct rpc_reflection **ret,
                                 struct err *err)
{
	struct rpc_reflection *reflection = xcalloc(1, sizeof(*reflection));
	enum err_code code = rpc_descriptors_new(descriptors, &reflection->descriptors, err);
	for (; code == ERR_OK && *services; services++) {
		if (reflection->n_services == SERVICES_MAX) {
			code = err_set(err, ERR_INVALID, 0, "more than %d services", SERVICES_MAX);
			break;
		}
		Grpc__Reflection__V1__ServiceResponse *service = &reflection->services[reflection->n_services];
		grpc__reflection__v1__service_response__init(service);
		service->name = xstrdup(*services);
		reflection->list[reflection->n_services++] = service;
	}
	if (code == ERR_OK)
		*ret = reflection;
	else
		rpc_reflection_free(reflection);
	return code;
}

void rpc_reflection_free(struct rpc_reflection *reflection)
{
	if (!reflection)
		return;
	for (size_t i = 0; i < reflection->n_services; i++)
		free(reflection->services[i].name);
	rpc_descriptors_free(reflection->descriptors);
	free(reflection);
}

void rpc_reflection_stop(struct rpc_reflection *reflection)
{
	atomic_store(&reflection->stopping, true);
}

/* What a response points to while it is packed. */
struct answer {
	response_message response;
	Grpc__Reflection__V1__FileDescriptorResponse file;
	Grpc__Reflection__V1__ListServiceResponse list;
	Grpc__Reflection__V1__ErrorResponse error;
	ProtobufCBinaryData bytes;
};

static void answer_error(struct answer *answer, enum err_code code, const char *text)
{
	grpc__reflection__v1__error_response__init(&answer->error);
	answer->error.error_code = (int32_t)code;
	answer->error.error_message = (char *)text;
	answer->response.message_response_case = ANSWERS(ERROR_RESPONSE);
	answer->response.error_response = &answer->error;
}

/* One file per answer: clients ask for its dependencies by name. */
static void answer_file(struct answer *answer, struct span file, const char *otherwise)
{
	if (file.len == 0) {
		answer_error(answer, ERR_NOT_FOUND, otherwise);
		return;
	}
	answer->bytes = (ProtobufCBinaryData){.len = file.len, .data = (uint8_t *)file.ptr};
	grpc__reflection__v1__file_descriptor_response__init(&answer->file);
	answer->file.n_file_descriptor_proto = 1;
	answer->file.file_descriptor_proto = &answer->bytes;
	answer->response.message_response_case = ANSWERS(FILE_DESCRIPTOR_RESPONSE);
	answer->response.file_descriptor_response = &answer->file;
}

static void answer_list(struct answer *answer, struct rpc_reflection *reflection)
{
	grpc__reflection__v1__list_service_response__init(&answer->list);
	answer->list.n_service = reflection->n_services;
	answer->list.service = reflection->list;
	answer->response.message_response_case = ANSWERS(LIST_SERVICES_RESPONSE);
	answer->response.list_services_response = &answer->list;
}

static void answer_make(struct rpc_reflection *reflection, request_message *request, struct answer *answer)
{
	grpc__reflection__v1__server_reflection_response__init(&answer->response);
	answer->response.valid_host = request->host;
	answer->response.original_request = request;
	switch (request->message_request_case) {
	case ASKS(FILE_BY_FILENAME):
		answer_file(answer, rpc_descriptors_file(reflection->descriptors, request->file_by_filename),
		            "there is no such file");
		break;
	case ASKS(FILE_CONTAINING_SYMBOL):
		answer_file(answer, rpc_descriptors_symbol(reflection->descriptors, request->file_containing_symbol),
		            "there is no such symbol");
		break;
	case ASKS(LIST_SERVICES):
		answer_list(answer, reflection);
		break;
	case ASKS(FILE_CONTAINING_EXTENSION):
	case ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE):
		answer_error(answer, ERR_NOT_FOUND, "there are no extensions");
		break;
	default:
		answer_error(answer, ERR_INVALID, "no question in the request");
	}
}

static enum err_code answer_one(struct rpc_reflection *reflection, struct rpc_call *call, struct span bytes,
                                struct err *err)
{
	ProtobufCMessage *message = NULL;
	enum err_code code = pb_unpack(&grpc__reflection__v1__server_reflection_request__descriptor, bytes, PB_LENIENT,
	                               REQUEST_BUDGET, &message, err);
	if (code != ERR_OK)
		return code;
	struct answer answer = {0};
	answer_make(reflection, (request_message *)message, &answer);
	autobuf struct buf packed = {0};
	pb_pack(&answer.response.base, &packed);
	code = rpc_send(call, (struct span){0}, &packed, err);
	pb_free(message);
	return code;
}

void rpc_reflection_info(struct rpc_call *call, void *user)
{
	struct rpc_reflection *reflection = user;
	struct err err = {0};
	autobuf struct buf bytes = {0};
	enum err_code code = ERR_OK;
	bool end = false;
	while (code == ERR_OK && !end) {
		code = rpc_call_recv(call, STOP_LOOK_MS, &bytes, &end, &err);
		if (code == ERR_OK && !end)
			code = answer_one(reflection, call, buf_span(&bytes), &err);
		else if (code == ERR_DEADLINE)
			code = atomic_load(&reflection->stopping) ? err_set(&err, ERR_UNAVAILABLE, 0, "the server is stopping")
			                                          : ERR_OK;
	}
	rpc_finish(call, code, code == ERR_OK ? "" : err.text, NULL);
}
