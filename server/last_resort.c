#include "server/last_resort.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

struct last_resort {
	struct hsm *hsm;
	unsigned timeout_ms;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t stopping;
	bool stop;
};

static void *wait_and_end(void *user)
{
	struct last_resort *resort = (struct last_resort *)user;
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += resort->timeout_ms / 1000;
	pthread_mutex_lock(&resort->lock);
	int rc = 0;
	while (!resort->stop && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&resort->stopping, &resort->lock, &until);
	if (!resort->stop && hsm_stuck(resort->hsm) > 0) {
		log_event(LOG_ERROR, "ended while the token keeps some operations", NULL);
		_exit(1);
	}
	pthread_mutex_unlock(&resort->lock);
	return NULL;
}

static void last_resort_free(struct last_resort *resort)
{
	pthread_cond_destroy(&resort->stopping);
	pthread_mutex_destroy(&resort->lock);
	free(resort);
}

struct last_resort *last_resort_start(struct hsm *hsm, unsigned timeout_ms)
{
	struct last_resort *resort = xcalloc(1, sizeof *resort);
	resort->hsm = hsm;
	resort->timeout_ms = timeout_ms;
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&resort->stopping, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&resort->lock, NULL);
	if (pthread_create(&resort->thread, NULL, wait_and_end, resort) == 0)
		return resort;
	last_resort_free(resort);
	return NULL;
}

void last_resort_stop(struct last_resort *resort)
{
	if (!resort)
		return;
	pthread_mutex_lock(&resort->lock);
	resort->stop = true;
	pthread_cond_signal(&resort->stopping);
	pthread_mutex_unlock(&resort->lock);
	pthread_join(resort->thread, NULL);
	last_resort_free(resort);
}
