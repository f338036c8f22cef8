/* A ledger in a directory of its own, and short words for what the tests do with it. */
#ifndef TWOKEY_TESTS_UNIT_AUDIT_FIXTURE_H
#define TWOKEY_TESTS_UNIT_AUDIT_FIXTURE_H

#include "tests/unit/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "audit/log.h"
#include "audit/record.h"
#include "audit/walk.h"
#include "common/text.h"

enum { SEGMENT_BYTES = AUDIT_SEGMENT_MIN, START_MS = 1700000000 };
#define START_TIME_MS ((int64_t)START_MS * 1000)

/* Faults: while a flag is set the call fails with that errno; `tear` lets a write end half-way first. */
struct faults {
	_Atomic(int) write_errno, sync_errno, allocate_errno;
	_Atomic(bool) tear;
	_Atomic(int) syncs;
};
static struct faults faults;

static inline ssize_t faulty_write(int fd, const void *bytes, size_t len, off_t offset)
{
	if (atomic_load(&faults.tear) && len > 1) {
		atomic_store(&faults.tear, false);
		return pwrite(fd, bytes, len / 2, offset);
	}
	errno = atomic_load(&faults.write_errno);
	return errno ? -1 : pwrite(fd, bytes, len, offset);
}

static inline int faulty_sync(int fd)
{
	atomic_fetch_add(&faults.syncs, 1);
	errno = atomic_load(&faults.sync_errno);
	return errno ? -1 : fdatasync(fd);
}

static inline int faulty_allocate(int fd, off_t offset, off_t len)
{
	int rc = atomic_load(&faults.allocate_errno);
	return rc ? rc : posix_fallocate(fd, offset, len);
}

static const struct audit_io faulty_io = {faulty_write, faulty_sync, faulty_allocate};
static const struct audit_tuning tuning = {.io = &faulty_io, .retry_ms = 5};

static inline int64_t fake_now(void *user)
{
	return atomic_load((_Atomic(int64_t) *)user);
}

/* With TWOKEY_TEST_POSTGRESQL (a libpq connection string) the ledger is a schema of its own there. */
struct ledger {
	char directory[64];
	char schema[64];
	struct audit *audit;
	_Atomic(int64_t) now_ms;
	struct clock clock;
	struct audit_options options;
};

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static inline void ledger_init(struct ledger *ledger)
{
	memset(ledger, 0, sizeof(*ledger));
	strcpy(ledger->directory, "/tmp/twokey-audit-XXXXXX");
	assert_non_null(mkdtemp(ledger->directory));
	atomic_store(&ledger->now_ms, START_TIME_MS);
	ledger->clock = (struct clock){fake_now, &ledger->now_ms};
	ledger->options =
	    (struct audit_options){.directory = ledger->directory, .segment_bytes = SEGMENT_BYTES, .clock = &ledger->clock};
	memset(&faults, 0, sizeof(faults));
	const char *connection = getenv("TWOKEY_TEST_POSTGRESQL");
	if (connection) {
		snprintf(ledger->schema, sizeof(ledger->schema), "t_%s", ledger->directory + strlen("/tmp/twokey-audit-"));
		for (char *c = ledger->schema; *c; c++)
			*c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
		snprintf(ledger->schema + strlen(ledger->schema), 16, "_%d", (int)getpid());
		ledger->options.postgresql.connection = connection;
		ledger->options.postgresql.schema = ledger->schema;
	}
}

static inline bool ledger_is_shared(const struct ledger *ledger)
{
	return ledger->options.postgresql.connection != NULL;
}

static inline void ledger_open(struct ledger *ledger)
{
	struct err err = {0};
	assert_ok(audit_open_tuned(&ledger->options, &tuning, &ledger->audit, &err), err);
}

static inline void ledger_close(struct ledger *ledger)
{
	audit_close(ledger->audit);
	ledger->audit = NULL;
}

