#include "server/restricting.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/restriction_record.h"
#include "server/restriction_snapshot.h"

/* A start reads at most about so many records behind the last snapshot: a fraction of a second. */
#define SNAPSHOT_RECORDS 100000
#define FOLLOW_MS        100
#define ATTEMPTS_MAX     16

struct restricting {
	struct restricting_options options;
	struct restrictions *state;
	pthread_mutex_t changing;   /* one change at a time; held while it is written, and while others' are read */
	_Atomic(bool) unknown;      /* the outcome of one is not known */
	struct audit_position read; /* under `changing`: behind it may be changes that are not applied yet */
	_Atomic(uint64_t) known;    /* every change before this record has been applied; grows under `changing` */
	uint64_t snapshot;          /* "": records at the last snapshot */
	bool told;                  /* the log was told that snapshots fail */

	/* Of a shared ledger. */
	pthread_t follower;
	bool follower_runs, stopping; /* stopping: under `changing` */
	pthread_cond_t stop;
	bool blind_told;           /* the follower's: the log was told that it cannot read */
	_Atomic(int64_t) blind_us; /* from then on nothing is known; INT64_MAX: never */
};

static bool apply_record(uint64_t index, struct span bytes, void *user)
{
	struct restricting *restricting = (struct restricting *)user;
	struct restriction_change change;
	Twokey__V1__Record *record = twokey__v1__record__unpack(NULL, bytes.len, bytes.ptr);
	if (record && restriction_from_record(record, &change)) {
		change.note.record = index;
		restrictions_apply(restricting->state, &change);
	}
	if (record) {
		/* Another gatekeeper may have made it, in the token that they share. What cannot be found now is found later.
		 */
		if (restricting->follower_runs && record->event == TWOKEY__V1__EVENT__EVENT_KEY &&
		    keys_look(restricting->options.keys, NULL) != ERR_OK)
			log_event(LOG_WARN, "keys that another gatekeeper changed could not be looked for", NULL);
		keys_apply(restricting->options.keys, record);
		twokey__v1__record__free_unpacked(record, NULL);
	}
	return true;
}

/* Not a second time: what came after it has been applied, too. */
static bool apply_if_ours(uint64_t index, struct span bytes, void *user)
{
	const struct restricting *restricting = (const struct restricting *)user;
	Twokey__V1__Event event = audit_event(bytes);
	if (index < atomic_load(&restricting->known))
		return true;
	return (event != TWOKEY__V1__EVENT__EVENT_RESTRICTION && event != TWOKEY__V1__EVENT__EVENT_KEY) ||
	       apply_record(index, bytes, user);
}

static void know(struct restricting *restricting, uint64_t known)
{
	if (known > atomic_load(&restricting->known))
		atomic_store(&restricting->known, known);
}

/* Applies what the record has beyond what has been read. */
static enum err_code read_on(struct restricting *restricting, struct err *err)
{
	enum err_code code = audit_replay(restricting->options.audit, TWOKEY__V1__EVENT__EVENT_UNSPECIFIED,
	                                  &restricting->read, apply_if_ours, restricting, err);
	if (code == ERR_OK)
		know(restricting, restricting->read.next);
	return code;
}

/* The same, without reading when there is nothing to find. */
static enum err_code catch_up_locked(struct restricting *restricting, struct err *err)
{
	struct audit_state state;
	audit_state(restricting->options.audit, &state);
	if (state.changed > atomic_load(&restricting->known))
		return read_on(restricting, err);
	restricting->read = state.end;
	know(restricting, state.end.next);
	return ERR_OK;
}

static void write_snapshot(struct restricting *restricting)
{
	autobuf struct buf body = {0};
	struct audit_position position;
	struct err err = {0};
	/* No change of ours is under way, so the state is that of the end that was read to. */
	pthread_mutex_lock(&restricting->changing);
	bool known = !atomic_load(&restricting->unknown) && catch_up_locked(restricting, &err) == ERR_OK;
	if (known) {
		position = restricting->read;
		restricting->snapshot = position.next;
		restriction_snapshot_body(restricting->state, restricting->options.keys, &position, &body);
	}
	pthread_mutex_unlock(&restricting->changing);
	if (!known)
		return;
	bool failed = restriction_snapshot_write(restricting->options.directory, buf_span(&body),
	                                         keys_audit(restricting->options.keys), &err) != ERR_OK;
	if (failed && !restricting->told)
		log_event(LOG_WARN, "no snapshot of restrictions: the next start takes longer", "error", err.text, NULL);
	restricting->told = failed;
}

