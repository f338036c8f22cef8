/* The gatekeeper's checks: docs/PROTOCOL.md's list, least revealing first. The first failure ends it, recorded. */
#ifndef TWOKEY_SERVER_ADMIT_H
#define TWOKEY_SERVER_ADMIT_H

#include "server/request.h"

/* Checks an envelope for a method that performs `operation` (UNSPECIFIED: any, for CoSign) and fills the request.
 * False: refused, recorded and finished. Grants nothing yet: request_grant does. */
must_check bool admit(struct request *request, const Twokey__V1__Envelope *envelope,
                      const Twokey__V1__HolderProof *proof, Twokey__V1__Operation operation);

/* Makes the grant of a co-signature durable, then adds our signature, unless the envelope has it. False: refused and
 * finished. */
must_check bool admit_cosign(struct request *request);

/* Co-signs first when the envelope has only the vendor's signature, with the same records as CoSign, then spends one
 * use. False: refused and finished. */
must_check bool admit_spend(struct request *request);

#endif
