/* The client's address behind reverse proxies. Thread-safe. */
#ifndef TWOKEY_COMMON_FORWARDED_H
#define TWOKEY_COMMON_FORWARDED_H

#include <stddef.h>

#include "common/ip.h"

/* From whom is this, when `peer` connected and `header` is all that its x-forwarded-for headers say, joined by commas
 * in their order (NULL: it sent none)?
 *
 * A peer that is no trusted proxy is the client, whatever it claims. A trusted proxy appends the address that connected
 * to it, so the header is read from the right: entries that are trusted proxies are skipped, the first that is none is
 * the client, and nothing left of it is looked at, since that is what the client wrote. False, and there is no address:
 * the header is missing, the entry in question is no address, or all are proxies. An entry may carry a port
 * ("192.0.2.1:4711", "[2001:db8::1]:4711"). */
bool forwarded_address(const struct ip_addr *peer, const char *header, const struct ip_net *trusted, size_t n_trusted,
                       struct ip_addr *ret);

#endif
