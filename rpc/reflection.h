/* grpc.reflection.v1 and v1alpha: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md */
#ifndef TWOKEY_RPC_REFLECTION_H
#define TWOKEY_RPC_REFLECTION_H

#include <stdatomic.h>

#include "rpc/rpc.h"

#define RPC_REFLECTION_V1      "grpc.reflection.v1.ServerReflection"
#define RPC_REFLECTION_V1ALPHA "grpc.reflection.v1alpha.ServerReflection"

struct rpc_reflection;

/* The descriptors are borrowed, `services` (NULL-terminated) is copied. */
must_check enum err_code rpc_reflection_new(struct span descriptors, const char *const *services,
                                            struct rpc_reflection **ret, struct err *err);
void rpc_reflection_free(struct rpc_reflection *reflection); /* accepts NULL */
/* Streams that wait for a question end soon. */
void rpc_reflection_stop(struct rpc_reflection *reflection);

/* Handler of ServerReflectionInfo in both packages, whose messages are the same on the wire; user is the struct
 * rpc_reflection. */
void rpc_reflection_info(struct rpc_call *call, void *user);

#endif
