/* Private to identity/: an issuer's public keys (JWK Set, RFC 7517). */
#ifndef TWOKEY_IDENTITY_OIDC_KEYS_H
#define TWOKEY_IDENTITY_OIDC_KEYS_H

#include <cjose/cjose.h>

#include "common/err.h"
#include "common/span.h"

#define OIDC_KEYS_MAX ((size_t)256 << 10)

struct oidc_keys;

/* RS256, PS256 or ES256: nothing that a public key could be abused for. */
bool oidc_alg_is_known(const char *alg);
/* Keys for something else (symmetric ones among them) are left out, and, when there are thumbprints (RFC 7638, base64
 * or base64url of SHA-256), all others. ERR_INVALID: no set, or no usable key. */
must_check enum err_code oidc_keys_parse(struct span json, const char *const *thumbprints, size_t n_thumbprints,
                                         struct oidc_keys **ret, struct err *err);
void oidc_keys_free(struct oidc_keys *keys); /* accepts NULL */
/* The key of that name for the algorithm; without a name ("") the only one for it. NULL: there is none. */
const cjose_jwk_t *oidc_keys_find(const struct oidc_keys *keys, const char *kid, const char *alg);

#endif
