#include "server/keys.h"

#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/keys_internal.h"

#define GENERATIONS_MAX 1000
#define GAP_MAX         4 /* generations that somebody has removed from the token, in a row */

/* ---- labels ---- */

void keys_label(const char *first, unsigned generation, char out[KEY_LABEL_MAX])
{
	if (generation == 1)
		snprintf(out, KEY_LABEL_MAX, "%s", first);
	else
		snprintf(out, KEY_LABEL_MAX, "%s@%u", first, generation);
}

char *keys_uri(const char *label)
{
	autobuf struct buf uri = {0};
	buf_append_str(&uri, "pkcs11:object=");
	for (const unsigned char *p = (const unsigned char *)label; *p; p++)
		buf_printf(&uri, isalnum(*p) && *p < 0x80 ? "%c" : strchr("-._~", *p) ? "%c" : "%%%02X", *p);
	return xstrdup(buf_cstr(&uri));
}

/* Which generation of a line has this label? 0: none. */
static unsigned generation_of(const struct key_line *line, const char *label)
{
	size_t len = strlen(line->label);
	if (strcmp(label, line->label) == 0)
		return 1;
	if (strncmp(label, line->label, len) != 0 || label[len] != '@')
		return 0;
	char *end;
	unsigned long number = strtoul(label + len + 1, &end, 10);
	char canonical[KEY_LABEL_MAX];
	if (*end || number < 2 || number > GENERATIONS_MAX)
		return 0;
	keys_label(line->label, (unsigned)number, canonical);
	return strcmp(canonical, label) == 0 ? (unsigned)number : 0;
}

/* ---- lines ---- */

static struct generation *find_locked(const struct key_line *line, unsigned number)
{
	struct generation *generation = line->first;
	while (generation && generation->number != number)
		generation = generation->next;
	return generation;
}

static struct generation *have_locked(struct key_line *line, unsigned number)
{
	struct generation **at = &line->first;
	while (*at && (*at)->number < number)
		at = &(*at)->next;
	if (*at && (*at)->number == number)
		return *at;
	struct generation *generation = xcalloc(1, sizeof *generation);
	generation->number = number;
	generation->next = *at;
	*at = generation;
	return generation;
}

/* Looks for what is not known yet. The token is asked without the lock. */
static enum err_code look_for(struct keys *keys, struct key_line *line, unsigned number, bool *ret_there,
                              struct err *err)
{
	pthread_mutex_lock(&keys->lock);
	const struct generation *known = find_locked(line, number);
	*ret_there = known && known->key;
	pthread_mutex_unlock(&keys->lock);
	if (*ret_there)
		return ERR_OK;
	char label[KEY_LABEL_MAX];
	keys_label(line->label, number, label);
	autofree char *uri = number == 1 ? xstrdup(line->uri) : keys_uri(label);
	struct hsm_key *key = NULL;
	enum err_code code = hsm_key_find(keys->hsm, line->kind, uri, &key, err);
	if (code == ERR_NOT_FOUND)
		return ERR_OK;
	if (code != ERR_OK)
		return code;
	pthread_mutex_lock(&keys->lock);
	have_locked(line, number)->key = key;
	pthread_mutex_unlock(&keys->lock);
	*ret_there = true;
	return ERR_OK;
}

static unsigned last_number(struct keys *keys, const struct key_line *line)
{
	unsigned last = 1;
	pthread_mutex_lock(&keys->lock);
	for (const struct generation *generation = line->first; generation; generation = generation->next)
		last = generation->number;
	pthread_mutex_unlock(&keys->lock);
	return last;
}

static enum err_code look(struct keys *keys, struct key_line *line, struct err *err)
{
	unsigned last = last_number(keys, line);
	for (unsigned number = 1; number <= last + GAP_MAX && number <= GENERATIONS_MAX; number++) {
		bool there = false;
		enum err_code code = look_for(keys, line, number, &there, err);
		if (code != ERR_OK)
			return code;
		if (there && number > last)
			last = number;
		if (!line->has_label)
			break; /* without a label there is one generation */
	}
	return ERR_OK;
}

