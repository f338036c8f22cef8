/* An authority of one's own: its key in a token, what it issued in a file, its revocation list. For `twokey ca`;
 * docs/IDENTITY.md. One process at a time works on a folder: the others wait. */
#ifndef TWOKEY_SERVER_CA_H
#define TWOKEY_SERVER_CA_H

#include "common/span.h"
#include "common/yaml.h"
#include "hsm/hsm.h"
#include "identity/identity.h"

struct ca_config {
	char *path; /* absolute */
	char *name, *key, *directory;
	struct {
		char *module, *uri, *pin_source;
	} token;
	uint64_t lifetime, list_lifetime; /* days */
};

must_check enum err_code ca_config_load(const char *path, struct ca_config *ret, struct err *err);
void ca_config_done(struct ca_config *config);

/* The authority's folder: ca.pem, revoked.pem, and index.txt as `openssl ca` keeps it. */
struct ca_issued {
	char *identity;
	char serial[2 * IDENTITY_SERIAL_BYTES + 1];
	int64_t expires_ms, revoked_ms; /* revoked_ms 0: not revoked */
	char *why;                      /* of the revocation; "" */
};

struct ca;
/* Opens the token and the folder. `make`: the key, the certificate and the index are made where they are missing.
 * `tell` is told of what is made. */
struct ca_options {
	const struct ca_config *config;
	bool make;
	void (*tell)(const char *line, void *user);
	void *user;
};
must_check enum err_code ca_open(const struct ca_options *options, struct ca **ret, struct err *err);
void ca_close(struct ca *ca); /* accepts NULL */

struct ca_wish {
	const char *identity; /* "twokey://operator/alice", or the name of a deployment */
	const char *names;    /* see identity_certificate_wish */
	struct span spki;
	bool server;
	unsigned days; /* 0: as configured */
};
/* On record before it is handed out. Appends PEM. */
must_check enum err_code ca_issue(struct ca *ca, const struct ca_wish *wish, struct buf *out, char *ret_serial,
                                  struct err *err);
/* By serial, or every valid one of an identity. Writes a new list. ERR_NOT_FOUND: there is none. */
must_check enum err_code ca_revoke(struct ca *ca, const char *which, const char *why, size_t *ret_n, struct err *err);
/* A new list of what is revoked, good for another while. */
must_check enum err_code ca_write_list(struct ca *ca, struct err *err);

/* What was issued; needs no token. */
must_check enum err_code ca_list(const struct ca_config *config,
                                 void (*each)(const struct ca_issued *issued, void *user), void *user, struct err *err);

/* Letters, digits and -._~:/@+, 1 to 128: what can stand in a certificate, a URI and the index alike. */
bool ca_name_is_good(const char *name);

#endif
