/* Checkpoints: what a log's first `size` records hash to, as a C2SP tlog-checkpoint, signed as a C2SP signed note
 * (c2sp.org/tlog-checkpoint, c2sp.org/signed-note v1.0.0) with signatures of type 0x02: ECDSA P-256 over SHA-256 of the
 * text, DER. Public: audit.h includes it. Thread-safe; no I/O. */
#ifndef TWOKEY_AUDIT_CHECKPOINT_H
#define TWOKEY_AUDIT_CHECKPOINT_H

#include "common/err.h"
#include "common/span.h"

enum {
	AUDIT_HASH_BYTES = 32,
	AUDIT_PROOF_MAX = 64,      /* hashes of an inclusion or consistency proof in any tree of 2^63 leaves */
	AUDIT_NOTE_MAX = 64 << 10, /* bytes of a signed note */
	AUDIT_ORIGIN_MAX = 256,    /* bytes of an origin, which is also the name of the key */
	AUDIT_SIGNATURES_MAX = 64, /* of one note */
};

struct audit_hash {
	uint8_t bytes[AUDIT_HASH_BYTES];
};

static inline bool audit_hash_eq(const struct audit_hash *a, const struct audit_hash *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* A Merkle proof: `hashes` from the leaf's side up. */
struct audit_proof {
	struct audit_hash hashes[AUDIT_PROOF_MAX];
	size_t n;
};

/* Borrows from the note that it was parsed from. */
struct audit_checkpoint {
	char origin[AUDIT_ORIGIN_MAX + 1];
	uint64_t size;
	struct audit_hash root;
	struct span text;       /* what is signed */
	struct span signatures; /* the lines behind the blank one */
};
/* ERR_INVALID: no signed note of a checkpoint. Signatures are not verified. */
must_check enum err_code audit_checkpoint_parse(struct span note, struct audit_checkpoint *ret, struct err *err);
/* The text of a checkpoint. */
void audit_checkpoint_text(const char *origin, uint64_t size, const struct audit_hash *root, struct buf *out);
/* Can it be an origin, and the name of a key? 1 to 256 bytes of UTF-8 without blanks, control characters and '+'. */
bool audit_origin_valid(const char *origin);

/* A public key that notes are checked with: "NAME+KEYID+BASE64", a vkey of signed-note. */
struct audit_verifier;
must_check enum err_code audit_verifier_parse(const char *vkey, struct audit_verifier **ret, struct err *err);
/* From a SubjectPublicKeyInfo (EC P-256). ERR_INVALID otherwise. */
must_check enum err_code audit_verifier_new(const char *name, struct span spki, struct audit_verifier **ret,
                                            struct err *err);
/* From a PEM public key. */
must_check enum err_code audit_verifier_from_pem(const char *name, struct span pem, struct audit_verifier **ret,
                                                 struct err *err);
void audit_verifier_free(struct audit_verifier *verifier); /* accepts NULL */
const char *audit_verifier_name(const struct audit_verifier *verifier);
/* The text form. */
const char *audit_verifier_vkey(const struct audit_verifier *verifier);

enum audit_signed {
	AUDIT_SIGNED_NOT,  /* no signature claims to be by that key */
	AUDIT_SIGNED_GOOD, /* all that do are */
	AUDIT_SIGNED_BAD,  /* one is not: the note is to be rejected whole */
};
enum audit_signed audit_checkpoint_signed(const struct audit_checkpoint *checkpoint,
                                          const struct audit_verifier *verifier);
/* Calls back with the name and key id of every signature; false: stop. */
void audit_checkpoint_signers(const struct audit_checkpoint *checkpoint,
                              bool (*each)(struct span name, const uint8_t key_id[4], struct span line, void *user),
                              void *user);

/* One line of a note: the signature (DER) by the key with that SPKI. */
void audit_note_signature(const char *name, struct span spki, struct span signature, struct buf *out);

#endif
