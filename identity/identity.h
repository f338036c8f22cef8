/* Who somebody is: client certificates and the authorities that vouch for them. Nothing here knows of roles. */
#ifndef TWOKEY_IDENTITY_IDENTITY_H
#define TWOKEY_IDENTITY_IDENTITY_H

#include "common/clock.h"
#include "common/err.h"
#include "common/reason.h"
#include "common/span.h"

/* ---- trust: authorities and revocation lists ---- */

/* The TLS handshake has verified a certificate once; this verifies it again at every call (RFC 5280), so that what is
 * revoked, expired or no longer vouched for stops on connections that are open. Thread-safe; a verdict is kept for a
 * second, unless the files change. */
struct identity_trust;

struct identity_trust_options {
	const char *authorities;  /* PEM file of certificates */
	const char *const *lists; /* PEM files of revocation lists (CRLs) */
	/* 0: revocation is not looked at. Else every authority in a chain must have a list that is in date. */
	size_t n_lists;
	const struct clock *clock; /* NULL: the system's */
};

/* What has been read. */
struct identity_trust_state {
	uint8_t sha256[32]; /* of all files, one after the other */
	size_t authorities, lists, revoked;
	int64_t next_update_ms; /* the earliest of the lists; 0: there is none */
};

/* Copies the options. ERR_INVALID: a file holds none, or a list's signature is not that of the authority it names;
 * ERR_NOT_FOUND and others: a file cannot be read. */
must_check enum err_code identity_trust_new(const struct identity_trust_options *options, struct identity_trust **ret,
                                            struct err *err);
void identity_trust_free(struct identity_trust *trust); /* accepts NULL; nobody uses it any more */
/* Are the files others than those that were read last, or refused last? A few stat calls. */
bool identity_trust_changed(struct identity_trust *trust);
/* Reads the files again: all of them are taken up, or none. Errors as above. */
must_check enum err_code identity_trust_reload(struct identity_trust *trust, struct err *err);
void identity_trust_state(struct identity_trust *trust, struct identity_trust_state *ret);
/* Goes up with every reload. */
unsigned identity_trust_generation(struct identity_trust *trust);

/* A certificate as its owner sent it. */
struct identity_certificate {
	const char *pem, *chain; /* chain: what was sent with it, perhaps itself among it */
	const char *fingerprint; /* hex SHA-256 of the certificate, 64 digits */
};
/* NONE; CERTIFICATE_REVOKED, CERTIFICATE_EXPIRED, CERTIFICATE_UNTRUSTED, or REVOCATION_UNKNOWN (a list is missing or
 * out of date: closed). Except for NONE, *detail says more. */
enum reason identity_trust_check(struct identity_trust *trust, const struct identity_certificate *certificate,
                                 struct err *detail);

/* ---- ID tokens: the end user, proved by the customer's own identity provider ---- */

/* Verifies OpenID Connect ID tokens (JWS in compact form, RS256, PS256 or ES256) of one issuer, by keys that are
 * configured, never by what a token brings. Thread-safe. */
struct identity_oidc;

struct identity_oidc_options {
	const char *issuer, *audience;
	const char *claim; /* that names the transaction's subject: "sub", "email" */
	/* Its keys (a JWK Set): a file, read again when it changes; or fetched, hourly, and when a token names a key that
	 * is not among them, at most every three seconds. Without an answer keys are believed for a day. */
	const char *keys_file;
	enum err_code (*fetch)(void *user, struct buf *out, struct err *err);
	void *user;
	const char *const *thumbprints; /* RFC 7638: only these keys count; none: all of the set */
	size_t n_thumbprints;
	bool bind_nonce;   /* the nonce must be the transaction's id */
	int64_t max_age_s; /* since it was issued */
	const struct clock *clock;
};

/* Copies the options. A file must be there and hold keys: ERR_INVALID, ERR_NOT_FOUND. Nothing is fetched yet. */
must_check enum err_code identity_oidc_new(const struct identity_oidc_options *options, struct identity_oidc **ret,
                                           struct err *err);
void identity_oidc_free(struct identity_oidc *oidc); /* accepts NULL */

struct identity_oidc_use {
	const char *token;
	const char *subject; /* of the transaction */
	const char *nonce;   /* what it must be when it is bound */
};
/* NONE, ID_TOKEN_INVALID, or IDENTITY_PROVIDER_UNAVAILABLE; *detail says why, without the token. */
enum reason identity_oidc_check(struct identity_oidc *oidc, const struct identity_oidc_use *use, struct err *detail);

/* ---- an authority of one's own ---- */

#define IDENTITY_SERIAL_BYTES 16

/* The authority's private key, wherever it is: an EC P-256 key. */
struct identity_signer {
	struct span spki; /* its public half, DER */
	/* ECDSA over a SHA-256 digest, as DER. */
	enum err_code (*sign)(void *user, const uint8_t digest[32], struct buf *signature, struct err *err);
	void *user;
};

struct identity_certificate_wish {
	const char *name; /* common name, at most 64 bytes */
	const char
	    *names; /* subject alternative names in OpenSSL's words: "URI:twokey://operator/alice", "DNS:a,IP:10.0.0.1" */
	struct span spki; /* whose certificate it will be, DER */
	bool server;      /* for TLS servers; else for clients */
	uint8_t serial[IDENTITY_SERIAL_BYTES];
	int64_t not_before_ms, not_after_ms;
};

struct identity_revoked {
	uint8_t serial[IDENTITY_SERIAL_BYTES];
	int64_t time_ms;
};

/* Certificates and lists are appended to *out in PEM form. ERR_INVALID: names or keys that cannot stand in a
 * certificate; else what the signer says. */
must_check enum err_code identity_make_root(const struct identity_signer *signer,
                                            const struct identity_certificate_wish *wish, struct buf *out,
                                            struct err *err);
/* root: the authority's certificate (PEM). ERR_INVALID: it is not that of the signer's key. */
must_check enum err_code identity_make_certificate(const struct identity_signer *signer, struct span root,
                                                   const struct identity_certificate_wish *wish, struct buf *out,
                                                   struct err *err);
struct identity_list_wish {
	const struct identity_revoked *revoked;
	size_t n_revoked;
	int64_t this_update_ms, next_update_ms; /* its number is this_update in seconds */
};
must_check enum err_code identity_make_list(const struct identity_signer *signer, struct span root,
                                            const struct identity_list_wish *wish, struct buf *out, struct err *err);

/* The public key (DER) of a certificate request (PKCS #10, PEM) whose signature holds; what else it says does not
 * count.
 */
must_check enum err_code identity_request_key(struct span pem, struct buf *spki, struct err *err);
/* A new EC P-256 key: the private half as PEM (PKCS #8), the public half as DER. The caller wipes *pem. */
must_check enum err_code identity_make_key(struct buf *pem, struct buf *spki, struct err *err);

#endif
