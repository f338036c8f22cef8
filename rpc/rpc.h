/* RPC without a transport in sight: handlers receive, send and finish; the back ends (gRPC C core today) know queues,
 * slices and framing, and nothing of the domain.
 *
 * Handlers block and run on a worker thread of their own. A struct rpc_call belongs to the thread that runs its
 * handler; it is valid until the handler returns. */
#ifndef TWOKEY_RPC_RPC_H
#define TWOKEY_RPC_RPC_H

#include "common/err.h"
#include "common/ip.h"
#include "common/span.h"

/* ---- serving ---- */

struct rpc_server;
struct rpc_call;

typedef void (*rpc_handler)(struct rpc_call *call, void *user);

/* How a method that receives a stream is offered over HTTP as well, where nobody can stream messages: PUT of the
 * method's path. The handler receives what these make: the first message from the request's headers (rpc_metadata),
 * one message per piece of the body, and one more when the body has come whole. The message that it sends becomes
 * JSON. */
struct rpc_put {
	must_check enum err_code (*head)(const struct rpc_call *call, struct buf *out, struct err *err);
	void (*chunk)(struct span bytes, struct buf *out);
	void (*tail)(uint64_t bytes, struct buf *out);
	must_check enum err_code (*answer)(struct span message, struct buf *json, struct err *err);
	const char *const *headers; /* that a page of another origin may send with it; NULL-terminated */
};

struct rpc_method {
	const char *path; /* "/twokey.v1.Gatekeeper/CoSign"; NULL ends the table */
	rpc_handler handler;
	void *user;
	size_t max_message_bytes;  /* of one received message; larger ones end the call with EXHAUSTED */
	bool stream;               /* long-running: counts against max_streams instead of max_calls */
	bool urgent;               /* must get through when everything else is full: has a few threads of its own */
	const struct rpc_put *put; /* NULL: not by PUT */
};

/* A private key that is not in this process: EC P-256, in a token. */
struct rpc_token_key {
	struct span spki; /* SubjectPublicKeyInfo (DER) */
	/* Signs a SHA-256 digest: ECDSA as DER (RFC 3279), appended to *sig. Called by several threads at once; they are
	 * there for nothing else. It may block, but each handshake waits 3 s for it, and while one is over that none
	 * begins. */
	enum err_code (*sign)(void *user, const uint8_t digest[32], struct buf *sig, struct err *err);
	void *user;
};

/* Certificates. Paths of PEM files. */
struct rpc_tls {
	const char *certificate; /* chain, leaf first */
	const char *key;
	const char *client_ca;                 /* NULL: client certificates are not asked for */
	const struct rpc_token_key *token_key; /* instead of `key` */
};

/* A file that the HTTP front serves to who shows a client certificate. */
struct rpc_asset {
	const char *path; /* "/console.js"; NULL ends a table */
	const char *type; /* content type */
	struct span bytes;
};

/* The HTTP front: the same methods over gRPC-Web, for pages of the listed origins and for its own. */
struct rpc_web_options {
	const char *listen;         /* as the server's; NULL: no front */
	struct rpc_tls tls;         /* as the server's; client certificates are asked for, never demanded */
	const char *const *origins; /* "https://reports.acme.example", compared byte by byte */
	size_t n_origins;
	const struct rpc_asset *assets; /* NULL: none; must outlive the server */
	unsigned patience_ms;           /* after which a browser that takes or brings nothing is cut off; 0: 8000 */
};

