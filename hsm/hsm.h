/* The token: sessions, keys, signatures, HMAC, AES-GCM and random numbers through exactly one PKCS#11 module (OASIS
 * PKCS #11 2.40), loaded by p11-kit. Only mechanisms that SoftHSM2 and AWS CloudHSM share are used: CKM_ECDSA,
 * CKM_RSA_PKCS_PSS, CKM_SHA256_HMAC, CKM_AES_GCM, C_GenerateRandom, and the key generation for them.
 *
 * A token that fails is dealt with by the class of its error: docs/TOKEN.md. When it is lost, every operation fails
 * with ERR_UNAVAILABLE at once until a thread of our own has brought it back.
 *
 * Everything here is thread-safe. No secret key ever leaves the token; functions that make keys set SENSITIVE and not
 * EXTRACTABLE. The process must not fork (without exec) after hsm_open. */
#ifndef TWOKEY_HSM_HSM_H
#define TWOKEY_HSM_HSM_H

#include "common/err.h"
#include "common/secret.h"
#include "common/span.h"

struct hsm;
/* A key in the token, looked up once; belongs to its hsm and lives as long. */
struct hsm_key;

enum hsm_gcm_iv {
	HSM_GCM_IV_CALLER, /* we make the IV from the token's generator (SoftHSM2) */
	HSM_GCM_IV_TOKEN,  /* the token writes the IV into 12 zero bytes during C_Encrypt (CloudHSM) */
};

struct hsm_options {
	const char *module; /* absolute path of the PKCS#11 module */
	const char *token;  /* RFC 7512 URI that names exactly one token, e.g. "pkcs11:token=gatekeeper"; no PIN in it */
	const char *pin_source; /* "file:/path", "credential:NAME" ($CREDENTIALS_DIRECTORY), or "prompt" (the terminal) */
	enum hsm_gcm_iv gcm_iv;
	unsigned max_sessions; /* 0: 64; at least 2, since one only holds the login; never more than the token allows */
	unsigned timeout_ms;   /* the deadline of each operation, with all waiting and retries; 0: 5000 */
};

enum hsm_key_kind {
	HSM_KEY_SIGN, /* private key: EC P-256, or RSA of 2048 bits and more */
	HSM_KEY_AES,  /* AES-256 */
	HSM_KEY_HMAC, /* generic secret */
};

struct hsm_token_info {
	char label[33], manufacturer[33], model[17], serial[17];
};

/* What can be said of a key without having it. */
struct hsm_key_info {
	char label[128];
	char id[65]; /* CKA_ID in hex */
	const char
	    *type;      /* "EC P-256", "RSA 2048", "AES 256", "secret 352 bits" (static or owned by the callback's frame) */
	bool is_secret; /* a private or secret key, not a public one */
	bool sensitive, extractable, always_sensitive, never_extractable, local;
};

/* Loads the module, finds the token, logs in once, and proves that it works: two AES-GCM encryptions give different
 * non-zero IVs (when a KEK is used, see hsm_key_find), the generator does not repeat. ERR_INVALID: options;
 * ERR_NOT_FOUND: module or token; ERR_DENIED: PIN refused (it is not sent again); ERR_UNAVAILABLE: the token cannot be
 * used now. */
must_check enum err_code hsm_open(const struct hsm_options *options, struct hsm **ret, struct err *err);
/* Logs out, closes all, unloads; accepts NULL. While the token keeps one of our threads nothing can be freed: then it
 * is left as it is, for the end of the process. */
void hsm_free(struct hsm *hsm);

/* Is the token there and logged in, and does it have every key that was found? For health: the look is made by a thread
 * of our own, so that this returns in time whatever the token does. ERR_UNAVAILABLE says why. */
must_check enum err_code hsm_check(struct hsm *hsm, struct err *err);

/* PKCS#11 has no way to cancel a call, and a second thread for each one would cost a tenth of a signature: operations
 * run on the caller's own thread, and nothing can fetch it back from a token that is stuck. What can be had in time is
 * the answer to whoever waits behind that thread. `stuck` is called, on a thread of our own, once, when an operation of
 * the guarded thread is overdue; the guarded thread is inside an hsm_ function all that time. When the token does
 * return, the operation fails with ERR_UNAVAILABLE, whatever came out of it. */
