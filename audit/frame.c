#include "audit/frame.h"

#include <stdlib.h>

#include <openssl/evp.h>
#include <zlib.h>

static const uint8_t magic[8] = {'T', '2', 'K', 'A', 'U', 'D', 'I', 'T'};
enum { VERSION = 1, HEADER_CHECKED = 100 };

static void put_u32(uint8_t *out, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put_u64(uint8_t *out, uint64_t v)
{
	put_u32(out, (uint32_t)(v >> 32));
	put_u32(out + 4, (uint32_t)v);
}

static uint32_t get_u32(const uint8_t *in)
{
	return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

static uint64_t get_u64(const uint8_t *in)
{
	return (uint64_t)get_u32(in) << 32 | get_u32(in + 4);
}

static uint32_t checksum(uint32_t seed, const uint8_t *bytes, size_t len)
{
	return (uint32_t)crc32(seed, bytes, (uInt)len);
}

void audit_header_encode(const struct audit_header *header, uint8_t *out)
{
	memset(out, 0, AUDIT_HEADER_BYTES);
	memcpy(out, magic, sizeof(magic));
	put_u32(out + 8, VERSION);
	put_u32(out + 12, AUDIT_HEADER_BYTES);
	put_u64(out + 16, header->segment);
	put_u64(out + 24, header->first_index);
	memcpy(out + 32, header->chain, AUDIT_CHAIN_BYTES);
	put_u64(out + 64, (uint64_t)header->created_ms);
	put_u64(out + 72, (uint64_t)header->last_ms);
	put_u64(out + 80, header->bytes);
	memcpy(out + 88, header->salt, sizeof(header->salt));
	put_u32(out + 96, checksum(0, out, 96));
}

bool audit_header_decode(const uint8_t *bytes, struct audit_header *ret)
{
	if (memcmp(bytes, magic, sizeof(magic)) != 0 || get_u32(bytes + 8) != VERSION ||
	    get_u32(bytes + 12) != AUDIT_HEADER_BYTES || get_u32(bytes + 96) != checksum(0, bytes, 96))
		return false;
	for (size_t i = HEADER_CHECKED; i < AUDIT_HEADER_BYTES; i++)
		if (bytes[i])
			return false;
	*ret = (struct audit_header){
	    .segment = get_u64(bytes + 16),
	    .first_index = get_u64(bytes + 24),
	    .created_ms = (int64_t)get_u64(bytes + 64),
	    .last_ms = (int64_t)get_u64(bytes + 72),
	    .bytes = get_u64(bytes + 80),
	};
	memcpy(ret->chain, bytes + 32, AUDIT_CHAIN_BYTES);
	memcpy(ret->salt, bytes + 88, sizeof(ret->salt));
	return ret->bytes >= AUDIT_SEGMENT_MIN && ret->bytes <= AUDIT_SEGMENT_MAX;
}

/* salt, position, mark, length and batch offset. */
static uint32_t head_checksum(const uint8_t *frame, uint64_t position, const struct audit_header *header)
{
	uint8_t place[8];
	put_u64(place, position);
	uint32_t sum = checksum(checksum(0, header->salt, sizeof(header->salt)), place, sizeof(place));
	return checksum(sum, frame, 8);
}

/* The head's checksum (hence what it covers), the chain and the record. */
static uint32_t body_checksum(const uint8_t *frame, uint32_t length)
{
	uint32_t sum = checksum(0, frame + 8, 4);
	return checksum(sum, frame + AUDIT_FRAME_CHECKED, AUDIT_CHAIN_BYTES + (size_t)length);
}

void audit_frame_seal(uint8_t *frame, uint32_t length, uint32_t batch_offset, uint64_t position,
                      const struct audit_header *header, const uint8_t *chain)
{
	put_u32(frame, (uint32_t)AUDIT_FRAME_MARK << 24 | length);
	put_u32(frame + 4, batch_offset);
	put_u32(frame + 8, head_checksum(frame, position, header));
	memcpy(frame + AUDIT_FRAME_CHECKED, chain, AUDIT_CHAIN_BYTES);
	put_u32(frame + 12, body_checksum(frame, length));
	frame[AUDIT_FRAME_HEAD + length] = AUDIT_FRAME_MARK;
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

enum audit_frame_state audit_frame_check(struct span bytes, uint64_t position, const struct audit_header *header,
                                         struct audit_frame *ret)
{
	if (bytes.len < AUDIT_FRAME_CHECKED)
		return all_zero(bytes.ptr, bytes.len) ? AUDIT_FRAME_NONE : AUDIT_FRAME_BAD_HEAD;
	const uint8_t *frame = bytes.ptr;
	uint32_t length = get_u32(frame) & 0xffffff;
	if (frame[0] != AUDIT_FRAME_MARK)
		return all_zero(frame, AUDIT_FRAME_CHECKED) ? AUDIT_FRAME_NONE : AUDIT_FRAME_BAD_HEAD;
	if (length < 1 || length > AUDIT_RECORD_MAX || get_u32(frame + 8) != head_checksum(frame, position, header))
		return AUDIT_FRAME_BAD_HEAD;
	*ret = (struct audit_frame){.length = length, .batch_offset = get_u32(frame + 4)};
	if (audit_frame_bytes(length) > bytes.len || frame[AUDIT_FRAME_HEAD + length] != AUDIT_FRAME_MARK ||
	    get_u32(frame + 12) != body_checksum(frame, length))
		return AUDIT_FRAME_BAD_BODY;
	ret->chain = frame + AUDIT_FRAME_CHECKED;
	ret->record = span_of(frame + AUDIT_FRAME_HEAD, length);
	return AUDIT_FRAME_OK;
}

struct audit_hasher {
	EVP_MD *sha256;
	EVP_MD_CTX *context;
};

struct audit_hasher *audit_hasher_new(void)
{
	struct audit_hasher *hasher = xcalloc(1, sizeof(*hasher));
	hasher->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	hasher->context = EVP_MD_CTX_new();
	if (!hasher->sha256 || !hasher->context)
		abort(); /* out of memory, or a libcrypto without SHA-256 */
	return hasher;
}

void audit_hasher_free(struct audit_hasher *hasher)
{
	if (!hasher)
		return;
	EVP_MD_CTX_free(hasher->context);
	EVP_MD_free(hasher->sha256);
	free(hasher);
}

static void hash_two(struct audit_hasher *hasher, struct span first, struct span second, uint8_t *out)
{
	if (!EVP_DigestInit_ex2(hasher->context, hasher->sha256, NULL) ||
	    !EVP_DigestUpdate(hasher->context, first.ptr, first.len) ||
	    !EVP_DigestUpdate(hasher->context, second.ptr, second.len) || !EVP_DigestFinal_ex(hasher->context, out, NULL))
		abort();
}

void audit_hash_bytes(struct audit_hasher *hasher, struct span bytes, uint8_t *out)
{
	hash_two(hasher, bytes, (struct span){0}, out);
}

void audit_hash_leaf(struct audit_hasher *hasher, struct span record, uint8_t *out)
{
	static const uint8_t leaf_prefix = 0;
	hash_two(hasher, span_of(&leaf_prefix, 1), record, out);
}

void audit_hash_chain(struct audit_hasher *hasher, const uint8_t *leaf, uint8_t *chain)
{
	hash_two(hasher, span_of(chain, AUDIT_CHAIN_BYTES), span_of(leaf, AUDIT_CHAIN_BYTES), chain);
}
