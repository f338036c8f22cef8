#include "rpc/bind.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/span.h"

#define PORT_LEAST 10000
#define PORT_END   32768

static bool parse_port(const char *text, unsigned *ret)
{
	size_t len = strlen(text);
	if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
		return false;
	*ret = (unsigned)strtoul(text, NULL, 10);
	return *ret <= 65535;
}

static bool parse_host(struct rpc_address *address)
{
	char *host = address->host;
	size_t len = strlen(host);
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address->socket;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address->socket;
	if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
		autofree char *inner = xstrndup(host + 1, len - 2);
		v6->sin6_family = AF_INET6;
		address->len = sizeof(*v6);
		return inet_pton(AF_INET6, inner, &v6->sin6_addr) == 1;
	}
	v4->sin_family = AF_INET;
	address->len = sizeof(*v4);
	return inet_pton(AF_INET, host, &v4->sin_addr) == 1;
}

enum err_code rpc_address_parse(const char *text, struct rpc_address *ret, struct err *err)
{
	struct rpc_address address = {0};
	const char *colon = text ? strrchr(text, ':') : NULL;
	bool ok = colon && (size_t)(colon - text) < sizeof(address.host) && parse_port(colon + 1, &address.port);
	if (ok) {
		memcpy(address.host, text, (size_t)(colon - text));
		ok = parse_host(&address);
	}
	if (!ok)
		return err_set(err, ERR_INVALID, 0, "listen: not an address and port (127.0.0.1:8443, [::]:8443): %.100s",
		               text ? text : "");
	rpc_address_set_port(&address, address.port);
	*ret = address;
	return ERR_OK;
}

void rpc_address_set_port(struct rpc_address *address, unsigned port)
{
	address->port = port;
	if (address->socket.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&address->socket)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)&address->socket)->sin_port = htons((uint16_t)port);
}

unsigned rpc_address_random_port(void)
{
	uint32_t random = 0;
	while (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
	}
	return PORT_LEAST + random % (PORT_END - PORT_LEAST);
}

enum err_code rpc_address_probe(const struct rpc_address *address, struct err *err)
{
	int one = 1;
	autofd int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(fd, (const struct sockaddr *)&address->socket, address->len) == 0 && listen(fd, 1) == 0)
		return ERR_OK;
	return err_set(err, ERR_UNAVAILABLE, errno, "listen: cannot bind %s:%u: %s", address->host, address->port,
	               strerror(errno));
}
