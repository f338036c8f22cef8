#include "server/gaps.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static enum err_code record(struct deployment *deployment, Twokey__V1__Event event, Twokey__V1__Decision decision,
                            const char *detail, struct err *err)
{
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	struct audit_commit commit;
	record.event = event;
	record.decision = decision;
	record.detail = (char *)detail;
	record.gatekeeper = deployment->config->name;
	return audit_commit(deployment->audit, &record, NULL, &commit, err);
}

static enum err_code record_unclean_end(struct deployment *deployment, struct err *err)
{
	struct audit_last last;
	audit_last(deployment->audit, &last);
	if (last.event == TWOKEY__V1__EVENT__EVENT_UNSPECIFIED || last.event == TWOKEY__V1__EVENT__EVENT_STOP)
		return ERR_OK;
	char time[CLOCK_TEXT_MAX];
	clock_format(last.time_ms, time);
	autofree char *detail =
	    xasprintf("the last run did not end in good order: its last record is %" PRIu64 ", of %s", last.index, time);
	log_event(LOG_WARN, "the last run did not end in good order", "last_record", time, NULL);
	return record(deployment, TWOKEY__V1__EVENT__EVENT_GAP, TWOKEY__V1__DECISION__DECISION_UNSPECIFIED, detail, err);
}

enum err_code gaps_record_start(struct deployment *deployment, struct err *err)
{
	uint64_t n = 0;
	enum err_code code = record_unclean_end(deployment, err);
	if (code == ERR_OK)
		code = audit_end_interrupted(deployment->audit, &n, err);
	if (code == ERR_OK && n > 0) {
		char text[24];
		snprintf(text, sizeof text, "%" PRIu64, n);
		log_event(LOG_WARN, "transfers were interrupted when the last run ended", "count", text, NULL);
	}
	return code;
}

int64_t gaps_jump_ms(struct gaps_watch *watch, int64_t wall_ms, int64_t monotonic_us)
{
	int64_t jump_ms = 0;
	if (watch->monotonic_us)
		jump_ms = wall_ms - watch->wall_ms - (monotonic_us - watch->monotonic_us) / 1000;
	watch->wall_ms = wall_ms;
	watch->monotonic_us = monotonic_us;
	return llabs(jump_ms) >= GAPS_JUMP_MS ? jump_ms : 0;
}

static void look_at_clock(struct gaps_watch *watch, struct deployment *deployment)
{
	int64_t jump_ms = gaps_jump_ms(watch, clock_now_ms(deployment->clock), clock_monotonic_us());
	if (!jump_ms)
		return;
	struct err err = {0};
	autofree char *detail =
	    xasprintf("the clock jumped %s by %" PRId64 ".%03d s, or the machine slept", jump_ms > 0 ? "forward" : "back",
	              (int64_t)llabs(jump_ms) / 1000, (int)(llabs(jump_ms) % 1000));
	log_event(LOG_WARN, "the clock jumped", "detail", detail, NULL);
	if (record(deployment, TWOKEY__V1__EVENT__EVENT_GAP, TWOKEY__V1__DECISION__DECISION_UNSPECIFIED, detail, &err) !=
	    ERR_OK)
		log_event(LOG_ERROR, "a jump of the clock could not be recorded", "error", err.text, NULL);
}

/* One record a second at most, however many knock. */
static void look_at_handshakes(struct deployment *deployment)
{
	char why[RPC_REFUSED_TEXT_MAX];
	unsigned n = rpc_refused_handshakes(why);
	if (n == 0)
		return;
	struct err err = {0};
	autofree char *detail = xasprintf("%u TLS handshake%s refused: %s", n, n == 1 ? "" : "s", why);
	if (record(deployment, TWOKEY__V1__EVENT__EVENT_HANDSHAKE, TWOKEY__V1__DECISION__DECISION_DENIED, detail, &err) !=
	    ERR_OK)
		log_event(LOG_ERROR, "refused handshakes could not be recorded", "error", err.text, NULL);
}

void gaps_look(struct gaps_watch *watch, struct deployment *deployment)
{
	look_at_clock(watch, deployment);
	look_at_handshakes(deployment);
	struct err err = {0};
	if (audit_tend(deployment->audit, &err) != ERR_OK)
		log_event(LOG_WARN, "no snapshot of the record's state: the next start takes longer", "error", err.text, NULL);
}
