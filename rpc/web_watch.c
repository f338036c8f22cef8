/* What MHD does not notice. A suspended connection is not looked at, so nobody learns that its browser has left; and a
 * line that trickles never times out. One thread looks at every connection a few times a second. */
#include <linux/tcp.h> /* glibc's tcp_info lacks the byte counts */
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "common/clock.h"
#include "rpc/web.h"

#define LOOK_MS        250
#define PROGRESS_BYTES 4096     /* less than that within the patience is none */
#define CUT_US         1000000  /* for the rest of a message whose call was refused meanwhile */
#define REQUEST_US     10000000 /* from the connection to its first request's headers, handshake included */
#define IDLE_US        60000000 /* between requests */

/* Bytes that have gone over the line, both ways, as the kernel knows: its own buffers would hide a stalled reader. */
static uint64_t moved_bytes(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return 0;
	return info.tcpi_bytes_acked + info.tcpi_bytes_received;
}

static bool has_left(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};
	return poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* Is it the browser's turn? */
static bool waits_for_browser(const struct web_call *call)
{
	return !call->suspended && (call->ended || !rpc_web_call_sent_locked(call) || !call->complete);
}

static bool stalls(struct web_call *call, int64_t now)
{
	const uint64_t moved = moved_bytes(call->socket->fd);
	if (!waits_for_browser(call) || moved - call->moved >= PROGRESS_BYTES) {
		call->moved = moved;
		call->moved_us = now;
	}
	return now - call->moved_us > call->web->patience_us;
}

static void look_at_call(struct web_call *call, int64_t now)
{
	pthread_mutex_lock(&call->lock);
	if (call->connection && !call->gone) {
		const bool too_late = call->cut && !rpc_web_call_sent_locked(call) && now - call->ended_us > CUT_US;
		if (too_late || stalls(call, now) || (call->suspended && has_left(call->socket->fd)))
			rpc_web_call_abandon_locked(call);
	}
	pthread_mutex_unlock(&call->lock);
}

static void look_at_connection(const struct web_connection *connection, int64_t now)
{
	if (!connection->busy && now - connection->since_us > (connection->used ? IDLE_US : REQUEST_US))
		shutdown(connection->fd, SHUT_RDWR);
}

static void look(struct rpc_web *web)
{
	const int64_t now = clock_monotonic_us();
	for (struct web_call *call = web->calls; call; call = call->next)
		look_at_call(call, now);
	for (struct web_connection *connection = web->connections; connection; connection = connection->next)
		look_at_connection(connection, now);
}

static void *watch(void *user)
{
	struct rpc_web *web = user;
	const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
	for (;;) {
		pthread_mutex_lock(&web->lock);
		const bool ends = web->watcher_ends;
		look(web);
		pthread_mutex_unlock(&web->lock);
		if (ends)
			return NULL;
		nanosleep(&pause, NULL);
	}
}

bool rpc_web_watch_start(struct rpc_web *web)
{
	web->watching = pthread_create(&web->watcher, NULL, watch, web) == 0;
	return web->watching;
}

void rpc_web_watch_stop(struct rpc_web *web)
{
	if (!web->watching)
		return;
	pthread_mutex_lock(&web->lock);
	web->watcher_ends = true;
	pthread_mutex_unlock(&web->lock);
	pthread_join(web->watcher, NULL);
	web->watching = false;
}