static enum err_code add_line(struct keys *keys, Twokey__V1__KeyRole role, enum hsm_key_kind kind, const char *bucket,
                              const char *uri, struct err *err)
{
	struct key_line *line = &keys->lines[keys->n_lines++];
	*line = (struct key_line){.role = role, .kind = kind, .bucket = bucket, .uri = uri, .current = 1};
	struct err ignored;
	line->has_label = hsm_uri_object(uri, line->label, sizeof line->label - 8, &ignored) == ERR_OK;
	enum err_code code = look(keys, line, err);
	if (code == ERR_OK && !line->first) {
		code = err_set(err, ERR_NOT_FOUND, 0, "%s: the token has no such key", uri);
		return code;
	}
	if (code == ERR_OK)
		line->start = line->current = line->first->number;
	return code;
}

/* Bucket "a" with its second KEK and bucket "a@2" with its first must not meet. */
static enum err_code check_labels(const struct keys *keys, struct err *err)
{
	for (size_t i = 0; i < keys->n_lines; i++)
		for (size_t k = 0; k < keys->n_lines; k++)
			if (keys->lines[i].has_label && keys->lines[k].has_label &&
			    generation_of(&keys->lines[i], keys->lines[k].label) > 1)
				return err_set(err, ERR_INVALID, 0, "the key label %s is taken for another generation of %s",
				               keys->lines[k].label, keys->lines[i].label);
	return ERR_OK;
}

enum err_code keys_open(const struct config *config, struct hsm *hsm, struct keys **ret, struct err *err)
{
	struct keys *keys = xcalloc(1, sizeof *keys);
	keys->hsm = hsm;
	keys->overlap_ms = (int64_t)config->lifetime.max * 1000 + (int64_t)2 * TRANSACTION_CLOCK_SKEW_MS;
	keys->lines = xcalloc(2 + 2 * config->buckets.n, sizeof *keys->lines);
	pthread_mutex_init(&keys->lock, NULL);
	pthread_mutex_init(&keys->changing, NULL);
	enum err_code code =
	    add_line(keys, TWOKEY__V1__KEY_ROLE__KEY_ROLE_TRANSACTION, HSM_KEY_SIGN, "", config->keys.transaction, err);
	if (code == ERR_OK)
		code = add_line(keys, TWOKEY__V1__KEY_ROLE__KEY_ROLE_AUDIT, HSM_KEY_SIGN, "", config->keys.audit, err);
	for (size_t i = 0; code == ERR_OK && i < config->buckets.n; i++) {
		const struct config_bucket *bucket = config_bucket(config, i);
		code = add_line(keys, TWOKEY__V1__KEY_ROLE__KEY_ROLE_KEK, HSM_KEY_AES, bucket->name, bucket->kek, err);
		if (code == ERR_OK && bucket->store == CONFIG_S3 && bucket->credentials == CONFIG_TOKEN)
			code = add_line(keys, TWOKEY__V1__KEY_ROLE__KEY_ROLE_S3, HSM_KEY_HMAC, bucket->name, bucket->secret, err);
		if (code != ERR_OK)
			err_prefix(err, "bucket %s", bucket->name);
	}
	if (code == ERR_OK)
		code = check_labels(keys, err);
	if (code != ERR_OK) {
		keys_free(keys);
		return code;
	}
	keys_settle(keys);
	*ret = keys;
	return ERR_OK;
}

static void free_facts(struct generation *generation)
{
	for (int i = 0; i < KEY_FACTS; i++) {
		if (generation->facts[i])
			twokey__v1__record__free_unpacked(generation->facts[i], NULL);
		generation->facts[i] = NULL;
	}
}

