/* What the files of this room share. */
#ifndef TWOKEY_TRANSACTION_INTERNAL_H
#define TWOKEY_TRANSACTION_INTERNAL_H

#include <openssl/evp.h>

#include "transaction/transaction.h"

#define SPKI_MAX ((size_t)8 << 10) /* bytes; RSA 16384 needs 2.1 KiB */

/* A public key, parsed once. Immutable after init, then thread-safe. */
struct pubkey {
	EVP_PKEY *pkey;
	EVP_PKEY_CTX *verifier; /* a template: set up once, copied for each verification */
	struct buf spki;        /* canonical: named curve, uncompressed point, so that a key has one id */
	bool is_ec;
};

/* From a SubjectPublicKeyInfo. ERR_INVALID: neither EC P-256 nor RSA >= 2048, or bytes after it. */
must_check enum err_code pubkey_init(struct pubkey *key, struct span spki, struct err *err);
void pubkey_done(struct pubkey *key);
/* EC: a DER signature; RSA: PSS, MGF1-SHA-256, salt 32 bytes. */
bool pubkey_verify(const struct pubkey *key, const uint8_t digest[32], struct span sig);
bool pubkey_eq(const struct pubkey *a, const struct pubkey *b);

/* SHA-256 of the PAE, the digest that is signed. */
void envelope_digest(const char *type, struct span body, uint8_t out[32]);
/* What both forms must obey once they are in memory: a type, a payload, non-empty signatures, the size limit. */
must_check enum err_code envelope_check(const struct envelope *envelope, struct err *err);
/* Adds an empty signature, or NULL when there are TRANSACTION_SIGNATURES_MAX already. */
struct envelope_signature *envelope_add_signature(struct envelope *envelope);
must_check enum err_code envelope_parse_json(struct span text, struct envelope *ret, struct err *err);

/* Fills the detail and returns the reason, so that a refusal is one line. */
enum reason transaction_refuse(enum reason reason, struct err *detail, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Within protobuf's range (0001-01-01 to 9999-12-31), nanos in 0 .. 999999999. */
bool transaction_time_valid(const Google__Protobuf__Timestamp *time);

#endif
