/* AWS Signature Version 4 with an Authorization header, as S3 wants it: the path is encoded once and never normalised.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 *
 * Each stage is a function of its own, so that vectors can hold every stage's text. All of them are pure and
 * thread-safe. */
#ifndef TWOKEY_S3CLIENT_SIGV4_H
#define TWOKEY_S3CLIENT_SIGV4_H

#include "common/span.h"

#define SIGV4_EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* A query parameter, not encoded, or a header whose name is lower case. Borrowed. */
struct sigv4_pair {
	const char *name, *value;
};

#define SIGV4_PAIRS_MAX 48

struct sigv4_request {
	const char *method;
	struct span path; /* "/" and the rest, not encoded */
	const struct sigv4_pair *query;
	size_t n_query;
	const struct sigv4_pair *headers; /* every header to be signed, in any order */
	size_t n_headers;
	const char *payload_hash; /* value of x-amz-content-sha256 */
};

struct sigv4_scope {
	const char *timestamp; /* "20130524T000000Z" */
	const char *region, *service;
	const char *algorithm; /* NULL: AWS4-HMAC-SHA256 */
};

/* RFC 3986: everything but A-Z a-z 0-9 - . _ ~ becomes %XX; '/' too unless keep_slash. */
void sigv4_encode(struct span bytes, bool keep_slash, struct buf *out);
/* "a=1&b=": sorted by encoded name, then value. Also what is sent: wire and signature cannot differ. */
void sigv4_canonical_query(const struct sigv4_pair *query, size_t n, struct buf *out);
/* "host;range;x-amz-date" */
void sigv4_signed_headers(const struct sigv4_request *request, struct buf *out);
void sigv4_canonical_request(const struct sigv4_request *request, struct buf *out);
/* "20130524T000000Z" */
void sigv4_timestamp(int64_t ms, char ret[17]);
/* "20130524/us-east-1/s3/aws4_request" */
void sigv4_scope_text(const struct sigv4_scope *scope, struct buf *out);
void sigv4_string_to_sign(const struct sigv4_scope *scope, struct span canonical_request, struct buf *out);
/* Date key -> region -> service -> "aws4_request". The inner keys are wiped. */
void sigv4_derive_key(const uint8_t date_key[32], const char *region, const char *service, uint8_t ret_key[32]);
void sigv4_signature(const uint8_t key[32], struct span string_to_sign, char ret_hex[65]);
void sigv4_authorization(const struct sigv4_scope *scope, const char *access_key_id, const char *signed_headers,
                         const char *signature, struct buf *out);

#endif