void keys_free(struct keys *keys)
{
	if (!keys)
		return;
	for (size_t i = 0; i < keys->n_lines; i++)
		while (keys->lines[i].first) {
			struct generation *next = keys->lines[i].first->next;
			free_facts(keys->lines[i].first);
			free(keys->lines[i].first);
			keys->lines[i].first = next;
		}
	while (keys->rings) {
		struct ring *next = keys->rings->next;
		keyring_free(keys->rings->ring);
		free(keys->rings);
		keys->rings = next;
	}
	for (struct old_fact *fact = keys->old_facts, *next; fact; fact = next) {
		next = fact->next;
		twokey__v1__record__free_unpacked(fact->record, NULL);
		free(fact);
	}
	pthread_mutex_destroy(&keys->lock);
	pthread_mutex_destroy(&keys->changing);
	free(keys->lines);
	free(keys);
}

enum err_code keys_look(struct keys *keys, struct err *err)
{
	enum err_code code = ERR_OK;
	for (size_t i = 0; code == ERR_OK && i < keys->n_lines; i++)
		code = look(keys, &keys->lines[i], err);
	return code;
}

/* ---- facts ---- */

struct key_line *keys_line(struct keys *keys, Twokey__V1__KeyRole role, const char *bucket)
{
	for (size_t i = 0; i < keys->n_lines; i++)
		if (keys->lines[i].role == role && strcmp(keys->lines[i].bucket, bucket ? bucket : "") == 0)
			return &keys->lines[i];
	return NULL;
}

static Twokey__V1__Record *copy(const Twokey__V1__Record *record)
{
	autobuf struct buf bytes = {0};
	uint8_t *room = buf_reserve(&bytes, twokey__v1__record__get_packed_size(record) + 1);
	size_t len = room ? twokey__v1__record__pack(record, room) : 0;
	return room ? twokey__v1__record__unpack(NULL, len, room) : NULL;
}

/* Somebody may be reading it for an answer: it stays until the end. Keys change a few times a year. */
static void put_away_locked(struct keys *keys, Twokey__V1__Record *record)
{
	if (!record)
		return;
	struct old_fact *fact = xcalloc(1, sizeof *fact);
	fact->record = record;
	fact->next = keys->old_facts;
	keys->old_facts = fact;
}

static void apply_locked(struct keys *keys, struct key_line *line, unsigned number, const Twokey__V1__Record *record)
{
	Twokey__V1__Record *fact = copy(record);
	if (!fact)
		return;
	struct generation *generation = have_locked(line, number);
	int kind = (int)record->key_action - 1;
	put_away_locked(keys, generation->facts[kind]);
	generation->facts[kind] = fact;
	if (kind != KEY_FACT_USE)
		return;
	struct generation *before = find_locked(line, line->current);
	if (before && before != generation)
		before->replaced_ms = transaction_time_ms(record->time);
	generation->replaced_ms = 0;
	line->current = number;
	put_away_locked(keys, generation->facts[KEY_FACT_RETIRE]);
	generation->facts[KEY_FACT_RETIRE] = NULL;
}

void keys_apply(struct keys *keys, const Twokey__V1__Record *record)
{
	if (record->event != TWOKEY__V1__EVENT__EVENT_KEY || record->decision != TWOKEY__V1__DECISION__DECISION_GRANTED ||
	    (int)record->key_action < 1 || (int)record->key_action > KEY_FACTS)
		return;
	struct key_line *line = keys_line(keys, record->key_role, record->bucket);
	unsigned number = line ? generation_of(line, record->key_label) : 0;
	if (number == 0)
		return;
	pthread_mutex_lock(&keys->lock);
	apply_locked(keys, line, number, record);
	pthread_mutex_unlock(&keys->lock);
	keys_settle(keys);
}

void keys_forget(struct keys *keys)
{
	pthread_mutex_lock(&keys->lock);
	for (size_t i = 0; i < keys->n_lines; i++) {
		for (struct generation *generation = keys->lines[i].first; generation; generation = generation->next) {
			free_facts(generation);
			generation->replaced_ms = 0;
		}
		keys->lines[i].current = keys->lines[i].start;
	}
	pthread_mutex_unlock(&keys->lock);
	keys_settle(keys);
}