struct hsm_guard {
	void (*stuck)(void *user);
	void *user;
};
/* Guards the calling thread's operations, of every hsm, until it is called with NULL. */
void hsm_guard(const struct hsm_guard *guard);
/* Operations that are overdue now. */
unsigned hsm_stuck(struct hsm *hsm);
void hsm_token_info(const struct hsm *hsm, struct hsm_token_info *ret);
/* Sessions open now; never above the limit. */
unsigned hsm_sessions_open(struct hsm *hsm);

/* Finds exactly one key by the object and/or id attributes of an RFC 7512 URI ("pkcs11:object=transaction"), checks its
 * type and that its attributes are as they must be (SENSITIVE, not EXTRACTABLE), and tries it once: sign and verify, or
 * two encryptions, or one HMAC. ERR_NOT_FOUND: none; ERR_INVALID: several, or the wrong kind; ERR_DENIED: attributes
 * that this project does not accept. */
must_check enum err_code hsm_key_find(struct hsm *hsm, enum hsm_key_kind kind, const char *uri, struct hsm_key **ret,
                                      struct err *err);
/* SubjectPublicKeyInfo (DER) of a signing key; an empty span for the other kinds. */
struct span hsm_key_spki(const struct hsm_key *key);
/* Lower-case hex SHA-256 of the SPKI for signing keys, hex CKA_ID for the others. */
const char *hsm_key_id(const struct hsm_key *key);
const char *hsm_key_label(const struct hsm_key *key);

/* Signs a SHA-256 digest: ECDSA as DER (RFC 3279), RSA as PSS with MGF1-SHA-256 and a 32-byte salt. Appends to *sig. */
must_check enum err_code hsm_sign(struct hsm_key *key, const uint8_t digest[32], struct buf *sig, struct err *err);
/* HMAC-SHA-256 of 1 to 4096 bytes (tokens refuse the empty message). */
must_check enum err_code hsm_hmac(struct hsm_key *key, struct span data, uint8_t out[32], struct err *err);
/* AES-256-GCM of at most 4096 bytes under a key in the token. Appends iv (12) || ciphertext || tag (16). */
must_check enum err_code hsm_wrap(struct hsm_key *key, struct span aad, const struct secret *plain, struct buf *out,
                                  struct err *err);
/* Undoes hsm_wrap. ERR_CORRUPT when the tag does not hold (confirmed once on a fresh session). */
must_check enum err_code hsm_unwrap(struct hsm_key *key, struct span aad, struct span wrapped, struct secret **ret,
                                    struct err *err);
/* Bytes from the token's generator. */
must_check enum err_code hsm_random(struct hsm *hsm, uint8_t *out, size_t len, struct err *err);

/* The object attribute (the label) of an RFC 7512 URI. ERR_INVALID when it has none. */
must_check enum err_code hsm_uri_object(const char *uri, char *out, size_t out_size, struct err *err);

/* Provisioning. Each refuses (ERR_EXISTS) when a key of that label is there already. */
must_check enum err_code hsm_generate_ec(struct hsm *hsm, const char *label, struct err *err);
must_check enum err_code hsm_generate_aes(struct hsm *hsm, const char *label, struct err *err);
/* A secret of 32 to 800 bytes: what both SoftHSM2 and AWS CloudHSM take. */
must_check enum err_code hsm_import_hmac(struct hsm *hsm, const char *label, const struct secret *value,
                                         struct err *err);
/* Tries everything that is needed of a token, with keys of its own ("twokey-qualify-...") that are removed again, also
 * after a failure; then measures. For a process that does nothing else with the token. ERR_PRECONDITION: a need is not
 * met. */
struct hsm_need {
	const char *mechanism, *needed_for;
	bool required; /* false: good to know */
	bool works;
	const char *how; /* it failed */
};
struct hsm_speed {
	const char *operation;
	unsigned threads;
	double per_second, cpu_us, worst_ms; /* CPU of this process, per operation */
};
struct hsm_qualify {
	void (*need)(const struct hsm_need *need, void *user);
	void (*speed)(const struct hsm_speed *speed, void *user);
	void *user;
	unsigned ms; /* for each measurement; 0: none */
};
must_check enum err_code hsm_qualify(struct hsm *hsm, const struct hsm_qualify *asked, struct err *err);
/* Calls back once per private or secret key, then per public key. */
must_check enum err_code hsm_key_list(struct hsm *hsm, void (*each)(const struct hsm_key_info *info, void *user),
                                      void *user, struct err *err);

#endif
