/* The tree over the record: signed by the current audit key, checked against all of them. */
#ifndef TWOKEY_SERVER_CHECKPOINTS_H
#define TWOKEY_SERVER_CHECKPOINTS_H

#include "server/deployment.h"

/* Opens deployment->tree on its open ledger. ERR_CORRUPT: the ledger does not contain what was signed. */
must_check enum err_code checkpoints_open(struct deployment *deployment, struct err *err);
/* Signs a last checkpoint over all that is recorded, if the token can; nothing when there is no tree. */
void checkpoints_close(struct deployment *deployment);
/* The verifier key of our checkpoints, as of now. */
must_check enum err_code checkpoints_vkey(struct deployment *deployment, struct buf *out, struct err *err);
/* Signs a digest with the current audit key. */
must_check enum err_code checkpoints_sign(void *deployment, const uint8_t digest[32], struct buf *signature,
                                          struct buf *spki, struct err *err);

#endif
