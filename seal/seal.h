/* Sealing: what the bucket sees. Each object has its own data key from the token's generator, wrapped by the KEK in the
 * token; the content is Tink's AES-GCM-HKDF streaming AEAD (AES-256, HKDF-SHA-256, 64 KiB ciphertext segments;
 * developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming), so that order, truncation and swaps are detected
 * and ranges can be read. No plain byte is released before its segment's tag has been checked. docs/SEALING.md has the
 * format.
 *
 * A sealer or opener belongs to one thread. Data keys live in locked memory and are wiped with their sealer. */
#ifndef TWOKEY_SEAL_SEAL_H
#define TWOKEY_SEAL_SEAL_H

#include "common/err.h"
#include "common/secret.h"
#include "common/span.h"

struct hsm;
struct hsm_key;
struct sealer;
struct opener;

#define SEAL_SEGMENT_BYTES   65536
#define SEAL_HEADER_BYTES    40
#define SEAL_TAG_BYTES       16
#define SEAL_OBJECT_ID_BYTES 16
#define SEAL_FORMAT          "1"

/* What a sealed object is bound to; also the associated data. Borrowed. */
struct seal_context {
	const char *gatekeeper;
	const char *bucket;
	const char *object;
};

/* What stands beside a sealed object, as user metadata of the store. */
struct seal_header {
	char format[4];      /* meta "twokey-format" */
	char object_id[33];  /* meta "twokey-object-id": 16 random bytes in hex */
	char kek_id[65];     /* meta "twokey-kek": hsm_key_id of the KEK */
	char wrapped[129];   /* meta "twokey-wrapped": base64 of iv || wrapped data key || tag */
	char commitment[65]; /* meta "twokey-commitment": hex, 32 bytes, see docs/SEALING.md */
};
#define SEAL_META_FORMAT     "twokey-format"
#define SEAL_META_OBJECT_ID  "twokey-object-id"
#define SEAL_META_KEK        "twokey-kek"
#define SEAL_META_WRAPPED    "twokey-wrapped"
#define SEAL_META_COMMITMENT "twokey-commitment"

/* Fills a header from its metadata; `lookup` returns a value by name or NULL. ERR_CORRUPT when one is missing or not of
 * its form. */
must_check enum err_code seal_header_read(const char *(*lookup)(void *user, const char *name), void *user,
                                          struct seal_header *ret, struct err *err);

/* A new object's id: random, from the token. It can be on record before anything is sealed. */
must_check enum err_code seal_object_id(struct hsm *hsm, uint8_t out[SEAL_OBJECT_ID_BYTES], struct err *err);
/* Makes a data key and wraps it. */
must_check enum err_code seal_begin(struct hsm *hsm, struct hsm_key *kek, const struct seal_context *context,
                                    const uint8_t object_id[SEAL_OBJECT_ID_BYTES], struct sealer **ret,
                                    struct seal_header *ret_header, struct err *err);
/* Wraps an object's data key under another KEK: unwraps it in the token, checks the commitment, wraps it. Only
 * `wrapped` and `kek_id` of the header change; the sealed bytes stay. ERR_NOT_FOUND: `from` is not the KEK that wrapped
 * it; ERR_CORRUPT when anything does not hold. */
must_check enum err_code seal_rewrap(struct hsm_key *from, struct hsm_key *to, const struct seal_context *context,
                                     const struct seal_header *header, struct seal_header *ret, struct err *err);
/* Appends sealed bytes to *out as segments fill. */
must_check enum err_code seal_update(struct sealer *sealer, struct span plain, struct buf *out, struct err *err);
/* Appends the last segment. */
must_check enum err_code seal_final(struct sealer *sealer, struct buf *out, struct err *err);
void seal_free(struct sealer *sealer); /* accepts NULL */

/* Sizes. A sealed object of n bytes has at least SEAL_HEADER_BYTES + SEAL_TAG_BYTES. UINT64_MAX for more than a stream
 * can hold (2^32 segments, 256 TiB). */
uint64_t seal_sealed_size(uint64_t plain_size);
/* False when no plain size gives this sealed size. */
bool seal_plain_size(uint64_t sealed_size, uint64_t *ret_plain_size);

/* Which stored bytes are needed for plain bytes first .. first + length - 1 of an object with this plain size (length
 * >= 1, already cut at the end)? The stream header (bytes 0 .. SEAL_HEADER_BYTES - 1) is always needed too: it is
 * fetched on its own unless the range starts in segment 0. */
struct seal_range {
	uint64_t stored_first,
	    stored_length; /* whole segments; from 0 (with the stream header) when it starts in segment 0 */
	bool has_stream_header;
};
void seal_plan(uint64_t plain_size, uint64_t first, uint64_t length, struct seal_range *ret);

/* Unwraps the data key, checks the commitment. stored_size is the size of the whole stored object; first and length the
 * plain range wanted (0 and the plain size for all). ERR_CORRUPT when anything does not hold; ERR_NOT_FOUND: another
 * KEK wrapped it. */
must_check enum err_code seal_open_begin(struct hsm_key *kek, const struct seal_context *context,
                                         const struct seal_header *header, uint64_t stored_size, uint64_t first,
                                         uint64_t length, struct opener **ret, struct err *err);
/* Gives the 40 bytes of the stream header; needed before seal_open_update only when the plan has no stream header of
 * its own. */
must_check enum err_code seal_open_stream_header(struct opener *opener, struct span bytes, struct err *err);
/* Takes stored bytes in order, as planned, in pieces of any size; appends the verified plain bytes of the range to
 * *out. ERR_CORRUPT: nothing of the bad segment or after it is released. */
must_check enum err_code seal_open_update(struct opener *opener, struct span stored, struct buf *out, struct err *err);
/* ERR_CORRUPT unless every planned byte came and verified. */
must_check enum err_code seal_open_final(struct opener *opener, struct buf *out, struct err *err);
void seal_open_free(struct opener *opener); /* accepts NULL */

#endif
