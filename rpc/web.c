/* The HTTP front from its options to its end. */
#include "rpc/web.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "rpc/accept_guard.h"
#include "rpc/bind.h"
#include "rpc/web_tls.h"

#define THREADS          2
#define PATIENCE_MS      8000
#define BUFFERED_MAX     ((size_t)256 << 20)
#define MEMORY_BYTES     ((size_t)128 << 10) /* of a connection: headers, and what is under way */
#define IDLE_S           75                  /* the watcher is stricter */
#define UNSENT_BYTES     (256 << 10)
#define PORT_TRIES       50
#define BACKLOG          511
#define OR_DEFAULT(a, b) ((a) ? (a) : (b))

static const char *const grpc_web_headers[] = {"content-type", "x-grpc-web", "x-user-agent", "grpc-timeout", NULL};

/* ---- options ---- */

static enum err_code origins_copy(struct rpc_web *web, const char *const *origins, size_t n, struct err *err)
{
	const char **copies = xcalloc(n + 1, sizeof(copies[0]));
	web->options.origins = copies;
	for (size_t i = 0; i < n; i++) {
		if (!rpc_web_origin_valid(origins[i]))
			return err_set(err, ERR_INVALID, 0,
			               "web: not an origin as browsers send it (https://reports.example, lower case, no path, no "
			               "standard port): %.200s",
			               origins[i]);
		copies[i] = xstrdup(origins[i]);
	}
	return ERR_OK;
}

static void headers_collect(const char *const *headers, struct buf *out)
{
	for (size_t i = 0; headers && headers[i]; i++) {
		buf_append_str(out, out->len > 0 ? ", " : "");
		buf_append_str(out, headers[i]);
	}
}

static void allowed_headers_make(struct rpc_web *web, const struct rpc_method *methods)
{
	autobuf struct buf all = {0};
	headers_collect(grpc_web_headers, &all);
	for (; methods && methods->path; methods++)
		if (methods->put)
			headers_collect(methods->put->headers, &all);
	web->allowed_headers = xstrdup(buf_cstr(&all));
}

enum err_code rpc_web_new(const struct rpc_server_options *options, struct rpc_server *server, struct rpc_web **ret,
                          struct err *err)
{
	struct rpc_web *web = xcalloc(1, sizeof(*web));
	pthread_mutex_init(&web->lock, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&web->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	web->server = server;
	web->listen_fd = -1;
	web->options.assets = options->web.assets;
	web->patience_us = (int64_t)OR_DEFAULT(options->web.patience_ms, PATIENCE_MS) * 1000;
	web->max_buffered = OR_DEFAULT(options->max_buffered_bytes, BUFFERED_MAX);
	const bool tls = options->web.tls.certificate || options->web.tls.key;
	web->own_scheme = tls ? "https://" : "http://";
	allowed_headers_make(web, options->methods);
	struct rpc_address address;
	enum err_code code = rpc_address_parse(options->web.listen, &address, err);
	if (code == ERR_OK)
		code = origins_copy(web, options->web.origins, options->web.n_origins, err);
	if (code == ERR_OK && tls)
		code = rpc_web_tls_new(&options->web.tls, &web->tls, err);
	if (code != ERR_OK) {
		rpc_web_free(web);
		return code;
	}
	*ret = web;
	return ERR_OK;
}

void rpc_web_free(struct rpc_web *web)
{
	if (!web)
		return;
	for (size_t i = 0; web->options.origins && web->options.origins[i]; i++)
		free((char *)web->options.origins[i]);
	free((void *)web->options.origins);
	free(web->allowed_headers);
	rpc_web_tls_free(web->tls);
	pthread_cond_destroy(&web->changed);
	pthread_mutex_destroy(&web->lock);
	free(web);
}

/* ---- connections ---- */

static void option_set(int fd, int level, int name, int value)
{
	(void)!setsockopt(fd, level, name, &value, sizeof(value));
}

/* A browser whose line is cut says nothing: the kernel finds out, within the patience. And what the kernel holds for a
 * slow one cannot be taken back: little. */
static void socket_set_up(int fd, int64_t patience_us)
{
	const int seconds = (int)(patience_us / 1000000);
	option_set(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES);
	option_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	option_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds / 2 > 0 ? seconds / 2 : 1);
	option_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds / 4 > 0 ? seconds / 4 : 1);
	option_set(fd, IPPROTO_TCP, TCP_KEEPCNT, 2);
	option_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(patience_us / 1000));
}

static void connection_begin(struct rpc_web *web, struct MHD_Connection *connection, void **context)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct web_connection *made = xcalloc(1, sizeof(*made));
	made->web = web;
	made->fd = info->connect_fd;
	made->since_us = clock_monotonic_us();
	socket_set_up(made->fd, web->patience_us);
	pthread_mutex_lock(&web->lock);
	made->next = web->connections;
	made->at = &web->connections;
	if (made->next)
		made->next->at = &made->next;
	web->connections = made;
	pthread_mutex_unlock(&web->lock);
	*context = made;
}

static void connection_end(struct rpc_web *web, void **context)
{
	struct web_connection *connection = *context;
	*context = NULL;
	if (!connection)
		return;
	pthread_mutex_lock(&web->lock);
	*connection->at = connection->next;
	if (connection->next)
		connection->next->at = connection->at;
	pthread_mutex_unlock(&web->lock);
	rpc_web_person_drop(connection->person);
	free(connection);
}

