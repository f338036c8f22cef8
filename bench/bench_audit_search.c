/* Searching, rebuilding and opening a record of some size.
 *
 *	bench_audit_search [DIRECTORY [RECORDS]]
 *
 * Default: 2,000,000 records of 40,000 objects and 2,000 subjects, three for each transfer, one transfer in eight
 * refused. Eight stock searches with arguments at random, each for the newest 100; times include reading the records
 * from the log. */
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/audit.h"

enum {
	RECORDS = 2000000,
	WRITERS = 64,
	OBJECTS = 40000,
	SUBJECTS = 2000,
	ROUNDS = 200,
	SEARCHES = 8,
	WAIT_MS = 600000
};

static struct audit *audit;
static uint64_t wanted;

static void stop(const char *what, const char *why)
{
	fprintf(stderr, "bench_audit_search: %s: %s\n", what, why);
	exit(1);
}

/* ---- making it ---- */

static uint64_t mix(uint64_t v)
{
	v ^= v >> 33;
	v *= 0xff51afd7ed558ccdULL;
	v ^= v >> 33;
	v *= 0xc4ceb9fe1a85ec53ULL;
	return v ^ v >> 33;
}

struct words {
	char object[64], subject[48], address[32], id[16];
};

static void words_of(uint64_t transfer, struct words *ret)
{
	uint64_t r = mix(transfer);
	snprintf(ret->object, sizeof ret->object, "patients/%03u/2026/scan-%05u.dcm", (unsigned)(r % OBJECTS / 100),
	         (unsigned)(r % OBJECTS));
	snprintf(ret->subject, sizeof ret->subject, "user-%04u@clinic.example", (unsigned)((r >> 20) % SUBJECTS));
	snprintf(ret->address, sizeof ret->address, "198.%u.%u.%u", 18 + (unsigned)((r >> 32) & 1),
	         (unsigned)((r >> 33) & 255), (unsigned)((r >> 41) & 255));
	memcpy(ret->id, &r, 8);
	memcpy(ret->id + 8, &transfer, 8);
}

static Twokey__V1__Record record_of(uint64_t i, struct words *words)
{
	static const Twokey__V1__Event events[] = {TWOKEY__V1__EVENT__EVENT_COSIGN, TWOKEY__V1__EVENT__EVENT_REQUEST,
	                                           TWOKEY__V1__EVENT__EVENT_COMPLETION};
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	uint64_t transfer = i / 3;
	bool denied = transfer % 8 == 0;
	words_of(transfer, words);
	record.event = events[i % 3];
	record.operation = TWOKEY__V1__OPERATION__OPERATION_GET;
	/* Single-use state is not what is measured here: no record carries any. */
	record.decision = denied ? TWOKEY__V1__DECISION__DECISION_DENIED : TWOKEY__V1__DECISION__DECISION_UNSPECIFIED;
	record.reason = (char *)(denied ? (transfer % 16 ? "COUNTRY_DENIED" : "RULE_DENIED") : "");
	record.rule = (char *)"office-hours";
	record.country = (char *)(transfer % 5 ? "US" : "DE");
	record.object = words->object;
	record.bucket = (char *)"documents";
	record.subject = words->subject;
	record.account = (char *)"clinic-1";
	record.address = words->address;
	record.purpose = (char *)(transfer % 1000 ? "treatment of the patient" : "yearly review");
	record.user_agent = (char *)"Mozilla/5.0 (X11; Linux x86_64)";
	record.method = (char *)"/twokey.v1.Gatekeeper/Fetch";
	record.transaction_id = (ProtobufCBinaryData){sizeof words->id, (uint8_t *)words->id};
	return record;
}

static _Atomic(uint64_t) next_record;

static void *write_some(void *user)
{
	(void)user;
	for (uint64_t i; (i = atomic_fetch_add(&next_record, 1)) < wanted;) {
		struct words words;
		struct audit_commit commit;
		struct err err = {0};
		Twokey__V1__Record record = record_of(i, &words);
		if (audit_commit(audit, &record, NULL, &commit, &err) != ERR_OK)
			stop("commit", err.text);
	}
	return NULL;
}

static void write_all(void)
{
	pthread_t threads[WRITERS];
	for (int i = 0; i < WRITERS; i++)
		if (pthread_create(&threads[i], NULL, write_some, NULL) != 0)
			stop("thread", "cannot start");
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
}

/* ---- searching ---- */

static bool count(uint64_t index, struct span record, void *user)
{
	(void)index, (void)record;
	++*(uint64_t *)user;
	return true;
}

