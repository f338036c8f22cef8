/* The keys of a deployment by role and generation, and which generation is current. Thread-safe.
 *
 * A role's first generation is the key that the configuration names; generation N has the same label with "@N" behind
 * it. Which one is current is no setting: it is derived from the record (EVENT_KEY), as restrictions are, so that a
 * change holds from one moment on, across restarts, and is on record. Found keys are never given back before the end,
 * so whoever holds one may go on with it. docs/KEYS.md. */
#ifndef TWOKEY_SERVER_KEYS_H
#define TWOKEY_SERVER_KEYS_H

#include "audit/audit.h"
#include "hsm/hsm.h"
#include "server/config.h"
#include "transaction/transaction.h"

#define KEY_LABEL_MAX 128

struct keys;
struct key_line; /* the generations of one role, of one bucket */

/* For telling: a copy; the texts belong to keys. */
struct key_view {
	Twokey__V1__KeyRole role;
	const char *bucket;
	unsigned generation;
	char label[KEY_LABEL_MAX];
	struct hsm_key *key; /* NULL: the token does not have it (any more) */
	bool current, retired, used;
	int64_t accepted_until_ms;         /* transaction, replaced; 0: no limit */
	const Twokey__V1__Record *because; /* the record that made it what it is; NULL: none */
	const char *access_key_id;         /* S3; "": the configuration's */
};

/* The label of a generation, and a URI that names it. */
void keys_label(const char *first, unsigned generation, char out[KEY_LABEL_MAX]);
char *keys_uri(const char *label); /* owned by the caller */

/* Finds every generation of every role. ERR_NOT_FOUND: a role has none; ERR_INVALID: one role's label is another's
 * generation. Borrows. */
must_check enum err_code keys_open(const struct config *config, struct hsm *hsm, struct keys **ret, struct err *err);
void keys_free(struct keys *keys); /* accepts NULL */
/* Looks for generations made since. Failing leaves what was known. */
must_check enum err_code keys_look(struct keys *keys, struct err *err);

/* ---- what the record says; called by whoever reads it ---- */

/* Takes an EVENT_KEY; others, and what names no label of ours, changes nothing. */
void keys_apply(struct keys *keys, const Twokey__V1__Record *record);
/* Forgets everything that came from records. */
void keys_forget(struct keys *keys);
/* Calls back with the records that make up what is in force, oldest first. */
void keys_facts(struct keys *keys, void (*each)(const Twokey__V1__Record *record, void *user), void *user);
/* Is everything there that the record says is used? */
must_check enum err_code keys_check(struct keys *keys, struct err *err);

/* ---- using them ---- */

struct hsm_key *keys_transaction(struct keys *keys);
struct hsm_key *keys_audit(struct keys *keys);
/* Our transaction keys, to recognise our own co-signature: the current one, and those it replaced until nothing that
 * they signed can be valid any more. Good until keys_free. */
const struct keyring *keys_own(struct keys *keys);
/* Adds the public keys of a role's generations, all that the token has. */
void keys_add_public(struct keys *keys, Twokey__V1__KeyRole role, struct keyring *ring);

/* NULL: there is none. Bucket: NULL or "" for transaction and audit. */
struct key_line *keys_line(struct keys *keys, Twokey__V1__KeyRole role, const char *bucket);
struct hsm_key *keys_current(struct keys *keys, struct key_line *line, unsigned *ret_generation);
/* The key under which an object was sealed, unless it is retired: else the current one, which will say that it is
 * another. */
struct hsm_key *keys_by_id(struct keys *keys, struct key_line *line, const char *id);
/* The current one, known to be in use until it is given back: what is sealed under it is not in the bucket yet. */
struct hsm_key *keys_hold(struct keys *keys, struct key_line *line, unsigned *ret_generation);
void keys_give_back(struct keys *keys, struct key_line *line, unsigned generation);
unsigned keys_holders(struct keys *keys, struct key_line *line, unsigned generation);

/* Fills *ret; false: no such generation. */
bool keys_view(struct keys *keys, struct key_line *line, unsigned generation, struct key_view *ret);
/* Every generation of every line, in order. */
void keys_each(struct keys *keys, void (*each)(const struct key_view *view, void *user), void *user);

/* One operator at a time changes keys. */
void keys_lock_changes(struct keys *keys);
void keys_unlock_changes(struct keys *keys);

#endif
