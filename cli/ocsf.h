/* A record as an event of the Open Cybersecurity Schema Framework: Datastore Activity (class 6005) with the profiles
 * security_control and record_integrity. docs/AUDIT.md has the mapping. */
#ifndef TWOKEY_CLI_OCSF_H
#define TWOKEY_CLI_OCSF_H

#include <jansson.h>

#include "twokey/v1/audit.pb-c.h"

/* Events of one export are a chain: each names the one before it and its fingerprint. */
struct ocsf_chain {
	const char *uid;
	char fingerprint[65]; /* hex SHA-256 of the event before; "" for the first */
	char previous[24];    /* its uid */
};
/* NULL: the record tells of no access to the bucket (a start, an operator's change, somebody who read the record). */
json_t *ocsf_event(const Twokey__V1__Record *record, struct ocsf_chain *chain);

#endif
