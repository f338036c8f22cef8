/* Keys, signatures and a transaction for the tests of this room, made with OpenSSL. */
#ifndef TWOKEY_TESTS_UNIT_TRANSACTION_SUPPORT_H
#define TWOKEY_TESTS_UNIT_TRANSACTION_SUPPORT_H

#include "tests/unit/harness.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "common/pb.h"
#include "common/text.h"
#include "transaction/transaction.h"

#define NOW_MS INT64_C(1795285200000)

struct test_key {
	EVP_PKEY *pkey;
	struct buf spki;
	char id[65];
};

static inline void test_key_init(struct test_key *key, EVP_PKEY *pkey)
{
	uint8_t *der = NULL, digest[32];
	assert_non_null(pkey);
	int len = i2d_PUBKEY(pkey, &der);
	assert_true(len > 0);
	*key = (struct test_key){.pkey = pkey};
	buf_append(&key->spki, span_of(der, (size_t)len));
	OPENSSL_free(der);
	text_sha256(buf_span(&key->spki), digest);
	text_hex(span_of(digest, 32), key->id);
}

static inline void test_key_ec(struct test_key *key, const char *curve)
{
	test_key_init(key, EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve));
}

static inline void test_key_rsa(struct test_key *key, size_t bits)
{
	test_key_init(key, EVP_PKEY_Q_keygen(NULL, NULL, "RSA", bits));
}

static inline void test_key_done(struct test_key *key)
{
	EVP_PKEY_free(key->pkey);
	buf_done(&key->spki);
}

static inline void test_sign(const struct test_key *key, const uint8_t digest[32], int pss_salt, struct buf *out)
{
	uint8_t sig[1024];
	size_t len = sizeof sig;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key->pkey, NULL);
	assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
	if (EVP_PKEY_is_a(key->pkey, "RSA")) {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING), 1);
		assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, pss_salt), 1);
	}
	assert_int_equal(EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()), 1);
	assert_int_equal(EVP_PKEY_sign(ctx, sig, &len, digest, 32), 1);
	EVP_PKEY_CTX_free(ctx);
	buf_append(out, span_of(sig, len));
}

/* Adds a signature under any keyid; NULL: the right one. */
static inline void test_sign_envelope(struct envelope *envelope, const struct test_key *key, const char *keyid)
{
	assert_true(envelope->n_signatures < TRANSACTION_SIGNATURES_MAX);
	struct envelope_signature *signature = &envelope->signatures[envelope->n_signatures++];
	signature->keyid = xstrdup(keyid ? keyid : key->id);
	test_sign(key, envelope->digest, 32, &signature->sig);
}

/* A transaction that is in order, with room to change anything. */
struct sample {
	Twokey__V1__Transaction transaction;
	Twokey__V1__Constraints constraints;
	Twokey__V1__Consent consent;
	Twokey__V1__ByteRange range;
	Google__Protobuf__Timestamp issued_at, not_before, expires_at, given_at;
	uint8_t id[16];
};

static inline void sample_init(struct sample *sample, Twokey__V1__Operation operation)
{
	twokey__v1__transaction__init(&sample->transaction);
	twokey__v1__constraints__init(&sample->constraints);
	twokey__v1__consent__init(&sample->consent);
	twokey__v1__byte_range__init(&sample->range);
	sample->issued_at = sample->not_before = transaction_timestamp(NOW_MS);
	sample->expires_at = transaction_timestamp(NOW_MS + 300000);
	sample->given_at = transaction_timestamp(NOW_MS - 86400000);
	memset(sample->id, 0xa5, sizeof sample->id);
	Twokey__V1__Transaction *t = &sample->transaction;
	t->id = (ProtobufCBinaryData){sizeof sample->id, sample->id};
	t->operation = operation;
	t->gatekeeper = (char *)"clinic";
	t->bucket = (char *)"scans";
	t->object = (char *)"2026/11/scan 1+2=3.dcm";
	t->account = (char *)"tenant-7";
	t->subject = (char *)"dr.o@example.com";
	t->issued_at = &sample->issued_at;
	t->not_before = &sample->not_before;
	t->expires_at = &sample->expires_at;
	t->constraints = &sample->constraints;
}

static inline void sample_pack(const struct sample *sample, struct buf *out)
{
	pb_pack(&sample->transaction.base, out);
}

static inline void sample_envelope(const struct sample *sample, struct envelope *ret)
{
	autobuf struct buf payload = {0};
	sample_pack(sample, &payload);
	envelope_new(TRANSACTION_TYPE, buf_span(&payload), ret);
}

#endif
