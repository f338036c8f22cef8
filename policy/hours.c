#include "policy/hours.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"

#define ZONE_MAX        64
#define ZONE_LIST_BYTES ((size_t)1 << 20)

struct policy_hours {
	GTimeZone *zone;
	unsigned days, from, to;
};

/* Where GLib looks. */
static const char *folder(void)
{
	const char *set = getenv("TZDIR");
	return set ? set : "/usr/share/zoneinfo";
}

/* GLib would take rules ("EST5EDT,M3.2.0,M11.1.0") and offsets ("+01:00") as well: a file of the database is meant. */
static bool zone_exists(const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/";
	size_t len = strlen(name);
	if (len < 1 || len > ZONE_MAX || strspn(name, letters) != len || name[0] < 'A' || name[0] > 'Z')
		return false; /* "right/", with its leap seconds, and "posix/" start with small letters */
	autofree char *path = xasprintf("%s/%s", folder(), name);
	FILE *file = fopen(path, "re");
	char magic[4];
	bool good = file && fread(magic, 1, sizeof magic, file) == sizeof magic && memcmp(magic, "TZif", 4) == 0;
	if (file)
		fclose(file);
	return good;
}

struct policy_hours *policy_hours_new(const struct policy_hours_options *options)
{
	GTimeZone *zone = zone_exists(options->zone) ? g_time_zone_new_identifier(options->zone) : NULL;
	if (!zone)
		return NULL;
	struct policy_hours *hours = xcalloc(1, sizeof *hours);
	hours->zone = zone;
	hours->days = options->days ? options->days : 0x7f;
	hours->from = options->from;
	hours->to = options->from || options->to ? options->to : POLICY_DAY_MINUTES;
	return hours;
}

void policy_hours_free(struct policy_hours *hours)
{
	if (!hours)
		return;
	g_time_zone_unref(hours->zone);
	free(hours);
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

bool policy_hours_contain(const struct policy_hours *hours, int64_t time_ms)
{
	int64_t seconds = floor_div(time_ms, 1000);
	gint interval = g_time_zone_find_interval(hours->zone, G_TIME_TYPE_UNIVERSAL, seconds);
	if (interval < 0)
		return false;
	int64_t local = seconds + g_time_zone_get_offset(hours->zone, interval);
	int64_t day = floor_div(local, 86400);
	unsigned minute = (unsigned)((local - day * 86400) / 60);
	unsigned weekday = (unsigned)(((day + 3) % 7 + 7) % 7); /* 1970 began on a Thursday */
	unsigned yesterday = (weekday + 6) % 7;
	if (hours->from < hours->to)
		return hours->days >> weekday & 1 && minute >= hours->from && minute < hours->to;
	return (hours->days >> weekday & 1 && minute >= hours->from) ||
	       (hours->days >> yesterday & 1 && minute < hours->to);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool policy_hours_parse_time(const char *text, unsigned *ret_minutes)
{
	if (strlen(text) != 5 || !is_digit(text[0]) || !is_digit(text[1]) || text[2] != ':' || !is_digit(text[3]) ||
	    !is_digit(text[4]))
		return false;
	unsigned hour = (unsigned)((text[0] - '0') * 10 + text[1] - '0');
	unsigned minute = (unsigned)((text[3] - '0') * 10 + text[4] - '0');
	*ret_minutes = hour * 60 + minute;
	return minute < 60 && *ret_minutes <= POLICY_DAY_MINUTES;
}

/* Returns 7 when it is none. */
static unsigned day_of(const char *text)
{
	static const char names[] = "mon tue wed thu fri sat sun";
	for (unsigned i = 0; i < 7; i++)
		if (strncmp(text, names + 4 * i, 3) == 0)
			return i;
	return 7;
}

bool policy_hours_parse_days(const char *text, unsigned *days)
{
	size_t len = strlen(text);
	if (len != 3 && (len != 7 || text[3] != '-'))
		return false;
	unsigned from = day_of(text), to = len == 7 ? day_of(text + 4) : from;
	if (from == 7 || to == 7)
		return false;
	for (unsigned day = from;; day = (day + 1) % 7) {
		*days |= 1u << day;
		if (day == to)
			return true;
	}
}

/* tzdata.zi, zic(8): "Z NAME ...", and "L TARGET NAME". */
void policy_hours_list_zones(struct buf *out)
{
	autofree char *path = xasprintf("%s/tzdata.zi", folder());
	autobuf struct buf text = {0};
	if (text_read_file(path, ZONE_LIST_BYTES, &text, NULL) != ERR_OK)
		return;
	char *rest = (char *)buf_cstr(&text);
	for (char *line; (line = strsep(&rest, "\n"));) {
		char *kind = strsep(&line, " "), *first = strsep(&line, " "), *second = strsep(&line, " ");
		const char *name = !second ? NULL : strcmp(kind, "Z") == 0 ? first : strcmp(kind, "L") == 0 ? second : NULL;
		if (name)
			buf_printf(out, "%s\n", name);
	}
}
