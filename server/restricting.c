#include "server/restricting.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "common/log.h"
#include "server/restriction_record.h"
#include "server/restriction_snapshot.h"

/* A start reads at most about so many records behind the last snapshot: a fraction of a second. */
#define SNAPSHOT_RECORDS 100000
#define PAUSE_NS         100000

struct restricting {
	struct restricting_options options;
	struct restrictions *state;
	pthread_mutex_t changing; /* one change at a time; held while it is written */
	_Atomic(bool) announced;  /* a change is being written; false again under `waiting` */
	pthread_mutex_t waiting;
	pthread_cond_t written;      /* no longer announced */
	_Atomic(unsigned) phase;     /* grows with every change that has been applied */
	_Atomic(unsigned) inside[2]; /* grants being committed, by the phase they entered in */
	_Atomic(bool) unknown;       /* the outcome of one is not known */
	struct audit_position read;  /* under `changing`: what the state is known to be derived from */
	uint64_t snapshot;           /* "": records at the last snapshot */
	bool told;                   /* the log was told that snapshots fail */
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
		keys_apply(restricting->options.keys, record);
		twokey__v1__record__free_unpacked(record, NULL);
	}
	return true;
}

static bool apply_if_ours(uint64_t index, struct span bytes, void *user)
{
	Twokey__V1__Event event = audit_event(bytes);
	return (event != TWOKEY__V1__EVENT__EVENT_RESTRICTION && event != TWOKEY__V1__EVENT__EVENT_KEY) ||
	       apply_record(index, bytes, user);
}

/* Applies what the record has beyond what has been read. */
static enum err_code read_on(struct restricting *restricting, struct err *err)
{
	return audit_replay(restricting->options.audit, TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &restricting->read,
	                    apply_if_ours, restricting, err);
}

