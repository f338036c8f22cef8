/* A second opinion on rules: slow and obvious, from docs/RULES.md alone, sharing no code with policy/. Single-threaded:
 * it sets TZ. */
#ifndef TWOKEY_TESTS_UNIT_POLICY_REFERENCE_H
#define TWOKEY_TESTS_UNIT_POLICY_REFERENCE_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REFERENCE_LIST_MAX  6
#define REFERENCE_RULES_MAX 16

/* Texts; none: the condition is absent. */
struct reference_list {
	const char *items[REFERENCE_LIST_MAX];
	unsigned n;
};

struct reference_hours {
	bool present;
	bool days[7]; /* from Monday */
	unsigned from, to;
	bool all_day;
	const char *zone;
};

struct reference_rule {
	char name[16];
	bool allow;
	struct reference_list operations, buckets, objects, accounts, users, vendor_keys, networks, countries;
	struct reference_hours hours;
	bool need_consent, need_purpose;
};

struct reference_request {
	const char *operation, *bucket, *object, *account, *user, *vendor_key, *address, *country;
	int64_t time_s;
	bool has_consent, has_purpose;
};

struct reference_decision {
	bool allowed;
	const char *rule, *reason;
};

/* ---- globs, by trying everything ---- */

static bool matches(const char *glob, const char *text, bool flat, bool start);

static bool skip_stars(const char *glob, const char *text, bool flat, bool any)
{
	for (;; text++) {
		if (matches(glob, text, flat, false))
			return true;
		if (!*text || (!any && *text == '/'))
			return false;
	}
}

/* One character of ASCII text: the pools below have no other. */
static bool in_class(const char **glob, char c)
{
	const char *p = *glob + 1;
	bool negated = *p == '!' || *p == '^', found = false;
	p += negated;
	do {
		char from = *p++, to = from;
		if (p[0] == '-' && p[1] != ']') {
			to = p[1];
			p += 2;
		}
		found = found || (c >= from && c <= to);
	} while (*p != ']');
	*glob = p + 1;
	return found != negated;
}

static bool matches(const char *glob, const char *text, bool flat, bool start)
{
	if (!*glob)
		return !*text;
	if (*glob == '*') {
		size_t n = strspn(glob, "*");
		if (start && n > 1 && glob[n] == '/') {
			/* Whole segments, or none. */
			const char *rest = glob + n + 1;
			if (matches(rest, text, flat, true))
				return true;
			for (const char *p = text; *p; p++)
				if (*p == '/' && matches(rest, p + 1, flat, true))
					return true;
			return false;
		}
		return skip_stars(glob + n, text, flat, flat || n > 1);
	}
	if (!*text)
		return false;
	if (*glob == '?')
		return (flat || *text != '/') && matches(glob + 1, text + 1, flat, false);
	if (*glob == '[') {
		if (!flat && *text == '/')
			return false;
		return in_class(&glob, *text) && matches(glob, text + 1, flat, false);
	}
	if (*glob == '\\')
		glob++;
	return *glob == *text && matches(glob + 1, text + 1, flat, !flat && *glob == '/');
}

static bool accepts(const char *glob, const char *text, bool flat)
{
	return matches(glob, text, flat, !flat);
}

/* ---- lists of a prefix: by trying what could stand below it ---- */

/* What can tell the globs of the pool apart: letters that occur in them, one that does not, and '/'. */
#define ALPHABET "abz/"
#define DEPTH    5

static bool try_below(const char *glob, char *text, size_t len, unsigned depth, bool want)
{
	text[len] = '\0';
	if (accepts(glob, text, false) == want)
		return true;
	for (const char *c = ALPHABET; depth > 0 && *c; c++) {
		text[len] = *c;
		if (try_below(glob, text, len + 1, depth - 1, want))
			return true;
	}
	return false;
}

struct answer {
	const char *glob, *prefix;
	bool covers, overlaps;
};

