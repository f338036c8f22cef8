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

#endif