static int by_index(const void *a, const void *b)
{
	uint64_t left = (*(Twokey__V1__Record *const *)a)->index, right = (*(Twokey__V1__Record *const *)b)->index;
	return (left > right) - (left < right);
}

void keys_facts(struct keys *keys, void (*each)(const Twokey__V1__Record *record, void *user), void *user)
{
	size_t n = 0, max = 0;
	pthread_mutex_lock(&keys->lock);
	for (size_t i = 0; i < keys->n_lines; i++)
		for (struct generation *generation = keys->lines[i].first; generation; generation = generation->next)
			max += KEY_FACTS;
	autofree Twokey__V1__Record **facts = xcalloc(max + 1, sizeof *facts);
	for (size_t i = 0; i < keys->n_lines; i++)
		for (struct generation *generation = keys->lines[i].first; generation; generation = generation->next)
			for (int k = 0; k < KEY_FACTS; k++)
				if (generation->facts[k])
					facts[n++] = generation->facts[k];
	qsort(facts, n, sizeof *facts, by_index);
	for (size_t i = 0; i < n; i++)
		each(facts[i], user);
	pthread_mutex_unlock(&keys->lock);
}

enum err_code keys_check(struct keys *keys, struct err *err)
{
	enum err_code code = ERR_OK;
	pthread_mutex_lock(&keys->lock);
	for (size_t i = 0; code == ERR_OK && i < keys->n_lines; i++) {
		const struct generation *current = find_locked(&keys->lines[i], keys->lines[i].current);
		char label[KEY_LABEL_MAX];
		keys_label(keys->lines[i].label, keys->lines[i].current, label);
		if (!current || !current->key)
			code = err_set(err, ERR_NOT_FOUND, 0, "the record says that %s is in use, but the token does not have it",
			               label);
	}
	pthread_mutex_unlock(&keys->lock);
	return code;
}

/* ---- using them ---- */

static void settle_ring_locked(struct keys *keys, const struct key_line *line)
{
	struct ring *entry = xcalloc(1, sizeof *entry);
	entry->ring = keyring_new();
	for (const struct generation *generation = line->first; generation; generation = generation->next) {
		bool was_used = generation->number == line->current || generation->replaced_ms;
		struct err ignored;
		if (!generation->key || !was_used || generation->facts[KEY_FACT_RETIRE])
			continue;
		int64_t until = generation->replaced_ms ? generation->replaced_ms + keys->overlap_ms : 0;
		if (keyring_add_spki(entry->ring, "own", hsm_key_spki(generation->key), 0, until, &ignored) != ERR_OK)
			continue; /* the same key under two labels: once is enough */
	}
	entry->next = keys->rings;
	keys->rings = entry;
	atomic_store(&keys->own, entry->ring);
}

void keys_settle(struct keys *keys)
{
	pthread_mutex_lock(&keys->lock);
	for (size_t i = 0; i < keys->n_lines; i++) {
		struct key_line *line = &keys->lines[i];
		const struct generation *current = find_locked(line, line->current);
		if (current && current->key)
			atomic_store(&line->key, current->key);
		if (line->role == TWOKEY__V1__KEY_ROLE__KEY_ROLE_TRANSACTION)
			settle_ring_locked(keys, line);
	}
	pthread_mutex_unlock(&keys->lock);
}

struct hsm_key *keys_transaction(struct keys *keys)
{
	return atomic_load(&keys->lines[0].key);
}

struct hsm_key *keys_audit(struct keys *keys)
{
	return atomic_load(&keys->lines[1].key);
}

const struct keyring *keys_own(struct keys *keys)
{
	return atomic_load(&keys->own);
}

void keys_add_public(struct keys *keys, Twokey__V1__KeyRole role, struct keyring *ring)
{
	const struct key_line *line = keys_line(keys, role, "");
	pthread_mutex_lock(&keys->lock);
	for (const struct generation *generation = line->first; generation; generation = generation->next) {
		struct err ignored;
		if (generation->key &&
		    keyring_add_spki(ring, line->label, hsm_key_spki(generation->key), 0, 0, &ignored) != ERR_OK)
			continue; /* there already */
	}
	pthread_mutex_unlock(&keys->lock);
}

