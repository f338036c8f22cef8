#include "rpc/accept_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/span.h"

#define PORTS_MAX        16
#define DESCRIPTORS_KEPT 512
/* How often at most the open connections are counted by asking the kernel. */
#define RECOUNT_US 20000
#define NAP_NS     5000000

/* An accepted connection, at the index of its descriptor. Nobody tells us when the core closes one. But the kernel
 * knows: the descriptor is gone, or has another inode. So the table may count connections that are closed, never too
 * few, and is put right when a limit seems to be reached. */
struct connection {
	unsigned port; /* of the listener; 0: none */
	ino_t inode;
	struct in6_addr peer;
};

struct guard {
	unsigned port;
	unsigned max_connections, max_per_address;
	int64_t recounted_us;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct guard guards[PORTS_MAX];
static struct connection *connections;
static size_t n_connections;
static int reserve = -1;

/* ---- addresses ---- */

static unsigned port_of(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
	if (address->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)address)->sin_port);
	return 0;
}

/* IPv4 as IPv4-mapped IPv6; an IPv6 client is its /64, which is what one subscriber has. */
static struct in6_addr peer_of(const struct sockaddr_storage *address)
{
	struct in6_addr peer = {0};
	if (address->ss_family == AF_INET6) {
		peer = ((const struct sockaddr_in6 *)address)->sin6_addr;
		if (!IN6_IS_ADDR_V4MAPPED(&peer))
			memset(peer.s6_addr + 8, 0, 8);
	} else if (address->ss_family == AF_INET) {
		peer.s6_addr[10] = peer.s6_addr[11] = 0xff;
		memcpy(peer.s6_addr + 12, &((const struct sockaddr_in *)address)->sin_addr, 4);
	}
	return peer;
}

/* ---- counting ---- */

static void count_locked(const struct guard *guard, const struct in6_addr *peer, unsigned *total, unsigned *same)
{
	*total = *same = 0;
	for (size_t fd = 0; fd < n_connections; fd++) {
		if (connections[fd].port != guard->port)
			continue;
		++*total;
		*same += memcmp(&connections[fd].peer, peer, sizeof(*peer)) == 0;
	}
}

static void recount_locked(struct guard *guard)
{
	int64_t now = clock_monotonic_us();
	if (now - guard->recounted_us < RECOUNT_US)
		return;
	guard->recounted_us = now;
	for (size_t fd = 0; fd < n_connections; fd++) {
		struct stat st;
		if (connections[fd].port == guard->port && (fstat((int)fd, &st) != 0 || st.st_ino != connections[fd].inode))
			connections[fd].port = 0;
	}
}

static void remember_locked(const struct guard *guard, int fd, const struct in6_addr *peer)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return;
	if ((size_t)fd >= n_connections) {
		size_t n = (size_t)fd + 256;
		struct connection *grown = xcalloc(n, sizeof(grown[0]));
		if (n_connections > 0)
			memcpy(grown, connections, n_connections * sizeof(grown[0]));
		free(connections);
		connections = grown;
		n_connections = n;
	}
	connections[fd] = (struct connection){guard->port, st.st_ino, *peer};
}

/* Takes the connection into account; false when it is one too many. */
static bool admit_locked(struct guard *guard, int fd, const struct sockaddr_storage *address)
{
	struct in6_addr peer = peer_of(address);
	unsigned total, same;
	if ((size_t)fd < n_connections)
		connections[fd].port = 0; /* what had this descriptor is closed */
	count_locked(guard, &peer, &total, &same);
	if (total >= guard->max_connections || same >= guard->max_per_address) {
		recount_locked(guard);
		count_locked(guard, &peer, &total, &same);
	}
	if (total >= guard->max_connections || same >= guard->max_per_address)
		return false;
	remember_locked(guard, fd, &peer);
	return true;
}

/* ---- accepting ---- */

static int accept_plain(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
	return (int)syscall(SYS_accept4, fd, address, len, flags);
}

static struct guard *guard_find_locked(unsigned port)
{
	for (size_t i = 0; port != 0 && i < PORTS_MAX; i++)
		if (guards[i].port == port)
			return &guards[i];
	return NULL;
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
}

/* Out of descriptors: with the one in reserve the waiting client is let in and sent away. Returns the errno of that:
 * the kernel looks for a descriptor before it looks whether anybody waits, so often nobody does (EAGAIN). Another
 * thread may snatch the descriptor in between; then clients wait until there is one again. */
static int turn_away_locked(int fd)
{
	if (reserve >= 0)
		close(reserve);
	int connection = accept_plain(fd, NULL, NULL, SOCK_CLOEXEC);
	int error = connection < 0 ? errno : 0;
	if (connection >= 0)
		close(connection);
	reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return error;
}

