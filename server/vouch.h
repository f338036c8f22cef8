/* The audit key's signature under files that are derived from the record: DSSE around a SHA-256. */
#ifndef TWOKEY_SERVER_VOUCH_H
#define TWOKEY_SERVER_VOUCH_H

#include "server/keys.h"

/* Appends the Envelope (protobuf). */
must_check enum err_code vouch_sign(struct hsm_key *key, const char *type, const uint8_t sha256[32], struct buf *out,
                                    struct err *err);
/* ERR_CORRUPT: no audit key of ours, of whatever generation, has signed just that. */
must_check enum err_code vouch_verify(struct keys *keys, const char *type, const uint8_t sha256[32],
                                      struct span envelope, struct err *err);

#endif
