/* Each party witnesses the other's checkpoints: a thread sends ours, svc_witness_add_checkpoint takes theirs. A witness
 * that is away stops nothing; it is told. docs/AUDIT.md, "Witnesses". Thread-safe. */
#ifndef TWOKEY_SERVER_WITNESS_H
#define TWOKEY_SERVER_WITNESS_H

#include "server/deployment.h"

struct witness;

/* *ret NULL: none is configured. Borrows the deployment, whose tree is open. */
must_check enum err_code witness_open(struct deployment *deployment, struct witness **ret, struct err *err);
void witness_close(struct witness *witness); /* accepts NULL */

/* How many records the witness has cosigned, the cosigned checkpoint, and why not more (code ERR_OK: nothing is wrong).
 * NULL: 0. */
uint64_t witness_state(struct witness *witness, struct buf *ret_note, struct err *ret_trouble);
/* As audit_witness_add, for the configured log. ERR_NOT_FOUND too when there is none. */
must_check enum err_code witness_add(struct witness *witness, struct span note, uint64_t old_size,
                                     const struct audit_proof *proof, struct audit_witness_answer *ret,
                                     struct err *err);

#endif
