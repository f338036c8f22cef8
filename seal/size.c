/* Sizes and offsets: a sealed object's length is a function of its plain length. */
#include "seal/internal.h"

uint64_t seal_segment_of(uint64_t plain_offset)
{
	return plain_offset < SEAL_FIRST_PLAIN ? 0 : 1 + (plain_offset - SEAL_FIRST_PLAIN) / SEAL_PLAIN;
}

uint64_t seal_plain_offset(uint64_t segment)
{
	return segment == 0 ? 0 : SEAL_FIRST_PLAIN + (segment - 1) * SEAL_PLAIN;
}

size_t seal_plain_capacity(uint64_t segment)
{
	return segment == 0 ? SEAL_FIRST_PLAIN : SEAL_PLAIN;
}

/* An empty object has one, empty, segment; otherwise the last one is never empty. */
static uint64_t last_segment(uint64_t plain_size)
{
	return plain_size == 0 ? 0 : seal_segment_of(plain_size - 1);
}

uint64_t seal_sealed_size(uint64_t plain_size)
{
	if (plain_size > seal_plain_offset(SEAL_SEGMENTS_MAX))
		return UINT64_MAX;
	return SEAL_HEADER_BYTES + plain_size + (last_segment(plain_size) + 1) * SEAL_TAG_BYTES;
}

bool seal_plain_size(uint64_t sealed_size, uint64_t *ret_plain_size)
{
	if (sealed_size < SEAL_HEADER_BYTES + SEAL_TAG_BYTES || sealed_size > SEAL_SEGMENTS_MAX * SEAL_SEGMENT_BYTES)
		return false;
	uint64_t segments = (sealed_size + SEAL_SEGMENT_BYTES - 1) / SEAL_SEGMENT_BYTES;
	uint64_t plain_size = sealed_size - SEAL_HEADER_BYTES - segments * SEAL_TAG_BYTES;
	/* A tail of 1 to 16 bytes cannot be a segment: one that holds nothing is only ever the first. */
	uint64_t tail = sealed_size - (segments - 1) * SEAL_SEGMENT_BYTES;
	if (segments > 1 && tail <= SEAL_TAG_BYTES)
		return false;
	*ret_plain_size = plain_size;
	return true;
}

void seal_plan(uint64_t plain_size, uint64_t first, uint64_t length, struct seal_range *ret)
{
	uint64_t from = seal_segment_of(first);
	uint64_t to = length == 0 ? from : seal_segment_of(first + length - 1);
	uint64_t end = (to + 1) * SEAL_SEGMENT_BYTES;
	uint64_t stored_size = seal_sealed_size(plain_size);
	ret->stored_first = from * SEAL_SEGMENT_BYTES;
	ret->stored_length = (end < stored_size ? end : stored_size) - ret->stored_first;
	ret->has_stream_header = from == 0;
}
