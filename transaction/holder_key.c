/* What a data client does to prove that it holds the key that a transaction names. */
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/pb.h"
#include "common/secret.h"
#include "common/text.h"
#include "transaction/internal.h"

#define P1363_HALF 32

struct holder_key {
	EVP_PKEY *pkey;
	struct pubkey public; /* proves that it is EC P-256, and has the canonical SubjectPublicKeyInfo */
};

static enum err_code take_key(EVP_PKEY *pkey, struct holder_key **ret, struct err *err)
{
	uint8_t *der = NULL;
	int len = pkey ? i2d_PUBKEY(pkey, &der) : 0;
	struct holder_key *key = xcalloc(1, sizeof *key);
	key->pkey = pkey;
	bool good = len > 0 && pubkey_init(&key->public, span_of(der, (size_t)len), NULL) == ERR_OK && key->public.is_ec;
	OPENSSL_free(der);
	if (!good) {
		holder_key_free(key);
		return err_set(err, ERR_INVALID, 0, "a holder key is a PEM private key, EC P-256, without a passphrase");
	}
	*ret = key;
	return ERR_OK;
}

enum err_code holder_key_make(struct holder_key **ret, struct err *err)
{
	return take_key(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"), ret, err);
}

/* Nobody is asked. */
static int no_passphrase(char *buf, int size, int for_writing, void *user)
{
	(void)buf, (void)size, (void)for_writing, (void)user;
	return -1;
}

enum err_code holder_key_from_pem(struct span pem, struct holder_key **ret, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	EVP_PKEY *pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
	BIO_free(bio);
	return take_key(pkey, ret, err);
}

void holder_key_free(struct holder_key *key)
{
	if (!key)
		return;
	pubkey_done(&key->public);
	EVP_PKEY_free(key->pkey);
	free(key);
}

enum err_code holder_key_private_pem(const struct holder_key *key, struct secret **ret, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *pem = NULL;
	long len = 0;
	if (bio && PEM_write_bio_PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) == 1)
		len = BIO_get_mem_data(bio, &pem);
	if (len > 0)
		*ret = secret_from(span_of(pem, (size_t)len));
	BIO_free(bio);
	return len > 0 ? ERR_OK : err_set(err, ERR_INTERNAL, 0, "the holder key cannot be written");
}

void holder_key_public_pem(const struct holder_key *key, struct buf *out)
{
	autobuf struct buf base64 = {0};
	text_base64(buf_span(&key->public.spki), &base64);
	buf_append_str(out, "-----BEGIN PUBLIC KEY-----\n");
	for (size_t at = 0; at < base64.len; at += 64) {
		const size_t left = base64.len - at;
		buf_append(out, span_of(base64.data + at, left < 64 ? left : 64));
		buf_append_byte(out, '\n');
	}
	buf_append_str(out, "-----END PUBLIC KEY-----\n");
}

void holder_key_sha256(const struct holder_key *key, uint8_t out[32])
{
	text_sha256(buf_span(&key->public.spki), out);
}

enum err_code holder_sha256_of_pem(struct span pem, uint8_t out[32], struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	EVP_PKEY *pkey = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	struct holder_key *key = NULL;
	if (take_key(pkey, &key, NULL) != ERR_OK)
		return err_set(err, ERR_INVALID, 0, "a holder's public key is PEM, EC P-256");
	holder_key_sha256(key, out);
	holder_key_free(key);
	return ERR_OK;
}

static enum err_code pack_statement(const struct envelope *envelope, const struct transaction_call *call,
                                    struct buf *out, struct err *err)
{
	uint8_t nonce[sizeof((struct transaction_proof){0}.nonce)];
	if (getrandom(nonce, sizeof nonce, 0) != sizeof nonce)
		return err_set(err, ERR_INTERNAL, 0, "the kernel has no randomness");
	Google__Protobuf__Timestamp now = transaction_timestamp(call->now_ms);
	Twokey__V1__HolderStatement statement = TWOKEY__V1__HOLDER_STATEMENT__INIT;
	statement.transaction_sha256 = (ProtobufCBinaryData){sizeof envelope->digest, (uint8_t *)envelope->digest};
	statement.method = (char *)call->method;
	statement.time = &now;
	statement.nonce = (ProtobufCBinaryData){sizeof nonce, nonce};
	pb_pack(&statement.base, out);
	return ERR_OK;
}

/* r || s of 32 bytes each, IEEE P1363. */
static bool sign(EVP_PKEY *pkey, const uint8_t digest[32], uint8_t out[2 * P1363_HALF])
{
	uint8_t der[128];
	size_t len = sizeof der;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pkey, NULL);
	bool signed_ = ctx && EVP_PKEY_sign_init(ctx) == 1 && EVP_PKEY_sign(ctx, der, &len, digest, 32) == 1;
	EVP_PKEY_CTX_free(ctx);
	const uint8_t *end = der;
	ECDSA_SIG *sig = signed_ ? d2i_ECDSA_SIG(NULL, &end, (long)len) : NULL;
	bool good = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, P1363_HALF) == P1363_HALF &&
	            BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + P1363_HALF, P1363_HALF) == P1363_HALF;
	ECDSA_SIG_free(sig);
	return good;
}

enum err_code holder_prove(const struct holder_key *key, const struct envelope *envelope,
                           const struct transaction_call *call, struct holder_proof *ret, struct err *err)
{
	buf_clear(&ret->statement);
	enum err_code code = pack_statement(envelope, call, &ret->statement, err);
	if (code != ERR_OK)
		return code;
	uint8_t digest[32];
	envelope_digest(TRANSACTION_HOLDER_TYPE, buf_span(&ret->statement), digest);
	if (!sign(key->pkey, digest, ret->signature))
		return err_set(err, ERR_INTERNAL, 0, "the holder key cannot sign");
	twokey__v1__holder_proof__init(&ret->message);
	ret->message.public_key = (ProtobufCBinaryData){key->public.spki.len, key->public.spki.data};
	ret->message.statement = (ProtobufCBinaryData){ret->statement.len, ret->statement.data};
	ret->message.signature = (ProtobufCBinaryData){sizeof ret->signature, ret->signature};
	return ERR_OK;
}

void holder_proof_done(struct holder_proof *proof)
{
	buf_done(&proof->statement);
}
