/* What Fetch, Store, List and Remove share after they are granted: cancellation, counting, the completion's record, the
 * receipt. */
#ifndef TWOKEY_SERVER_TRANSFER_H
#define TWOKEY_SERVER_TRANSFER_H

#include <openssl/evp.h>

#include "seal/seal.h"
#include "server/request.h"

struct transfer {
	struct request *request;
	struct store_cancel cancel; /* for the store: the client gone, its deadline passed, or a restriction came */
	char stop_text[160];        /* what a client is told that is stopped while it takes nothing */
	EVP_MD_CTX *hash;           /* SHA-256 of the plain bytes moved */
	uint64_t bytes;             /* plain bytes moved */
	uint8_t sha256[32];         /* set by transfer_hash */
	bool hashed;
	char *version_id; /* owned; NULL when unknown */
	uint8_t object_id[16];
	bool has_object_id;
	struct envelope receipt; /* set by transfer_complete */
};

void transfer_init(struct transfer *transfer, struct request *request);
void transfer_done(struct transfer *transfer);

/* ERR_CANCELLED when a restriction has come since it was granted: asked before each piece that moves. While the
 * transfer waits for its client or its bucket it is asked by itself, several times a second. */
must_check enum err_code transfer_go_on(struct transfer *transfer, struct err *err);

/* Counts, charges and hashes plain bytes; hashes only. */
void transfer_count(struct transfer *transfer, struct span plain);
void transfer_hash_more(struct transfer *transfer, struct span bytes);
/* Ends the counting: sets sha256. Idempotent. */
void transfer_hash(struct transfer *transfer);
/* Notes what a sealed object's header and the store's answer say of it. */
void transfer_note_object(struct transfer *transfer, const struct seal_header *header, const char *version_id);
/* What objects of this bucket and transaction are bound to. */
struct seal_context transfer_seal_context(const struct transfer *transfer);

/* Makes the completion durable, then signs the receipt. False: it could not be recorded or signed; the call has been
 * ended. */
must_check bool transfer_complete(struct transfer *transfer);
/* A URL was made instead of moving bytes: makes that durable. False: it could not be recorded; the call has been ended.
 */
must_check bool transfer_presigned(struct transfer *transfer, const char *version_id);
/* Records how far it got and why it ended, and ends the call. */
void transfer_fail(struct transfer *transfer, enum reason reason);

#endif
