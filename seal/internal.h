/* What the files of seal/ share. docs/SEALING.md has the format byte for byte. */
#ifndef TWOKEY_SEAL_INTERNAL_H
#define TWOKEY_SEAL_INTERNAL_H

#include <openssl/evp.h>

#include "seal/seal.h"

#define SEAL_KEY_BYTES        32
#define SEAL_SALT_BYTES       32
#define SEAL_PREFIX_BYTES     7
#define SEAL_COMMITMENT_BYTES 32
#define SEAL_WRAPPED_BYTES    60 /* iv, data key, tag */
#define SEAL_SEGMENTS_MAX     ((uint64_t)1 << 32)

/* Plain bytes in the first segment, which shares its 64 KiB with the stream header, and in every later one. */
#define SEAL_FIRST_PLAIN (SEAL_SEGMENT_BYTES - SEAL_HEADER_BYTES - SEAL_TAG_BYTES)
#define SEAL_PLAIN       (SEAL_SEGMENT_BYTES - SEAL_TAG_BYTES)

/* size.c: segment i holds plain bytes from seal_plain_offset(i) and is stored from i * SEAL_SEGMENT_BYTES. */
uint64_t seal_segment_of(uint64_t plain_offset);
uint64_t seal_plain_offset(uint64_t segment);
size_t seal_plain_capacity(uint64_t segment);

/* context.c: what a data key and a stream are bound to. Empty names, missing names and names too long to wrap under are
 * ERR_INVALID. */
enum err_code seal_context_encode(const struct seal_context *context, const uint8_t object_id[SEAL_OBJECT_ID_BYTES],
                                  struct buf *ret, struct err *err);
/* HKDF (RFC 5869) with the digest of that name. */
bool seal_hkdf(const char *digest, struct span key, struct span salt, struct span info, uint8_t *out, size_t len);
enum err_code seal_commit(const struct secret *data_key, uint8_t out[SEAL_COMMITMENT_BYTES], struct err *err);

/* stream.c: one segment after another under a stream key. */
struct seal_stream {
	EVP_CIPHER_CTX *cipher;
	uint8_t prefix[SEAL_PREFIX_BYTES];
	bool encrypt;
};
/* Derives the stream key from the data key, the header's salt and the associated data. */
enum err_code seal_stream_init(struct seal_stream *stream, bool encrypt, const struct secret *data_key, struct span aad,
                               const uint8_t header[SEAL_HEADER_BYTES], struct err *err);
void seal_stream_done(struct seal_stream *stream);
/* Seals the bytes of `a`, then those of `b`, as segment number `index`; `out` has room for them and the tag. */
bool seal_stream_seal(struct seal_stream *stream, uint64_t index, bool last, struct span a, struct span b,
                      uint8_t *out);
/* Opens one segment with its tag into `out` (sealed.len - SEAL_TAG_BYTES bytes), which is wiped when the tag does not
 * hold. */
bool seal_stream_open(struct seal_stream *stream, uint64_t index, bool last, struct span sealed, uint8_t *out);

/* sealer.c, opener.c: the streams themselves, with a data key at hand. Takes the data key in all cases. */
enum err_code seal_sealer_new(struct secret *data_key, struct span aad, const uint8_t header[SEAL_HEADER_BYTES],
                              struct sealer **ret, struct err *err);
enum err_code seal_opener_new(struct secret *data_key, struct span aad, uint64_t stored_size, uint64_t first,
                              uint64_t length, struct opener **ret, struct err *err);

#endif
