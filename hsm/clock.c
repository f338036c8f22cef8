/* Deadlines on the monotonic clock. */
#include <time.h>

#include "hsm/internal.h"

struct timespec hsm_timespec(int64_t us)
{
	return (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
}

void hsm_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

int64_t hsm_deadline(const struct hsm *hsm)
{
	return clock_monotonic_us() + (int64_t)hsm->timeout_ms * 1000;
}
