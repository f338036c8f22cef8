/* An index over a serialised google.protobuf.FileDescriptorSet: which file declares a name. The files' exact bytes are
 * handed out, as reflection wants them. Read-only once made. */
#ifndef TWOKEY_RPC_DESCRIPTORS_H
#define TWOKEY_RPC_DESCRIPTORS_H

#include "common/err.h"
#include "common/span.h"

struct rpc_descriptors;

/* Borrows the bytes. ERR_INVALID: they are no descriptor set. */
must_check enum err_code rpc_descriptors_new(struct span set, struct rpc_descriptors **ret, struct err *err);
void rpc_descriptors_free(struct rpc_descriptors *descriptors); /* accepts NULL */
/* The FileDescriptorProto of that name ("twokey/v1/gatekeeper.proto"); empty when there is none. */
struct span rpc_descriptors_file(const struct rpc_descriptors *descriptors, const char *name);
/* The one that declares the message, field, oneof, enum, enum value, service, method or extension of that full name,
 * without a leading dot. */
struct span rpc_descriptors_symbol(const struct rpc_descriptors *descriptors, const char *symbol);

#endif
