/* Sealing a stream: whole segments go straight from the caller's bytes to the output; only what may turn out to be the
 * last segment waits. */
#include <stdlib.h>

#include "seal/internal.h"

struct sealer {
	struct seal_stream stream;
	uint8_t header[SEAL_HEADER_BYTES];
	uint64_t index; /* of the segment that is being filled */
	size_t pending_len;
	bool over; /* the last segment is out, or something failed */
	uint8_t pending[SEAL_PLAIN];
};

enum err_code seal_sealer_new(struct secret *data_key, struct span aad, const uint8_t header[SEAL_HEADER_BYTES],
                              struct sealer **ret, struct err *err)
{
	struct sealer *sealer = xcalloc(1, sizeof *sealer);
	memcpy(sealer->header, header, SEAL_HEADER_BYTES);
	enum err_code code = seal_stream_init(&sealer->stream, true, data_key, aad, header, err);
	secret_free(data_key);
	if (code != ERR_OK)
		seal_free(sealer);
	else
		*ret = sealer;
	return code;
}

void seal_free(struct sealer *sealer)
{
	if (!sealer)
		return;
	seal_stream_done(&sealer->stream);
	secret_wipe(sealer, sizeof *sealer);
	free(sealer);
}

/* One segment of what is pending and then `rest`. */
static enum err_code emit(struct sealer *sealer, struct span rest, bool last, struct buf *out, struct err *err)
{
	size_t len = sealer->pending_len + rest.len + SEAL_TAG_BYTES;
	if (sealer->index == 0)
		buf_append(out, span_of(sealer->header, SEAL_HEADER_BYTES));
	uint8_t *to = sealer->index < SEAL_SEGMENTS_MAX ? buf_reserve(out, len) : NULL;
	if (!to || out->failed)
		return err_set(err, ERR_EXHAUSTED, 0, "no room for the sealed bytes");
	struct span pending = span_of(sealer->pending, sealer->pending_len);
	if (!seal_stream_seal(&sealer->stream, sealer->index, last, pending, rest, to))
		return err_set(err, ERR_INTERNAL, 0, "AES-GCM failed");
	out->len += len;
	sealer->index++;
	sealer->pending_len = 0;
	return ERR_OK;
}

static enum err_code check_over(const struct sealer *sealer, struct err *err)
{
	return sealer->over ? err_set(err, ERR_INTERNAL, 0, "the sealed stream has ended") : ERR_OK;
}

enum err_code seal_update(struct sealer *sealer, struct span plain, struct buf *out, struct err *err)
{
	enum err_code code = check_over(sealer, err);
	while (code == ERR_OK && sealer->pending_len + plain.len > seal_plain_capacity(sealer->index)) {
		size_t take = seal_plain_capacity(sealer->index) - sealer->pending_len;
		code = emit(sealer, span_of(plain.ptr, take), false, out, err);
		plain = span_of(plain.ptr + take, plain.len - take);
	}
	if (code != ERR_OK) {
		sealer->over = true;
		return code;
	}
	if (plain.len > 0)
		memcpy(sealer->pending + sealer->pending_len, plain.ptr, plain.len);
	sealer->pending_len += plain.len;
	return ERR_OK;
}

enum err_code seal_final(struct sealer *sealer, struct buf *out, struct err *err)
{
	enum err_code code = check_over(sealer, err);
	if (code == ERR_OK)
		code = emit(sealer, span_of(NULL, 0), true, out, err);
	sealer->over = true;
	return code;
}
