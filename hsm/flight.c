/* Who is in the token, and since when. The watch, a thread that never calls the token, answers for those that are
 * overdue and keeps others from following them. */
#include <stdlib.h>

#include "hsm/internal.h"

#define STUCK_MAX 8  /* overdue operations, beyond which the token gets no more */
#define TICKS     16 /* looks per timeout */

static _Thread_local const struct hsm_guard *thread_guard;

void hsm_guard(const struct hsm_guard *guard)
{
	thread_guard = guard;
}

void hsm_flights_init(struct hsm_flights *flights)
{
	pthread_mutex_init(&flights->lock, NULL);
	hsm_cond_init(&flights->changed);
	hsm_cond_init(&flights->drained);
}

void hsm_flights_done(struct hsm_flights *flights)
{
	pthread_cond_destroy(&flights->drained);
	pthread_cond_destroy(&flights->changed);
	pthread_mutex_destroy(&flights->lock);
}

void hsm_flight_begin(struct hsm *hsm, struct hsm_flight *flight)
{
	struct hsm_flights *flights = &hsm->flights;
	int64_t now = clock_monotonic_us();
	*flight = (struct hsm_flight){
	    .started_us = now, .deadline_us = now + (int64_t)hsm->timeout_ms * 1000, .guard = thread_guard};
	pthread_mutex_lock(&flights->lock);
	flight->next = flights->first;
	if (flights->first)
		flights->first->previous = flight;
	flights->first = flight;
	flights->n++;
	pthread_mutex_unlock(&flights->lock);
}

static void unlink_locked(struct hsm_flights *flights, struct hsm_flight *flight)
{
	if (flight->next)
		flight->next->previous = flight->previous;
	if (flight->previous)
		flight->previous->next = flight->next;
	else
		flights->first = flight->next;
	flights->n--;
	if (flight->overdue)
		flights->stuck--;
	if (flights->n == 0)
		pthread_cond_broadcast(&flights->drained);
}

/* False: the guard has answered in the meantime, and the result is nobody's. */
bool hsm_flight_end(struct hsm *hsm, struct hsm_flight *flight)
{
	struct hsm_flights *flights = &hsm->flights;
	pthread_mutex_lock(&flights->lock);
	while (flight->answering)
		pthread_cond_wait(&flights->changed, &flights->lock);
	unlink_locked(flights, flight);
	bool waited_for = !flight->answered;
	pthread_mutex_unlock(&flights->lock);
	return waited_for;
}

bool hsm_flights_drained(struct hsm *hsm, int64_t deadline_us)
{
	struct hsm_flights *flights = &hsm->flights;
	struct timespec deadline = hsm_timespec(deadline_us);
	pthread_mutex_lock(&flights->lock);
	int rc = 0;
	while (flights->n > 0 && rc == 0)
		rc = pthread_cond_timedwait(&flights->drained, &flights->lock, &deadline);
	bool drained = flights->n == 0;
	pthread_mutex_unlock(&flights->lock);
	return drained;
}

unsigned hsm_stuck(struct hsm *hsm)
{
	pthread_mutex_lock(&hsm->flights.lock);
	unsigned stuck = hsm->flights.stuck;
	pthread_mutex_unlock(&hsm->flights.lock);
	return stuck;
}

enum err_code hsm_flights_fail(struct hsm *hsm, struct err *err)
{
	return err_set(err, ERR_UNAVAILABLE, 0, "the token does not answer: %u operations wait for longer than %u ms",
	               hsm_stuck(hsm), hsm->timeout_ms);
}

/* ---- the watch ---- */

struct answer {
	struct hsm_flights *flights;
	struct hsm_flight *flight;
};

static void *answer(void *user)
{
	struct answer *args = (struct answer *)user;
	args->flight->guard->stuck(args->flight->guard->user);
	pthread_mutex_lock(&args->flights->lock);
	args->flight->answering = false;
	args->flight->answered = true;
	pthread_cond_broadcast(&args->flights->changed);
	pthread_mutex_unlock(&args->flights->lock);
	free(args);
	return NULL;
}

/* On a thread of its own: what the guard does may take its time, and others are waiting. */
static void answer_locked(struct hsm_flights *flights, struct hsm_flight *flight)
{
	struct answer *args = xcalloc(1, sizeof *args);
	*args = (struct answer){flights, flight};
	pthread_attr_t detached;
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	pthread_t thread;
	flight->answering = pthread_create(&thread, &detached, answer, args) == 0;
	if (!flight->answering)
		free(args);
	pthread_attr_destroy(&detached);
}

static void look_locked(struct hsm *hsm, int64_t now)
{
	struct hsm_flights *flights = &hsm->flights;
	for (struct hsm_flight *flight = flights->first; flight; flight = flight->next) {
		if (now < flight->deadline_us)
			continue;
		if (!flight->overdue)
			flights->stuck++;
		flight->overdue = true;
		if (flight->guard && !flight->answering && !flight->answered)
			answer_locked(flights, flight);
	}
	bool silent = now - atomic_load(&flights->landed_us) > (int64_t)hsm->timeout_ms * 1000;
	atomic_store(&flights->stalled, flights->stuck >= STUCK_MAX || (flights->stuck > 0 && silent));
}

static void *watch(void *user)
{
	struct hsm *hsm = (struct hsm *)user;
	struct hsm_flights *flights = &hsm->flights;
	const int64_t tick_us = (int64_t)hsm->timeout_ms * 1000 / TICKS;
	pthread_mutex_lock(&flights->lock);
	while (!flights->stop) {
		int64_t now = clock_monotonic_us();
		look_locked(hsm, now);
		struct timespec until = hsm_timespec(now + tick_us);
		while (!flights->stop && pthread_cond_timedwait(&flights->changed, &flights->lock, &until) == 0)
			;
	}
	pthread_mutex_unlock(&flights->lock);
	return NULL;
}

void hsm_watch_start(struct hsm *hsm)
{
	atomic_store(&hsm->flights.landed_us, clock_monotonic_us());
	if (pthread_create(&hsm->flights.watch, NULL, watch, hsm) != 0)
		abort(); /* no thread left at start-up: nothing would work */
	hsm->flights.watching = true;
}

void hsm_watch_stop(struct hsm *hsm)
{
	struct hsm_flights *flights = &hsm->flights;
	if (!flights->watching)
		return;
	pthread_mutex_lock(&flights->lock);
	flights->stop = true;
	pthread_cond_broadcast(&flights->changed);
	pthread_mutex_unlock(&flights->lock);
	pthread_join(flights->watch, NULL);
	flights->watching = false;
}
