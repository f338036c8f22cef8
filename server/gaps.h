/* What no request tells of, for the record: that the last run did not end in good order, that the clock has jumped,
 * that TLS handshakes were refused. */
#ifndef TWOKEY_SERVER_GAPS_H
#define TWOKEY_SERVER_GAPS_H

#include "server/deployment.h"

#define GAPS_JUMP_MS 10000 /* a clock that differs by less from the time that has passed is no event */

/* Before anything is served: a GAP record when the last one of the log is not a STOP, and a completion for each
 * transfer that was under way. */
must_check enum err_code gaps_record_start(struct deployment *deployment, struct err *err);

/* One thread's. */
struct gaps_watch {
	int64_t wall_ms, monotonic_us; /* at the last look; 0: none yet */
};
/* By how much the wall clock has moved against the monotonic one since the last look, when that is a jump; else 0. */
int64_t gaps_jump_ms(struct gaps_watch *watch, int64_t wall_ms, int64_t monotonic_us);
/* About once a second. */
void gaps_look(struct gaps_watch *watch, struct deployment *deployment);

#endif
