#include "s3client/sigv4.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <time.h>

#include "common/secret.h"
#include "common/text.h"

static bool unreserved(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
	       c == '_' || c == '~';
}

void sigv4_encode(struct span bytes, bool keep_slash, struct buf *out)
{
	static const char digits[] = "0123456789ABCDEF";
	for (size_t i = 0; i < bytes.len; i++) {
		uint8_t c = bytes.ptr[i];
		if (unreserved(c) || (c == '/' && keep_slash)) {
			buf_append_byte(out, c);
			continue;
		}
		const char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
		buf_append(out, span_of(escaped, 3));
	}
}

static int by_text(const void *a, const void *b)
{
	const char *left, *right;
	memcpy(&left, a, sizeof left);
	memcpy(&right, b, sizeof right);
	return strcmp(left, right);
}

void sigv4_canonical_query(const struct sigv4_pair *query, size_t n, struct buf *out)
{
	/* "name\x01value" sorts as (name, value) does: every encoded character is above 0x01. */
	char *lines[SIGV4_PAIRS_MAX];
	assert(n <= SIGV4_PAIRS_MAX);
	for (size_t i = 0; i < n; i++) {
		autobuf struct buf line = {0};
		sigv4_encode(span_str(query[i].name), false, &line);
		buf_append_byte(&line, 1);
		sigv4_encode(span_str(query[i].value), false, &line);
		lines[i] = xstrdup(buf_cstr(&line));
	}
	qsort(lines, n, sizeof lines[0], by_text);
	for (size_t i = 0; i < n; i++) {
		*strchr(lines[i], 1) = '=';
		if (i > 0)
			buf_append_byte(out, '&');
		buf_append_str(out, lines[i]);
		free(lines[i]);
	}
}

/* Positions of the headers in ascending order of their names. */
static void header_order(const struct sigv4_request *request, size_t *order)
{
	assert(request->n_headers <= SIGV4_PAIRS_MAX);
	for (size_t i = 0; i < request->n_headers; i++) {
		size_t at = i;
		for (; at > 0 && strcmp(request->headers[order[at - 1]].name, request->headers[i].name) > 0; at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
}

/* Blanks at both ends go, runs of blanks inside become one. */
static void append_trimmed(struct buf *out, const char *value)
{
	bool started = false, blank = false;
	for (; *value; value++) {
		if (*value == ' ' || *value == '\t') {
			blank = started;
			continue;
		}
		if (blank)
			buf_append_byte(out, ' ');
		blank = false;
		started = true;
		buf_append_byte(out, (uint8_t)*value);
	}
}

void sigv4_signed_headers(const struct sigv4_request *request, struct buf *out)
{
	size_t order[SIGV4_PAIRS_MAX] = {0};
	header_order(request, order);
	for (size_t i = 0; i < request->n_headers; i++) {
		if (i > 0)
			buf_append_byte(out, ';');
		buf_append_str(out, request->headers[order[i]].name);
	}
}

void sigv4_canonical_request(const struct sigv4_request *request, struct buf *out)
{
	buf_append_str(out, request->method);
	buf_append_byte(out, '\n');
	sigv4_encode(request->path, true, out);
	buf_append_byte(out, '\n');
	sigv4_canonical_query(request->query, request->n_query, out);
	buf_append_byte(out, '\n');
	size_t order[SIGV4_PAIRS_MAX] = {0};
	header_order(request, order);
	for (size_t i = 0; i < request->n_headers; i++) {
		buf_append_str(out, request->headers[order[i]].name);
		buf_append_byte(out, ':');
		append_trimmed(out, request->headers[order[i]].value);
		buf_append_byte(out, '\n');
	}
	buf_append_byte(out, '\n');
	sigv4_signed_headers(request, out);
	buf_append_byte(out, '\n');
	buf_append_str(out, request->payload_hash);
}

void sigv4_timestamp(int64_t ms, char ret[17])
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm;
	gmtime_r(&seconds, &tm);
	strftime(ret, 17, "%Y%m%dT%H%M%SZ", &tm);
}

void sigv4_scope_text(const struct sigv4_scope *scope, struct buf *out)
{
	buf_printf(out, "%.8s/%s/%s/aws4_request", scope->timestamp, scope->region, scope->service);
}

void sigv4_string_to_sign(const struct sigv4_scope *scope, struct span canonical_request, struct buf *out)
{
	uint8_t digest[32];
	char hex[65];
	text_sha256(canonical_request, digest);
	text_hex(span_of(digest, sizeof digest), hex);
	buf_printf(out, "%s\n%s\n", scope->algorithm ? scope->algorithm : "AWS4-HMAC-SHA256", scope->timestamp);
	sigv4_scope_text(scope, out);
	buf_printf(out, "\n%s", hex);
}

static void hmac(const uint8_t key[32], struct span message, uint8_t out[32])
{
	unsigned len = 32;
	HMAC(EVP_sha256(), key, 32, message.ptr, message.len, out, &len);
}

void sigv4_derive_key(const uint8_t date_key[32], const char *region, const char *service, uint8_t ret_key[32])
{
	uint8_t region_key[32], service_key[32];
	hmac(date_key, span_str(region), region_key);
	hmac(region_key, span_str(service), service_key);
	hmac(service_key, span_str("aws4_request"), ret_key);
	secret_wipe(region_key, sizeof region_key);
	secret_wipe(service_key, sizeof service_key);
}

void sigv4_signature(const uint8_t key[32], struct span string_to_sign, char ret_hex[65])
{
	uint8_t mac[32];
	hmac(key, string_to_sign, mac);
	text_hex(span_of(mac, sizeof mac), ret_hex);
}

void sigv4_authorization(const struct sigv4_scope *scope, const char *access_key_id, const char *signed_headers,
                         const char *signature, struct buf *out)
{
	buf_printf(out, "AWS4-HMAC-SHA256 Credential=%s/", access_key_id);
	sigv4_scope_text(scope, out);
	buf_printf(out, ",SignedHeaders=%s,Signature=%s", signed_headers, signature);
}