static void ask(int search, uint64_t random, Twokey__V1__SearchRequest *ret, struct words *words)
{
	twokey__v1__search_request__init(ret);
	words_of(random % (wanted / 3), words);
	switch (search) {
	case 0:
		ret->subject = words->subject;
		break;
	case 1:
		ret->object = words->object;
		break;
	case 2:
		words->object[17] = '\0'; /* "patients/123/2026" */
		ret->object_prefix = words->object;
		break;
	case 3:
		ret->subject = words->subject;
		ret->decision = TWOKEY__V1__DECISION__DECISION_DENIED;
		break;
	case 4:
		ret->reason = (char *)"COUNTRY_DENIED";
		ret->cursor_case = TWOKEY__V1__SEARCH_REQUEST__CURSOR_BEFORE_INDEX;
		ret->before_index = random % wanted;
		break;
	case 5:
		strcpy(strrchr(words->address, '.'), ".0/24");
		ret->network = words->address;
		break;
	case 6:
		ret->text = (char *)"yearly review";
		break;
	default:
		ret->transaction_id = (ProtobufCBinaryData){sizeof words->id, (uint8_t *)words->id};
	}
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static void measure(int search)
{
	static const char *const names[SEARCHES] = {
	    "one subject",        "one object", "objects of a prefix",  "denials of one subject",
	    "a reason, anywhere", "a network",  "free text, two words", "one transaction"};
	int64_t us[ROUNDS];
	uint64_t found = 0;
	for (uint64_t i = 0; i < ROUNDS; i++) {
		Twokey__V1__SearchRequest request;
		struct words words;
		struct audit_search_result result;
		struct err err = {0};
		ask(search, mix(i + 1), &request, &words);
		int64_t begin = clock_monotonic_us();
		if (audit_search(audit, &request, WAIT_MS, count, &found, &result, &err) != ERR_OK)
			stop(names[search], err.text);
		us[i] = clock_monotonic_us() - begin;
	}
	qsort(us, ROUNDS, sizeof us[0], by_size);
	printf("%-24s %9.2f %9.2f %9.0f\n", names[search], (double)us[ROUNDS / 2] / 1e3,
	       (double)us[ROUNDS * 99 / 100] / 1e3, (double)found / ROUNDS);
}

/* ---- size and time ---- */

static uint64_t total;

static int add_size(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path, (void)ftw;
	total += type == FTW_F ? (uint64_t)st->st_blocks * 512 : 0;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static double cpu_seconds(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void open_ledger(const char *directory)
{
	struct err err = {0};
	if (audit_open(&(struct audit_options){.directory = directory}, &audit, &err) != ERR_OK)
		stop("audit_open", err.text);
}

static void await_index(void)
{
	uint64_t committed = 1, indexed = 0;
	while (indexed < committed) {
		usleep(10000);
		audit_progress(audit, &committed, &indexed);
	}
}

static void rebuild(const char *directory)
{
	static const char *const suffixes[] = {"", "-wal", "-shm"};
	for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
		autofree char *path = xasprintf("%s/index.sqlite3%s", directory, suffixes[i]);
		unlink(path);
	}
	int64_t begin = clock_monotonic_us();
	open_ledger(directory);
	double opened = (double)(clock_monotonic_us() - begin) / 1e6, cpu = cpu_seconds();
	begin = clock_monotonic_us();
	await_index();
	double seconds = (double)(clock_monotonic_us() - begin) / 1e6;
	cpu = cpu_seconds() - cpu;
	printf("opened in %.2f s, all records within the hour\n", opened);
	printf("index rebuilt: %.0f records/s, %.0f per CPU second\n", (double)wanted / seconds, (double)wanted / cpu);
}

int main(int argc, char **argv)
{
	autofree char *directory = xasprintf("%s/bench-search-XXXXXX", argc > 1 ? argv[1] : ".");
	if (!mkdtemp(directory))
		stop(directory, "cannot be made");
	wanted = argc > 2 ? strtoull(argv[2], NULL, 10) : RECORDS;
	open_ledger(directory);
	write_all();
	audit_close(audit);
	rebuild(directory);
	autofree char *log = xasprintf("%s/log", directory);
	nftw(directory, add_size, 16, FTW_PHYS);
	uint64_t all = total;
	total = 0;
	nftw(log, add_size, 16, FTW_PHYS);
	printf("%" PRIu64 " records: %.0f bytes each in the log, %.0f in the index\n", wanted,
	       (double)total / (double)wanted, (double)(all - total) / (double)wanted);
	printf("search                         p50       p99     found   (ms)\n");
	for (int i = 0; i < SEARCHES; i++)
		measure(i);
	audit_close(audit);
	nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
