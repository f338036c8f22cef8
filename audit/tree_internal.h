/* What the files of the tree share. */
#ifndef TWOKEY_AUDIT_TREE_INTERNAL_H
#define TWOKEY_AUDIT_TREE_INTERNAL_H

#include <pthread.h>

#include "audit/ledger.h"
#include "audit/tile_writer.h"

struct audit_tree {
	/* Set at open, then only read. */
	struct audit_ledger *ledger;
	char *directory, *origin;
	struct audit_signer signer;
	unsigned interval_ms;

	/* The thread's, after open. */
	pthread_t thread;
	bool thread_runs;
	struct audit_hasher *hasher;
	struct audit_position position; /* of the next record */
	struct audit_rows rows;
	struct buf bundle; /* the records since the last full one */
	struct audit_tile_writer *writer;
	struct audit_published last; /* published, by us or another process; owns its note */
	int64_t pause_at_us;         /* records are left for later from then on: a checkpoint is due */
	uint64_t until;              /* and from this size on */
	bool paused;                 /* some were */
	bool lost;                   /* tiles could not be written: everything since the last checkpoint is taken again */
	enum err_code adding;
	struct err *adding_err;

	pthread_mutex_t lock;
	pthread_cond_t wake;      /* something for the thread */
	pthread_cond_t published; /* a checkpoint, or the end */
	/* Under the lock. */
	bool stopping, stopped;
	uint64_t wanted;      /* somebody waits for a checkpoint of that size */
	uint64_t covered;     /* records in tiles */
	uint64_t size;        /* of the last checkpoint */
	struct buf note;      /* the last checkpoint, signed */
	int64_t published_us; /* when it was; monotonic */
	int64_t waiting_us;   /* since when there are records beyond it; 0: there are none */
	struct err trouble;
};

/* tree_build.c, on the thread: takes committed records into tiles, until all are or a checkpoint is due. */
must_check enum err_code audit_tree_take(struct audit_tree *tree, struct err *err);
/* Makes the tiles durable that a tree of this size has, partial ones too. */
must_check enum err_code audit_tree_settle(struct audit_tree *tree, struct err *err);
/* Goes on from what is on disk behind `local`, a checkpoint of before (NULL: from the beginning), to tree->last. The
 * ledger must contain both: ERR_CORRUPT. */
must_check enum err_code audit_tree_resume(struct audit_tree *tree, const struct audit_checkpoint *local,
                                           struct err *err);
/* Takes over what another process has published, if the ledger contains it: then it is tree->last. */
must_check enum err_code audit_tree_adopt(struct audit_tree *tree, struct err *err);

#endif
