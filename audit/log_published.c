/* The last checkpoint of the embedded log: the file `checkpoint`, a C2SP signed note around a C2SP tlog-checkpoint
 * (origin, size, root, one a line). The directory's lock and a mutex make compare and swap. */
#include <inttypes.h>
#include <stdlib.h>

#include "audit/log.h"
#include "common/text.h"

enum { NOTE_MAX = 64 << 10 };

static char *note_path(const struct audit_log *log)
{
	return xasprintf("%s/checkpoint", log->directory);
}

/* Size and root as the note's text has them. */
static bool parse_note(struct span note, struct audit_published *ret)
{
	struct span lines[3];
	autobuf struct buf root = {0};
	for (int i = 0; i < 3; i++) {
		const uint8_t *end = note.len ? memchr(note.ptr, '\n', note.len) : NULL;
		if (!end)
			return false;
		lines[i] = span_of(note.ptr, (size_t)(end - note.ptr));
		note = span_of(end + 1, note.len - lines[i].len - 1);
	}
	char digits[24] = {0}, *rest;
	if (lines[1].len == 0 || lines[1].len >= sizeof(digits))
		return false;
	memcpy(digits, lines[1].ptr, lines[1].len);
	ret->size = strtoull(digits, &rest, 10);
	if (*rest || !text_unbase64(lines[2], &root) || root.len != sizeof(ret->root))
		return false;
	memcpy(ret->root, root.data, sizeof(ret->root));
	return true;
}

enum err_code audit_log_published(struct audit_ledger *ledger, struct audit_published *ret, struct err *err)
{
	autofree char *path = note_path(audit_log_of(ledger));
	struct audit_published published = {0};
	enum err_code code = text_read_file(path, NOTE_MAX, &published.note, err);
	if (code == ERR_NOT_FOUND)
		code = ERR_OK;
	else if (code == ERR_OK && !parse_note(buf_span(&published.note), &published))
		code = err_set(err, ERR_CORRUPT, 0, "%s: no checkpoint", path);
	if (code == ERR_OK)
		*ret = published;
	else
		buf_done(&published.note);
	return code;
}

enum err_code audit_log_publish(struct audit_ledger *ledger, const struct audit_published *last,
                                const struct audit_published *next, struct err *err)
{
	struct audit_log *log = audit_log_of(ledger);
	autofree char *path = note_path(log);
	struct audit_published now = {0}, parsed = {0};
	if (!parse_note(buf_span(&next->note), &parsed) || parsed.size != next->size ||
	    memcmp(parsed.root, next->root, sizeof(next->root)) != 0)
		return err_set(err, ERR_INVALID, 0, "the note is not of this checkpoint");
	pthread_mutex_lock(&log->publishing);
	enum err_code code = audit_log_published(ledger, &now, err);
	if (code == ERR_OK && (now.size != last->size || memcmp(now.root, last->root, sizeof(last->root)) != 0))
		code = err_set(err, ERR_PRECONDITION, 0, "a checkpoint of %" PRIu64 " records has been published", now.size);
	if (code == ERR_OK)
		code = text_write_file(path, buf_span(&next->note), 0600, err);
	pthread_mutex_unlock(&log->publishing);
	buf_done(&now.note);
	return code;
}
