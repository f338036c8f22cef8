/* Streams for the tests of this room: the plain pattern of tests/vectors/seal/generate.py, and whole streams in one
 * call. */
#ifndef TWOKEY_TESTS_UNIT_SEAL_SUPPORT_H
#define TWOKEY_TESTS_UNIT_SEAL_SUPPORT_H

#include "seal/internal.h"
#include "tests/unit/harness.h"

#define MIB ((size_t)1 << 20)

static inline void plain_pattern(size_t len, struct buf *out)
{
	uint8_t *to = buf_reserve(out, len + 1);
	assert_non_null(to);
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)(31 * i + (i >> 8));
	out->len += len;
}

static inline struct secret *test_data_key(void)
{
	struct secret *key = secret_new(SEAL_KEY_BYTES);
	for (size_t i = 0; i < SEAL_KEY_BYTES; i++)
		secret_bytes(key)[i] = (uint8_t)(3 * i + 5);
	return key;
}

/* Seals in pieces of `piece` bytes under the test key. */
static inline void seal_all(struct span plain, size_t piece, struct span aad, struct buf *out)
{
	struct err err;
	uint8_t header[SEAL_HEADER_BYTES] = {SEAL_HEADER_BYTES, 1, 2, 3};
	struct sealer *sealer = NULL;
	assert_ok(seal_sealer_new(test_data_key(), aad, header, &sealer, &err), err);
	for (size_t done = 0; done < plain.len; done += piece) {
		size_t len = plain.len - done < piece ? plain.len - done : piece;
		assert_ok(seal_update(sealer, span_of(plain.ptr + done, len), out, &err), err);
	}
	assert_ok(seal_final(sealer, out, &err), err);
	seal_free(sealer);
}

/* Feeds stored bytes in pieces; the first error, or that of the end. Frees the opener. */
static inline enum err_code feed(struct opener *opener, struct span stored, size_t piece, struct buf *out)
{
	enum err_code code = ERR_OK;
	for (size_t done = 0; done < stored.len && code == ERR_OK; done += piece) {
		size_t len = stored.len - done < piece ? stored.len - done : piece;
		code = seal_open_update(opener, span_of(stored.ptr + done, len), out, NULL);
	}
	if (code == ERR_OK)
		code = seal_open_final(opener, out, NULL);
	seal_open_free(opener);
	return code;
}

/* Opens a whole stream, sealed under the test key; its plain size follows from its length. */
static inline enum err_code open_all(struct span stored, size_t piece, struct span aad, struct buf *out)
{
	uint64_t plain_size = 0;
	struct opener *opener = NULL;
	if (!seal_plain_size(stored.len, &plain_size))
		return ERR_CORRUPT;
	enum err_code code = seal_opener_new(test_data_key(), aad, stored.len, 0, plain_size, &opener, NULL);
	return code == ERR_OK ? feed(opener, stored, piece, out) : code;
}

#endif