/* The pools are small, the answers slow. */
static const struct answer *below(const char *glob, const char *prefix)
{
	static struct answer known[4096];
	static size_t n;
	for (size_t i = 0; i < n; i++)
		if (known[i].glob == glob && known[i].prefix == prefix)
			return &known[i];
	if (n == sizeof known / sizeof known[0])
		abort();
	char text[256];
	size_t len = (size_t)snprintf(text, sizeof text, "%s", prefix);
	known[n] = (struct answer){.glob = glob, .prefix = prefix};
	known[n].covers = !try_below(glob, text, len, DEPTH, false);
	known[n].overlaps = try_below(glob, text, len, DEPTH, true);
	return &known[n++];
}

/* ---- networks, bit by bit ---- */

struct address {
	bool v4;
	uint8_t bytes[16];
};

static struct address parse_address(const char *text)
{
	struct address address = {0};
	if (inet_pton(AF_INET, text, address.bytes) == 1) {
		address.v4 = true;
	} else if (inet_pton(AF_INET6, text, address.bytes) == 1) {
		static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
		address.v4 = memcmp(address.bytes, mapped, sizeof mapped) == 0;
		if (address.v4)
			memmove(address.bytes, address.bytes + 12, 4);
	} else {
		abort();
	}
	return address;
}

static bool in_network(const char *network, const char *address_text)
{
	if (strcmp(network, "::/0") == 0)
		return true;
	char base_text[64];
	snprintf(base_text, sizeof base_text, "%s", network);
	char *slash = strchr(base_text, '/');
	if (slash)
		*slash = '\0';
	const struct address base = parse_address(base_text), address = parse_address(address_text);
	if (base.v4 != address.v4)
		return false;
	unsigned bits = slash ? (unsigned)atoi(slash + 1) : base.v4 ? 32 : 128;
	if (base.v4 && strchr(base_text, ':') && slash)
		bits -= 96; /* a mapped network */
	for (unsigned i = 0; i < bits; i++)
		if ((base.bytes[i / 8] >> (7 - i % 8) & 1) != (address.bytes[i / 8] >> (7 - i % 8) & 1))
			return false;
	return true;
}

/* ---- hours, by the C library's one zone ---- */

static struct tm wall_clock(const char *zone, int64_t time_s)
{
	static struct entry {
		const char *zone;
		int64_t time_s;
		struct tm tm;
	} known[2048];
	static size_t n;
	for (size_t i = 0; i < n; i++)
		if (known[i].zone == zone && known[i].time_s == time_s)
			return known[i].tm;
	if (n == sizeof known / sizeof known[0])
		n = 0;
	known[n].zone = zone;
	known[n].time_s = time_s;
	setenv("TZ", zone, 1);
	tzset();
	const time_t time = time_s;
	if (!localtime_r(&time, &known[n].tm))
		abort();
	return known[n++].tm;
}

static bool in_hours(const struct reference_hours *hours, int64_t time_s)
{
	const struct tm tm = wall_clock(hours->zone, time_s);
	unsigned today = (unsigned)(tm.tm_wday + 6) % 7, yesterday = (today + 6) % 7;
	unsigned minute = (unsigned)(tm.tm_hour * 60 + tm.tm_min);
	if (hours->all_day)
		return hours->days[today];
	if (hours->from < hours->to)
		return hours->days[today] && hours->from <= minute && minute < hours->to;
	if (minute >= hours->from)
		return hours->days[today];
	return minute < hours->to && hours->days[yesterday];
}

/* ---- rules ---- */

static bool listed(const struct reference_list *list, const char *text)
{
	for (unsigned i = 0; i < list->n; i++)
		if (strcmp(list->items[i], text) == 0)
			return true;
	return list->n == 0;
}

static bool any_flat(const struct reference_list *globs, const char *text)
{
	for (unsigned i = 0; i < globs->n; i++)
		if (accepts(globs->items[i], text, true))
			return true;
	return globs->n == 0;
}

