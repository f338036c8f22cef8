/* Private to policy/: many networks, asked for one address in O(log n). Immutable, hence thread-safe. */
#ifndef TWOKEY_POLICY_NETWORK_SET_H
#define TWOKEY_POLICY_NETWORK_SET_H

#include "common/ip.h"
#include "common/span.h"

struct policy_network_set;

struct policy_network_set *policy_network_set_new(const struct ip_net *nets, size_t n);
void policy_network_set_free(struct policy_network_set *set); /* accepts NULL */
/* The same as ip_net_contains for any of the networks. */
bool policy_network_set_contains(const struct policy_network_set *set, const struct ip_addr *addr);
/* There is no address outside. */
bool policy_network_set_is_everybody(const struct policy_network_set *set);

#endif
