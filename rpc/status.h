/* How a call ends on the wire: grpc-status, grpc-message, and google.rpc.Status with one google.rpc.ErrorInfo in the
 * trailing metadata "grpc-status-details-bin". */
#ifndef TWOKEY_RPC_STATUS_H
#define TWOKEY_RPC_STATUS_H

#include <grpc/status.h>

#include "rpc/rpc.h"

#define RPC_STATUS_DETAILS_KEY "grpc-status-details-bin"
#define RPC_STATUS_MESSAGE_MAX 1024

/* The message as it may travel: valid UTF-8 without control characters, cut to RPC_STATUS_MESSAGE_MAX bytes with its
 * NUL. `out` has that size. */
void rpc_status_clean(const char *message, char *out);
/* Appends a serialised google.rpc.Status. */
void rpc_status_pack(enum err_code code, const char *message, const struct rpc_error_info *info, struct buf *out);
/* Takes reason and record from a serialised google.rpc.Status; one that makes no sense changes nothing. */
void rpc_status_unpack(struct span bytes, struct rpc_status *status);
/* Statuses that we never send map to the nearest category. */
enum err_code rpc_status_code(grpc_status_code status);

#endif
