/* Who may call a method at all, and which transactions a caller may propose or use. docs/IDENTITY.md */
#ifndef TWOKEY_SERVER_CALLER_H
#define TWOKEY_SERVER_CALLER_H

#include "server/request.h"

/* Before any work: a certificate, whose it is, has it one of these roles (bits of enum config_caller_role), from where,
 * and when. Finds request->caller. NONE: go on. */
enum reason caller_admit(struct request *request, unsigned roles);
/* For a call that goes on: is the certificate still good? Cheap while no list has changed. */
enum reason caller_look_again(struct request *request);
/* Is the transaction among those that the caller may propose or use? Without a caller there is nothing to ask. */
enum reason caller_check_transaction(struct request *request, const Twokey__V1__Transaction *transaction);

#endif
