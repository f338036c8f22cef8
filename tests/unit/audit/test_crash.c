/* kill -9 at random moments: what was acknowledged is there, what was spent stays spent. The child is this program. */
#include "tests/unit/audit/fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

enum { THREADS = 8, KILLS = 30, ROUND_IDS = 1 << 20, DEADLY = 1500 };

struct acknowledged {
	uint64_t index;
	uint64_t id;
};

static struct ledger ledger;

struct committer {
	pthread_t thread;
	struct audit *audit;
	uint64_t id; /* of the next transaction */
};

static void *commit_for_ever(void *user)
{
	struct committer *committer = user;
	for (;; committer->id += THREADS) {
		struct audit_commit commit;
		struct audit_use use = use_of(committer->id, 1, true);
		Twokey__V1__Record record = record_of(TWOKEY__V1__EVENT__EVENT_FETCH, TWOKEY__V1__DECISION__DECISION_GRANTED);
		if (audit_commit(committer->audit, &record, &use, &commit, NULL) != ERR_OK || commit.refusal != REASON_NONE)
			abort();
		struct acknowledged line = {commit.index, committer->id};
		if (write(STDOUT_FILENO, &line, sizeof(line)) != sizeof(line))
			abort();
	}
	return NULL;
}

static int64_t fixed_now(void *user)
{
	(void)user;
	return START_TIME_MS;
}

/* The child: commits until it is killed, and writes down what was acknowledged. */
static int child(const char *directory, const char *round)
{
	static struct committer committers[THREADS];
	struct clock clock = {fixed_now, NULL};
	struct audit_options options = {.directory = directory, .segment_bytes = SEGMENT_BYTES, .clock = &clock};
	struct audit *audit;
	struct err err = {0};
	if (audit_open(&options, &audit, &err) != ERR_OK) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	for (int i = 0; i < THREADS; i++) {
		committers[i] = (struct committer){.audit = audit, .id = strtoull(round, NULL, 10) * ROUND_IDS + (uint64_t)i};
		pthread_create(&committers[i].thread, NULL, commit_for_ever, &committers[i]);
	}
	pthread_join(committers[0].thread, NULL);
	return 0;
}

static pid_t start_child(int round, int *ret_fd)
{
	int ends[2];
	char number[16];
	snprintf(number, sizeof(number), "%d", round);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		execl("/proc/self/exe", "test_crash", "--child", ledger.directory, number, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	*ret_fd = ends[0];
	return pid;
}

/* Lets the child run for a random number of acknowledgements, kills it, and returns all that it wrote. */
static void run_and_kill(int round, struct buf *out)
{
	int fd, status;
	pid_t pid = start_child(round, &fd);
	size_t deadly = (1 + (size_t)random() % DEADLY) * sizeof(struct acknowledged);
	bool killed = false;
	for (ssize_t n = 1; n > 0;) {
		uint8_t *room = buf_reserve(out, 4096);
		n = read(fd, room, 4096);
		out->len += n > 0 ? (size_t)n : 0;
		if (!killed && out->len >= deadly) {
			kill(pid, SIGKILL);
			killed = true;
		}
	}
	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void check_acknowledged(const struct buf *bytes, int stride)
{
	const struct acknowledged *lines = (const struct acknowledged *)(const void *)bytes->data;
	size_t n = bytes->len / sizeof(*lines);
	for (size_t i = 0; i < n; i++)
		assert_true(lines[i].index < committed(&ledger));
	for (size_t i = 0; i < n; i += (size_t)stride) {
		struct audit_use use;
		Twokey__V1__Record *record = read_record(&ledger, lines[i].index);
		assert_true(audit_record_use(record, &use));
		assert_memory_equal(use.transaction_id, &lines[i].id, sizeof(lines[i].id));
		twokey__v1__record__free_unpacked(record, NULL);
	}
	for (size_t i = 0; i < n; i++)
		assert_int_equal(commit_use(&ledger, use_of(lines[i].id, 1, true)), REASON_REPLAYED);
}

static void test_kill(void **state)
{
	(void)state;
	srandom((unsigned)getpid());
	ledger_init(&ledger);
	for (int round = 0; round < KILLS; round++) {
		autobuf struct buf bytes = {0};
		run_and_kill(round, &bytes);
		uint64_t n = scan_count(ledger.directory);
		ledger_open(&ledger);
		assert_true(committed(&ledger) >= n);
		check_acknowledged(&bytes, 25);
		ledger_close(&ledger);
	}
	ledger_done(&ledger);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};
	if (argc == 4 && strcmp(argv[1], "--child") == 0)
		return child(argv[2], argv[3]);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