struct hsm_key *keys_current(struct keys *keys, struct key_line *line, unsigned *ret_generation)
{
	pthread_mutex_lock(&keys->lock);
	*ret_generation = line->current;
	struct hsm_key *key = atomic_load(&line->key);
	pthread_mutex_unlock(&keys->lock);
	return key;
}

struct hsm_key *keys_by_id(struct keys *keys, struct key_line *line, const char *id)
{
	struct hsm_key *found = NULL;
	pthread_mutex_lock(&keys->lock);
	for (const struct generation *generation = line->first; generation; generation = generation->next)
		if (generation->key && !generation->facts[KEY_FACT_RETIRE] && strcmp(hsm_key_id(generation->key), id) == 0)
			found = generation->key;
	pthread_mutex_unlock(&keys->lock);
	return found ? found : atomic_load(&line->key);
}

struct hsm_key *keys_hold(struct keys *keys, struct key_line *line, unsigned *ret_generation)
{
	pthread_mutex_lock(&keys->lock);
	*ret_generation = line->current;
	have_locked(line, line->current)->holders++;
	struct hsm_key *key = atomic_load(&line->key);
	pthread_mutex_unlock(&keys->lock);
	return key;
}

void keys_give_back(struct keys *keys, struct key_line *line, unsigned generation)
{
	pthread_mutex_lock(&keys->lock);
	have_locked(line, generation)->holders--;
	pthread_mutex_unlock(&keys->lock);
}

unsigned keys_holders(struct keys *keys, struct key_line *line, unsigned generation)
{
	pthread_mutex_lock(&keys->lock);
	const struct generation *found = find_locked(line, generation);
	unsigned holders = found ? found->holders : 0;
	pthread_mutex_unlock(&keys->lock);
	return holders;
}

/* ---- telling ---- */

static void view_locked(const struct keys *keys, const struct key_line *line, const struct generation *generation,
                        struct key_view *ret)
{
	const Twokey__V1__Record *use = generation->facts[KEY_FACT_USE];
	*ret = (struct key_view){
	    .role = line->role,
	    .bucket = line->bucket,
	    .generation = generation->number,
	    .key = generation->key,
	    .current = generation->number == line->current,
	    .retired = generation->facts[KEY_FACT_RETIRE] != NULL,
	    .used = generation->number == line->current || generation->replaced_ms != 0,
	    .access_key_id = use ? use->access_key_id : "",
	};
	keys_label(line->label, generation->number, ret->label);
	if (line->role == TWOKEY__V1__KEY_ROLE__KEY_ROLE_TRANSACTION && generation->replaced_ms)
		ret->accepted_until_ms = generation->replaced_ms + keys->overlap_ms;
	for (int kind = 0; kind < KEY_FACTS; kind++)
		if (generation->facts[kind])
			ret->because = generation->facts[kind];
}

bool keys_view(struct keys *keys, struct key_line *line, unsigned generation, struct key_view *ret)
{
	pthread_mutex_lock(&keys->lock);
	const struct generation *found = find_locked(line, generation);
	if (found)
		view_locked(keys, line, found, ret);
	pthread_mutex_unlock(&keys->lock);
	return found != NULL;
}

void keys_each(struct keys *keys, void (*each)(const struct key_view *view, void *user), void *user)
{
	for (size_t i = 0; i < keys->n_lines; i++)
		for (unsigned number = 1, last = last_number(keys, &keys->lines[i]); number <= last; number++) {
			struct key_view view;
			if (keys_view(keys, &keys->lines[i], number, &view))
				each(&view, user);
		}
}

void keys_lock_changes(struct keys *keys)
{
	pthread_mutex_lock(&keys->changing);
}

void keys_unlock_changes(struct keys *keys)
{
	pthread_mutex_unlock(&keys->changing);
}
