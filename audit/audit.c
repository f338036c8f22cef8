/* The public face: the log decides, the index finds. */
#include "audit/audit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit/changes.h"
#include "audit/log.h"
#include "audit/pg.h"
#include "audit/record.h"

struct audit {
	int lock_fd; /* of the directory, when shared; -1: none */
	struct audit_ledger *ledger;
	struct audit_index *index;
	struct audit_changes *changes;
};

struct audit_ledger *audit_ledger(struct audit *audit)
{
	return audit->ledger;
}

static enum err_code record_recovery(struct audit *audit, uint64_t torn_bytes, struct err *err)
{
	struct audit_commit commit;
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	autofree char *detail = xasprintf(
	    "a write that a crash had cut short was erased: %" PRIu64 " bytes, acknowledged to nobody", torn_bytes);
	record.event = TWOKEY__V1__EVENT__EVENT_RECOVERY;
	record.detail = detail;
	return audit_commit(audit, &record, NULL, &commit, err);
}

static enum err_code open_log(struct audit *audit, const struct audit_options *options,
                              const struct audit_tuning *tuning, uint64_t *ret_torn, struct err *err)
{
	struct audit_log *log = NULL;
	enum err_code code = audit_log_open(options, tuning, &log, ret_torn, err);
	if (code != ERR_OK)
		return code;
	audit->ledger = &log->ledger;
	return audit_log_start(log, err);
}

/* Here are only the index and the snapshot of restrictions: the lock keeps them from a second process. */
static enum err_code open_shared(struct audit *audit, const struct audit_options *options,
                                 const struct audit_tuning *tuning, struct err *err)
{
	enum err_code code = audit_directory_make(options->directory, err);
	if (code == ERR_OK)
		code = audit_directory_lock(options->directory, &audit->lock_fd, err);
	if (code == ERR_OK)
		code = audit_pg_open(options, tuning, &audit->ledger, err);
	if (code == ERR_OK)
		code = audit_index_check_not_ahead(options->directory, audit_ledger_committed(audit->ledger), err);
	return code;
}

enum err_code audit_open_tuned(const struct audit_options *options, const struct audit_tuning *tuning,
                               struct audit **ret, struct err *err)
{
	struct audit *audit = xcalloc(1, sizeof(*audit));
	uint64_t torn_bytes = 0;
	audit->lock_fd = -1;
	enum err_code code = options->postgresql.connection ? open_shared(audit, options, tuning, err)
	                                                    : open_log(audit, options, tuning, &torn_bytes, err);
	if (code == ERR_OK)
		code = audit_index_start(audit->ledger, options->directory, audit_retry_ms(tuning), &audit->index, err);
	if (code == ERR_OK)
		audit->changes = audit_changes_new(audit->ledger, audit->index);
	if (code == ERR_OK && torn_bytes)
		code = record_recovery(audit, torn_bytes, err);
	if (code != ERR_OK) {
		audit_close(audit);
		return code;
	}
	*ret = audit;
	return ERR_OK;
}

enum err_code audit_open(const struct audit_options *options, struct audit **ret, struct err *err)
{
	return audit_open_tuned(options, NULL, ret, err);
}

void audit_close(struct audit *audit)
{
	if (!audit)
		return;
	if (audit->ledger)
		audit_ledger_stop(audit->ledger);
	audit_changes_free(audit->changes);
	audit_index_free(audit->index);
	audit_ledger_free(audit->ledger);
	if (audit->lock_fd >= 0)
		close(audit->lock_fd);
	free(audit);
}

/* The record of a transfer's grant, as that of its end. What moved is not known. */
static enum err_code end_interrupted(struct audit *audit, const struct audit_transfer *transfer, struct err *err)
{
	Twokey__V1__Record *record = audit_record_decode(buf_span(&transfer->bytes));
	struct audit_commit commit;
	if (!record)
		return err_set(err, ERR_CORRUPT, 0, "record %" PRIu64 " does not parse", transfer->index);
	Twokey__V1__Record ended = *record;
	ended.event = TWOKEY__V1__EVENT__EVENT_COMPLETION;
	ended.decision = TWOKEY__V1__DECISION__DECISION_UNSPECIFIED;
	ended.decision_index = transfer->index;
	ended.outcome = (char *)"interrupted";
	ended.detail = (char *)"the server ended before this transfer did: what has moved is not known";
	enum err_code code = audit_commit(audit, &ended, NULL, &commit, err);
	twokey__v1__record__free_unpacked(record, NULL);
	return code;
}