struct rpc_server_options {
	const char *listen; /* "127.0.0.1:8443", "[::]:8443"; port 0 picks one below 32768 */
	struct rpc_tls tls; /* all NULL: plaintext; only tests do that */
	const struct rpc_method *methods;
	/* Called for every method that is not in the table, and for calls over max_calls or max_streams; may be NULL.
	 * Finishes the call itself, or lets rpc_verdict (UNIMPLEMENTED, EXHAUSTED) stand by returning. Under a flood some
	 * calls are answered so without asking it. */
	rpc_handler unknown;
	void *unknown_user;
	/* A serialised FileDescriptorSet with imports, for reflection; empty: no reflection. */
	struct span descriptors;
	/* Which of the services to list by reflection, NULL-terminated; the health and reflection services are added. */
	const char *const *services;
	unsigned max_connections;             /* 0: 1000 */
	unsigned max_connections_per_address; /* 0: 250; of an IPv6 client the /64 counts */
	unsigned max_calls;                   /* unary handlers at once; 0: 64 */
	unsigned max_streams;                 /* streaming handlers at once; 0: 256 */
	/* Received bytes that no handler has taken yet, all connections together; beyond it streams are cut off with
	 * EXHAUSTED. 0: 256 MiB. */
	size_t max_buffered_bytes;
	unsigned handshake_timeout_ms; /* 0: 10000 */
	unsigned idle_timeout_ms;      /* a connection without calls; 0: 300000 */
	/* Its connections are counted apart; its calls count with the others. */
	struct rpc_web_options web;
};

/* Binds, starts polling and serving. The descriptors and what any `user` points to must outlive the server; the rest of
 * the options is copied. Replaced certificate files are taken up by the next connection. ERR_INVALID: options or
 * certificates; ERR_UNAVAILABLE: the address cannot be bound. */
must_check enum err_code rpc_server_start(const struct rpc_server_options *options, struct rpc_server **ret,
                                          struct err *err);
/* Would it start? Checks the options, the address's form and the certificates; binds nothing. rpc_server_start's
 * errors. */
must_check enum err_code rpc_server_check(const struct rpc_server_options *options, struct err *err);
/* The port that was bound. */
unsigned rpc_server_port(const struct rpc_server *server);
/* The HTTP front's port; 0: there is none. */
unsigned rpc_server_web_port(const struct rpc_server *server);
/* Health of grpc.health.v1: service "" and every listed service; NOT_SERVING until told. Watchers are told. */
void rpc_server_set_serving(struct rpc_server *server, bool serving);
/* Health to NOT_SERVING, no new calls, running ones may end within grace_ms, then they are cancelled; returns when all
 * handlers have returned; frees. */
void rpc_server_stop(struct rpc_server *server, unsigned grace_ms);

/* Receives one message into *out (cleared first). ERR_OK with *ret_end false: a message; ERR_OK with *ret_end true: the
 * client has half-closed; ERR_CANCELLED: client gone or deadline; ERR_EXHAUSTED: larger than the method allows. */
must_check enum err_code rpc_recv(struct rpc_call *call, struct buf *out, bool *ret_end, struct err *err);
/* Sends one message: head (copied) followed by body (the buffer's bytes are taken over without a copy, the buffer is
 * left empty; may be NULL). Waits for flow control. */
must_check enum err_code rpc_send(struct rpc_call *call, struct span head, struct buf *body, struct err *err);

/* google.rpc.ErrorInfo of a failure. Borrowed. */
struct rpc_error_info {
	const char *reason;
	const char *domain;
	const char *metadata_key[4];
	const char *metadata_value[4];
	size_t n_metadata;
};
/* Ends the call, once, with a status (ERR_OK for success), a message for a person, and details when info is not NULL. A
 * handler that returns without it ends with INTERNAL. */
void rpc_finish(struct rpc_call *call, enum err_code code, const char *message, const struct rpc_error_info *info);

/* A call that may have to be stopped in the middle: while rpc_recv and rpc_send wait for the client, `stop` is asked at
 * least every 200 ms, on the call's thread. When it says true both answer ERR_CANCELLED, and the handler finishes the
 * call. A client that takes nothing could not be told by rpc_finish behind what it does not take: a send that is
 * stopped ends the call at once with what `stop` gave (borrowed); rpc_finish then changes nothing. */
struct rpc_stop {
	enum err_code code;
	const char *message;
};
void rpc_watch(struct rpc_call *call, bool (*stop)(void *user, struct rpc_stop *ret), void *user);

/* How the call ends when its handler returns without rpc_finish. */
enum err_code rpc_verdict(const struct rpc_call *call);