/* True for errors that say something about this moment or this client, not about the socket. */
static bool transient(int error)
{
	switch (error) {
	case EAGAIN:
	case EINTR:
	case EBADF:
	case EINVAL:
	case ENOTSOCK:
	case EOPNOTSUPP:
	case EFAULT:
		return false;
	default:
		return true;
	}
}

static bool out_of_descriptors(int error)
{
	return error == EMFILE || error == ENFILE;
}

static int failed(int fd, int error)
{
	if (out_of_descriptors(error)) {
		pthread_mutex_lock(&lock);
		error = turn_away_locked(fd);
		pthread_mutex_unlock(&lock);
	}
	if (out_of_descriptors(error) || error == ENOBUFS || error == ENOMEM)
		nap();
	errno = transient(error) ? EINTR : error; /* the core tries again at once after EINTR */
	return -1;
}

static int accept_guarded(int fd, unsigned port, struct sockaddr *address, socklen_t *len, int flags)
{
	struct sockaddr_storage peer = {0};
	socklen_t peer_len = sizeof(peer);
	int connection = accept_plain(fd, (struct sockaddr *)&peer, &peer_len, flags);
	if (connection < 0)
		return failed(fd, errno);
	pthread_mutex_lock(&lock);
	struct guard *guard = guard_find_locked(port);
	bool admitted = !guard || admit_locked(guard, connection, &peer);
	pthread_mutex_unlock(&lock);
	if (!admitted) {
		close(connection);
		errno = EINTR;
		return -1;
	}
	if (address && len) {
		memcpy(address, &peer, *len < peer_len ? *len : peer_len);
		*len = peer_len;
	}
	return connection;
}

int accept4(int fd, __SOCKADDR_ARG address, socklen_t *restrict len, int flags)
{
	struct sockaddr_storage own = {0};
	socklen_t own_len = sizeof(own);
	unsigned port = getsockname(fd, (struct sockaddr *)&own, &own_len) == 0 ? port_of(&own) : 0;
	pthread_mutex_lock(&lock);
	bool ours = guard_find_locked(port);
	pthread_mutex_unlock(&lock);
	if (ours)
		return accept_guarded(fd, port, address.__sockaddr__, len, flags);
	return accept_plain(fd, address.__sockaddr__, len, flags);
}

/* ---- the ports ---- */

static enum err_code add_locked(unsigned port, unsigned max_connections, unsigned max_per_address, struct err *err)
{
	if (reserve < 0)
		reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (reserve < 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "listen: no file descriptor to hold in reserve");
	for (size_t i = 0; i < PORTS_MAX; i++) {
		if (guards[i].port != 0)
			continue;
		guards[i] = (struct guard){port, max_connections, max_per_address, 0};
		return ERR_OK;
	}
	return err_set(err, ERR_UNAVAILABLE, 0, "listen: more than %d servers in one process", PORTS_MAX);
}

/* Half of the descriptors, but no more than DESCRIPTORS_KEPT, are for the token, the log and the bucket: connections
 * that took them all would stop those who are connected already. */
static unsigned affordable(unsigned max_connections)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
		return max_connections;
	rlim_t kept = limit.rlim_cur / 2 > DESCRIPTORS_KEPT ? DESCRIPTORS_KEPT : limit.rlim_cur / 2;
	rlim_t most = limit.rlim_cur - kept;
	return most < max_connections ? (unsigned)most : max_connections;
}

enum err_code rpc_accept_guard_add(unsigned port, unsigned max_connections, unsigned max_per_address, struct err *err)
{
	max_connections = affordable(max_connections);
	pthread_mutex_lock(&lock);
	enum err_code code = add_locked(port, max_connections, max_per_address, err);
	pthread_mutex_unlock(&lock);
	return code;
}

static bool any_left_locked(void)
{
	for (size_t i = 0; i < PORTS_MAX; i++)
		if (guards[i].port != 0)
			return true;
	return false;
}

void rpc_accept_guard_remove(unsigned port)
{
	pthread_mutex_lock(&lock);
	struct guard *guard = guard_find_locked(port);
	if (guard)
		guard->port = 0;
	for (size_t fd = 0; fd < n_connections; fd++)
		if (connections[fd].port == port)
			connections[fd].port = 0;
	if (!any_left_locked()) {
		free(connections);
		connections = NULL;
		n_connections = 0;
		if (reserve >= 0)
			close(reserve);
		reserve = -1;
	}
	pthread_mutex_unlock(&lock);
}
