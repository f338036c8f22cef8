/* Network addresses and networks. IPv4 is held as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), so that 192.0.2.1 and
 * ::ffff:192.0.2.1 are the same client. Thread-safe. */
#ifndef TWOKEY_COMMON_IP_H
#define TWOKEY_COMMON_IP_H

#include <stdbool.h>
#include <stdint.h>

struct ip_addr {
	uint8_t bytes[16];
};

struct ip_net {
	struct ip_addr base; /* host bits are zero */
	uint8_t prefix;      /* 0 .. 128, counted on the mapped form: 10.0.0.0/8 has 104 */
};

#define IP_TEXT_MAX 64

/* "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"; no port, no zone, no brackets. */
bool ip_parse(const char *text, struct ip_addr *ret);
/* The usual short form; mapped addresses as IPv4. `out` has IP_TEXT_MAX bytes. */
void ip_format(const struct ip_addr *addr, char *out);
/* IPv4, which is held mapped? */
bool ip_is_v4(const struct ip_addr *addr);
/* "10.0.0.0/8", "2001:db8::/32", or a single address. Host bits must be zero; an IPv6 network shorter than
 * ::ffff:0:0/96 does not contain IPv4 clients, except ::/0, which contains everybody, as 0.0.0.0/0 contains every IPv4
 * client. */
bool ip_net_parse(const char *text, struct ip_net *ret);
bool ip_net_contains(const struct ip_net *net, const struct ip_addr *addr);

#endif
