/* Looks after the parts that serving needs, and the country database, in a thread of its own: a slow bucket must not
 * delay a signal. */
#ifndef TWOKEY_SERVER_HEALTH_H
#define TWOKEY_SERVER_HEALTH_H

#include "server/deployment.h"

struct health;

/* Checks once, tells the RPC server, and goes on every two seconds. Changes are logged, each once, with the part that
 * is in trouble. Borrows both until health_stop. */
struct health *health_start(struct deployment *deployment, struct rpc_server *rpc);
void health_stop(struct health *health); /* accepts NULL */

#endif
