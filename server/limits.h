/* How often, and how much: of an address (limits.flood of the configuration), of a vendor key and of a user (`limits`
 * of the rule file). Counted in memory, by this process. Thread-safe. */
#ifndef TWOKEY_SERVER_LIMITS_H
#define TWOKEY_SERVER_LIMITS_H

#include "server/request.h"

struct limits;

struct limits *limits_new(void);
void limits_free(struct limits *limits); /* accepts NULL */

/* Whose requests are counted together: the request's address; of an IPv6 client its /64. Borrowed from the request. */
struct span limits_network(const struct request *request);
/* May the request's address ask once more? Of an IPv6 client the /64 counts. */
must_check bool limits_flood(const struct request *request);
/* May its vendor key and its user, within request->limits? Counts the request, and wants some volume left. */
must_check bool limits_admit(const struct request *request);
/* Bytes that moved. */
void limits_charge(const struct request *request, uint64_t bytes);

#endif
