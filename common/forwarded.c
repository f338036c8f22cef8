#include "common/forwarded.h"

#include <string.h>

#include "common/span.h"

static bool is_trusted(const struct ip_addr *addr, const struct ip_net *trusted, size_t n_trusted)
{
	for (size_t i = 0; i < n_trusted; i++)
		if (ip_net_contains(&trusted[i], addr))
			return true;
	return false;
}

/* ":" and a port from 1 to 65535, or nothing. */
static bool is_port(const char *text)
{
	if (!*text)
		return true;
	size_t digits = strspn(text + 1, "0123456789");
	if (*text != ':' || digits < 1 || digits > 5 || text[1 + digits] || text[1] == '0')
		return false;
	unsigned port = 0;
	for (const char *p = text + 1; *p; p++)
		port = port * 10 + (unsigned)(*p - '0');
	return port <= 65535;
}

static bool parse_entry(struct span entry, struct ip_addr *ret)
{
	char text[IP_TEXT_MAX + 10];
	while (entry.len && (entry.ptr[0] == ' ' || entry.ptr[0] == '\t'))
		entry = span_of(entry.ptr + 1, entry.len - 1);
	while (entry.len && (entry.ptr[entry.len - 1] == ' ' || entry.ptr[entry.len - 1] == '\t'))
		entry.len--;
	if (!entry.len || entry.len >= sizeof text)
		return false;
	memcpy(text, entry.ptr, entry.len);
	text[entry.len] = '\0';
	char *address = text, *end = text + entry.len, *colon = strchr(text, ':');
	if (*text == '[') {
		end = strchr(text, ']');
		if (!end || !colon || colon > end)
			return false; /* only IPv6 stands in brackets */
		address++;
		*end++ = '\0';
	} else if (colon && strchr(text, '.') && colon == strrchr(text, ':')) {
		if (!is_port(colon))
			return false;
		end = text + entry.len;
		*colon = '\0';
	}
	return is_port(end) && ip_parse(address, ret);
}

bool forwarded_address(const struct ip_addr *peer, const char *header, const struct ip_net *trusted, size_t n_trusted,
                       struct ip_addr *ret)
{
	if (!is_trusted(peer, trusted, n_trusted)) {
		*ret = *peer;
		return true;
	}
	size_t end = header ? strlen(header) : 0;
	while (end > 0) {
		size_t start = end;
		while (start > 0 && header[start - 1] != ',')
			start--;
		struct ip_addr entry;
		if (!parse_entry(span_of(header + start, end - start), &entry))
			return false;
		if (!is_trusted(&entry, trusted, n_trusted)) {
			*ret = entry;
			return true;
		}
		end = start ? start - 1 : 0;
	}
	return false;
}
