/* The keys that are trusted, and which of them signed an envelope. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "common/clock.h"
#include "common/text.h"
#include "transaction/internal.h"

#define PEM_MAX ((size_t)64 << 10)

struct trusted_key {
	struct pubkey key;
	char *name;
	char id[65]; /* hex SHA-256 of the canonical SPKI */
	int64_t not_before_ms, not_after_ms;
};

struct keyring {
	struct trusted_key *keys;
	size_t n_keys;
};

struct keyring *keyring_new(void)
{
	return xcalloc(1, sizeof(struct keyring));
}

void keyring_free(struct keyring *ring)
{
	if (!ring)
		return;
	for (size_t i = 0; i < ring->n_keys; i++) {
		pubkey_done(&ring->keys[i].key);
		free(ring->keys[i].name);
	}
	free(ring->keys);
	free(ring);
}

static const struct trusted_key *find(const struct keyring *ring, const struct pubkey *key)
{
	for (size_t i = 0; i < ring->n_keys; i++)
		if (pubkey_eq(&ring->keys[i].key, key))
			return &ring->keys[i];
	return NULL;
}

static struct trusted_key *grow(struct keyring *ring)
{
	struct trusted_key *keys = xcalloc(ring->n_keys + 1, sizeof *keys);
	if (ring->n_keys)
		memcpy(keys, ring->keys, ring->n_keys * sizeof *keys);
	free(ring->keys);
	ring->keys = keys;
	return &keys[ring->n_keys++];
}

enum err_code keyring_add_spki(struct keyring *ring, const char *name, struct span spki, int64_t not_before_ms,
                               int64_t not_after_ms, struct err *err)
{
	if (not_after_ms && not_after_ms < not_before_ms)
		return err_set(err, ERR_INVALID, 0, "key %s: it ends before it begins", name);
	struct pubkey key;
	enum err_code code = pubkey_init(&key, spki, err);
	if (code) {
		err_prefix(err, "key %s", name);
		return code;
	}
	const struct trusted_key *known = find(ring, &key);
	if (known) {
		pubkey_done(&key);
		return err_set(err, ERR_EXISTS, 0, "key %s is the same key as %s", name, known->name);
	}
	struct trusted_key *added = grow(ring);
	uint8_t digest[32];
	text_sha256(buf_span(&key.spki), digest);
	text_hex(span_of(digest, sizeof digest), added->id);
	added->key = key;
	added->name = xstrdup(name);
	added->not_before_ms = not_before_ms;
	added->not_after_ms = not_after_ms;
	return ERR_OK;
}

/* ---- PEM ---- */

static bool spki_as_is(struct span der, struct buf *out)
{
	buf_append(out, der);
	return true;
}

static bool spki_of_certificate(struct span der, struct buf *out)
{
	const uint8_t *end = der.ptr;
	X509 *certificate = d2i_X509(NULL, &end, (long)der.len);
	uint8_t *spki = NULL;
	int len = certificate ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &spki) : 0;
	if (len > 0)
		buf_append(out, span_of(spki, (size_t)len));
	OPENSSL_free(spki);
	X509_free(certificate);
	return len > 0;
}

static const struct pem_kind {
	const char *label;
	bool (*spki)(struct span der, struct buf *out);
} pem_kinds[] = {
    {PEM_STRING_PUBLIC, spki_as_is},
    {PEM_STRING_X509, spki_of_certificate},
};

static bool spki_of_block(const char *label, struct span der, struct buf *out)
{
	for (size_t i = 0; i < sizeof pem_kinds / sizeof *pem_kinds; i++)
		if (strcmp(label, pem_kinds[i].label) == 0)
			return pem_kinds[i].spki(der, out);
	return false;
}

/* The first block of the text. PEM_read_bio never asks for a passphrase. */
static bool spki_of_pem(struct span pem, struct buf *out)
{
	if (pem.len > PEM_MAX)
		return false;
	BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	char *label = NULL, *header = NULL;
	uint8_t *der = NULL;
	long len = 0;
	bool ok = bio && PEM_read_bio(bio, &label, &header, &der, &len) == 1 &&
	          spki_of_block(label, span_of(der, (size_t)len), out);
	OPENSSL_free(label);
	OPENSSL_free(header);
	OPENSSL_free(der);
	BIO_free(bio);
	ERR_clear_error();
	return ok;
}

enum err_code keyring_add_pem(struct keyring *ring, const char *name, struct span pem, int64_t not_before_ms,
                              int64_t not_after_ms, struct err *err)
{
	autobuf struct buf spki = {0};
	if (!spki_of_pem(pem, &spki))
		return err_set(err, ERR_INVALID, 0, "key %s: no PEM block PUBLIC KEY or CERTIFICATE", name);
	return keyring_add_spki(ring, name, buf_span(&spki), not_before_ms, not_after_ms, err);
}

/* ---- questions ---- */

size_t keyring_count(const struct keyring *ring)
{
	return ring->n_keys;
}

bool keyring_has_spki(const struct keyring *ring, struct span spki)
{
	struct pubkey key;
	if (pubkey_init(&key, spki, NULL) != ERR_OK)
		return false;
	bool found = find(ring, &key);
	pubkey_done(&key);
	return found;
}

void keyring_describe(const struct keyring *ring, struct buf *out)
{
	for (size_t i = 0; i < ring->n_keys; i++) {
		const struct trusted_key *key = &ring->keys[i];
		char from[CLOCK_TEXT_MAX], until[CLOCK_TEXT_MAX];
		clock_format(key->not_before_ms, from);
		clock_format(key->not_after_ms, until);
		buf_printf(out, "%s %s%s%s%s%s\n", key->name, key->id, key->not_before_ms ? " from " : "",
		           key->not_before_ms ? from : "", key->not_after_ms ? " until " : "", key->not_after_ms ? until : "");
	}
}

static bool valid_at(const struct trusted_key *key, int64_t now_ms)
{
	return now_ms >= key->not_before_ms && (!key->not_after_ms || now_ms <= key->not_after_ms);
}

static bool hinted(const struct trusted_key *key, const struct envelope_signature *signature)
{
	return strcmp(key->id, signature->keyid) == 0;
}

/* Did this key make one of the signatures whose keyid names it (or, with `hint` false, does not name it)? */
static bool signed_by(const struct trusted_key *key, const struct envelope *envelope, bool hint)
{
	for (size_t i = 0; i < envelope->n_signatures; i++) {
		const struct envelope_signature *signature = &envelope->signatures[i];
		if (hinted(key, signature) == hint && pubkey_verify(&key->key, envelope->digest, buf_span(&signature->sig)))
			return true;
	}
	return false;
}

const char *keyring_verify(const struct keyring *ring, const struct envelope *envelope, int64_t now_ms)
{
	for (int hint = 1; hint >= 0; hint--)
		for (size_t i = 0; i < ring->n_keys; i++)
			if (valid_at(&ring->keys[i], now_ms) && signed_by(&ring->keys[i], envelope, hint))
				return ring->keys[i].name;
	return NULL;
}

size_t keyring_count_signers(const struct keyring *ring, const struct envelope *envelope, int64_t now_ms)
{
	size_t count = 0;
	for (size_t i = 0; i < ring->n_keys; i++) {
		const struct trusted_key *key = &ring->keys[i];
		if (valid_at(key, now_ms) && (signed_by(key, envelope, true) || signed_by(key, envelope, false)))
			count++;
	}
	return count;
}
