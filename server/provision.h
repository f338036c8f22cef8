/* Making keys in a token and writing what belongs to them: for `twokey init` and `twokey key new`. */
#ifndef TWOKEY_SERVER_PROVISION_H
#define TWOKEY_SERVER_PROVISION_H

#include "server/config.h"
#include "server/server.h"

struct provision {
	const struct config *config;
	const char *folder; /* for public keys and certificate requests */
	struct hsm *hsm;
	void (*tell)(const char *line, void *user);
	void *user;
};

/* "what name: more" */
void provision_tell(const struct provision *provision, const char *what, const char *name, const char *more);
/* Finds a key that has just been made. A cluster of HSMs may need a while until all of them know it. */
must_check enum err_code provision_find_made(const struct provision *provision, enum hsm_key_kind kind, const char *uri,
                                             struct hsm_key **ret, struct err *err);
/* Finds a key, or makes it and finds it. `make` gets the label that the URI names. */
must_check enum err_code provision_key(const struct provision *provision, enum hsm_key_kind kind, const char *uri,
                                       enum err_code (*make)(struct hsm *hsm, const char *label, struct err *err),
                                       struct hsm_key **ret, struct err *err);
/* Writes FOLDER/NAME.USE.pem. */
must_check enum err_code provision_write_public(const struct provision *provision, const struct hsm_key *key,
                                                const char *use, struct err *err);
/* Writes FOLDER/NAME.tls.csr, a certificate request signed by the key; says so when the key is no EC key. */
must_check enum err_code provision_csr(const struct provision *provision, struct hsm_key *key, struct err *err);
/* SigV4's first HMAC key is "AWS4" and the secret (SigV4, "Task 3: calculate the signature"). */
struct secret *provision_s3_value(const struct secret *secret);

#endif
