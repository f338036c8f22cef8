/* What the methods of the Policy service share: who may call, and how they are refused. */
#ifndef TWOKEY_SERVER_OPERATOR_H
#define TWOKEY_SERVER_OPERATOR_H

#include "server/request.h"

/* Begins a call of somebody with one of these roles (bits of enum config_caller_role) and receives the only message.
 * NULL: refused and finished. Refusals say request->detail as well: the caller operates this deployment. */
must_check ProtobufCMessage *operator_receive(struct request *request, unsigned roles,
                                              const ProtobufCMessageDescriptor *type);

#endif
