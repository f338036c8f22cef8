/* What keys.c holds: its own matter. */
#ifndef TWOKEY_SERVER_KEYS_INTERNAL_H
#define TWOKEY_SERVER_KEYS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/keys.h"

/* In the order of KeyAction, less one; a later one says more of what the generation is now. */
enum { KEY_FACT_FOUND, KEY_FACT_USE, KEY_FACT_RETIRE, KEY_FACTS };

struct generation {
	struct generation *next; /* ascending */
	unsigned number;
	struct hsm_key *key;                  /* NULL: not in the token */
	Twokey__V1__Record *facts[KEY_FACTS]; /* the last of each kind */
	int64_t replaced_ms;                  /* when another became current; 0: it was never current, or is */
	unsigned holders;
};

struct key_line {
	Twokey__V1__KeyRole role;
	enum hsm_key_kind kind;
	const char *bucket, *uri;
	char label[KEY_LABEL_MAX];
	bool has_label;
	unsigned start;   /* current before any record */
	unsigned current; /* under the lock, as are the generations */
	struct generation *first;
	_Atomic(struct hsm_key *) key; /* of the current one */
};

struct ring {
	struct ring *next;
	struct keyring *ring;
};

struct old_fact {
	struct old_fact *next;
	Twokey__V1__Record *record;
};

struct keys {
	struct hsm *hsm;
	int64_t overlap_ms; /* for so long something signed before a change may still come */
	struct key_line *lines;
	size_t n_lines;
	pthread_mutex_t lock, changing;
	_Atomic(const struct keyring *) own;
	struct ring *rings; /* every one there was: readers do not lock */
	struct old_fact *old_facts;
};

/* Brings what is used in line with what is known. */
void keys_settle(struct keys *keys);

#endif
