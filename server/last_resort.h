/* A token that keeps our threads must not keep the process: while the calls are drained, a thread of its own waits, and
 * ends the process when time is up and the token still has some of them. What was granted is on record by then, so that
 * is as good as a kill -9, and no worse. */
#ifndef TWOKEY_SERVER_LAST_RESORT_H
#define TWOKEY_SERVER_LAST_RESORT_H

#include "hsm/hsm.h"

struct last_resort;

/* NULL when there is no thread for it. `hsm` must outlive it. */
struct last_resort *last_resort_start(struct hsm *hsm, unsigned timeout_ms);
void last_resort_stop(struct last_resort *resort); /* accepts NULL */

#endif
