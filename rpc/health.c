#include "rpc/health.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/pb.h"
#include "grpc/health/v1/health.pb-c.h"

#define REQUEST_BUDGET (16 << 10)
/* How soon a Watch notices that its client has gone. */
#define WATCH_LOOK_MS 250

typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus health_status;
#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

struct rpc_health {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool serving, stopping;
	char **services;
};

struct rpc_health *rpc_health_new(const char *const *services)
{
	struct rpc_health *health = xcalloc(1, sizeof(*health));
	pthread_mutex_init(&health->lock, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&health->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	size_t n = 0;
	while (services[n])
		n++;
	health->services = xcalloc(n + 1, sizeof(health->services[0]));
	for (size_t i = 0; i < n; i++)
		health->services[i] = xstrdup(services[i]);
	return health;
}

void rpc_health_free(struct rpc_health *health)
{
	if (!health)
		return;
	for (char **service = health->services; *service; service++)
		free(*service);
	free(health->services);
	pthread_cond_destroy(&health->changed);
	pthread_mutex_destroy(&health->lock);
	free(health);
}

void rpc_health_set(struct rpc_health *health, bool serving)
{
	pthread_mutex_lock(&health->lock);
	health->serving = serving && !health->stopping;
	pthread_cond_broadcast(&health->changed);
	pthread_mutex_unlock(&health->lock);
}

void rpc_health_stop(struct rpc_health *health)
{
	pthread_mutex_lock(&health->lock);
	health->stopping = true;
	health->serving = false;
	pthread_cond_broadcast(&health->changed);
	pthread_mutex_unlock(&health->lock);
}

static bool service_known(const struct rpc_health *health, const char *name)
{
	if (name[0] == '\0')
		return true;
	for (char **service = health->services; *service; service++)
		if (strcmp(*service, name) == 0)
			return true;
	return false;
}

static health_status status_locked(const struct rpc_health *health, bool known)
{
	if (!known)
		return STATUS(SERVICE_UNKNOWN);
	return health->serving ? STATUS(SERVING) : STATUS(NOT_SERVING);
}

static enum err_code receive_request(struct rpc_call *call, Grpc__Health__V1__HealthCheckRequest **ret, struct err *err)
{
	autobuf struct buf bytes = {0};
	bool end = false;
	enum err_code code = rpc_recv(call, &bytes, &end, err);
	if (code != ERR_OK)
		return code;
	if (end)
		return err_set(err, ERR_INVALID, 0, "no request");
	return pb_unpack(&grpc__health__v1__health_check_request__descriptor, buf_span(&bytes), PB_LENIENT, REQUEST_BUDGET,
	                 (ProtobufCMessage **)ret, err);
}

static enum err_code send_status(struct rpc_call *call, health_status status, struct err *err)
{
	autobuf struct buf packed = {0};
	Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
	response.status = status;
	pb_pack(&response.base, &packed);
	return rpc_send(call, buf_span(&packed), NULL, err);
}

void rpc_health_check(struct rpc_call *call, void *user)
{
	struct rpc_health *health = user;
	struct err err = {0};
	Grpc__Health__V1__HealthCheckRequest *request = NULL;
	enum err_code code = receive_request(call, &request, &err);
	if (code == ERR_OK && !service_known(health, request->service))
		code = err_set(&err, ERR_NOT_FOUND, 0, "there is no such service");
	if (code == ERR_OK) {
		pthread_mutex_lock(&health->lock);
		health_status status = status_locked(health, true);
		pthread_mutex_unlock(&health->lock);
		code = send_status(call, status, &err);
	}
	if (request)
		pb_free(&request->base);
	rpc_finish(call, code, err.text, NULL);
}

/* Waits for another status than `last`; false when there is none yet. */
static bool wait_change(struct rpc_health *health, bool known, health_status *last, bool *ret_stopping)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += WATCH_LOOK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&health->lock);
	int rc = 0;
	while (rc == 0 && !health->stopping && status_locked(health, known) == *last)
		rc = pthread_cond_timedwait(&health->changed, &health->lock, &until);
	bool changed = status_locked(health, known) != *last;
	*last = status_locked(health, known);
	*ret_stopping = health->stopping;
	pthread_mutex_unlock(&health->lock);
	return changed;
}

void rpc_health_watch(struct rpc_call *call, void *user)
{
	struct rpc_health *health = user;
	struct err err = {0};
	Grpc__Health__V1__HealthCheckRequest *request = NULL;
	enum err_code code = receive_request(call, &request, &err);
	bool known = code == ERR_OK && service_known(health, request->service);
	if (request)
		pb_free(&request->base);
	health_status last = STATUS(UNKNOWN);
	bool stopping = false;
	while (code == ERR_OK && !stopping) {
		if (wait_change(health, known, &last, &stopping))
			code = send_status(call, last, &err);
		else if (rpc_cancelled(call))
			code = err_set(&err, ERR_CANCELLED, 0, "the client went away");
	}
	if (code == ERR_OK)
		code = err_set(&err, ERR_UNAVAILABLE, 0, "the server is stopping");
	rpc_finish(call, code, err.text, NULL);
}
