#include "server/health.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "server/countries.h"
#include "server/sweep.h"

#define PERIOD_S 2

struct health {
	struct deployment *deployment;
	struct rpc_server *rpc;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t stopping;
	bool stop;
	bool healthy;
	bool swept;
	struct countries_watch countries;
	char trouble[sizeof(struct err)]; /* what the log was last told */
};

static void look(struct health *health)
{
	countries_look(&health->countries, health->deployment);
	struct err err = {0};
	bool healthy = deployment_check(health->deployment, &err) == ERR_OK;
	rpc_server_set_serving(health->rpc, healthy);
	if (!healthy && strcmp(health->trouble, err.text) != 0)
		log_event(LOG_ERROR, "not serving", "error", err.text, NULL);
	if (healthy && !health->healthy)
		log_event(LOG_INFO, "healthy", NULL);
	health->healthy = healthy;
	snprintf(health->trouble, sizeof health->trouble, "%s", healthy ? "" : err.text);
}

static bool stopping(void *user)
{
	struct health *health = (struct health *)user;
	pthread_mutex_lock(&health->lock);
	bool stop = health->stop;
	pthread_mutex_unlock(&health->lock);
	return stop;
}

static void sweep_once(struct health *health)
{
	if (health->swept || !health->healthy)
		return;
	const struct store_cancel cancel = {.cancelled = stopping, .user = health};
	sweep_buckets(health->deployment, &cancel);
	health->swept = true;
}

static void *run(void *user)
{
	struct health *health = (struct health *)user;
	pthread_mutex_lock(&health->lock);
	while (!health->stop) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += PERIOD_S;
		if (pthread_cond_timedwait(&health->stopping, &health->lock, &until) == 0)
			continue;
		pthread_mutex_unlock(&health->lock);
		look(health);
		sweep_once(health);
		pthread_mutex_lock(&health->lock);
	}
	pthread_mutex_unlock(&health->lock);
	return NULL;
}

struct health *health_start(struct deployment *deployment, struct rpc_server *rpc)
{
	struct health *health = xcalloc(1, sizeof *health);
	health->deployment = deployment;
	health->rpc = rpc;
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&health->stopping, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&health->lock, NULL);
	look(health);
	if (pthread_create(&health->thread, NULL, run, health) != 0)
		abort(); /* no thread left at start-up: nothing would work */
	return health;
}

void health_stop(struct health *health)
{
	if (!health)
		return;
	pthread_mutex_lock(&health->lock);
	health->stop = true;
	pthread_cond_signal(&health->stopping);
	pthread_mutex_unlock(&health->lock);
	pthread_join(health->thread, NULL);
	pthread_cond_destroy(&health->stopping);
	pthread_mutex_destroy(&health->lock);
	free(health);
}