static void write_snapshot(struct restricting *restricting)
{
	autobuf struct buf body = {0};
	struct audit_position position;
	struct err err = {0};
	/* No change is under way, so the state is that of the log's end. */
	pthread_mutex_lock(&restricting->changing);
	audit_position(restricting->options.audit, &position);
	bool known = !atomic_load(&restricting->unknown);
	if (known) {
		restricting->read = position;
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
	pthread_cond_destroy(&restricting->written);
	pthread_mutex_destroy(&restricting->waiting);
	pthread_mutex_destroy(&restricting->changing);
	free(restricting);
}

enum err_code restricting_open(const struct restricting_options *options, struct restricting **ret, struct err *err)
{
	struct restricting *restricting = xcalloc(1, sizeof *restricting);
	restricting->options = *options;
	restricting->state = restrictions_new();
	pthread_mutex_init(&restricting->changing, NULL);
	pthread_mutex_init(&restricting->waiting, NULL);
	pthread_cond_init(&restricting->written, NULL);
	enum err_code code = derive(restricting, err);
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
	write_snapshot(restricting);
	restricting_free(restricting);
}

struct restrictions *restricting_state(struct restricting *restricting)
{
	return restricting->state;
}

/* ---- decisions ---- */

enum reason restricting_check(struct restricting *restricting, const struct restriction_question *question,
                              uint64_t *ret_seen)
{
	*ret_seen = restrictions_generation(restricting->state);
	if (atomic_load(&restricting->unknown))
		return REASON_LEDGER_UNAVAILABLE;
	return restrictions_check(restricting->state, question);
}

bool restricting_moved(const struct restricting *restricting, uint64_t seen)
{
	return atomic_load(&restricting->unknown) || restrictions_generation(restricting->state) != seen;
}

/* As rules_take: who finds the phase unchanged after having counted itself is waited for by whoever changes it. */
unsigned restricting_enter(struct restricting *restricting)
{
	unsigned phase = atomic_load(&restricting->phase);
	for (;;) {
		atomic_fetch_add(&restricting->inside[phase & 1], 1);
		unsigned now = atomic_load(&restricting->phase);
		if (now == phase)
			return phase;
		atomic_fetch_sub(&restricting->inside[phase & 1], 1);
		phase = now;
	}
}

void restricting_leave(struct restricting *restricting, unsigned entered)
{
	atomic_fetch_sub(&restricting->inside[entered & 1], 1);
}

void restricting_await(struct restricting *restricting)
{
	if (!atomic_load(&restricting->announced))
		return;
	pthread_mutex_lock(&restricting->waiting);
	while (atomic_load(&restricting->announced))
		pthread_cond_wait(&restricting->written, &restricting->waiting);
	pthread_mutex_unlock(&restricting->waiting);
}

/* The change has been applied, or has failed: whoever waits looks again. */
static void denounce(struct restricting *restricting)
{
	pthread_mutex_lock(&restricting->waiting);
	atomic_store(&restricting->announced, false);
	pthread_cond_broadcast(&restricting->written);
	pthread_mutex_unlock(&restricting->waiting);
}

/* Each of them is inside for one flush of the log. */
static void await_grants(struct restricting *restricting)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	unsigned phase = atomic_fetch_add(&restricting->phase, 1);
	while (atomic_load(&restricting->inside[phase & 1]) != 0)
		nanosleep(&pause, NULL);
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

static enum reason commit_locked(struct restricting *restricting, const struct restriction_change *change,
                                 Twokey__V1__Record *record, uint64_t *ret_record, struct err *detail)
{
	Google__Protobuf__Timestamp expiry;
	struct audit_commit commit;
	restriction_to_record(change, record, &expiry);
	record->decision = TWOKEY__V1__DECISION__DECISION_GRANTED;
	atomic_store(&restricting->announced, true);
	enum err_code code = audit_commit(restricting->options.audit, record, NULL, &commit, detail);
	if (code == ERR_OK) {
		struct restriction_change done = *change;
		done.note.who = record->identity;
		done.note.time_ms = commit.time_ms;
		done.note.record = commit.index;
		restrictions_apply(restricting->state, &done);
		*ret_record = commit.index;
	} else if (code != ERR_INVALID) {
		atomic_store(&restricting->unknown, true);
	}
	denounce(restricting);
	await_grants(restricting);
	return code == ERR_OK ? REASON_NONE : code == ERR_INVALID ? REASON_INTERNAL : REASON_LEDGER_UNAVAILABLE;
}

enum reason restricting_change(struct restricting *restricting, const struct restriction_change *change,
                               Twokey__V1__Record *record, uint64_t *ret_record, struct err *detail)
{
	pthread_mutex_lock(&restricting->changing);
	enum reason reason = REASON_NONE;
	if (atomic_load(&restricting->unknown) && find_out_locked(restricting, detail) != ERR_OK)
		reason = REASON_LEDGER_UNAVAILABLE;
	if (reason == REASON_NONE)
		reason = restrictions_judge(restricting->state, change, detail);
	if (reason == REASON_NONE)
		reason = commit_locked(restricting, change, record, ret_record, detail);
	pthread_mutex_unlock(&restricting->changing);
	return reason;
}

enum reason restricting_change_key(struct restricting *restricting, const Twokey__V1__Record *record,
                                   uint64_t *ret_record, struct err *detail)
{
	pthread_mutex_lock(&restricting->changing);
	struct audit_commit commit;
	enum reason reason = REASON_LEDGER_UNAVAILABLE;
	enum err_code code = ERR_OK;
	if (atomic_load(&restricting->unknown))
		code = find_out_locked(restricting, detail);
	if (code == ERR_OK) {
		code = audit_commit(restricting->options.audit, record, NULL, &commit, detail);
		atomic_store(&restricting->unknown, code != ERR_OK && code != ERR_INVALID);
	}
	if (code == ERR_OK) {
		Twokey__V1__Record done = *record;
		Google__Protobuf__Timestamp time = transaction_timestamp(commit.time_ms);
		done.index = commit.index;
		done.time = &time;
		keys_apply(restricting->options.keys, &done);
		*ret_record = commit.index;
		reason = REASON_NONE;
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
