/* Time. Wall-clock time is milliseconds since 1970-01-01T00:00:00Z (UTC, no leap seconds). Thread-safe. */
#ifndef TWOKEY_COMMON_CLOCK_H
#define TWOKEY_COMMON_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A source of time that tests replace; NULL means the system's. */
struct clock {
	int64_t (*now_ms)(void *user);
	void *user;
};

int64_t clock_now_ms(const struct clock *clock);
/* Never goes back; for durations. */
int64_t clock_monotonic_us(void);

#define CLOCK_TEXT_MAX 32
/* RFC 3339 in UTC with milliseconds, "2026-11-21T18:20:00.000Z". `out` has CLOCK_TEXT_MAX bytes. */
void clock_format(int64_t ms, char *out);
/* Reads RFC 3339 ("2026-11-21T18:20:00Z", optional fraction, optional offset, or a bare date). False when it is none.
 */
bool clock_parse(const char *text, int64_t *ret_ms);

#endif
