/* Witnesses of abuse: failures are counted by address (of an IPv6 client: by its /64) and by identity. Whoever fails
 * more often than agreed gets further refusals later, and each minute of it is one record more. What is granted is
 * never delayed, and of an address only few refusals wait at a time: nobody can lock out somebody else. Thread-safe. */
#ifndef TWOKEY_SERVER_ABUSE_H
#define TWOKEY_SERVER_ABUSE_H

#include "common/reason.h"
#include "server/request.h"

/* NULL when `limits.failures` is 0: nothing is counted. */
struct abuse *abuse_new(const struct config *config);
void abuse_free(struct abuse *abuse); /* accepts NULL */

/* A request has failed, and that is on record. Returns when it may be told: at once as a rule, else within a second,
 * and before the client's deadline. */
void abuse_wait(struct request *request, enum reason reason);
/* Records the minutes that have passed (EVENT_ABUSE), with `all` those that have begun, too. Once a second. */
void abuse_tend(struct deployment *deployment, bool all);

#endif
