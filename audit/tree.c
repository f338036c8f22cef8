#include "audit/audit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "audit/tree_internal.h"
#include "common/text.h"

enum {
	INTERVAL_MS = 500,
	LOOK_MS = 250,   /* how often it looks for new records */
	LATE_MS = 10000, /* a checkpoint that is later than this is trouble */
};

/* ---- publishing ---- */

static enum err_code sign(struct audit_tree *tree, struct audit_published *next, struct err *err)
{
	struct audit_hash root;
	uint8_t digest[32];
	autobuf struct buf signature = {0}, spki = {0};
	audit_rows_root(&tree->rows, tree->hasher, &root);
	next->size = tree->rows.size;
	memcpy(next->root, root.bytes, sizeof(next->root));
	audit_checkpoint_text(tree->origin, next->size, &root, &next->note);
	text_sha256(buf_span(&next->note), digest);
	enum err_code code = tree->signer.sign(tree->signer.user, digest, &signature, &spki, err);
	if (code != ERR_OK)
		return code;
	buf_append_byte(&next->note, '\n');
	audit_note_signature(tree->origin, buf_span(&spki), buf_span(&signature), &next->note);
	return ERR_OK;
}

/* Beside the tiles: for whoever copies them, and for the next start. Of the embedded log it is there already. */
static enum err_code keep_copy(struct audit_tree *tree, struct err *err)
{
	autofree char *path = xasprintf("%s/" AUDIT_CHECKPOINT_FILE, tree->directory);
	autobuf struct buf there = {0};
	if (text_read_file(path, AUDIT_NOTE_MAX, &there, NULL) == ERR_OK &&
	    span_eq(buf_span(&there), buf_span(&tree->last.note)))
		return ERR_OK;
	return text_write_file(path, buf_span(&tree->last.note), 0600, err);
}

static void announce(struct audit_tree *tree)
{
	pthread_mutex_lock(&tree->lock);
	tree->size = tree->last.size;
	tree->published_us = clock_monotonic_us();
	buf_clear(&tree->note);
	buf_append(&tree->note, buf_span(&tree->last.note));
	pthread_cond_broadcast(&tree->published);
	pthread_mutex_unlock(&tree->lock);
}

/* What a checkpoint says is durable before it: tiles, then the signature over them. */
static enum err_code publish(struct audit_tree *tree, struct err *err)
{
	struct audit_published next = {0};
	enum err_code code = audit_tree_settle(tree, err);
	tree->lost = code != ERR_OK;
	if (code == ERR_OK)
		code = sign(tree, &next, err);
	if (code == ERR_OK)
		code = audit_ledger_publish(tree->ledger, &tree->last, &next, err);
	if (code == ERR_OK) {
		buf_done(&tree->last.note);
		tree->last = next;
	} else {
		buf_done(&next.note);
	}
	if (code == ERR_PRECONDITION) /* another process was first */
		code = audit_tree_adopt(tree, err);
	if (code == ERR_OK)
		code = keep_copy(tree, err);
	if (code == ERR_OK)
		announce(tree);
	else
		err_prefix(err, "checkpoint");
	return code;
}

/* ---- the thread ---- */

static bool due_locked(const struct audit_tree *tree)
{
	return tree->stopping || tree->wanted > tree->size ||
	       clock_monotonic_us() - tree->published_us >= (int64_t)tree->interval_ms * 1000;
}

static void note_state(struct audit_tree *tree, const struct err *err)
{
	struct audit_position end;
	audit_ledger_position(tree->ledger, &end);
	pthread_mutex_lock(&tree->lock);
	tree->covered = tree->rows.size;
	tree->trouble = *err;
	if (tree->size >= end.next)
		tree->waiting_us = 0;
	else if (!tree->waiting_us || err->code == ERR_OK)
		tree->waiting_us = clock_monotonic_us();
	pthread_mutex_unlock(&tree->lock);
}

/* From the last checkpoint again. */
static enum err_code recover(struct audit_tree *tree, struct err *err)
{
	struct audit_checkpoint last;
	if (tree->last.size == 0)
		return audit_tree_resume(tree, NULL, err);
	enum err_code code = audit_checkpoint_parse(buf_span(&tree->last.note), &last, err);
	return code == ERR_OK ? audit_tree_resume(tree, &last, err) : code;
}

static enum err_code step(struct audit_tree *tree, struct err *err)
{
	enum err_code code = tree->lost ? recover(tree, err) : ERR_OK;
	tree->pause_at_us = clock_monotonic_us() + (int64_t)tree->interval_ms * 1000;
	if (code == ERR_OK)
		code = audit_tree_take(tree, err);
	tree->lost = code != ERR_OK;
	pthread_mutex_lock(&tree->lock);
	bool wanted = tree->rows.size > tree->size && due_locked(tree);
	pthread_mutex_unlock(&tree->lock);
	if (code == ERR_OK && wanted)
		code = publish(tree, err);
	return code;
}