static inline void ledger_done(struct ledger *ledger)
{
	ledger_close(ledger);
	nftw(ledger->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline Twokey__V1__Record record_of(Twokey__V1__Event event, Twokey__V1__Decision decision)
{
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	record.event = event;
	record.decision = decision;
	record.bucket = (char *)"documents";
	record.object = (char *)"reports/2026/11.pdf";
	record.subject = (char *)"alice@example.org";
	return record;
}

static inline struct audit_use use_of(uint64_t id, uint32_t max_uses, bool spend)
{
	struct audit_use use = {.max_uses = max_uses, .expires_at_ms = START_TIME_MS + 300000, .spend = spend};
	memcpy(use.transaction_id, &id, sizeof(id));
	memset(use.transaction_sha256, (int)(id & 0x7f) + 1, sizeof(use.transaction_sha256));
	return use;
}

/* Commits a denial; fails the test when that does not work. */
static inline struct audit_commit commit_denial(struct ledger *ledger)
{
	struct err err = {0};
	struct audit_commit commit;
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_COSIGN, TWOKEY__V1__DECISION__DECISION_DENIED);
	record.reason = (char *)"RULE_DENIED";
	assert_ok(audit_commit(ledger->audit, &record, NULL, &commit, &err), err);
	assert_int_equal(commit.refusal, REASON_NONE);
	return commit;
}

static inline enum err_code try_denial(struct ledger *ledger)
{
	struct audit_commit commit;
	Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_COSIGN, TWOKEY__V1__DECISION__DECISION_DENIED);
	return audit_commit(ledger->audit, &record, NULL, &commit, NULL);
}

/* Commits a granted use and says how that was decided. */
static inline enum reason commit_use(struct ledger *ledger, struct audit_use use)
{
	struct err err = {0};
	struct audit_commit commit;
	Twokey__V1__Record record = record_of(use.spend ? TWOKEY__V1__EVENT__EVENT_FETCH : TWOKEY__V1__EVENT__EVENT_COSIGN,
	                                      TWOKEY__V1__DECISION__DECISION_GRANTED);
	assert_ok(audit_commit(ledger->audit, &record, &use, &commit, &err), err);
	return commit.refusal;
}

static inline uint64_t committed(struct ledger *ledger)
{
	uint64_t n_committed, n_indexed;
	audit_progress(ledger->audit, &n_committed, &n_indexed);
	return n_committed;
}

static inline Twokey__V1__Record *read_record(struct ledger *ledger, uint64_t index)
{
	autobuf struct buf bytes = {0};
	struct err err = {0};
	assert_ok(audit_read(ledger->audit, index, &bytes, &err), err);
	Twokey__V1__Record *record = audit_record_decode(buf_span(&bytes));
	assert_non_null(record);
	assert_int_equal(record->index, index);
	return record;
}

/* Waits for the log to take records again. */
static inline void await_service(struct ledger *ledger)
{
	struct err err = {0};
	for (int i = 0; i < 10000 && audit_check(ledger->audit, &err) != ERR_OK; i++)
		usleep(1000);
	assert_ok(audit_check(ledger->audit, &err), err);
}

static inline bool take_none(uint64_t index, struct span record, void *user)
{
	(void)index, (void)record, (void)user;
	return false;
}

/* Waits until a record can be found by searching. */
static inline void await_indexed(struct ledger *ledger, uint64_t index)
{
	struct err err = {0};
	struct audit_search_result result;
	Twokey__V1__SearchRequest request = TWOKEY__V1__SEARCH_REQUEST__INIT;
	request.freshness_case = TWOKEY__V1__SEARCH_REQUEST__FRESHNESS_WAIT_FOR_INDEX;
	request.wait_for_index = index;
	assert_ok(audit_search(ledger->audit, &request, 60000, take_none, NULL, &result, &err), err);
	assert_true(result.indexed > index);
}

static inline bool count_record(uint64_t index, struct span record, void *user)
{
	uint64_t *n = user, claimed;
	assert_int_equal(index, *n);
	assert_true(audit_record_index(record, &claimed) && claimed == index);
	++*n;
	return true;
}

/* How many records a scan from the first one finds; they all verify. */
static inline uint64_t scan_count(const char *directory)
{
	struct err err = {0};
	uint64_t n = 0;
	assert_ok(audit_scan(directory, count_record, &n, &err), err);
	return n;
}

/* The same for an open ledger of either kind. */
static inline uint64_t verified_count(struct ledger *ledger)
{
	struct err err = {0};
	struct audit_position position = {0};
	uint64_t n = 0;
	assert_ok(audit_replay(ledger->audit, TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &position, count_record, &n, &err),
	          err);
	assert_int_equal(position.next, n);
	return n;
}

#endif
