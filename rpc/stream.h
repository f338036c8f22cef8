/* What client.c and stream.c share. */
#ifndef TWOKEY_RPC_STREAM_H
#define TWOKEY_RPC_STREAM_H

#include <grpc/grpc.h>

#include "rpc/rpc.h"

struct rpc_client {
	grpc_channel *channel;
};

#endif
