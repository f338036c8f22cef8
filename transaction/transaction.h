/* Transactions and their envelopes: build, sign, verify 2-of-2.
 *
 * The signed thing is the payload's bytes. They are verified first, parsed after and never re-serialised. Source:
 * DSSE 1.0.2 (secure-systems-lab/dsse protocol.md, envelope.md); the messages are proto/twokey/v1/transaction.proto. */
#ifndef TWOKEY_TRANSACTION_TRANSACTION_H
#define TWOKEY_TRANSACTION_TRANSACTION_H

#include "common/ip.h"
#include "common/reason.h"
#include "common/span.h"
#include "twokey/v1/transaction.pb-c.h"

struct hsm;
struct hsm_key;
struct secret;

#define TRANSACTION_TYPE           "application/vnd.twokey.transaction.v1+protobuf"
#define TRANSACTION_RECEIPT_TYPE   "application/vnd.twokey.receipt.v1+protobuf"
#define TRANSACTION_HOLDER_TYPE    "application/vnd.twokey.holder-statement.v1+protobuf"
#define TRANSACTION_ENVELOPE_MAX   ((size_t)16 << 10) /* bytes, serialised */
#define TRANSACTION_SIGNATURES_MAX 4
#define TRANSACTION_LIFETIME_MAX_S 3600 /* nobody can configure more */
#define TRANSACTION_CLOCK_SKEW_MS  60000

/* ---- envelopes ---- */

struct envelope_signature {
	struct buf sig;
	char *keyid; /* owned; "" when absent */
};

/* Owned; a zeroed struct is empty. Not thread-safe. */
struct envelope {
	struct buf payload;
	char *type;
	struct envelope_signature signatures[TRANSACTION_SIGNATURES_MAX];
	size_t n_signatures;
	uint8_t digest[32]; /* SHA-256 of the PAE; set by every function that fills an envelope */
};

void envelope_done(struct envelope *envelope);
/* From a serialised Envelope message, or from DSSE's JSON form (found out by the first byte, '{'). ERR_INVALID: form;
 * ERR_EXHAUSTED: larger than TRANSACTION_ENVELOPE_MAX (JSON: twice that) or too many signatures. */
must_check enum err_code envelope_parse(struct span bytes, struct envelope *ret, struct err *err);
/* From an already unpacked message (NULL: ERR_INVALID). Same limits. */
must_check enum err_code envelope_from_pb(const Twokey__V1__Envelope *message, struct envelope *ret, struct err *err);
/* A message that borrows everything from the envelope; lives as long as both the envelope and *storage. */
struct envelope_view {
	Twokey__V1__Envelope message;
	Twokey__V1__Signature signatures[TRANSACTION_SIGNATURES_MAX];
	Twokey__V1__Signature *pointers[TRANSACTION_SIGNATURES_MAX];
};
Twokey__V1__Envelope *envelope_to_pb(const struct envelope *envelope, struct envelope_view *storage);
void envelope_to_json(const struct envelope *envelope, struct buf *out); /* DSSE's JSON form, one line, no line end */
/* The pre-authentication encoding, DSSEv1. */
void envelope_pae(const char *type, struct span body, struct buf *out);
/* Makes an unsigned envelope around a copy of the payload. */
void envelope_new(const char *type, struct span payload, struct envelope *ret);
/* Adds a signature by a key in a token. ERR_EXISTS when that key has signed already (by keyid). */
must_check enum err_code envelope_sign(struct envelope *envelope, struct hsm_key *key, struct err *err);

/* ---- trusted keys ---- */

/* A set of public keys, parsed once. Immutable after the last add, then thread-safe. */
struct keyring;

struct keyring *keyring_new(void);
void keyring_free(struct keyring *ring);
/* A PEM public key (or certificate). Times in ms since 1970; 0: no limit. ERR_INVALID: not EC P-256 or RSA >= 2048;
 * ERR_EXISTS: the same key is in the ring already, under whatever name. */
must_check enum err_code keyring_add_pem(struct keyring *ring, const char *name, struct span pem, int64_t not_before_ms,
                                         int64_t not_after_ms, struct err *err);
must_check enum err_code keyring_add_spki(struct keyring *ring, const char *name, struct span spki,
                                          int64_t not_before_ms, int64_t not_after_ms, struct err *err);
size_t keyring_count(const struct keyring *ring);
bool keyring_has_spki(const struct keyring *ring, struct span spki);
/* Appends a line for each key: its name, its keyid, and "from" and "until" when it has limits. */
void keyring_describe(const struct keyring *ring, struct buf *out);
/* Which key of the ring made one of the envelope's signatures, valid at now_ms? The name (owned by the ring), or NULL.
 * Keyids are tried first, then all keys: a hint never decides. */