/* Client gone, or deadline passed? Cheap; poll it. */
bool rpc_cancelled(struct rpc_call *call);
/* Wall clock in ms; 0: none. */
int64_t rpc_deadline_ms(const struct rpc_call *call);
const char *rpc_method_path(const struct rpc_call *call);
/* The peer's address. False when it is no network address (a test's socket pair). */
bool rpc_peer(const struct rpc_call *call, struct ip_addr *ret);
/* First value of a metadata key (lower case), or NULL. ASCII only. */
const char *rpc_metadata(const struct rpc_call *call, const char *key);
/* All values of a metadata key in their order, joined by ", " as in HTTP (RFC 9110 section 5.3), with no NUL within. Of
 * x-forwarded-for gRPC's core may keep the last value only. False: there is none. */
bool rpc_metadata_all(const struct rpc_call *call, const char *key, struct buf *out);

/* The verified client certificate. */
struct rpc_identity {
	const char *common_name;  /* "" when absent */
	const char *const *names; /* SAN entries: URI, DNS, e-mail, as text */
	size_t n_names;
	const char *subject;  /* as RFC 2253 writes it: "CN=alice,O=Clinic" */
	char fingerprint[65]; /* hex SHA-256 of the certificate (DER) */
	/* As the client sent them, in PEM form: its own, and all that it sent, its own among them. */
	const char *certificate, *chain;
};
/* NULL when the client presented none. Lives as long as the call. */
const struct rpc_identity *rpc_call_identity(struct rpc_call *call);

/* ---- calling ---- */

struct rpc_client;
struct rpc_stream;

struct rpc_client_options {
	const char *target;            /* "host:port" */
	const char *ca;                /* PEM file; NULL: the system's roots */
	const char *certificate, *key; /* PEM files; NULL: none */
	const char *server_name;       /* overrides the name that the certificate must have; NULL: the target's host */
	const char *user_agent;        /* NULL: "twokey/VERSION" */
};

/* Thread-safe. Connects lazily. */
must_check enum err_code rpc_client_new(const struct rpc_client_options *options, struct rpc_client **ret,
                                        struct err *err);
void rpc_client_free(struct rpc_client *client);

/* How a call ended. */
struct rpc_status {
	enum err_code code;
	char *message; /* owned */
	char *reason;  /* ErrorInfo.reason, "" when absent; owned */
	char *record;  /* ErrorInfo.metadata["record"], "" when absent; owned */
};
void rpc_status_done(struct rpc_status *status);

/* Opens a call of any kind. deadline_ms: wall clock, 0: none. One thread uses a stream. */
must_check enum err_code rpc_stream_open(struct rpc_client *client, const char *path, int64_t deadline_ms,
                                         struct rpc_stream **ret, struct err *err);
/* ERR_UNAVAILABLE when the server has ended the call: rpc_stream_finish says why. */
must_check enum err_code rpc_stream_send(struct rpc_stream *stream, struct span head, struct buf *body,
                                         struct err *err);
must_check enum err_code rpc_stream_half_close(struct rpc_stream *stream, struct err *err);
/* As rpc_recv; *ret_end true when the server sends no more. Messages up to 4 MiB. */
must_check enum err_code rpc_stream_recv(struct rpc_stream *stream, struct buf *out, bool *ret_end, struct err *err);
/* Waits for the status; call after the end (or after rpc_stream_cancel). */
void rpc_stream_finish(struct rpc_stream *stream, struct rpc_status *ret);
void rpc_stream_cancel(struct rpc_stream *stream);
void rpc_stream_free(struct rpc_stream *stream); /* cancels when still running */

/* One request, one response. */
must_check enum err_code rpc_unary(struct rpc_client *client, const char *path, struct span request,
                                   int64_t deadline_ms, struct buf *response, struct rpc_status *ret, struct err *err);

/* Process-wide: before any other thread starts; blocks nothing, ignores SIGPIPE. */
void rpc_init(void);
void rpc_shutdown(void);

/* TLS handshakes that the core has refused since this was last asked, and what it says of the last; process-wide. It
 * does not say whose they were, and is silent about peers that go away or let the time run out. */
#define RPC_REFUSED_TEXT_MAX 200
unsigned rpc_refused_handshakes(char text[RPC_REFUSED_TEXT_MAX]);

#endif
