/* An HTTP server of one's own that does as a script says: answers, breaks off, resets, stays silent. One thread; it
 * remembers each request's head. */
#ifndef TWOKEY_TESTS_UNIT_S3CLIENT_FAULT_SERVER_H
#define TWOKEY_TESTS_UNIT_S3CLIENT_FAULT_SERVER_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/span.h"
#include "tests/unit/harness.h"

enum fault_end {
	FAULT_KEEP,   /* the connection stays for the next request */
	FAULT_CLOSE,  /* it is closed after the answer */
	FAULT_RESET,  /* it is reset */
	FAULT_SILENT, /* nothing more comes until the client goes */
};

struct fault_step {
	const char *answer; /* raw; NULL: none */
	enum fault_end end;
};

#define FAULT_REQUESTS_MAX 64
#define FAULT_FDS_MAX      16
#define FAULT_BODY_MAX     4096

struct fault_server {
	int listener, port, stop[2];
	pthread_t thread;
	const struct fault_step *steps; /* one per request, the last again and again */
	size_t n_steps;
	pthread_mutex_t lock;
	char *heads[FAULT_REQUESTS_MAX];
	char *bodies[FAULT_REQUESTS_MAX]; /* their first bytes, FAULT_BODY_MAX at most */
	size_t body_bytes[FAULT_REQUESTS_MAX];
	unsigned n_requests, n_connections;
};

static inline void fault_send(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

/* The head up to its empty line, then the body; false when the client has gone. */
static inline bool fault_read_request(int fd, struct buf *head, struct buf *body, size_t *ret_body)
{
	char c;
	while (head->len < 4 || memcmp(head->data + head->len - 4, "\r\n\r\n", 4) != 0) {
		if (recv(fd, &c, 1, 0) != 1)
			return false;
		buf_append_byte(head, (uint8_t)c);
	}
	const char *text = buf_cstr(head), *length = strcasestr(text, "\r\ncontent-length:");
	if (strcasestr(text, "\r\nexpect: 100-continue"))
		fault_send(fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	size_t left = length ? strtoul(length + 17, NULL, 10) : 0;
	*ret_body = left;
	char chunk[65536];
	while (left > 0) {
		ssize_t n = recv(fd, chunk, left < sizeof chunk ? left : sizeof chunk, 0);
		if (n <= 0)
			return false;
		left -= (size_t)n;
		size_t room = FAULT_BODY_MAX - body->len;
		buf_append(body, span_of(chunk, (size_t)n < room ? (size_t)n : room));
	}
	return true;
}

static inline const struct fault_step *fault_note(struct fault_server *server, struct buf *head, struct buf *start,
                                                  size_t body)
{
	pthread_mutex_lock(&server->lock);
	unsigned at = server->n_requests++;
	if (at < FAULT_REQUESTS_MAX) {
		server->heads[at] = xstrdup(buf_cstr(head));
		server->bodies[at] = xstrdup(buf_cstr(start));
		server->body_bytes[at] = body;
	}
	pthread_mutex_unlock(&server->lock);
	return &server->steps[at < server->n_steps ? at : server->n_steps - 1];
}

static inline void fault_reset(int fd)
{
	struct linger linger = {.l_onoff = 1};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

/* Serves one request; false: the connection is to be closed. */
static inline bool fault_serve(struct fault_server *server, int fd)
{
	autobuf struct buf head = {0}, start = {0};
	size_t body = 0;
	if (!fault_read_request(fd, &head, &start, &body))
		return false;
	const struct fault_step *step = fault_note(server, &head, &start, body);
	if (step->answer)
		fault_send(fd, step->answer, strlen(step->answer));
	if (step->end == FAULT_RESET)
		fault_reset(fd);
	return step->end == FAULT_KEEP || step->end == FAULT_SILENT;
}

static inline void fault_accept(struct fault_server *server, struct pollfd *fds, nfds_t *n)
{
	int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0 || *n == FAULT_FDS_MAX)
		abort();
	fds[(*n)++] = (struct pollfd){.fd = fd, .events = POLLIN};
	pthread_mutex_lock(&server->lock);
	server->n_connections++;
	pthread_mutex_unlock(&server->lock);
}

static inline void *fault_run(void *user)
{
	struct fault_server *server = user;
	struct pollfd fds[FAULT_FDS_MAX] = {{.fd = server->listener, .events = POLLIN},
	                                    {.fd = server->stop[0], .events = POLLIN}};
	nfds_t n = 2;
	while (poll(fds, n, -1) > 0 && !fds[1].revents) {
		for (nfds_t i = n; i-- > 2;) {
			if (!fds[i].revents || fault_serve(server, fds[i].fd))
				continue;
			close(fds[i].fd);
			fds[i] = fds[--n];
		}
		if (fds[0].revents)
			fault_accept(server, fds, &n);
	}
	for (nfds_t i = 2; i < n; i++)
		close(fds[i].fd);
	return NULL;
}

static inline bool fault_bind(const struct fault_server *server, int family)
{
	struct sockaddr_in address = {
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)server->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 address6 = {
	    .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)server->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	return family == AF_INET ? bind(server->listener, (struct sockaddr *)&address, sizeof address) == 0
	                         : bind(server->listener, (struct sockaddr *)&address6, sizeof address6) == 0;
}

static inline void fault_start_family(struct fault_server *server, const struct fault_step *steps, size_t n, int family)
{
	*server = (struct fault_server){.steps = steps, .n_steps = n, .lock = PTHREAD_MUTEX_INITIALIZER};
	server->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	for (int i = 0;; i++) {
		server->port = 20000 + (getpid() * 7 + i * 131) % 12000;
		if (fault_bind(server, family))
			break;
	}
	assert_int_equal(listen(server->listener, 16), 0);
	assert_int_equal(pipe(server->stop), 0);
	pthread_create(&server->thread, NULL, fault_run, server);
}

static inline void fault_start(struct fault_server *server, const struct fault_step *steps, size_t n)
{
	fault_start_family(server, steps, n, AF_INET);
}

static inline void fault_start_ipv6(struct fault_server *server, const struct fault_step *steps, size_t n)
{
	fault_start_family(server, steps, n, AF_INET6);
}

static inline unsigned fault_requests(struct fault_server *server)
{
	pthread_mutex_lock(&server->lock);
	unsigned n = server->n_requests;
	pthread_mutex_unlock(&server->lock);
	return n;
}

static inline void fault_stop(struct fault_server *server)
{
	assert_int_equal(write(server->stop[1], "x", 1), 1);
	pthread_join(server->thread, NULL);
	close(server->listener);
	close(server->stop[0]);
	close(server->stop[1]);
	for (size_t i = 0; i < FAULT_REQUESTS_MAX; i++)
		free(server->heads[i]), free(server->bodies[i]);
}

#endif
