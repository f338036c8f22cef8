/* Accepting connections, safely. The core takes accept4 from the process, and treats most of its errors as the end of
 * the listener: one moment without file descriptors, and the port never answers again (grpc issues 16058, 20418). It
 * also has no limit on connections. So this file defines accept4; the executable must export it
 * (-Wl,--export-dynamic-symbol=accept4). Sockets that are not ours pass through untouched. Thread-safe. */
#ifndef TWOKEY_RPC_ACCEPT_GUARD_H
#define TWOKEY_RPC_ACCEPT_GUARD_H

#include "common/err.h"

/* Guards the listening sockets of this port. ERR_UNAVAILABLE: no descriptor to hold in reserve, or too many ports. */
must_check enum err_code rpc_accept_guard_add(unsigned port, unsigned max_connections, unsigned max_per_address,
                                              struct err *err);
void rpc_accept_guard_remove(unsigned port);

#endif
