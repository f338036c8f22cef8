/* Data keys: made by the token, wrapped by the KEK in the token, bound to what they are for. */
#include <openssl/crypto.h>
#include <stdio.h>

#include "common/text.h"
#include "hsm/hsm.h"
#include "seal/internal.h"

enum err_code seal_object_id(struct hsm *hsm, uint8_t out[SEAL_OBJECT_ID_BYTES], struct err *err)
{
	return hsm_random(hsm, out, SEAL_OBJECT_ID_BYTES, err);
}

/* Salt and nonce prefix in one go. */
static enum err_code make_stream_header(struct hsm *hsm, uint8_t out[SEAL_HEADER_BYTES], struct err *err)
{
	enum err_code code = hsm_random(hsm, out, SEAL_HEADER_BYTES, err);
	out[0] = SEAL_HEADER_BYTES;
	return code;
}

static enum err_code fill_header(struct hsm_key *kek, struct span aad, const struct secret *data_key,
                                 const uint8_t object_id[SEAL_OBJECT_ID_BYTES], struct seal_header *ret,
                                 struct err *err)
{
	uint8_t commitment[SEAL_COMMITMENT_BYTES];
	autobuf struct buf wrapped = {0}, base64 = {0};
	enum err_code code = seal_commit(data_key, commitment, err);
	if (code == ERR_OK)
		code = hsm_wrap(kek, aad, data_key, &wrapped, err);
	if (code != ERR_OK)
		return code;
	text_base64(buf_span(&wrapped), &base64);
	*ret = (struct seal_header){.format = SEAL_FORMAT};
	text_hex(span_of(object_id, SEAL_OBJECT_ID_BYTES), ret->object_id);
	text_hex(span_of(commitment, sizeof commitment), ret->commitment);
	snprintf(ret->kek_id, sizeof ret->kek_id, "%s", hsm_key_id(kek));
	snprintf(ret->wrapped, sizeof ret->wrapped, "%s", buf_cstr(&base64));
	return ERR_OK;
}

enum err_code seal_begin(struct hsm *hsm, struct hsm_key *kek, const struct seal_context *context,
                         const uint8_t object_id[SEAL_OBJECT_ID_BYTES], struct sealer **ret,
                         struct seal_header *ret_header, struct err *err)
{
	uint8_t stream_header[SEAL_HEADER_BYTES];
	autobuf struct buf aad = {0};
	autosecret struct secret *data_key = secret_new(SEAL_KEY_BYTES);
	struct seal_header header;
	enum err_code code = make_stream_header(hsm, stream_header, err);
	if (code == ERR_OK)
		code = hsm_random(hsm, secret_bytes(data_key), SEAL_KEY_BYTES, err);
	if (code == ERR_OK)
		code = seal_context_encode(context, object_id, &aad, err);
	if (code == ERR_OK)
		code = fill_header(kek, buf_span(&aad), data_key, object_id, &header, err);
	if (code != ERR_OK)
		return code;
	struct secret *given = data_key;
	data_key = NULL;
	code = seal_sealer_new(given, buf_span(&aad), stream_header, ret, err);
	if (code == ERR_OK)
		*ret_header = header;
	return code;
}

static enum err_code unwrap(struct hsm_key *kek, struct span aad, const struct seal_header *header, struct secret **ret,
                            struct err *err)
{
	autobuf struct buf wrapped = {.max = sizeof header->wrapped};
	if (!text_unbase64(span_str(header->wrapped), &wrapped) || wrapped.len != SEAL_WRAPPED_BYTES)
		return err_set(err, ERR_CORRUPT, 0, "the wrapped data key is not one");
	return hsm_unwrap(kek, aad, buf_span(&wrapped), ret, err);
}

static enum err_code check_commitment(const struct secret *data_key, const struct seal_header *header, struct err *err)
{
	uint8_t expected[SEAL_COMMITMENT_BYTES], given[SEAL_COMMITMENT_BYTES];
	enum err_code code = seal_commit(data_key, expected, err);
	if (code != ERR_OK)
		return code;
	if (!text_unhex(header->commitment, given, sizeof given) || CRYPTO_memcmp(expected, given, sizeof expected) != 0)
		return err_set(err, ERR_CORRUPT, 0, "the data key is not the one that was committed to");
	return ERR_OK;
}

/* The data key behind a header, checked; *aad is what it and the content are bound to. */
static enum err_code open_header(struct hsm_key *kek, const struct seal_context *context,
                                 const struct seal_header *header, struct buf *aad, struct secret **ret,
                                 struct err *err)
{
	uint8_t object_id[SEAL_OBJECT_ID_BYTES];
	if (strcmp(header->format, SEAL_FORMAT) != 0 || !text_unhex(header->object_id, object_id, sizeof object_id))
		return err_set(err, ERR_CORRUPT, 0, "the object's header is not of its form");
	if (strcmp(header->kek_id, hsm_key_id(kek)) != 0)
		return err_set(err, ERR_NOT_FOUND, 0, "the data key was wrapped by another KEK, %.64s", header->kek_id);
	autosecret struct secret *data_key = NULL;
	enum err_code code = seal_context_encode(context, object_id, aad, err);
	if (code == ERR_OK)
		code = unwrap(kek, buf_span(aad), header, &data_key, err);
	if (code == ERR_OK)
		code = check_commitment(data_key, header, err);
	if (code != ERR_OK)
		return code;
	*ret = data_key;
	data_key = NULL;
	return ERR_OK;
}

enum err_code seal_open_begin(struct hsm_key *kek, const struct seal_context *context, const struct seal_header *header,
                              uint64_t stored_size, uint64_t first, uint64_t length, struct opener **ret,
                              struct err *err)
{
	autobuf struct buf aad = {0};
	struct secret *data_key = NULL;
	enum err_code code = open_header(kek, context, header, &aad, &data_key, err);
	return code == ERR_OK ? seal_opener_new(data_key, buf_span(&aad), stored_size, first, length, ret, err) : code;
}

enum err_code seal_rewrap(struct hsm_key *from, struct hsm_key *to, const struct seal_context *context,
                          const struct seal_header *header, struct seal_header *ret, struct err *err)
{
	autobuf struct buf aad = {0};
	autosecret struct secret *data_key = NULL;
	uint8_t object_id[SEAL_OBJECT_ID_BYTES];
	enum err_code code = open_header(from, context, header, &aad, &data_key, err);
	if (code == ERR_OK && !text_unhex(header->object_id, object_id, sizeof object_id))
		code = err_set(err, ERR_CORRUPT, 0, "the object's header is not of its form");
	return code == ERR_OK ? fill_header(to, buf_span(&aad), data_key, object_id, ret, err) : code;
}
