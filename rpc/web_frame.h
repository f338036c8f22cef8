/* gRPC-Web on the wire (grpc/grpc, doc/PROTOCOL-WEB.md), as far as it can be said without a connection. Thread-safe. */
#ifndef TWOKEY_RPC_WEB_FRAME_H
#define TWOKEY_RPC_WEB_FRAME_H

#include "rpc/rpc.h"

#define RPC_WEB_FRAME_BYTES 5 /* flags, then the message's length, big-endian */
#define RPC_WEB_TRAILERS    0x80
#define RPC_WEB_COMPRESSED  0x01

enum rpc_web_format {
	RPC_WEB_NONE,
	RPC_WEB_BINARY, /* application/grpc-web, application/grpc-web+proto */
	RPC_WEB_TEXT,   /* application/grpc-web-text, application/grpc-web-text+proto: base64 */
};

/* Of a content type; NULL is none. */
enum rpc_web_format rpc_web_format(const char *content_type);
/* "10S", "100m": at most 8 digits and one of H M S m u n (gRPC over HTTP/2, Timeout). Rounded up to ms. */
bool rpc_web_timeout(const char *text, int64_t *ret_ms);
/* The only message of a request's body. ERR_INVALID: not exactly one whole frame; ERR_EXHAUSTED: longer than max;
 * ERR_UNIMPLEMENTED: compressed. */
must_check enum err_code rpc_web_unframe(struct span body, size_t max, struct span *ret, struct err *err);
void rpc_web_frame(uint8_t flags, size_t len, uint8_t out[RPC_WEB_FRAME_BYTES]);
/* Appends the frame that ends a response. `message` is clean text; `details` a packed google.rpc.Status, or empty. */
void rpc_web_trailers(enum err_code code, const char *message, struct span details, struct buf *out);

/* Is it an origin as browsers send it (RFC 6454 section 6.2): lower case, scheme, host, port unless it is the scheme's?
 * "null" and patterns are none. */
bool rpc_web_origin_valid(const char *origin);
/* Is it one of the origins (ended by NULL; may be NULL)? Compared byte by byte. */
bool rpc_web_origin_allowed(const char *const *origins, const char *origin);

#endif
