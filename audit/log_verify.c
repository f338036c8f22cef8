/* After a failed write or flush. A flush that failed says nothing about what is on disk, and repeating it may succeed
 * without having written anything: so the segment is read again, from the disk where the system allows, and whatever is
 * behind the last durable record is written anew. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit/log.h"

static enum err_code walk_to_end(struct audit_log *log, struct audit_walk *walk, struct err *err)
{
	uint64_t committed = atomic_load(&log->committed);
	struct span record;
	while (walk->index < committed) {
		enum audit_walk_step step = audit_walk_next(walk, &record, err);
		if (step == AUDIT_WALK_BAD)
			return ERR_CORRUPT;
		if (step == AUDIT_WALK_END)
			break;
	}
	if (walk->index != committed || walk->offset != log->offset ||
	    memcmp(walk->chain, log->chain, AUDIT_CHAIN_BYTES) != 0)
		return err_set(err, ERR_CORRUPT, 0,
		               "segment %" PRIu64 " offset %" PRIu64 " index %" PRIu64 ": not what was written",
		               walk->header.segment, walk->offset, walk->index);
	return ERR_OK;
}

static enum err_code verify_durable(struct audit_log *log, struct err *err)
{
	struct audit_walk walk;
	enum err_code code = audit_walk_begin(&walk, log->directory, log->header.segment, err);
	if (code == ERR_OK)
		code = walk_to_end(log, &walk, err);
	audit_walk_done(&walk);
	return code;
}

/* Zeros where an unacknowledged batch may be, flushed. */
static enum err_code erase(struct audit_log *log, int fd, struct err *err)
{
	uint64_t len = log->written_end - log->offset;
	if (len == 0)
		return ERR_OK;
	autofree uint8_t *zeros = xcalloc(1, len);
	enum err_code code = audit_write_all(log->io, fd, span_of(zeros, len), log->offset, err);
	if (code == ERR_OK && log->io->sync(fd) != 0)
		code = err_set(err, ERR_UNAVAILABLE, errno, "flushing the log: %s", strerror(errno));
	return code;
}

enum err_code audit_log_verify_tail(struct audit_log *log, struct err *err)
{
	struct audit_header header;
	autofd int fd = -1;
	enum err_code code = audit_segment_open(log->directory, log->header.segment, true, &fd, &header, err);
	if (code == ERR_OK && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		code = err_set(err, ERR_UNAVAILABLE, errno, "dropping cached pages of the log: %s", strerror(errno));
	if (code == ERR_OK)
		code = verify_durable(log, err);
	if (code == ERR_OK)
		code = erase(log, fd, err);
	if (code == ERR_OK)
		code = audit_file_check(log->path, fd, err);
	if (code != ERR_OK)
		return code;
	log->written_end = log->offset;
	close(log->fd);
	log->fd = fd;
	fd = -1;
	return ERR_OK;
}
