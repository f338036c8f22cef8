#include "common/ip.h"

#include <arpa/inet.h>
#include <string.h>

#define MAPPED_BITS 96

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool ip_is_v4(const struct ip_addr *addr)
{
	return memcmp(addr->bytes, mapped_prefix, sizeof mapped_prefix) == 0;
}

bool ip_parse(const char *text, struct ip_addr *ret)
{
	struct ip_addr addr = {0};
	if (!strchr(text, ':')) {
		memcpy(addr.bytes, mapped_prefix, sizeof mapped_prefix);
		if (inet_pton(AF_INET, text, addr.bytes + sizeof mapped_prefix) != 1)
			return false;
	} else if (inet_pton(AF_INET6, text, addr.bytes) != 1) {
		return false;
	}
	*ret = addr;
	return true;
}

void ip_format(const struct ip_addr *addr, char *out)
{
	if (ip_is_v4(addr))
		inet_ntop(AF_INET, addr->bytes + sizeof mapped_prefix, out, IP_TEXT_MAX);
	else
		inet_ntop(AF_INET6, addr->bytes, out, IP_TEXT_MAX);
}

/* One to three digits without a leading zero: "/08" is read as 8 by some and refused by others. */
static bool parse_prefix(const char *text, unsigned max, unsigned *ret)
{
	unsigned value = 0;
	size_t len = strlen(text);
	if (len < 1 || len > 3 || (len > 1 && text[0] == '0'))
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (unsigned)(*text - '0');
	}
	*ret = value;
	return value <= max;
}

static uint8_t byte_mask(unsigned bits)
{
	return (uint8_t)(0xff00u >> bits);
}

/* The first `prefix` bits are equal. */
static bool same_network(const struct ip_addr *a, const struct ip_addr *b, unsigned prefix)
{
	unsigned whole = prefix / 8, rest = prefix % 8;
	if (memcmp(a->bytes, b->bytes, whole) != 0)
		return false;
	return rest == 0 || ((a->bytes[whole] ^ b->bytes[whole]) & byte_mask(rest)) == 0;
}

static bool host_bits_zero(const struct ip_addr *addr, unsigned prefix)
{
	for (unsigned i = prefix / 8; i < sizeof addr->bytes; i++) {
		uint8_t keep = i == prefix / 8 ? byte_mask(prefix % 8) : 0;
		if (addr->bytes[i] & (uint8_t)~keep)
			return false;
	}
	return true;
}

bool ip_net_parse(const char *text, struct ip_net *ret)
{
	char address[IP_TEXT_MAX];
	const char *slash = strchrnul(text, '/');
	size_t len = (size_t)(slash - text);
	if (len >= sizeof address)
		return false;
	memcpy(address, text, len);
	address[len] = '\0';

	struct ip_addr base;
	if (!ip_parse(address, &base))
		return false;
	bool v4 = !strchr(address, ':');
	unsigned prefix = v4 ? 32 : 128;
	if (*slash && !parse_prefix(slash + 1, prefix, &prefix))
		return false;
	if (v4)
		prefix += MAPPED_BITS;
	if (!host_bits_zero(&base, prefix))
		return false;
	*ret = (struct ip_net){base, (uint8_t)prefix};
	return true;
}

bool ip_net_contains(const struct ip_net *net, const struct ip_addr *addr)
{
	/* "::/64" means hosts of that IPv6 network, and hardly the whole IPv4 internet, which happens to lie in it. */
	if (net->prefix > 0 && net->prefix < MAPPED_BITS && ip_is_v4(addr))
		return false;
	return same_network(&net->base, addr, net->prefix);
}