const char *keyring_verify(const struct keyring *ring, const struct envelope *envelope, int64_t now_ms);
/* How many distinct keys of the ring have signed. */
size_t keyring_count_signers(const struct keyring *ring, const struct envelope *envelope, int64_t now_ms);

/* ---- transactions ---- */

/* Unpacks and checks the form of a transaction payload whose signature has been verified: every field's presence, size
 * and characters as transaction.proto says; constraints that do not fit the operation are refused. REASON_MALFORMED
 * with a detail, or REASON_NONE. Free with transaction_free. */
enum reason transaction_parse(struct span payload, Twokey__V1__Transaction **ret, struct err *detail);
void transaction_free(Twokey__V1__Transaction *transaction); /* accepts NULL */

/* Checks the same form of a transaction that we are about to serialise (Authorize). */
enum reason transaction_check_form(const Twokey__V1__Transaction *transaction, struct err *detail);

/* not_before - skew <= now < expires_at + skew; issued_at <= not_before < expires_at; expires_at - issued_at within the
 * maximum (seconds, never more than TRANSACTION_LIFETIME_MAX_S); issued_at not in the future. */
enum reason transaction_check_time(const Twokey__V1__Transaction *transaction, int64_t now_ms, unsigned lifetime_max_s,
                                   struct err *detail);
/* The client's address against constraints.networks. REASON_NETWORK_DENIED or REASON_NONE. */
enum reason transaction_check_network(const Twokey__V1__Transaction *transaction, const struct ip_addr *client);
/* The call that a holder proof is for. */
struct transaction_call {
	const char *method; /* full name, "/twokey.v1.Gatekeeper/Fetch" */
	int64_t now_ms;
};
/* What a proof that holds has said, so that it can be taken once only. */
struct transaction_proof {
	bool proved; /* false: the transaction names no holder key, and the rest is zero */
	uint8_t key_sha256[32], nonce[16];
	int64_t time_ms;
};
/* The holder proof, when the transaction names a holder key: key digest, signature, digest of the envelope, method,
 * time. Whether it has been used before is for the caller to find out. */
enum reason transaction_check_holder(const Twokey__V1__Transaction *transaction, const struct envelope *envelope,
                                     const Twokey__V1__HolderProof *proof, const struct transaction_call *call,
                                     struct transaction_proof *ret, struct err *detail);

int64_t transaction_time_ms(const Google__Protobuf__Timestamp *time); /* NULL: 0 */
Google__Protobuf__Timestamp transaction_timestamp(int64_t ms);
uint32_t transaction_uses(const Twokey__V1__Transaction *transaction);
/* "GET"; "UNSPECIFIED" for others. */
const char *transaction_operation_name(Twokey__V1__Operation operation);
/* From a name of either case; OPERATION_UNSPECIFIED when it is none. */
Twokey__V1__Operation transaction_operation_from_name(const char *name);

/* Serialises a receipt and signs it with the audit key. */
must_check enum err_code transaction_receipt(const Twokey__V1__Receipt *receipt, struct hsm_key *audit_key,
                                             struct envelope *ret, struct err *err);

/* ---- holder keys: the data client's side of a proof ---- */

/* An EC P-256 key pair, in memory. Immutable, then thread-safe. */
struct holder_key;

must_check enum err_code holder_key_make(struct holder_key **ret, struct err *err);
/* From a PEM private key without a passphrase. ERR_INVALID: it is none, or not EC P-256. */
must_check enum err_code holder_key_from_pem(struct span pem, struct holder_key **ret, struct err *err);
void holder_key_free(struct holder_key *key); /* accepts NULL */
/* PKCS #8, PEM. */
must_check enum err_code holder_key_private_pem(const struct holder_key *key, struct secret **ret, struct err *err);
void holder_key_public_pem(const struct holder_key *key, struct buf *out);
/* SHA-256 of the SubjectPublicKeyInfo, which transactions name the key by. */
void holder_key_sha256(const struct holder_key *key, uint8_t out[32]);
/* The same, of a PEM public key. ERR_INVALID: it is none, or not EC P-256. */
must_check enum err_code holder_sha256_of_pem(struct span pem, uint8_t out[32], struct err *err);

/* A proof's bytes; zeroed it is empty. */
struct holder_proof {
	Twokey__V1__HolderProof message; /* borrows from what follows, and from the key */
	struct buf statement;
	uint8_t signature[64];
};
/* A proof for one call with this envelope, with a nonce of its own. */
must_check enum err_code holder_prove(const struct holder_key *key, const struct envelope *envelope,
                                      const struct transaction_call *call, struct holder_proof *ret, struct err *err);
void holder_proof_done(struct holder_proof *proof);

#endif
