/* Taking up files anew: the rules, the vendor keys, the authorities and revocation lists of client certificates. By
 * RPC, by SIGHUP, or because a file has changed (not the configuration's, for vendor keys). Thread-safe, one at a time.
 */
#ifndef TWOKEY_SERVER_RELOAD_H
#define TWOKEY_SERVER_RELOAD_H

#include "server/deployment.h"

struct reload_result {
	uint8_t sha256[32]; /* of the rules in force */
	uint32_t rules;
	bool changed;
	const char *vendor_keys; /* those in force, as in the record; NULL: a vendor's deployment */
	bool vendor_keys_changed;
	uint64_t record;
};

/* Reads everything and puts it in force, each kind whole or not at all, and records what became of it (EVENT_POLICY,
 * EVENT_AUTHORITIES; `about` says who asked and why). RULES_INVALID, AUTHORITIES_INVALID (*detail says where and why)
 * or LEDGER_UNAVAILABLE: the old ones go on. Rules and vendor keys are one kind: both or
 * neither, and in force only when that is on record. */
enum reason reload_all(struct deployment *deployment, const Twokey__V1__Record *about, struct reload_result *ret,
                       struct err *detail);
/* The same on nobody's behalf: tells the log. */
void reload_all_because(struct deployment *deployment, const char *why);
/* Once a second: has a file changed? */
void reload_if_changed(struct deployment *deployment);
/* The same, of authorities and revocation lists alone. */
void reload_trust_if_changed(struct deployment *deployment);
/* Records what is in force when the service starts. */
must_check enum err_code reload_record_start(struct deployment *deployment, struct err *err);

#endif
