/* room: seal */
/* A bucket that lies: its bytes as a sealed stream, and as each piece of the metadata beside it. What opens must be
 * what sealing the same content under the same stream header gives: anything else would be a forgery. */
#include <stdlib.h>

#include "common/text.h"
#include "seal/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define AAD span_str("associated")

static struct secret *data_key(void)
{
	struct secret *key = secret_new(SEAL_KEY_BYTES);
	for (size_t i = 0; i < SEAL_KEY_BYTES; i++)
		secret_bytes(key)[i] = (uint8_t)(3 * i + 5);
	return key;
}

static bool open_stream(struct span stored, struct buf *out)
{
	uint64_t plain_size;
	struct opener *opener;
	if (!seal_plain_size(stored.len, &plain_size) ||
	    seal_opener_new(data_key(), AAD, stored.len, 0, plain_size, &opener, NULL) != ERR_OK)
		return false;
	size_t half = stored.len / 2;
	bool ok = seal_open_update(opener, span_of(stored.ptr, half), out, NULL) == ERR_OK &&
	          seal_open_update(opener, span_of(stored.ptr + half, stored.len - half), out, NULL) == ERR_OK &&
	          seal_open_final(opener, out, NULL) == ERR_OK;
	seal_open_free(opener);
	if (ok && out->len != plain_size)
		abort();
	return ok;
}

static void check_stream(struct span stored)
{
	autobuf struct buf plain = {0}, again = {0};
	struct sealer *sealer;
	if (!open_stream(stored, &plain))
		return;
	if (seal_sealer_new(data_key(), AAD, stored.ptr, &sealer, NULL) != ERR_OK ||
	    seal_update(sealer, buf_span(&plain), &again, NULL) != ERR_OK || seal_final(sealer, &again, NULL) != ERR_OK ||
	    !span_eq(stored, buf_span(&again)))
		abort();
	seal_free(sealer);
}

struct meta {
	const char *name, *value;
};

/* One piece from the fuzzer, the others in order. */
static const char *lookup(void *user, const char *name)
{
	static const struct meta good[] = {
	    {SEAL_META_FORMAT, SEAL_FORMAT},
	    {SEAL_META_OBJECT_ID, "00112233445566778899aabbccddeeff"},
	    {SEAL_META_KEK, "ab01"},
	    {SEAL_META_WRAPPED, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
	    {SEAL_META_COMMITMENT, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"},
	};
	const struct meta *bad = (const struct meta *)user;
	if (strcmp(name, bad->name) == 0)
		return bad->value;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		if (strcmp(name, good[i].name) == 0)
			return good[i].value;
	return NULL;
}

static void check_header(struct span bytes)
{
	static const char *const names[] = {SEAL_META_FORMAT, SEAL_META_OBJECT_ID, SEAL_META_KEK, SEAL_META_WRAPPED,
	                                    SEAL_META_COMMITMENT};
	autofree char *text = xstrndup((const char *)bytes.ptr, bytes.len);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct meta meta = {names[i], text};
		struct seal_header header;
		uint8_t id[SEAL_OBJECT_ID_BYTES], commitment[SEAL_COMMITMENT_BYTES];
		if (seal_header_read(lookup, &meta, &header, NULL) != ERR_OK)
			continue;
		if (!text_unhex(header.object_id, id, sizeof id) ||
		    !text_unhex(header.commitment, commitment, sizeof commitment) || !header.kek_id[0])
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_stream(span_of(data, size));
	check_header(span_of(data, size));
	return 0;
}