static bool any_object(const struct reference_rule *rule, const struct reference_request *request)
{
	for (unsigned i = 0; i < rule->objects.n; i++) {
		const char *glob = rule->objects.items[i];
		bool list = strcmp(request->operation, "LIST") == 0;
		const struct answer *answer = list ? below(glob, request->object) : NULL;
		if (list ? rule->allow ? answer->covers : answer->overlaps : accepts(glob, request->object, false))
			return true;
	}
	return rule->objects.n == 0;
}

static bool any_network(const struct reference_list *networks, const char *address)
{
	for (unsigned i = 0; i < networks->n; i++)
		if (in_network(networks->items[i], address))
			return true;
	return networks->n == 0;
}

static bool any_country(const struct reference_rule *rule, const char *country)
{
	if (rule->countries.n == 0)
		return true;
	if (!*country)
		return !rule->allow;
	return listed(&rule->countries, country);
}

/* What is taken as it would have to be. */
struct pretend {
	bool network, country, hours, consent, purpose;
};

static bool holds(const struct reference_rule *rule, const struct reference_request *request,
                  const struct pretend *pretend)
{
	return listed(&rule->operations, request->operation) && any_flat(&rule->buckets, request->bucket) &&
	       any_flat(&rule->accounts, request->account) && any_flat(&rule->users, request->user) &&
	       any_flat(&rule->vendor_keys, request->vendor_key) && any_object(rule, request) &&
	       (pretend->network || any_network(&rule->networks, request->address)) &&
	       (pretend->country || any_country(rule, request->country)) &&
	       (pretend->hours || !rule->hours.present || in_hours(&rule->hours, request->time_s)) &&
	       (pretend->consent || !rule->need_consent || request->has_consent) &&
	       (pretend->purpose || !rule->need_purpose || request->has_purpose);
}

static bool is_listed(const struct reference_list *list, const char *text)
{
	return list->n && listed(list, text);
}

/* There is no other address to come from. */
static bool is_everybody(const struct reference_list *networks)
{
	return is_listed(networks, "::/0") ||
	       (is_listed(networks, "0.0.0.0/0") && is_listed(networks, "::/1") && is_listed(networks, "8000::/1"));
}

static bool asks(const struct reference_rule *rule, const struct pretend *pretend)
{
	return (pretend->network && rule->networks.n && !is_everybody(&rule->networks)) ||
	       (pretend->country && rule->countries.n) || (pretend->hours && rule->hours.present);
}

/* Would it be allowed, if those circumstances were as each rule likes best? */
static bool would_be_allowed(const struct reference_rule *rules, unsigned n, const struct reference_request *request,
                             const struct pretend *pretend)
{
	for (unsigned i = 0; i < n; i++) {
		if (!holds(&rules[i], request, pretend))
			continue;
		if (rules[i].allow)
			return true;
		if (!asks(&rules[i], pretend))
			return false;
	}
	return false;
}

static const char *why(const struct reference_rule *rules, unsigned n, const struct reference_request *request)
{
	if (would_be_allowed(rules, n, request, &(struct pretend){.country = true}))
		return "COUNTRY_DENIED";
	if (would_be_allowed(rules, n, request, &(struct pretend){.country = true, .network = true}))
		return "NETWORK_DENIED";
	if (would_be_allowed(rules, n, request, &(struct pretend){.hours = true}))
		return "HOURS_DENIED";
	if (would_be_allowed(rules, n, request, &(struct pretend){.purpose = true}))
		return "PURPOSE_REQUIRED";
	if (would_be_allowed(rules, n, request, &(struct pretend){.purpose = true, .consent = true}))
		return "CONSENT_REQUIRED";
	return "RULE_DENIED";
}

static void reference_decide(const struct reference_rule *rules, unsigned n, const struct reference_request *request,
                             struct reference_decision *ret)
{
	*ret = (struct reference_decision){.rule = "default"};
	for (unsigned i = 0; i < n; i++) {
		if (!holds(&rules[i], request, &(struct pretend){0}))
			continue;
		ret->rule = rules[i].name;
		ret->allowed = rules[i].allow;
		break;
	}
	ret->reason = ret->allowed ? "" : why(rules, n, request);
}

#endif