static void start_over(struct restricting *restricting)
{
	restrictions_free(restricting->state);
	restricting->state = restrictions_new();
	keys_forget(restricting->options.keys);
	restricting->read = (struct audit_position){0};
	atomic_store(&restricting->known, 0);
}

/* A snapshot that does not count is no reason not to start: the log has everything. */
static void begin_from_snapshot(struct restricting *restricting)
{
	struct err err = {0};
	enum err_code code = restriction_snapshot_read(restricting->options.directory, restricting->options.keys,
	                                               restricting->state, &restricting->read, &err);
	struct audit_position end;
	audit_position(restricting->options.audit, &end);
	if (code == ERR_OK && restricting->read.next <= end.next) {
		restricting->snapshot = restricting->read.next;
		know(restricting, restricting->read.next);
		return;
	}
	if (code != ERR_NOT_FOUND)
		log_event(LOG_WARN, "the snapshot of restrictions does not count: reading the whole record", "error",
		          code == ERR_OK ? "it is ahead of the log" : err.text, NULL);
	start_over(restricting);
}

static enum err_code derive(struct restricting *restricting, struct err *err)
{
	begin_from_snapshot(restricting);
	uint64_t from = restricting->read.next;
	enum err_code code = read_on(restricting, err);
	if (code == ERR_PRECONDITION && from > 0) {
		log_event(LOG_WARN, "the snapshot of restrictions is of another log: reading the whole record", NULL);
		start_over(restricting);
		restricting->snapshot = 0;
		code = read_on(restricting, err);
	}
	if (code != ERR_OK)
		err_prefix(err, "restrictions");
	return code;
}

static void restricting_free(struct restricting *restricting)
{
	restrictions_free(restricting->state);
	pthread_cond_destroy(&restricting->stop);
	pthread_mutex_destroy(&restricting->changing);
	free(restricting);
}

/* Sees what others have recorded, and whether the ledger can be seen at all. */
static void *follow(void *user)
{
	struct restricting *restricting = (struct restricting *)user;
	pthread_mutex_lock(&restricting->changing);
	while (!restricting->stopping) {
		struct audit_state state;
		struct err err = {0};
		audit_state(restricting->options.audit, &state);
		bool failed = catch_up_locked(restricting, &err) != ERR_OK;
		if (!failed)
			atomic_store(&restricting->blind_us, state.looked_us + (int64_t)RESTRICTING_BLIND_MS * 1000);
		else if (!restricting->blind_told)
			log_event(LOG_ERROR, "what others have recorded cannot be read", "error", err.text, NULL);
		restricting->blind_told = failed;
		struct timespec at;
		clock_gettime(CLOCK_REALTIME, &at);
		at.tv_nsec += FOLLOW_MS * 1000000L;
		at.tv_sec += at.tv_nsec / 1000000000;
		at.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&restricting->stop, &restricting->changing, &at);
	}
	pthread_mutex_unlock(&restricting->changing);
	return NULL;
}

static enum err_code start_following(struct restricting *restricting, struct err *err)
{
	atomic_store(&restricting->blind_us, INT64_MAX);
	if (!audit_shared(restricting->options.audit))
		return ERR_OK;
	int rc = pthread_create(&restricting->follower, NULL, follow, restricting);
	restricting->follower_runs = rc == 0;
	return rc == 0 ? ERR_OK : err_set(err, ERR_UNAVAILABLE, rc, "starting a thread: %s", strerror(rc));
}

