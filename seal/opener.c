/* Opening a stream, or a range of it: a segment is released only when it is whole and its tag has held. */
#include <stdlib.h>

#include "seal/internal.h"

struct opener {
	struct seal_stream stream;
	struct secret *data_key; /* until the stream header is there */
	struct buf aad;
	uint64_t stored_size;
	uint64_t index, end;   /* the next segment, and the one after the last that is needed */
	uint64_t skip, wanted; /* plain bytes of the next segment before the range; of the range, still to come */
	size_t header_len;     /* bytes of the stream header that are here; all of them: the stream is ready */
	bool has_header;       /* it comes with the planned bytes */
	bool failed;
	size_t partial_len;
	uint8_t header[SEAL_HEADER_BYTES];
	uint8_t partial[SEAL_SEGMENT_BYTES]; /* sealed bytes of a segment that is not whole yet */
};

static enum err_code check_range(uint64_t stored_size, uint64_t first, uint64_t length, uint64_t *ret_plain_size,
                                 struct err *err)
{
	if (!seal_plain_size(stored_size, ret_plain_size))
		return err_set(err, ERR_CORRUPT, 0, "no sealed object has %llu bytes", (unsigned long long)stored_size);
	uint64_t plain_size = *ret_plain_size;
	if (first > plain_size || length > plain_size - first || (length == 0 && plain_size > 0))
		return err_set(err, ERR_INVALID, 0, "the range lies outside the object or is empty");
	return ERR_OK;
}

enum err_code seal_opener_new(struct secret *data_key, struct span aad, uint64_t stored_size, uint64_t first,
                              uint64_t length, struct opener **ret, struct err *err)
{
	uint64_t plain_size = 0;
	enum err_code code = check_range(stored_size, first, length, &plain_size, err);
	if (code != ERR_OK) {
		secret_free(data_key);
		return code;
	}
	struct seal_range plan;
	seal_plan(plain_size, first, length, &plan);
	struct opener *opener = xcalloc(1, sizeof *opener);
	opener->data_key = data_key;
	buf_append(&opener->aad, aad);
	opener->stored_size = stored_size;
	opener->index = plan.stored_first / SEAL_SEGMENT_BYTES;
	opener->end = opener->index + (plan.stored_length + SEAL_SEGMENT_BYTES - 1) / SEAL_SEGMENT_BYTES;
	opener->skip = first - seal_plain_offset(opener->index);
	opener->wanted = length;
	opener->has_header = plan.has_stream_header;
	*ret = opener;
	return ERR_OK;
}

void seal_open_free(struct opener *opener)
{
	if (!opener)
		return;
	seal_stream_done(&opener->stream);
	secret_free(opener->data_key);
	buf_done(&opener->aad);
	secret_wipe(opener, sizeof *opener);
	free(opener);
}

static enum err_code fail(struct opener *opener, struct err *err, const char *text)
{
	opener->failed = true;
	return err_set(err, ERR_CORRUPT, 0, "%s", text);
}

/* The data key has done its work once the stream key is made. */
static enum err_code start_stream(struct opener *opener, struct err *err)
{
	enum err_code code =
	    seal_stream_init(&opener->stream, false, opener->data_key, buf_span(&opener->aad), opener->header, err);
	secret_free(opener->data_key);
	opener->data_key = NULL;
	opener->failed = code != ERR_OK;
	return code;
}

enum err_code seal_open_stream_header(struct opener *opener, struct span bytes, struct err *err)
{
	if (opener->has_header || opener->header_len > 0)
		return err_set(err, ERR_INVALID, 0, "the stream header is not wanted here");
	if (opener->failed || bytes.len != SEAL_HEADER_BYTES)
		return fail(opener, err, "the stream header has not 40 bytes");
	memcpy(opener->header, bytes.ptr, SEAL_HEADER_BYTES);
	opener->header_len = SEAL_HEADER_BYTES;
	return start_stream(opener, err);
}