/* False: it is over. At the end it goes on while there is more to take, and stops at the first failure. */
static bool rest(struct audit_tree *tree, enum err_code code)
{
	struct timespec deadline = audit_deadline(LOOK_MS);
	pthread_mutex_lock(&tree->lock);
	bool asked = tree->wanted > tree->size && audit_ledger_committed(tree->ledger) > tree->size;
	if (!tree->stopping && (code != ERR_OK || !(tree->paused || asked)))
		pthread_cond_timedwait(&tree->wake, &tree->lock, &deadline);
	bool go_on = !tree->stopping || (code == ERR_OK && tree->size < audit_ledger_committed(tree->ledger));
	pthread_mutex_unlock(&tree->lock);
	return go_on;
}

static void *tree_thread(void *user)
{
	struct audit_tree *tree = user;
	enum err_code code = ERR_OK;
	setpriority(PRIO_PROCESS, (id_t)gettid(), 5); /* deciding comes first */
	do {
		struct err err = {0};
		code = step(tree, &err);
		note_state(tree, &err);
	} while (rest(tree, code));
	pthread_mutex_lock(&tree->lock);
	tree->stopped = true;
	pthread_cond_broadcast(&tree->published);
	pthread_mutex_unlock(&tree->lock);
	return NULL;
}

/* ---- opening ---- */

static enum err_code check_own(const struct audit_tree_options *options, struct span note, struct audit_checkpoint *ret,
                               struct err *err)
{
	if (audit_checkpoint_parse(note, ret, err) != ERR_OK)
		return ERR_CORRUPT;
	if (strcmp(ret->origin, options->signer.origin) != 0)
		return err_set(err, ERR_CORRUPT, 0, "the last checkpoint is of %s, not of %s", ret->origin,
		               options->signer.origin);
	for (size_t i = 0; i < options->n_own; i++)
		if (audit_checkpoint_signed(ret, options->own[i]) == AUDIT_SIGNED_BAD)
			return err_set(err, ERR_CORRUPT, 0, "the last checkpoint carries a wrong signature by our key");
	return ERR_OK;
}

static enum err_code resume(struct audit_tree *tree, const struct audit_tree_options *options, struct err *err)
{
	autofree char *path = xasprintf("%s/" AUDIT_CHECKPOINT_FILE, tree->directory);
	autobuf struct buf copy = {0};
	struct audit_checkpoint local, last;
	enum err_code code = audit_ledger_published(tree->ledger, &tree->last, err);
	if (code == ERR_OK && tree->last.size)
		code = check_own(options, buf_span(&tree->last.note), &last, err);
	enum err_code kept = code == ERR_OK ? text_read_file(path, AUDIT_NOTE_MAX, &copy, err) : ERR_NOT_FOUND;
	if (kept == ERR_OK)
		code = check_own(options, buf_span(&copy), &local, err);
	else if (kept != ERR_NOT_FOUND)
		code = kept;
	if (code == ERR_OK)
		code = audit_tree_resume(tree, kept == ERR_OK ? &local : NULL, err);
	if (code != ERR_OK) {
		err_prefix(err, "checkpoint");
		return code;
	}
	tree->size = tree->last.size;
	buf_append(&tree->note, buf_span(&tree->last.note));
	return ERR_OK;
}

static void init_conditions(struct audit_tree *tree)
{
	pthread_mutex_init(&tree->lock, NULL);
	audit_cond_init(&tree->wake);
	audit_cond_init(&tree->published);
}

static void tree_free(struct audit_tree *tree)
{
	audit_tile_writer_free(tree->writer);
	audit_hasher_free(tree->hasher);
	buf_done(&tree->bundle);
	buf_done(&tree->note);
	buf_done(&tree->last.note);
	pthread_cond_destroy(&tree->wake);
	pthread_cond_destroy(&tree->published);
	pthread_mutex_destroy(&tree->lock);
	free(tree->directory);
	free(tree->origin);
	free(tree);
}

static enum err_code start(struct audit_tree *tree, struct err *err)
{
	int rc = pthread_create(&tree->thread, NULL, tree_thread, tree);
	tree->thread_runs = rc == 0;
	return rc == 0 ? ERR_OK : err_set(err, ERR_UNAVAILABLE, rc, "starting a thread: %s", strerror(rc));
}

enum err_code audit_tree_open(const struct audit_tree_options *options, struct audit_tree **ret, struct err *err)
{
	if (!audit_origin_valid(options->signer.origin))
		return err_set(err, ERR_INVALID, 0, "`%s` cannot be the origin of checkpoints", options->signer.origin);
	struct audit_tree *tree = xcalloc(1, sizeof(*tree));
	tree->ledger = audit_ledger(options->audit);
	tree->directory = xstrdup(options->directory);
	tree->origin = xstrdup(options->signer.origin);
	tree->signer = options->signer;
	tree->interval_ms = options->interval_ms ? options->interval_ms : INTERVAL_MS;
	tree->hasher = audit_hasher_new();
	init_conditions(tree);
	enum err_code code = audit_tile_writer_new(tree->directory, &tree->writer, err);
	if (code == ERR_OK)
		code = resume(tree, options, err);
	if (code == ERR_OK)
		code = start(tree, err);
	if (code != ERR_OK) {
		tree_free(tree);
		return code;
	}
	*ret = tree;
	return ERR_OK;
}