static void stop_following(struct restricting *restricting)
{
	pthread_mutex_lock(&restricting->changing);
	restricting->stopping = true;
	pthread_cond_broadcast(&restricting->stop);
	pthread_mutex_unlock(&restricting->changing);
	if (restricting->follower_runs)
		pthread_join(restricting->follower, NULL);
}

enum err_code restricting_open(const struct restricting_options *options, struct restricting **ret, struct err *err)
{
	struct restricting *restricting = xcalloc(1, sizeof *restricting);
	restricting->options = *options;
	restricting->state = restrictions_new();
	pthread_mutex_init(&restricting->changing, NULL);
	pthread_cond_init(&restricting->stop, NULL);
	enum err_code code = derive(restricting, err);
	if (code == ERR_OK)
		code = start_following(restricting, err);
	if (code != ERR_OK) {
		restricting_free(restricting);
		return code;
	}
	*ret = restricting;
	return ERR_OK;
}

void restricting_close(struct restricting *restricting)
{
	if (!restricting)
		return;
	stop_following(restricting);
	write_snapshot(restricting);
	restricting_free(restricting);
}

struct restrictions *restricting_state(struct restricting *restricting)
{
	return restricting->state;
}

/* ---- decisions ---- */

static bool is_unknown(const struct restricting *restricting)
{
	int64_t blind_us = atomic_load(&restricting->blind_us);
	return atomic_load(&restricting->unknown) || (blind_us != INT64_MAX && clock_monotonic_us() > blind_us);
}

/* What is known is asked before the state: changes that come in between are looked at once too often. */
enum reason restricting_check(struct restricting *restricting, const struct restriction_question *question,
                              struct restricting_view *ret)
{
	ret->known = atomic_load(&restricting->known);
	ret->generation = restrictions_generation(restricting->state);
	if (is_unknown(restricting))
		return REASON_LEDGER_UNAVAILABLE;
	return restrictions_check(restricting->state, question);
}

bool restricting_moved(const struct restricting *restricting, const struct restricting_view *view)
{
	return restrictions_generation(restricting->state) != view->generation || is_unknown(restricting);
}

enum reason restricting_catch_up(struct restricting *restricting)
{
	struct err err = {0};
	pthread_mutex_lock(&restricting->changing);
	enum err_code code = catch_up_locked(restricting, &err);
	pthread_mutex_unlock(&restricting->changing);
	if (code != ERR_OK)
		log_event(LOG_ERROR, "changes of restrictions could not be read", "error", err.text, NULL);
	return code == ERR_OK ? REASON_NONE : REASON_LEDGER_UNAVAILABLE;
}

/* ---- changes ---- */

/* What is durable behind a record that has just become so is everything there will ever be before it. */
static enum err_code find_out_locked(struct restricting *restricting, struct err *err)
{
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	record.event = TWOKEY__V1__EVENT__EVENT_RECOVERY;
	record.gatekeeper = (char *)restricting->options.name;
	record.detail = (char *)"a change of restrictions had an unknown outcome: they are derived from the record again";
	struct audit_commit commit;
	enum err_code code = audit_commit(restricting->options.audit, &record, NULL, &commit, err);
	if (code == ERR_OK)
		code = read_on(restricting, err);
	if (code == ERR_OK)
		atomic_store(&restricting->unknown, false);
	return code;
}

/* The state is that of all records before this one, or nothing is appended and *ret_stale is true. */
static enum reason commit_locked(struct restricting *restricting, const Twokey__V1__Record *record, bool *ret_stale,
                                 struct audit_commit *ret, struct err *detail)
{
	uint64_t known = atomic_load(&restricting->known);
	enum err_code code = audit_commit_known(restricting->options.audit, record, NULL, known, ret_stale, ret, detail);
	if (code == ERR_INVALID)
		return REASON_INTERNAL;
	if (code == ERR_OK)
		return REASON_NONE;
	atomic_store(&restricting->unknown, true);
	return REASON_LEDGER_UNAVAILABLE;
}

static enum reason make_known_locked(struct restricting *restricting, struct err *detail)
{
	enum err_code code = ERR_OK;
	if (atomic_load(&restricting->unknown))
		code = find_out_locked(restricting, detail);
	if (code == ERR_OK)
		code = catch_up_locked(restricting, detail);
	return code == ERR_OK ? REASON_NONE : REASON_LEDGER_UNAVAILABLE;
}

