/* How long a caller waits for a durable record, against a bare write and fdatasync of a file made the same way.
 *
 *	bench_audit_commit [DIRECTORY]
 *
 * Also on PostgreSQL when TWOKEY_BENCH_POSTGRESQL has a connection string. The directory decides which disk is measured
 *(default: the working directory). Rounds of both kinds alternate, so that what else happens on the machine hits both;
 *only the ratios mean anything. The search index is filled meanwhile, as in service. */
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "audit/audit.h"

enum {
	FILE_BYTES = 16 << 20,
	WRITE_BYTES = 448,
	ROUNDS = 6,
	ROUND_US = 400000,
	SAMPLES_MAX = 1 << 22,
	WAITERS_MAX = 64
};

struct samples {
	uint32_t *us;
	size_t n;
};

struct waiter {
	pthread_t thread;
	struct audit *audit;
	int64_t end_us;
	struct samples samples;
};

static void stop(const char *what, const char *why)
{
	fprintf(stderr, "bench_audit_commit: %s: %s\n", what, why);
	exit(1);
}

static void samples_init(struct samples *samples)
{
	samples->us = xcalloc(SAMPLES_MAX, sizeof(*samples->us));
	samples->n = 0;
}

static void samples_add(struct samples *samples, int64_t us)
{
	if (samples->n < SAMPLES_MAX)
		samples->us[samples->n++] = (uint32_t)us;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static double percentile(struct samples *samples, double share)
{
	if (samples->n == 0)
		stop("measuring", "no samples");
	qsort(samples->us, samples->n, sizeof(*samples->us), by_size);
	return samples->us[(size_t)((double)(samples->n - 1) * share)];
}

static int64_t bare_offset;

static void bare_round(int fd, struct samples *samples)
{
	static const uint8_t bytes[WRITE_BYTES] = {1};
	int64_t end_us = clock_monotonic_us() + ROUND_US;
	for (int64_t now = clock_monotonic_us(), then; now < end_us; now = then) {
		if (pwrite(fd, bytes, sizeof(bytes), bare_offset) != sizeof(bytes) || fdatasync(fd) != 0)
			stop("bare write", "failed");
		bare_offset = (bare_offset + WRITE_BYTES) % (FILE_BYTES - WRITE_BYTES);
		then = clock_monotonic_us();
		samples_add(samples, then - now);
	}
}

static void *wait_much(void *user)
{
	struct waiter *waiter = user;
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	record.event = TWOKEY__V1__EVENT__EVENT_COSIGN;
	record.decision = TWOKEY__V1__DECISION__DECISION_DENIED;
	record.reason = (char *)"RULE_DENIED";
	record.rule = (char *)"office-hours";
	record.object = (char *)"patients/2026/11/scan-000017.dcm";
	record.bucket = (char *)"documents";
	record.subject = (char *)"alice@example.org";
	record.account = (char *)"clinic-1";
	record.address = (char *)"192.0.2.17";
	record.purpose = (char *)"treatment of the patient";
	record.user_agent = (char *)"Mozilla/5.0 (X11; Linux x86_64)";
	record.method = (char *)"/twokey.v1.Gatekeeper/CoSign";
	for (int64_t now = clock_monotonic_us(), then; now < waiter->end_us; now = then) {
		struct audit_commit commit;
		struct err err = {0};
		if (audit_commit(waiter->audit, &record, NULL, &commit, &err) != ERR_OK)
			stop("commit", err.text);
		then = clock_monotonic_us();
		samples_add(&waiter->samples, then - now);
	}
	return NULL;
}

static void audit_round(struct audit *audit, struct waiter *waiters, int n)
{
	int64_t end_us = clock_monotonic_us() + ROUND_US;
	for (int i = 0; i < n; i++) {
		waiters[i].audit = audit;
		waiters[i].end_us = end_us;
		if (pthread_create(&waiters[i].thread, NULL, wait_much, &waiters[i]) != 0)
			stop("thread", "cannot start");
	}
	for (int i = 0; i < n; i++)
		pthread_join(waiters[i].thread, NULL);
}

static void merge(struct samples *all, struct waiter *waiters, int n)
{
	for (int i = 0; i < n; i++)
		for (size_t at = 0; at < waiters[i].samples.n; at++)
			samples_add(all, waiters[i].samples.us[at]);
}

static double cpu_seconds(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* So that the index of one measurement does not run into the next. */
static void drain(struct audit *audit)
{
	uint64_t committed = 1, indexed = 0;
	while (indexed < committed) {
		usleep(10000);
		audit_progress(audit, &committed, &indexed);
	}
}

static double measure(struct audit *audit, int fd, int n, double rate_at_one)
{
	static struct waiter waiters[WAITERS_MAX];
	struct samples bare, all;
	double spent = 0;
	samples_init(&bare);
	samples_init(&all);
	for (int i = 0; i < n; i++)
		samples_init(&waiters[i].samples);
	for (int round = 0; round < ROUNDS; round++) {
		bare_round(fd, &bare);
		double before = cpu_seconds();
		audit_round(audit, waiters, n);
		drain(audit);
		spent += cpu_seconds() - before;
	}
	merge(&all, waiters, n);
	double rate = (double)all.n / (ROUNDS * ROUND_US / 1e6);
	double bare50 = percentile(&bare, 0.5), bare99 = percentile(&bare, 0.99);
	double wait50 = percentile(&all, 0.5), wait99 = percentile(&all, 0.99);
	printf("%7d %9.0f %9.0f %6.2f %9.0f %9.0f %6.2f %11.0f %8.1f %10.1f\n", n, bare50, wait50, wait50 / bare50, bare99,
	       wait99, wait99 / bare99, rate, rate_at_one > 0 ? rate / rate_at_one : 1, spent * 1e6 / (double)all.n);
	for (int i = 0; i < n; i++)
		free(waiters[i].samples.us);
	free(bare.us);
	free(all.us);
	return rate;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int bare_file(const char *directory)
{
	autofree char *path = xasprintf("%s/bare", directory);
	autofree uint8_t *zeros = xcalloc(1, FILE_BYTES);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || posix_fallocate(fd, 0, FILE_BYTES) != 0 || pwrite(fd, zeros, FILE_BYTES, 0) != FILE_BYTES ||
	    fsync(fd) != 0)
		stop(path, "cannot be made");
	return fd;
}

static void measure_ledger(const char *kind, const struct audit_options *options, int fd)
{
	static const int counts[] = {1, 8, 64};
	struct audit *audit;
	struct err err = {0};
	if (audit_open(options, &audit, &err) != ERR_OK)
		stop("audit_open", err.text);
	double rate_at_one = 0;
	printf("%s\n", kind);
	printf("waiters  bare p50  wait p50  ratio  bare p99  wait p99  ratio   records/s    ratio CPU/record   (us)\n");
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		double rate = measure(audit, fd, counts[i], rate_at_one);
		rate_at_one = rate_at_one > 0 ? rate_at_one : rate;
	}
	audit_close(audit);
}

int main(int argc, char **argv)
{
	autofree char *directory = xasprintf("%s/bench-audit-XXXXXX", argc > 1 ? argv[1] : ".");
	if (!mkdtemp(directory))
		stop(directory, "cannot be made");
	autofree char *embedded = xasprintf("%s/audit", directory), *shared = xasprintf("%s/shared", directory);
	const char *connection = getenv("TWOKEY_BENCH_POSTGRESQL");
	int fd = bare_file(directory);
	measure_ledger("embedded log", &(struct audit_options){.directory = embedded}, fd);
	if (connection)
		measure_ledger("PostgreSQL (CPU: of the client alone)",
		               &(struct audit_options){.directory = shared, .postgresql.connection = connection}, fd);
	close(fd);
	nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
