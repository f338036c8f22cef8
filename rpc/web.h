/* The HTTP front (libmicrohttpd): what its files share. MHD's threads speak HTTP and run no handler; handlers run on
 * the server's pools, as the core's calls do. A connection that has to wait for a handler is suspended. */
#ifndef TWOKEY_RPC_WEB_H
#define TWOKEY_RPC_WEB_H

#include <microhttpd.h>

#include "rpc/internal.h"
#include "rpc/web_frame.h"

struct rpc_web_tls;
struct web_call;

/* Who a connection's client certificate says is there. */
struct web_person {
	_Atomic(unsigned) holders;
	struct rpc_identity *identity; /* verified; NULL: nobody */
};

/* One TCP connection; in MHD's socket context. */
struct web_connection {
	struct rpc_web *web;
	struct web_connection *next, **at; /* in web->connections */
	int fd;
	bool busy, used;           /* a request is being read or answered; one was before */
	int64_t since_us;          /* of the connection, or of the last answer */
	struct web_person *person; /* from the first request that asks on */
};

struct rpc_web {
	struct rpc_server *server;
	struct rpc_web_options options; /* only: origins, our copies, ended by NULL; assets */
	int64_t patience_us;
	struct rpc_web_tls *tls; /* NULL: plaintext */
	const char *own_scheme;  /* "https://" */
	char *allowed_headers;   /* of preflights */
	struct MHD_Daemon *daemon;
	unsigned port;
	int listen_fd;
	pthread_t watcher;
	bool watching;

	pthread_mutex_t lock; /* of what follows; taken before a call's */
	pthread_cond_t changed;
	bool stopping, cancelling, watcher_ends;
	struct web_connection *connections;
	struct web_call *calls;
	_Atomic(size_t) buffered; /* received bytes that no handler has taken */
	size_t max_buffered;
};

/* One call, on both sides of its suspended connection. */
struct web_call {
	struct rpc_call call; /* first: the handlers' view */
	struct rpc_web *web;
	struct web_call *next, **at; /* in web->calls until nobody has it */
	struct web_connection *socket;
	struct web_person *person;
	enum { WEB_CALL_BINARY, WEB_CALL_TEXT, WEB_CALL_PUT } kind;
	struct web_header {
		char *name, *value;
	} * headers;
	size_t n_headers;
	struct ip_addr peer;
	bool has_peer;
	int64_t deadline_ms; /* wall clock; 0: none */
	char *origin;        /* allowed; NULL: none was named */
	bool expects_continue;
	uint64_t announced; /* length of the body; UINT64_MAX: not announced */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	unsigned holders;                  /* the connection, the handler, the response */
	struct MHD_Connection *connection; /* NULL: it has ended */
	bool suspended;
	bool gone;                /* the browser */
	bool too_large;           /* its body */
	bool dispatched, reading; /* a handler has it; its body is being read */
	struct buf body;          /* received, not yet taken */
	uint64_t received;        /* bytes of the body in all */
	bool complete;            /* it has come whole */
	unsigned received_step;   /* the handler's: head, body, tail, end */
	struct buf out[3];        /* not yet sent: frame, message, the end */
	size_t out_at, out_sent;  /* the part being sent, and how far */
	bool respond;             /* the response can begin */
	bool ended;               /* `out` is the last of it */
	bool cut;                 /* failed in the middle of a message: what is left must go quickly */
	unsigned status;          /* of HTTP */
	int64_t ended_us;
	uint64_t moved; /* what the watcher saw of the line, and when it changed last */
	int64_t moved_us;
};

/* web.c. Checks everything and binds nothing. */
must_check enum err_code rpc_web_new(const struct rpc_server_options *options, struct rpc_server *server,
                                     struct rpc_web **ret, struct err *err);
must_check enum err_code rpc_web_start(struct rpc_web *web, const struct rpc_server_options *options, struct err *err);
/* No new connections; new calls are refused. */
void rpc_web_quiesce(struct rpc_web *web);
/* Lets calls end within grace_ms, then cancels them; no call is left when it returns. */
void rpc_web_stop(struct rpc_web *web, int64_t grace_ms);
void rpc_web_free(struct rpc_web *web); /* accepts NULL */

/* web_request.c: MHD's view of a request. */
enum MHD_Result rpc_web_answer(void *web, struct MHD_Connection *connection, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_len, void **context);
void rpc_web_completed(void *web, struct MHD_Connection *connection, void **context,
                       enum MHD_RequestTerminationCode how);

/* web_call.c: both sides of a call. */
struct web_call *rpc_web_call_new(struct rpc_web *web, struct MHD_Connection *connection, struct web_connection *socket,
                                  const char *path);
/* The value of a header, its name in lower case; NULL: there is none. */
const char *rpc_web_call_header(const struct web_call *call, const char *name);
/* A part of the body, from MHD's thread. Returns how much of it was taken; when not all, the connection is suspended
 * until there is room. */
size_t rpc_web_call_feed(struct web_call *call, struct span part);
/* Something for MHD's thread to do. */
void rpc_web_call_wake_locked(struct web_call *call);
void rpc_web_call_suspend_locked(struct web_call *call);
/* The browser has left, or is made to. */
void rpc_web_call_abandon_locked(struct web_call *call);
void rpc_web_call_drop(struct web_call *call); /* one holder less */
/* Nothing waits to be sent. */
bool rpc_web_call_sent_locked(const struct web_call *call);
void rpc_web_person_drop(struct web_person *person); /* accepts NULL */
extern const struct rpc_back_end rpc_web_back_end;

/* web_answer.c: responses. */
enum MHD_Result rpc_web_answer_plain(const struct rpc_web *web, struct MHD_Connection *connection, unsigned status,
                                     const char *text, const char *origin);
enum MHD_Result rpc_web_answer_preflight(const struct rpc_web *web, struct MHD_Connection *connection,
                                         const char *origin);
enum MHD_Result rpc_web_answer_asset(struct MHD_Connection *connection, const struct rpc_asset *asset);
enum MHD_Result rpc_web_answer_call(struct web_call *call);
/* A refusal as JSON, and the HTTP status that goes with it. */
void rpc_web_refusal_json(enum err_code code, const char *message, const struct rpc_error_info *info, struct buf *out);
unsigned rpc_web_http_status(enum err_code code);

/* web_watch.c: what MHD does not notice. */
must_check bool rpc_web_watch_start(struct rpc_web *web);
void rpc_web_watch_stop(struct rpc_web *web);

/* web_tls.c */
must_check enum err_code rpc_web_tls_new(const struct rpc_tls *files, struct rpc_web_tls **ret, struct err *err);
void rpc_web_tls_free(struct rpc_web_tls *tls); /* accepts NULL */
extern const char rpc_web_tls_priorities[];
/* The authorities' names that are shown to browsers, as PEM; NULL: client certificates are not asked for. */
const char *rpc_web_tls_authorities(const struct rpc_web_tls *tls);
/* Who the client certificate of a connection says it is, verified; NULL: there is none that counts. Owned by the
 * caller. */
struct rpc_identity *rpc_web_tls_identity(struct rpc_web_tls *tls, struct MHD_Connection *connection);

#endif
