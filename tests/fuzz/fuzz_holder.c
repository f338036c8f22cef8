/* room: transaction */
/* A holder proof, first as it came (no input signs anything, so it must be refused), then with its statement signed by
 * a real key, so that the statement is read. */
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "common/pb.h"
#include "common/text.h"
#include "transaction/transaction.h"

#define NOW_MS INT64_C(1795285200000)
#define METHOD "/twokey.v1.Gatekeeper/Fetch"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The envelope that every seed's statement is about. */
static struct envelope envelope;
static EVP_PKEY *holder;
static struct buf holder_spki;

static void set_up(void)
{
	uint8_t *spki = NULL;
	envelope_new(TRANSACTION_TYPE, span_str("seed"), &envelope);
	holder = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	int len = holder ? i2d_PUBKEY(holder, &spki) : 0;
	if (len <= 0)
		abort();
	buf_append(&holder_spki, span_of(spki, (size_t)len));
	OPENSSL_free(spki);
}

static enum reason check(const Twokey__V1__HolderProof *proof)
{
	uint8_t key_sha256[32];
	Twokey__V1__Constraints constraints = TWOKEY__V1__CONSTRAINTS__INIT;
	Twokey__V1__Transaction transaction = TWOKEY__V1__TRANSACTION__INIT;
	text_sha256(span_of(proof->public_key.data, proof->public_key.len), key_sha256);
	constraints.holder_key_sha256 = (ProtobufCBinaryData){sizeof key_sha256, key_sha256};
	transaction.constraints = &constraints;
	const struct transaction_call call = {METHOD, NOW_MS};
	struct transaction_proof said;
	return transaction_check_holder(&transaction, &envelope, proof, &call, &said, NULL);
}

static void sign(struct span statement, uint8_t out[64])
{
	autobuf struct buf pae = {0};
	uint8_t der[128];
	const uint8_t *end = der;
	size_t len = sizeof der;
	envelope_pae(TRANSACTION_HOLDER_TYPE, statement, &pae);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, holder) != 1 ||
	    EVP_DigestSign(ctx, der, &len, pae.data, pae.len) != 1)
		abort();
	EVP_MD_CTX_free(ctx);
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &end, (long)len);
	if (!sig || BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32) != 32 ||
	    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32) != 32)
		abort();
	ECDSA_SIG_free(sig);
}

static void check_signed(struct span statement)
{
	uint8_t signature[64];
	Twokey__V1__HolderProof proof = TWOKEY__V1__HOLDER_PROOF__INIT;
	sign(statement, signature);
	proof.public_key = (ProtobufCBinaryData){holder_spki.len, holder_spki.data};
	proof.statement = (ProtobufCBinaryData){statement.len, (uint8_t *)statement.ptr};
	proof.signature = (ProtobufCBinaryData){sizeof signature, signature};
	enum reason reason = check(&proof);
	if (reason != REASON_NONE && reason != REASON_HOLDER_PROOF_INVALID)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!holder)
		set_up();
	ProtobufCMessage *message;
	if (pb_unpack(&twokey__v1__holder_proof__descriptor, span_of(data, size), PB_LENIENT, (size_t)64 << 10, &message,
	              NULL))
		return 0;
	const Twokey__V1__HolderProof *proof = (const Twokey__V1__HolderProof *)message;
	enum reason reason = check(proof);
	if (reason != REASON_NONE && reason != REASON_HOLDER_PROOF_INVALID)
		abort();
	check_signed(span_of(proof->statement.data, proof->statement.len));
	pb_free(message);
	return 0;
}
