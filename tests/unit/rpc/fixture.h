/* A server with test handlers and clients for it, in one process. */
#ifndef TWOKEY_TESTS_UNIT_RPC_FIXTURE_H
#define TWOKEY_TESTS_UNIT_RPC_FIXTURE_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/clock.h"
#include "proto/descriptors.h"
#include "rpc/rpc.h"
#include "tests/unit/harness.h"
#include "tests/unit/rpc/certs.h"

struct fixture {
	struct certs certs;
	struct rpc_server *server;
	struct rpc_client *client;
	char target[64];
};

/* Something that one thread waits for and another one tells. */
struct signal_flag {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int value;
};
#define SIGNAL_FLAG_INIT                                                                                               \
	{                                                                                                                  \
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0                                                         \
	}

static inline void flag_add(struct signal_flag *flag, int by)
{
	pthread_mutex_lock(&flag->lock);
	flag->value += by;
	pthread_cond_broadcast(&flag->changed);
	pthread_mutex_unlock(&flag->lock);
}

static inline void flag_wait(struct signal_flag *flag, int at_least)
{
	pthread_mutex_lock(&flag->lock);
	while (flag->value < at_least)
		pthread_cond_wait(&flag->changed, &flag->lock);
	pthread_mutex_unlock(&flag->lock);
}

static inline int flag_value(struct signal_flag *flag)
{
	pthread_mutex_lock(&flag->lock);
	int value = flag->value;
	pthread_mutex_unlock(&flag->lock);
	return value;
}

static inline struct rpc_client *fixture_client(const struct fixture *f, bool with_certificate)
{
	struct rpc_client_options options = {.target = f->target, .ca = f->certs.ca};
	if (with_certificate) {
		options.certificate = f->certs.client;
		options.key = f->certs.client_key;
	}
	struct rpc_client *client = NULL;
	struct err err = {0};
	assert_ok(rpc_client_new(&options, &client, &err), err);
	return client;
}

static inline struct rpc_server_options fixture_options(const struct fixture *f, const struct rpc_method *methods)
{
	static const char *const services[] = {"twokey.v1.Gatekeeper", NULL};
	return (struct rpc_server_options){
	    .listen = "127.0.0.1:0",
	    .tls = {.certificate = f->certs.server, .key = f->certs.server_key, .client_ca = f->certs.ca},
	    .methods = methods,
	    .descriptors = span_of(proto_descriptors, proto_descriptors_len),
	    .services = services,
	};
}

static inline void fixture_serve(struct fixture *f, const struct rpc_server_options *options)
{
	struct err err = {0};
	assert_ok(rpc_server_start(options, &f->server, &err), err);
	snprintf(f->target, sizeof(f->target), "127.0.0.1:%u", rpc_server_port(f->server));
	f->client = fixture_client(f, true);
}

static inline void fixture_init(struct fixture *f)
{
	unsetenv("http_proxy");
	unsetenv("https_proxy");
	unsetenv("grpc_proxy");
	memset(f, 0, sizeof(*f));
	rpc_init();
	certs_init(&f->certs);
}

static inline void fixture_start(struct fixture *f, const struct rpc_method *methods)
{
	fixture_init(f);
	struct rpc_server_options options = fixture_options(f, methods);
	fixture_serve(f, &options);
}

static inline void fixture_stop(struct fixture *f)
{
	rpc_client_free(f->client);
	if (f->server)
		rpc_server_stop(f->server, 2000);
	certs_done(&f->certs);
	rpc_shutdown();
}

/* One request, one response; the status is freed, its code returned. */
static inline enum err_code fixture_unary(struct rpc_client *client, const char *path, const char *request,
                                          struct buf *response)
{
	struct rpc_status status;
	struct err err = {0};
	enum err_code code =
	    rpc_unary(client, path, span_str(request), clock_now_ms(NULL) + 60000, response, &status, &err);
	assert_int_equal(code, status.code);
	rpc_status_done(&status);
	return code;
}

static inline struct rpc_stream *fixture_open(struct rpc_client *client, const char *path)
{
	struct rpc_stream *stream = NULL;
	struct err err = {0};
	assert_ok(rpc_stream_open(client, path, clock_now_ms(NULL) + 60000, &stream, &err), err);
	return stream;
}

static inline enum err_code fixture_finish(struct rpc_stream *stream)
{
	struct rpc_status status;
	rpc_stream_finish(stream, &status);
	enum err_code code = status.code;
	rpc_status_done(&status);
	rpc_stream_free(stream);
	return code;
}

#endif