static void on_connection(void *user, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		connection_begin(user, connection, context);
	else
		connection_end(user, context);
}

/* Paths are compared as they came: nothing is unescaped. */
static size_t on_unescape(void *user, struct MHD_Connection *connection, char *text)
{
	(void)user, (void)connection;
	return strlen(text);
}

static void on_log(void *user, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));
static void on_log(void *user, const char *format, va_list arguments)
{
	(void)user;
	char line[256];
	vsnprintf(line, sizeof(line), format, arguments);
	line[strcspn(line, "\r\n")] = '\0';
	log_event(LOG_DEBUG, "web", "message", line, NULL);
}

/* ---- start ---- */

static int listen_on(const struct rpc_address *address)
{
	const int one = 1;
	const int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
	    bind(fd, (const struct sockaddr *)&address->socket, address->len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	const int error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	return -1;
}

static enum err_code web_bind(struct rpc_web *web, const char *listen_text, struct err *err)
{
	struct rpc_address address;
	enum err_code code = rpc_address_parse(listen_text, &address, err);
	if (code != ERR_OK)
		return code;
	const bool any = address.port == 0;
	for (int tries = any ? PORT_TRIES : 1; web->listen_fd < 0 && tries > 0; tries--) {
		if (any)
			rpc_address_set_port(&address, rpc_address_random_port());
		web->listen_fd = listen_on(&address);
	}
	if (web->listen_fd < 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "web: cannot bind %s:%u: %s", address.host, address.port,
		               strerror(errno));
	web->port = address.port;
	return ERR_OK;
}

static struct MHD_Daemon *daemon_start(struct rpc_web *web, unsigned max_connections)
{
	struct MHD_OptionItem tls[] = {
	    {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)rpc_web_tls_priorities},
	    {MHD_OPTION_HTTPS_CERT_CALLBACK2, 0, (void *)(uintptr_t)rpc_web_tls_retrieve},
	    {MHD_OPTION_HTTPS_MEM_TRUST, 0, web->tls ? (void *)rpc_web_tls_authorities(web->tls) : NULL},
	    {MHD_OPTION_END, 0, NULL}};
	if (!web->tls)
		tls[0].option = MHD_OPTION_END;
	else if (!tls[2].ptr_value)
		tls[2].option = MHD_OPTION_END;
	const unsigned flags =
	    MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (web->tls ? MHD_USE_TLS : 0);
	/* The limit on connections is the accept guard's; this one is shared out among the threads. */
	return MHD_start_daemon(flags, 0, NULL, NULL, rpc_web_answer, web, MHD_OPTION_EXTERNAL_LOGGER, on_log, web,
	                        MHD_OPTION_LISTEN_SOCKET, web->listen_fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS,
	                        MHD_OPTION_CONNECTION_LIMIT, max_connections * THREADS + THREADS,
	                        MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
	                        (unsigned)IDLE_S, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_COMPLETED,
	                        rpc_web_completed, web, MHD_OPTION_NOTIFY_CONNECTION, on_connection, web,
	                        MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, web, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
}

enum err_code rpc_web_start(struct rpc_web *web, const struct rpc_server_options *options, struct err *err)
{
	const unsigned max_connections = OR_DEFAULT(options->max_connections, 1000);
	enum err_code code = web_bind(web, options->web.listen, err);
	if (code == ERR_OK)
		code = rpc_accept_guard_add(web->port, max_connections, OR_DEFAULT(options->max_connections_per_address, 250),
		                            err);
	if (code != ERR_OK)
		return code;
	web->daemon = daemon_start(web, max_connections);
	if (!web->daemon || !rpc_web_watch_start(web))
		return err_set(err, ERR_UNAVAILABLE, 0, "web: %s:%u could be bound, but not served", options->web.listen,
		               web->port);
	return ERR_OK;
}

/* ---- stop ---- */

void rpc_web_quiesce(struct rpc_web *web)
{
	pthread_mutex_lock(&web->lock);
	web->stopping = true;
	pthread_mutex_unlock(&web->lock);
	if (web->daemon)
		MHD_quiesce_daemon(web->daemon);
	if (web->listen_fd >= 0)
		close(web->listen_fd);
	web->listen_fd = -1;
}

static void wait_calls_locked(struct rpc_web *web, int64_t ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	for (int rc = 0; rc == 0 && web->calls;)
		rc = ms < 0 ? pthread_cond_wait(&web->changed, &web->lock)
		            : pthread_cond_timedwait(&web->changed, &web->lock, &until);
}

static void abandon_all_locked(struct rpc_web *web)
{
	for (struct web_call *call = web->calls; call; call = call->next) {
		pthread_mutex_lock(&call->lock);
		rpc_web_call_abandon_locked(call);
		pthread_mutex_unlock(&call->lock);
	}
}

void rpc_web_stop(struct rpc_web *web, int64_t grace_ms)
{
	pthread_mutex_lock(&web->lock);
	wait_calls_locked(web, grace_ms > 0 ? grace_ms : 0);
	abandon_all_locked(web);
	wait_calls_locked(web, -1);
	pthread_mutex_unlock(&web->lock);
	rpc_web_watch_stop(web);
	if (web->daemon)
		MHD_stop_daemon(web->daemon);
	web->daemon = NULL;
	if (web->listen_fd >= 0)
		close(web->listen_fd);
	web->listen_fd = -1;
	if (web->port)
		rpc_accept_guard_remove(web->port);
	web->port = 0;
}
