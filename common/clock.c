#include "common/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int64_t clock_now_ms(const struct clock *clock)
{
	if (clock && clock->now_ms)
		return clock->now_ms(clock->user);
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_monotonic_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void clock_format(int64_t ms, char *out)
{
	int64_t part = ms % 1000;
	time_t seconds = (time_t)(ms / 1000);
	if (part < 0) {
		part += 1000;
		seconds--;
	}
	struct tm tm;
	if (!gmtime_r(&seconds, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099) {
		snprintf(out, CLOCK_TEXT_MAX, "out of range");
		return;
	}
	snprintf(out, CLOCK_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
	         tm.tm_hour, tm.tm_min, tm.tm_sec, (int)part);
}

/* Reads exactly `digits` decimal digits. */
static bool take_number(const char **at, int digits, int *ret)
{
	int value = 0;
	for (int i = 0; i < digits; i++, ++*at) {
		if (!isdigit((unsigned char)**at))
			return false;
		value = value * 10 + (**at - '0');
	}
	*ret = value;
	return true;
}

static bool take_char(const char **at, char c)
{
	if (**at != c)
		return false;
	++*at;
	return true;
}

static int64_t take_fraction_ms(const char **at)
{
	if (!take_char(at, '.'))
		return 0;
	int64_t ms = 0, scale = 100;
	while (isdigit((unsigned char)**at)) {
		ms += (**at - '0') * scale;
		scale /= 10;
		++*at;
	}
	return ms;
}

/* "Z", "+01:00" or "-05:30"; minutes east of UTC. */
static bool take_offset(const char **at, int *ret_minutes)
{
	*ret_minutes = 0;
	if (take_char(at, 'Z') || take_char(at, 'z'))
		return true;
	int sign = **at == '+' ? 1 : **at == '-' ? -1 : 0;
	if (sign == 0)
		return false;
	++*at;
	int hours, minutes;
	if (!take_number(at, 2, &hours) || !take_char(at, ':') || !take_number(at, 2, &minutes) || hours > 23 ||
	    minutes > 59)
		return false;
	*ret_minutes = sign * (hours * 60 + minutes);
	return true;
}

bool clock_parse(const char *text, int64_t *ret_ms)
{
	struct tm tm = {0};
	const char *at = text;
	int year, month;
	if (!take_number(&at, 4, &year) || !take_char(&at, '-') || !take_number(&at, 2, &month) || !take_char(&at, '-') ||
	    !take_number(&at, 2, &tm.tm_mday))
		return false;
	int64_t fraction = 0;
	int offset = 0;
	if (*at) {
		if (!(take_char(&at, 'T') || take_char(&at, 't') || take_char(&at, ' ')) || !take_number(&at, 2, &tm.tm_hour) ||
		    !take_char(&at, ':') || !take_number(&at, 2, &tm.tm_min) || !take_char(&at, ':') ||
		    !take_number(&at, 2, &tm.tm_sec))
			return false;
		fraction = take_fraction_ms(&at);
		if (!take_offset(&at, &offset) || *at)
			return false;
	}
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	struct tm wanted = tm;
	time_t seconds = timegm(&tm);
	/* timegm folds the 31st of June into July: refuse what it changed. */
	if (wanted.tm_mon != tm.tm_mon || wanted.tm_mday != tm.tm_mday || wanted.tm_hour != tm.tm_hour ||
	    wanted.tm_min != tm.tm_min || wanted.tm_sec != tm.tm_sec)
		return false;
	*ret_ms = ((int64_t)seconds - (int64_t)offset * 60) * 1000 + fraction;
	return true;
}