void audit_tree_close(struct audit_tree *tree)
{
	if (!tree)
		return;
	pthread_mutex_lock(&tree->lock);
	tree->stopping = true;
	pthread_cond_signal(&tree->wake);
	pthread_mutex_unlock(&tree->lock);
	pthread_join(tree->thread, NULL);
	tree_free(tree);
}

/* ---- asking ---- */

void audit_tree_state(struct audit_tree *tree, struct audit_tree_state *ret)
{
	pthread_mutex_lock(&tree->lock);
	*ret = (struct audit_tree_state){
	    .size = tree->size,
	    .covered = tree->covered,
	    .late_ms = tree->waiting_us ? (clock_monotonic_us() - tree->waiting_us) / 1000 : 0,
	    .trouble = tree->trouble,
	};
	pthread_mutex_unlock(&tree->lock);
}

enum err_code audit_tree_check(struct audit_tree *tree, struct err *err)
{
	struct audit_tree_state state;
	audit_tree_state(tree, &state);
	if (state.trouble.code == ERR_CORRUPT) {
		*err = state.trouble;
		return ERR_CORRUPT;
	}
	if (state.late_ms < LATE_MS)
		return ERR_OK;
	return err_set(err, ERR_UNAVAILABLE, 0, "no checkpoint for %" PRId64 " s: %s", state.late_ms / 1000,
	               state.trouble.code == ERR_OK ? "it takes long" : state.trouble.text);
}

enum err_code audit_tree_checkpoint(struct audit_tree *tree, uint64_t at_least, unsigned timeout_ms, struct buf *ret,
                                    struct err *err)
{
	enum err_code code = ERR_OK;
	struct timespec deadline = audit_deadline(timeout_ms);
	pthread_mutex_lock(&tree->lock);
	if (tree->size < at_least && tree->wanted < at_least) {
		tree->wanted = at_least;
		pthread_cond_signal(&tree->wake);
	}
	while (tree->size < at_least && !tree->stopped)
		if (pthread_cond_timedwait(&tree->published, &tree->lock, &deadline) == ETIMEDOUT)
			break;
	if (tree->wanted == at_least)
		tree->wanted = 0;
	if (tree->size < at_least)
		code = err_set(err, ERR_DEADLINE, 0, "there is no checkpoint of %" PRIu64 " records yet%s%s", at_least,
		               tree->trouble.code == ERR_OK ? "" : ": ", tree->trouble.text);
	else if (tree->size == 0)
		code = err_set(err, ERR_NOT_FOUND, 0, "there is no checkpoint yet");
	else
		buf_append(ret, buf_span(&tree->note));
	pthread_mutex_unlock(&tree->lock);
	return code;
}

/* The tiles of the last checkpoint. */
static enum err_code open_tiles(struct audit_tree *tree, uint64_t size, struct audit_tiles *ret, struct err *err)
{
	pthread_mutex_lock(&tree->lock);
	uint64_t last = tree->size;
	pthread_mutex_unlock(&tree->lock);
	if (size > last)
		return err_set(err, ERR_NOT_FOUND, 0, "the last checkpoint has %" PRIu64 " records", last);
	*ret = (struct audit_tiles){.root = tree->directory, .size = last, .hasher = audit_hasher_new()};
	return ERR_OK;
}

enum err_code audit_tree_inclusion(struct audit_tree *tree, uint64_t index, uint64_t size, struct audit_hash *ret_leaf,
                                   struct audit_proof *ret, struct err *err)
{
	autofree struct audit_tiles *tiles = xcalloc(1, sizeof(*tiles));
	enum err_code code = open_tiles(tree, size, tiles, err);
	const struct audit_merkle_source source = audit_tiles_source(tiles);
	if (code == ERR_OK)
		code = audit_merkle_inclusion(&source, tiles->hasher, index, size, ret, err);
	if (code == ERR_OK)
		code = source.hash(source.user, 0, index, ret_leaf, err);
	audit_hasher_free(tiles->hasher);
	return code;
}

enum err_code audit_tree_consistency(struct audit_tree *tree, uint64_t old_size, uint64_t size, struct audit_proof *ret,
                                     struct err *err)
{
	autofree struct audit_tiles *tiles = xcalloc(1, sizeof(*tiles));
	enum err_code code = open_tiles(tree, size, tiles, err);
	const struct audit_merkle_source source = audit_tiles_source(tiles);
	if (code == ERR_OK)
		code = audit_merkle_consistency(&source, tiles->hasher, old_size, size, ret, err);
	audit_hasher_free(tiles->hasher);
	return code;
}
