/* Tink's AES-GCM-HKDF streaming AEAD, segment by segment.
 *
 *	header   length (1 byte, 40) || salt (32) || nonce prefix (7)
 *	nonce    nonce prefix (7) || segment number (4, big-endian) || 1 for the last segment, else 0 (1) */
#include <openssl/evp.h>

#include "seal/internal.h"

#define NONCE_BYTES 12

enum err_code seal_stream_init(struct seal_stream *stream, bool encrypt, const struct secret *data_key, struct span aad,
                               const uint8_t header[SEAL_HEADER_BYTES], struct err *err)
{
	if (header[0] != SEAL_HEADER_BYTES)
		return err_set(err, ERR_CORRUPT, 0, "the stream header is not one");
	autosecret struct secret *stream_key = secret_new(SEAL_KEY_BYTES);
	struct span salt = span_of(header + 1, SEAL_SALT_BYTES);
	memcpy(stream->prefix, header + 1 + SEAL_SALT_BYTES, SEAL_PREFIX_BYTES);
	stream->encrypt = encrypt;
	stream->cipher = EVP_CIPHER_CTX_new();
	if (!stream->cipher ||
	    !seal_hkdf("SHA256", secret_span(data_key), salt, aad, secret_bytes(stream_key), SEAL_KEY_BYTES) ||
	    EVP_CipherInit_ex(stream->cipher, EVP_aes_256_gcm(), NULL, secret_bytes(stream_key), NULL, encrypt) != 1)
		return err_set(err, ERR_INTERNAL, 0, "the stream key cannot be derived");
	return ERR_OK;
}

void seal_stream_done(struct seal_stream *stream)
{
	EVP_CIPHER_CTX_free(stream->cipher);
	stream->cipher = NULL;
}

/* Only the nonce changes: the key schedule stays. */
static bool start(struct seal_stream *stream, uint64_t index, bool last)
{
	uint8_t nonce[NONCE_BYTES];
	memcpy(nonce, stream->prefix, SEAL_PREFIX_BYTES);
	for (int i = 0; i < 4; i++)
		nonce[SEAL_PREFIX_BYTES + i] = (uint8_t)(index >> (24 - 8 * i));
	nonce[NONCE_BYTES - 1] = last;
	return EVP_CipherInit_ex(stream->cipher, NULL, NULL, NULL, nonce, -1) == 1;
}

static bool update(struct seal_stream *stream, struct span in, uint8_t *out)
{
	int len = 0;
	return in.len == 0 || (EVP_CipherUpdate(stream->cipher, out, &len, in.ptr, (int)in.len) == 1 && len == (int)in.len);
}

bool seal_stream_seal(struct seal_stream *stream, uint64_t index, bool last, struct span a, struct span b, uint8_t *out)
{
	int len = 0;
	uint8_t *tag = out + a.len + b.len;
	return start(stream, index, last) && update(stream, a, out) && update(stream, b, out + a.len) &&
	       EVP_EncryptFinal_ex(stream->cipher, tag, &len) == 1 && len == 0 &&
	       EVP_CIPHER_CTX_ctrl(stream->cipher, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_BYTES, tag) == 1;
}

bool seal_stream_open(struct seal_stream *stream, uint64_t index, bool last, struct span sealed, uint8_t *out)
{
	int len = 0;
	size_t plain_len = sealed.len - SEAL_TAG_BYTES;
	void *tag = (void *)(sealed.ptr + plain_len);
	bool ok = start(stream, index, last) && update(stream, span_of(sealed.ptr, plain_len), out) &&
	          EVP_CIPHER_CTX_ctrl(stream->cipher, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_BYTES, tag) == 1 &&
	          EVP_DecryptFinal_ex(stream->cipher, out + plain_len, &len) == 1;
	if (!ok)
		secret_wipe(out, plain_len);
	return ok;
}
