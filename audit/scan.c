/* Reading a ledger from the first record, without its lock. */
#include <inttypes.h>
#include <time.h>

#include "audit/scan.h"

enum { RETRIES = 20, RETRY_MS = 10 };

struct scan {
	bool (*each)(const struct audit_scanned *scanned, void *user);
	void *user;
	bool stopped;
};

static void scan_run(struct scan *scan, struct audit_walk *walk)
{
	struct span record;
	while (!scan->stopped && audit_walk_next(walk, &record, NULL) == AUDIT_WALK_RECORD) {
		const struct audit_scanned scanned = {.index = walk->index - 1, .leaf = walk->leaf, .record = record};
		scan->stopped = !scan->each(&scanned, scan->user);
	}
}

/* At the end of the last segment a server may be writing right now: what looks damaged is looked at again. */
static enum err_code settle_end(struct scan *scan, struct audit_walk *walk, struct err *err)
{
	enum err_code code = ERR_OK;
	for (int i = 0; i < RETRIES && !scan->stopped; i++) {
		struct audit_tail tail;
		uint64_t seen = walk->index;
		code = audit_tail_check(walk, &tail, err);
		if (code != ERR_CORRUPT)
			break;
		nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000}, NULL);
		scan_run(scan, walk);
		if (walk->index != seen)
			i = 0;
	}
	return scan->stopped ? ERR_OK : code;
}

static enum err_code scan_segment(struct scan *scan, const char *directory, const struct audit_segments *segments,
                                  size_t i, struct audit_walk *walk, struct err *err)
{
	enum err_code code = audit_walk_begin(walk, directory, i, err);
	if (code != ERR_OK)
		return code;
	scan_run(scan, walk);
	if (scan->stopped)
		return ERR_OK;
	if (i + 1 < segments->n)
		return audit_seam_check(walk, &segments->items[i + 1], err);
	return settle_end(scan, walk, err);
}

enum err_code audit_scan_leaves(const char *directory, bool (*each)(const struct audit_scanned *scanned, void *user),
                                void *user, struct err *err)
{
	struct scan scan = {.each = each, .user = user};
	struct audit_segments segments = {0};
	enum err_code code = audit_segment_list(directory, &segments, err);
	for (size_t i = 0; code == ERR_OK && i < segments.n && !scan.stopped; i++) {
		struct audit_walk walk;
		code = scan_segment(&scan, directory, &segments, i, &walk, err);
		audit_walk_done(&walk);
	}
	audit_segments_done(&segments);
	return code;
}

struct plain {
	bool (*each)(uint64_t index, struct span record, void *user);
	void *user;
};

static bool each_plain(const struct audit_scanned *scanned, void *user)
{
	const struct plain *plain = user;
	return plain->each(scanned->index, scanned->record, plain->user);
}

enum err_code audit_scan(const char *directory, bool (*each)(uint64_t index, struct span record, void *user),
                         void *user, struct err *err)
{
	struct plain plain = {each, user};
	return audit_scan_leaves(directory, each_plain, &plain, err);
}
