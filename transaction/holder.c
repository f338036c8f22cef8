/* Proof that the caller holds the key that the transaction names: its digest, then its signature, and only then what it
 * signed. */
#include <openssl/bn.h>
#include <openssl/ecdsa.h>

#include "common/pb.h"
#include "common/text.h"
#include "transaction/internal.h"

#define PUBLIC_KEY_MAX 512  /* bytes; EC P-256 has 91 */
#define STATEMENT_MAX  1024 /* bytes */
#define P1363_LEN      64
#define NONCE_LEN      sizeof((struct transaction_proof){0}.nonce)
#define UNPACK_BUDGET  ((size_t)4 << 10)

static enum reason invalid(struct err *detail, const char *what)
{
	return transaction_refuse(REASON_HOLDER_PROOF_INVALID, detail, "holder proof: %s", what);
}

static struct span bytes_of(const ProtobufCBinaryData *data)
{
	return span_of(data->data, data->len);
}

/* r || s of 32 bytes each (IEEE P1363) becomes DER, which the verifier reads. */
static bool der_of_p1363(struct span raw, struct buf *out)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(raw.ptr, P1363_LEN / 2, NULL), *s = BN_bin2bn(raw.ptr + P1363_LEN / 2, P1363_LEN / 2, NULL);
	uint8_t *der = NULL;
	int len = 0;
	if (sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
		r = s = NULL; /* the signature's now */
		len = i2d_ECDSA_SIG(sig, &der);
	}
	if (len > 0)
		buf_append(out, span_of(der, (size_t)len));
	OPENSSL_free(der);
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(sig);
	return len > 0;
}

static enum reason check_sizes(const Twokey__V1__HolderProof *proof, struct err *detail)
{
	if (proof->public_key.len == 0 || proof->public_key.len > PUBLIC_KEY_MAX)
		return invalid(detail, "the size of the public key");
	if (proof->statement.len == 0 || proof->statement.len > STATEMENT_MAX)
		return invalid(detail, "the size of the statement");
	if (proof->signature.len != P1363_LEN)
		return invalid(detail, "the signature is not r || s of 64 bytes");
	return REASON_NONE;
}

static enum reason check_signature(const Twokey__V1__HolderProof *proof, struct span key_sha256, struct err *detail)
{
	uint8_t digest[32];
	text_sha256(bytes_of(&proof->public_key), digest);
	if (!span_eq(span_of(digest, sizeof digest), key_sha256))
		return invalid(detail, "made with another key than the transaction names");
	struct pubkey key;
	if (pubkey_init(&key, bytes_of(&proof->public_key), NULL) != ERR_OK)
		return invalid(detail, "the public key is not EC P-256");
	autobuf struct buf sig = {0};
	envelope_digest(TRANSACTION_HOLDER_TYPE, bytes_of(&proof->statement), digest);
	bool ok =
	    key.is_ec && der_of_p1363(bytes_of(&proof->signature), &sig) && pubkey_verify(&key, digest, buf_span(&sig));
	pubkey_done(&key);
	return ok ? REASON_NONE : invalid(detail, "the signature does not verify");
}

static enum reason check_said(const Twokey__V1__HolderStatement *statement, const struct envelope *envelope,
                              const struct transaction_call *call, struct err *detail)
{
	if (!span_eq(bytes_of(&statement->transaction_sha256), span_of(envelope->digest, sizeof envelope->digest)))
		return invalid(detail, "made for another envelope");
	if (strcmp(statement->method, call->method) != 0)
		return invalid(detail, "made for another method");
	if (!statement->time || !transaction_time_valid(statement->time))
		return invalid(detail, "it has no time");
	int64_t age_ms = call->now_ms - transaction_time_ms(statement->time);
	if (age_ms > TRANSACTION_CLOCK_SKEW_MS || age_ms < -TRANSACTION_CLOCK_SKEW_MS)
		return invalid(detail, age_ms > 0 ? "too old" : "from the future");
	if (statement->nonce.len != NONCE_LEN)
		return invalid(detail, "the nonce is not 16 bytes");
	return REASON_NONE;
}

static enum reason check_statement(struct span bytes, const struct envelope *envelope,
                                   const struct transaction_call *call, struct transaction_proof *ret,
                                   struct err *detail)
{
	ProtobufCMessage *message = NULL;
	if (pb_unpack(&twokey__v1__holder_statement__descriptor, bytes, PB_STRICT, UNPACK_BUDGET, &message, NULL))
		return invalid(detail, "the statement is not well formed");
	const Twokey__V1__HolderStatement *statement = (const Twokey__V1__HolderStatement *)message;
	enum reason reason = check_said(statement, envelope, call, detail);
	if (reason == REASON_NONE) {
		memcpy(ret->nonce, statement->nonce.data, sizeof ret->nonce);
		ret->time_ms = transaction_time_ms(statement->time);
		ret->proved = true;
	}
	pb_free(message);
	return reason;
}

enum reason transaction_check_holder(const Twokey__V1__Transaction *transaction, const struct envelope *envelope,
                                     const Twokey__V1__HolderProof *proof, const struct transaction_call *call,
                                     struct transaction_proof *ret, struct err *detail)
{
	*ret = (struct transaction_proof){0};
	const Twokey__V1__Constraints *constraints = transaction->constraints;
	if (!constraints || constraints->holder_key_sha256.len == 0)
		return REASON_NONE;
	if (!proof)
		return invalid(detail, "there is none");
	enum reason reason = check_sizes(proof, detail);
	reason = reason ? reason : check_signature(proof, bytes_of(&constraints->holder_key_sha256), detail);
	if (reason != REASON_NONE)
		return reason;
	text_sha256(bytes_of(&proof->public_key), ret->key_sha256);
	return check_statement(bytes_of(&proof->statement), envelope, call, ret, detail);
}
