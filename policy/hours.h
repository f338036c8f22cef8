/* Private to policy/: days and hours in a time zone. What counts is what a clock on the wall there shows: an hour that
 * summer time skips never comes, one that it repeats counts twice. The system's time zone database, read by GLib, whose
 * zones are immutable; ICU would bring a copy of its own, and the C library has but one zone per process. Immutable,
 * hence thread-safe. */
#ifndef TWOKEY_POLICY_HOURS_H
#define TWOKEY_POLICY_HOURS_H

#include "common/span.h"

#define POLICY_DAY_MINUTES 1440

struct policy_hours;

struct policy_hours_options {
	unsigned days; /* bits 1 << 0 (Monday) .. 1 << 6 (Sunday); 0: every day */
	/* Minutes since midnight, from <= now < to; both 0: the whole day. With to < from, until `to` of the next day: the
	 * day that counts is the one on which it began. */
	unsigned from, to;
	const char *zone; /* "Europe/Berlin" */
};

/* NULL: there is no such zone. */
struct policy_hours *policy_hours_new(const struct policy_hours_options *options);
void policy_hours_free(struct policy_hours *hours); /* accepts NULL */
bool policy_hours_contain(const struct policy_hours *hours, int64_t time_ms);

/* "08:00" to "24:00", in minutes. */
bool policy_hours_parse_time(const char *text, unsigned *ret_minutes);
/* "mon", "mon-fri", "sat-mon": adds the bits. */
bool policy_hours_parse_days(const char *text, unsigned *days);
/* All zones that the system's database lists, one per line; empty when it has no list. */
void policy_hours_list_zones(struct buf *out);

#endif