enum err_code audit_end_interrupted(struct audit *audit, uint64_t *ret_n, struct err *err)
{
	enum err_code code = ERR_OK;
	size_t n = 0;
	*ret_n = 0;
	if (!audit->ledger->kind->transfers)
		return ERR_OK;
	struct audit_transfer *list = audit->ledger->kind->transfers(audit->ledger, &n);
	for (size_t i = 0; code == ERR_OK && i < n; i++)
		code = end_interrupted(audit, &list[i], err);
	audit_transfers_list_free(list, n);
	*ret_n = n;
	return code;
}

enum err_code audit_tend(struct audit *audit, struct err *err)
{
	return audit->ledger->kind->tend ? audit->ledger->kind->tend(audit->ledger, err) : ERR_OK;
}

void audit_last(struct audit *audit, struct audit_last *ret)
{
	*ret = (struct audit_last){0};
	if (audit->ledger->kind->last)
		audit->ledger->kind->last(audit->ledger, ret);
}

enum err_code audit_commit(struct audit *audit, const Twokey__V1__Record *record, const struct audit_use *use,
                           struct audit_commit *ret, struct err *err)
{
	bool stale;
	return audit_commit_known(audit, record, use, UINT64_MAX, &stale, ret, err);
}

enum err_code audit_commit_known(struct audit *audit, const Twokey__V1__Record *record, const struct audit_use *use,
                                 uint64_t known, bool *ret_stale, struct audit_commit *ret, struct err *err)
{
	const struct audit_append append = {.record = record, .use = use, .known = known};
	struct audit_verdict verdict;
	enum err_code code = audit_ledger_append(audit->ledger, &append, &verdict, err);
	if (code != ERR_OK)
		return code;
	*ret_stale = verdict.stale;
	*ret = verdict.commit;
	if (!verdict.stale && ret->refusal == REASON_NONE)
		audit_changes_add(audit->changes, record, ret->index);
	return ERR_OK;
}

bool audit_shared(const struct audit *audit)
{
	return audit->ledger->kind->shared;
}

void audit_state(struct audit *audit, struct audit_state *ret)
{
	audit_ledger_state(audit->ledger, ret);
}

enum err_code audit_object_fresh(struct audit *audit, const struct audit_object *object, bool *ret_fresh,
                                 struct err *err)
{
	return audit_changes_ask(audit->changes, object, ret_fresh, err);
}

enum reason audit_use_state(struct audit *audit, const struct audit_use *use)
{
	return audit_ledger_use_state(audit->ledger, use);
}

enum err_code audit_check(struct audit *audit, struct err *err)
{
	return audit_ledger_check(audit->ledger, err);
}

void audit_progress(struct audit *audit, uint64_t *ret_committed, uint64_t *ret_indexed)
{
	*ret_indexed = audit_index_count(audit->index);
	*ret_committed = audit_ledger_committed(audit->ledger);
}

enum err_code audit_read(struct audit *audit, uint64_t index, struct buf *out, struct err *err)
{
	struct audit_reader *reader = NULL;
	enum err_code code =
	    audit_ledger_read(audit->ledger, &reader, index, audit_index_place(audit->index, index), out, err);
	audit_reader_free(audit->ledger, reader);
	return code;
}

Twokey__V1__Event audit_event(struct span record)
{
	return audit_record_event(record);
}

void audit_position(struct audit *audit, struct audit_position *ret)
{
	audit_ledger_position(audit->ledger, ret);
}

enum err_code audit_position_at(struct audit *audit, int64_t time_ms, struct audit_position *ret, struct err *err)
{
	return audit_ledger_position_at(audit->ledger, time_ms, ret, err);
}

enum err_code audit_position_of(struct audit *audit, uint64_t next, struct audit_position *ret, struct err *err)
{
	return audit_ledger_position_of(audit->ledger, next, ret, err);
}

enum err_code audit_replay(struct audit *audit, Twokey__V1__Event event, struct audit_position *position,
                           bool (*each)(uint64_t index, struct span record, void *user), void *user, struct err *err)
{
	return audit_ledger_replay(audit->ledger, event, position, each, user, err);
}

enum err_code audit_search(struct audit *audit, const Twokey__V1__SearchRequest *request, unsigned timeout_ms,
                           bool (*each)(uint64_t index, struct span record, void *user), void *user,
                           struct audit_search_result *ret, struct err *err)
{
	return audit_index_search(audit->index, request, timeout_ms, each, user, ret, err);
}
