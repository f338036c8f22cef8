/* A key in the process in place of one in a token, and the tree of a test's ledger. */
#ifndef TWOKEY_TESTS_UNIT_AUDIT_SIGNER_H
#define TWOKEY_TESTS_UNIT_AUDIT_SIGNER_H

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "tests/unit/audit/fixture.h"

#include "audit/tree_internal.h"

#define ORIGIN "gatekeeper.example"

struct signer {
	EVP_PKEY *key;
	_Atomic(bool) down;
	_Atomic(int) signatures;
	unsigned interval_ms;
	struct audit_verifier *verifier;
};

static inline void signer_spki(const struct signer *signer, struct buf *out)
{
	uint8_t *der = NULL;
	int len = i2d_PUBKEY(signer->key, &der);
	assert_true(len > 0);
	buf_append(out, span_of(der, (size_t)len));
	OPENSSL_free(der);
}

static inline enum err_code signer_sign(void *user, const uint8_t digest[32], struct buf *signature, struct buf *spki,
                                        struct err *err)
{
	struct signer *signer = user;
	uint8_t bytes[128];
	size_t len = sizeof(bytes);
	if (atomic_load(&signer->down))
		return err_set(err, ERR_UNAVAILABLE, 0, "the token is away");
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(signer->key, NULL);
	assert_int_equal(EVP_PKEY_sign_init(context), 1);
	assert_int_equal(EVP_PKEY_sign(context, bytes, &len, digest, 32), 1);
	EVP_PKEY_CTX_free(context);
	buf_append(signature, span_of(bytes, len));
	signer_spki(signer, spki);
	atomic_fetch_add(&signer->signatures, 1);
	return ERR_OK;
}

static inline void signer_init(struct signer *signer, const char *name)
{
	autobuf struct buf spki = {0};
	struct err err = {0};
	memset(signer, 0, sizeof(*signer));
	signer->interval_ms = 20;
	signer->key = EVP_EC_gen("P-256");
	assert_non_null(signer->key);
	signer_spki(signer, &spki);
	assert_ok(audit_verifier_new(name, buf_span(&spki), &signer->verifier, &err), err);
}

static inline void signer_done(struct signer *signer)
{
	audit_verifier_free(signer->verifier);
	EVP_PKEY_free(signer->key);
}

static inline enum err_code tree_try(struct ledger *ledger, struct signer *signer, struct audit_tree **ret,
                                     struct err *err)
{
	const struct audit_tree_options options = {
	    .audit = ledger->audit,
	    .directory = ledger->directory,
	    .signer = {.origin = ORIGIN, .sign = signer_sign, .user = signer},
	    .own = &signer->verifier,
	    .n_own = 1,
	    .interval_ms = signer->interval_ms,
	};
	return audit_tree_open(&options, ret, err);
}

static inline struct audit_tree *tree_open(struct ledger *ledger, struct signer *signer)
{
	struct audit_tree *tree = NULL;
	struct err err = {0};
	assert_ok(tree_try(ledger, signer, &tree, &err), err);
	return tree;
}

/* The checkpoint that covers at least so many records; the note is in *ret_note. */
static inline struct audit_checkpoint await_checkpoint(struct audit_tree *tree, uint64_t at_least, struct buf *ret_note)
{
	struct audit_checkpoint checkpoint = {0};
	struct err err = {0};
	buf_clear(ret_note);
	assert_ok(audit_tree_checkpoint(tree, at_least, 60000, ret_note, &err), err);
	assert_ok(audit_checkpoint_parse(buf_span(ret_note), &checkpoint, &err), err);
	assert_true(checkpoint.size >= at_least);
	return checkpoint;
}

#endif
