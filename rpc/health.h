/* grpc.health.v1.Health: https://github.com/grpc/grpc/blob/master/doc/health-checking.md */
#ifndef TWOKEY_RPC_HEALTH_H
#define TWOKEY_RPC_HEALTH_H

#include "rpc/rpc.h"

#define RPC_HEALTH_SERVICE "grpc.health.v1.Health"

struct rpc_health;

/* `services` (NULL-terminated) is copied. Thread-safe from then on. */
struct rpc_health *rpc_health_new(const char *const *services);
void rpc_health_free(struct rpc_health *health); /* accepts NULL */
void rpc_health_set(struct rpc_health *health, bool serving);
/* NOT_SERVING for good, and every Watch ends. */
void rpc_health_stop(struct rpc_health *health);

/* Handlers; user is the struct rpc_health. */
void rpc_health_check(struct rpc_call *call, void *user);
void rpc_health_watch(struct rpc_call *call, void *user);

#endif
