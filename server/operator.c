#include "server/operator.h"

ProtobufCMessage *operator_receive(struct request *request, unsigned roles, const ProtobufCMessageDescriptor *type)
{
	enum reason reason = !request->identity               ? REASON_CALLER_UNAUTHENTICATED
	                     : request_roles(request) & roles ? REASON_NONE
	                                                      : REASON_CALLER_NOT_ALLOWED;
	if (reason != REASON_NONE) {
		request_refuse(request, reason);
		return NULL;
	}
	request->tell_detail = true;
	return request_receive(request, type);
}
