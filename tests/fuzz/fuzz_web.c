/* room: rpc */
/* What the HTTP front reads of strangers: bodies, and headers as text. */
#include <assert.h>

#include "common/text.h"
#include "rpc/web_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void body(struct span bytes)
{
	struct span message;
	struct err err;
	if (rpc_web_unframe(bytes, 1024, &message, &err) == ERR_OK)
		assert(message.len <= 1024 && message.ptr == bytes.ptr + RPC_WEB_FRAME_BYTES &&
		       message.len == bytes.len - RPC_WEB_FRAME_BYTES);
}

static void header(const char *text)
{
	int64_t ms = 0;
	(void)rpc_web_format(text);
	if (rpc_web_timeout(text, &ms))
		assert(ms >= 0);
	if (rpc_web_origin_valid(text))
		assert(strncmp(text, "http", 4) == 0 && strlen(text) < 280 && !strchr(text, '*'));
	autobuf struct buf trailers = {0};
	rpc_web_trailers(ERR_DENIED, text, span_str(text), &trailers);
	for (size_t i = RPC_WEB_FRAME_BYTES; i < trailers.len; i++)
		assert(trailers.data[i] >= 0x20 || trailers.data[i] == '\r' || trailers.data[i] == '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	autobuf struct buf decoded = {0};
	body(span_of(data, size));
	if (text_unbase64(span_of(data, size), &decoded))
		body(buf_span(&decoded));
	autofree char *text = xstrndup((const char *)data, size);
	header(text);
	return 0;
}
