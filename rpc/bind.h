/* Addresses to listen on. */
#ifndef TWOKEY_RPC_BIND_H
#define TWOKEY_RPC_BIND_H

#include <sys/socket.h>

#include "common/err.h"

struct rpc_address {
	struct sockaddr_storage socket;
	socklen_t len;
	char host[64]; /* with brackets when IPv6 */
	unsigned port;
};

/* "127.0.0.1:8443", "[::]:8443": numeric only, so that it is clear what will be bound. */
must_check enum err_code rpc_address_parse(const char *text, struct rpc_address *ret, struct err *err);
void rpc_address_set_port(struct rpc_address *address, unsigned port);
/* A random port from 10000 to 32767: above that lie the ports that outgoing connections take. */
unsigned rpc_address_random_port(void);
/* Could it be bound now? The core itself does not say why it fails. ERR_UNAVAILABLE with the errno. */
must_check enum err_code rpc_address_probe(const struct rpc_address *address, struct err *err);

#endif