static enum reason change_locked(struct restricting *restricting, const struct restriction_change *change,
                                 Twokey__V1__Record *record, bool *ret_stale, uint64_t *ret_record, struct err *detail)
{
	Google__Protobuf__Timestamp expiry;
	struct audit_commit commit;
	enum reason reason = make_known_locked(restricting, detail);
	if (reason == REASON_NONE)
		reason = restrictions_judge(restricting->state, change, detail);
	if (reason != REASON_NONE)
		return reason;
	restriction_to_record(change, record, &expiry);
	record->decision = TWOKEY__V1__DECISION__DECISION_GRANTED;
	reason = commit_locked(restricting, record, ret_stale, &commit, detail);
	if (reason != REASON_NONE || *ret_stale)
		return reason;
	struct restriction_change done = *change;
	done.note.who = record->identity;
	done.note.time_ms = commit.time_ms;
	done.note.record = commit.index;
	restrictions_apply(restricting->state, &done);
	know(restricting, commit.index + 1);
	*ret_record = commit.index;
	return REASON_NONE;
}

enum reason restricting_change(struct restricting *restricting, const struct restriction_change *change,
                               Twokey__V1__Record *record, uint64_t *ret_record, struct err *detail)
{
	enum reason reason = REASON_NONE;
	bool stale = true;
	pthread_mutex_lock(&restricting->changing);
	for (int i = 0; reason == REASON_NONE && stale && i < ATTEMPTS_MAX; i++) {
		stale = false;
		reason = change_locked(restricting, change, record, &stale, ret_record, detail);
	}
	pthread_mutex_unlock(&restricting->changing);
	if (reason == REASON_NONE && stale) {
		err_set(detail, ERR_UNAVAILABLE, 0, "others are changing restrictions all the time; try again");
		reason = REASON_LEDGER_UNAVAILABLE;
	}
	return reason;
}

enum reason restricting_change_key(struct restricting *restricting, const Twokey__V1__Record *record,
                                   uint64_t *ret_record, struct err *detail)
{
	struct audit_commit commit;
	bool stale = false;
	pthread_mutex_lock(&restricting->changing);
	enum reason reason = REASON_NONE;
	/* Nothing is read here: whoever judged has not seen it. */
	if (atomic_load(&restricting->unknown))
		reason = make_known_locked(restricting, detail);
	if (reason == REASON_NONE)
		reason = commit_locked(restricting, record, &stale, &commit, detail);
	if (reason == REASON_NONE && stale) {
		reason = make_known_locked(restricting, detail);
		err_set(detail, ERR_UNAVAILABLE, 0, "another gatekeeper has changed restrictions or keys meanwhile; try again");
		reason = REASON_LEDGER_UNAVAILABLE;
	} else if (reason == REASON_NONE) {
		Twokey__V1__Record done = *record;
		Google__Protobuf__Timestamp time = transaction_timestamp(commit.time_ms);
		done.index = commit.index;
		done.time = &time;
		keys_apply(restricting->options.keys, &done);
		know(restricting, commit.index + 1);
		*ret_record = commit.index;
	}
	pthread_mutex_unlock(&restricting->changing);
	return reason;
}

void restricting_tend(struct restricting *restricting)
{
	struct err err = {0};
	if (atomic_load(&restricting->unknown)) {
		pthread_mutex_lock(&restricting->changing);
		if (atomic_load(&restricting->unknown) && find_out_locked(restricting, &err) == ERR_OK)
			log_event(LOG_INFO, "restrictions are known again", NULL);
		pthread_mutex_unlock(&restricting->changing);
		return;
	}
	struct audit_position end;
	audit_position(restricting->options.audit, &end);
	pthread_mutex_lock(&restricting->changing);
	bool due = end.next - restricting->snapshot >= SNAPSHOT_RECORDS;
	pthread_mutex_unlock(&restricting->changing);
	if (due)
		write_snapshot(restricting);
}
