/* Taking up the rule file anew: by RPC, by SIGHUP, or because it has changed. Thread-safe, one at a time. */
#ifndef TWOKEY_SERVER_RELOAD_H
#define TWOKEY_SERVER_RELOAD_H

#include "server/deployment.h"

struct reload_result {
	uint8_t sha256[32]; /* of the rules in force */
	uint32_t rules;
	bool changed;
	uint64_t record;
};

/* Reads the file, records what became of it (EVENT_POLICY; `record` says who asked and why), and only then puts it in
 * force. RULES_INVALID with "file:line:column: ..." or LEDGER_UNAVAILABLE: the old rules go on. */
enum reason reload_rules(struct deployment *deployment, Twokey__V1__Record *record, struct reload_result *ret,
                         struct err *detail);
/* The same on nobody's behalf: tells the log. */
void reload_rules_because(struct deployment *deployment, const char *why);
/* Once a second: has the file changed? */
void reload_rules_if_changed(struct deployment *deployment);
/* Records which rules are in force when the service starts. */
must_check enum err_code reload_record_start(struct deployment *deployment, struct err *err);

#endif