/* Stored bytes of the next segment, with its tag and without the stream header. */
static size_t sealed_len(const struct opener *opener)
{
	uint64_t from = opener->index * SEAL_SEGMENT_BYTES;
	uint64_t len = opener->stored_size - from < SEAL_SEGMENT_BYTES ? opener->stored_size - from : SEAL_SEGMENT_BYTES;
	return (size_t)(opener->index == 0 ? len - SEAL_HEADER_BYTES : len);
}

static bool is_last(const struct opener *opener)
{
	return opener->stored_size <= (opener->index + 1) * SEAL_SEGMENT_BYTES;
}

/* Opens the next segment behind what *out has, then keeps of it what the range wants. */
static enum err_code open_segment(struct opener *opener, struct span sealed, struct buf *out, struct err *err)
{
	size_t len = sealed.len - SEAL_TAG_BYTES;
	uint8_t *to = buf_reserve(out, len + 1); /* never nothing, for the empty segment */
	if (!to) {
		opener->failed = true;
		return err_set(err, ERR_EXHAUSTED, 0, "no room for the opened bytes");
	}
	if (!seal_stream_open(&opener->stream, opener->index, is_last(opener), sealed, to))
		return fail(opener, err, "a segment does not verify");
	size_t skip = (size_t)opener->skip;
	size_t keep = len - skip < opener->wanted ? len - skip : (size_t)opener->wanted;
	if (skip > 0)
		memmove(to, to + skip, keep);
	secret_wipe(to + keep, len - keep);
	out->len += keep;
	opener->wanted -= keep;
	opener->skip = 0;
	opener->index++;
	return ERR_OK;
}

/* Moves bytes from *from until `to` has `full`; true when it has. */
static bool gather(uint8_t *to, size_t *len, size_t full, struct span *from)
{
	size_t take = full - *len < from->len ? full - *len : from->len;
	if (take > 0)
		memcpy(to + *len, from->ptr, take);
	*len += take;
	*from = span_of(from->ptr + take, from->len - take);
	return *len == full;
}

/* Takes the next segment from *stored, without a copy when it is whole there. False when more bytes are needed. */
static bool next_segment(struct opener *opener, struct span *stored, struct span *ret)
{
	size_t full = sealed_len(opener);
	if (opener->partial_len == 0 && stored->len >= full) {
		*ret = span_of(stored->ptr, full);
		*stored = span_of(stored->ptr + full, stored->len - full);
		return true;
	}
	if (!gather(opener->partial, &opener->partial_len, full, stored))
		return false;
	opener->partial_len = 0;
	*ret = span_of(opener->partial, full);
	return true;
}

enum err_code seal_open_update(struct opener *opener, struct span stored, struct buf *out, struct err *err)
{
	if (opener->failed)
		return fail(opener, err, "the object failed verification before");
	if (opener->header_len < SEAL_HEADER_BYTES) {
		if (!opener->has_header)
			return err_set(err, ERR_INVALID, 0, "the stream header comes first");
		if (!gather(opener->header, &opener->header_len, SEAL_HEADER_BYTES, &stored))
			return ERR_OK;
		enum err_code code = start_stream(opener, err);
		if (code != ERR_OK)
			return code;
	}
	struct span sealed;
	while (opener->index < opener->end && next_segment(opener, &stored, &sealed)) {
		enum err_code code = open_segment(opener, sealed, out, err);
		if (code != ERR_OK)
			return code;
	}
	return stored.len > 0 ? fail(opener, err, "more bytes than the object has") : ERR_OK;
}

/* Whole segments are released as they come: there is nothing left for *out. */
enum err_code seal_open_final(struct opener *opener, struct buf *out, struct err *err)
{
	(void)out;
	if (opener->failed)
		return fail(opener, err, "the object failed verification before");
	if (opener->index < opener->end)
		return fail(opener, err, "the object ends too early");
	return ERR_OK;
}
