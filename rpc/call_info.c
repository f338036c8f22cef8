/* What the gRPC core knows about a call: peer, metadata, deadline. */
#include <stdlib.h>

#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include "rpc/internal.h"
#include "rpc/message.h"

int64_t rpc_core_deadline_ms(const struct rpc_call *call)
{
	if (gpr_time_cmp(call->details.deadline, gpr_inf_future(call->details.deadline.clock_type)) == 0)
		return 0;
	gpr_timespec wall = gpr_convert_clock_type(call->details.deadline, GPR_CLOCK_REALTIME);
	int64_t ms = wall.tv_sec * 1000 + wall.tv_nsec / 1000000;
	return ms > 0 ? ms : 1;
}

/* The core escapes the host as a URI part: "ipv6:%5B::1%5D:59492", with a zone "%5Bfe80::1%25eth0%5D". */
static bool unescape(const char *from, char *to, size_t size)
{
	size_t n = 0;
	for (; *from && n + 1 < size; from++) {
		unsigned c = (unsigned char)*from;
		if (c == '%') {
			char digits[3] = {from[1], from[1] ? from[2] : '\0', '\0'};
			char *end;
			c = (unsigned)strtoul(digits, &end, 16);
			if (end != digits + 2)
				return false;
			from += 2;
		}
		to[n++] = (char)c;
	}
	to[n] = '\0';
	return !*from;
}

static bool peer_parse(const char *peer, struct ip_addr *ret)
{
	bool v6 = strncmp(peer, "ipv6:", 5) == 0;
	if (!v6 && strncmp(peer, "ipv4:", 5) != 0)
		return false;
	char text[128];
	if (!unescape(peer + 5, text, sizeof(text)))
		return false;
	char *port = strrchr(text, ':');
	if (!port)
		return false;
	*port = '\0';
	if (!v6)
		return ip_parse(text, ret);
	size_t len = strcspn(text, "]%");
	if (text[0] != '[' || !text[len])
		return false;
	text[len] = '\0';
	return ip_parse(text + 1, ret);
}

bool rpc_core_peer(const struct rpc_call *call, struct ip_addr *ret)
{
	char *peer = grpc_call_get_peer(call->core);
	bool ok = peer && peer_parse(peer, ret);
	gpr_free(peer);
	return ok;
}

static bool key_is(const grpc_metadata *entry, const char *key)
{
	return span_eq(rpc_slice_span(&entry->key), span_str(key));
}

const char *rpc_core_metadata(const struct rpc_call *call, const char *key)
{
	size_t key_len = strlen(key);
	if (key_len >= 4 && strcmp(key + key_len - 4, "-bin") == 0)
		return NULL;
	for (size_t i = 0; i < call->metadata.count; i++) {
		if (!key_is(&call->metadata.metadata[i], key))
			continue;
		char **text = &call->metadata_text[i];
		if (!*text) {
			struct span value = rpc_slice_span(&call->metadata.metadata[i].value);
			*text = xstrndup((const char *)value.ptr, value.len);
		}
		return *text;
	}
	return NULL;
}

bool rpc_core_metadata_all(const struct rpc_call *call, const char *key, struct buf *out)
{
	bool found = false;
	for (size_t i = 0; i < call->metadata.count; i++) {
		if (!key_is(&call->metadata.metadata[i], key))
			continue;
		struct span value = rpc_slice_span(&call->metadata.metadata[i].value);
		if (found)
			buf_append_str(out, ", ");
		for (size_t k = 0; k < value.len; k++)
			buf_append_byte(out, value.ptr[k] ? value.ptr[k] : '?');
		found = true;
	}
	return found;
}

void rpc_call_info_done(struct rpc_call *call)
{
	for (size_t i = 0; call->metadata_text && i < call->metadata.count; i++)
		free(call->metadata_text[i]);
	free(call->metadata_text);
	free(call->path);
	rpc_identity_free(call->identity);
}
