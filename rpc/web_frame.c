#include "rpc/web_frame.h"

#include <stdlib.h>

#include "common/text.h"

static bool has_prefix(const char *text, const char *prefix, const char **ret_rest)
{
	size_t len = strlen(prefix);
	if (strncmp(text, prefix, len) != 0)
		return false;
	*ret_rest = text + len;
	return true;
}

enum rpc_web_format rpc_web_format(const char *content_type)
{
	static const struct {
		const char *prefix;
		enum rpc_web_format format;
	} types[] = {{"application/grpc-web-text", RPC_WEB_TEXT}, {"application/grpc-web", RPC_WEB_BINARY}};
	const char *rest;
	for (size_t i = 0; content_type && i < sizeof(types) / sizeof(types[0]); i++) {
		if (!has_prefix(content_type, types[i].prefix, &rest))
			continue;
		(void)has_prefix(rest, "+proto", &rest);
		return rest[0] == '\0' || rest[0] == ';' ? types[i].format : RPC_WEB_NONE;
	}
	return RPC_WEB_NONE;
}

bool rpc_web_timeout(const char *text, int64_t *ret_ms)
{
	static const struct {
		char unit;
		int64_t ns;
	} units[] = {{'H', 3600000000000}, {'M', 60000000000}, {'S', 1000000000}, {'m', 1000000}, {'u', 1000}, {'n', 1}};
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 8 || text[digits] == '\0' || text[digits + 1] != '\0')
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (text[digits] != units[i].unit)
			continue;
		const int64_t n = strtoll(text, NULL, 10);
		*ret_ms = units[i].ns >= 1000000 ? n * (units[i].ns / 1000000) : (n * units[i].ns + 999999) / 1000000;
		return true;
	}
	return false;
}

enum err_code rpc_web_unframe(struct span body, size_t max, struct span *ret, struct err *err)
{
	if (body.len < RPC_WEB_FRAME_BYTES)
		return err_set(err, ERR_INVALID, 0, "the body is no gRPC-Web frame");
	const uint8_t *p = body.ptr;
	const size_t len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	if (p[0] & RPC_WEB_COMPRESSED)
		return err_set(err, ERR_UNIMPLEMENTED, 0, "compressed messages are not accepted");
	if (p[0] != 0)
		return err_set(err, ERR_INVALID, 0, "the body's frame is no message");
	if (len > max)
		return err_set(err, ERR_EXHAUSTED, 0, "a message of %zu bytes; the limit is %zu", len, max);
	if (body.len - RPC_WEB_FRAME_BYTES != len)
		return err_set(err, ERR_INVALID, 0, "the body is not exactly one message");
	*ret = span_of(p + RPC_WEB_FRAME_BYTES, len);
	return ERR_OK;
}

void rpc_web_frame(uint8_t flags, size_t len, uint8_t out[RPC_WEB_FRAME_BYTES])
{
	out[0] = flags;
	for (int i = 1; i < RPC_WEB_FRAME_BYTES; i++)
		out[i] = (uint8_t)(len >> (32 - 8 * i));
}

/* gRPC's percent-encoding: all but printable ASCII, and '%' itself. */
static void append_message(const char *message, struct buf *out)
{
	for (const char *p = message; *p; p++) {
		const uint8_t c = (uint8_t)*p;
		if (c < 0x20 || c > 0x7e || c == '%')
			buf_printf(out, "%%%02X", c);
		else
			buf_append_byte(out, c);
	}
}

static void append_details(struct span details, struct buf *out)
{
	buf_append_str(out, "grpc-status-details-bin:");
	text_base64(details, out);
	while (out->data[out->len - 1] == '=')
		out->len--;
	buf_append_str(out, "\r\n");
}

void rpc_web_trailers(enum err_code code, const char *message, struct span details, struct buf *out)
{
	autobuf struct buf text = {0};
	buf_printf(&text, "grpc-status:%d\r\n", (int)code);
	if (message[0]) {
		buf_append_str(&text, "grpc-message:");
		append_message(message, &text);
		buf_append_str(&text, "\r\n");
	}
	if (details.len > 0)
		append_details(details, &text);
	uint8_t head[RPC_WEB_FRAME_BYTES];
	rpc_web_frame(RPC_WEB_TRAILERS, text.len, head);
	buf_append(out, span_of(head, sizeof(head)));
	buf_append(out, buf_span(&text));
}

/* ---- origins ---- */

static bool port_valid(const char *port, const char *standard)
{
	size_t len = strspn(port, "0123456789");
	return len > 0 && len <= 5 && port[len] == '\0' && port[0] != '0' && strtoul(port, NULL, 10) <= 65535 &&
	       strcmp(port, standard) != 0;
}

bool rpc_web_origin_valid(const char *origin)
{
	const char *host;
	const bool https = has_prefix(origin, "https://", &host);
	if (!https && !has_prefix(origin, "http://", &host))
		return false;
	const bool v6 = host[0] == '[';
	size_t len =
	    v6 ? 1 + strspn(host + 1, "0123456789abcdef:.") : strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-._");
	if (v6 && (len == 1 || host[len++] != ']'))
		return false;
	if (len == 0 || len > 255)
		return false;
	return host[len] == '\0' || (host[len] == ':' && port_valid(host + len + 1, https ? "443" : "80"));
}

bool rpc_web_origin_allowed(const char *const *origins, const char *origin)
{
	for (size_t i = 0; origins && origins[i]; i++)
		if (strcmp(origins[i], origin) == 0)
			return true;
	return false;
}
