#include "server/abuse.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/text.h"

#define SETS           256
#define WAYS           8
#define NAME_MAX_LEN   300
#define MINUTE_US      ((int64_t)60000000)
#define STEP_MS        20   /* later with every failure */
#define DELAY_MS       1000 /* at most */
#define PAUSE_NS       20000000
#define WAITING_OF_ONE 2 /* refusals of one witness that wait at a time */
#define WAITING_MAX    16
#define TOLD           5 /* reasons named in the record, most frequent first */
#define N_REASONS      (REASON_INTERNAL + 1)

/* An address or an identity, for the minute since its first failure. */
struct witness {
	bool is_identity;
	char name[NAME_MAX_LEN]; /* "": free */
	int64_t since_us, since_ms;
	uint64_t failures;
	unsigned waiting;
	uint32_t reasons[N_REASONS];
};

struct abuse {
	uint64_t limit;
	pthread_mutex_t lock;
	unsigned waiting;
	struct witness witnesses[SETS][WAYS];
};

struct abuse *abuse_new(const struct config *config)
{
	if (!config->limits.failures)
		return NULL;
	struct abuse *abuse = xcalloc(1, sizeof *abuse);
	abuse->limit = config->limits.failures;
	pthread_mutex_init(&abuse->lock, NULL);
	return abuse;
}

void abuse_free(struct abuse *abuse)
{
	if (!abuse)
		return;
	pthread_mutex_destroy(&abuse->lock);
	free(abuse);
}

/* What somebody got wrong, or tried; not what we could not do. */
static bool counts(enum reason reason)
{
	switch (reason_code(reason)) {
	case ERR_INVALID:
	case ERR_UNAUTHENTICATED:
	case ERR_DENIED:
	case ERR_UNIMPLEMENTED:
		return true;
	default:
		return reason == REASON_FLOOD_LIMIT;
	}
}

static unsigned set_of(const char *name)
{
	uint32_t hash = 2166136261U; /* FNV-1a: who makes names meet is not slowed, but still refused and recorded */
	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619U;
	return hash % SETS;
}

/* NULL: the set is full of others. */
static struct witness *find_locked(struct abuse *abuse, bool is_identity, const char *name)
{
	struct witness *set = abuse->witnesses[set_of(name)], *free_one = NULL;
	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].name[0] && set[i].is_identity == is_identity && strcmp(set[i].name, name) == 0)
			return &set[i];
		if (!set[i].name[0] && !free_one)
			free_one = &set[i];
	}
	if (!free_one || strlen(name) >= sizeof free_one->name)
		return NULL;
	*free_one =
	    (struct witness){.is_identity = is_identity, .since_us = clock_monotonic_us(), .since_ms = clock_now_ms(NULL)};
	memcpy(free_one->name, name, strlen(name) + 1);
	return free_one;
}

/* Of an IPv6 client its /64. */
static void name_address(const struct request *request, char out[IP_TEXT_MAX])
{
	struct ip_addr address = request->address;
	if (!ip_is_v4(&address))
		memset(address.bytes + 8, 0, 8);
	ip_format(&address, out);
}

/* Counts, and takes a place among those that wait; 0: none. */
static unsigned note_locked(struct abuse *abuse, struct witness *witness, enum reason reason)
{
	if (!witness)
		return 0;
	witness->failures++;
	witness->reasons[reason]++;
	if (witness->failures <= abuse->limit || witness->waiting == WAITING_OF_ONE || abuse->waiting == WAITING_MAX)
		return 0;
	const uint64_t over = witness->failures - abuse->limit;
	return over * STEP_MS < DELAY_MS ? (unsigned)over * STEP_MS : DELAY_MS;
}

static void pause_for(const struct request *request, unsigned ms)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	const int64_t until = clock_monotonic_us() + (int64_t)ms * 1000;
	const int64_t deadline = rpc_deadline_ms(request->call);
	while (clock_monotonic_us() < until && !rpc_cancelled(request->call) &&
	       (!deadline || deadline - clock_now_ms(NULL) > DELAY_MS / 4))
		nanosleep(&pause, NULL);
}

void abuse_wait(struct request *request, enum reason reason)
{
	struct abuse *abuse = request->deployment->abuse;
	if (!abuse || !counts(reason))
		return;
	char address[IP_TEXT_MAX] = "";
	const char *identity = request_identity_name(request);
	if (request->has_address)
		name_address(request, address);
	pthread_mutex_lock(&abuse->lock);
	struct witness *by_address = address[0] ? find_locked(abuse, false, address) : NULL;
	struct witness *by_identity = identity[0] ? find_locked(abuse, true, identity) : NULL;
	const unsigned first = note_locked(abuse, by_address, reason), second = note_locked(abuse, by_identity, reason);
	struct witness *slowed = first ? by_address : second ? by_identity : NULL;
	/* Calls of methods that do not exist have few threads. */
	if (request->event == TWOKEY__V1__EVENT__EVENT_REQUEST)
		slowed = NULL;
	if (slowed) {
		slowed->waiting++;
		abuse->waiting++;
	}
	pthread_mutex_unlock(&abuse->lock);
	if (!slowed)
		return;
	pause_for(request, first > second ? first : second);
	pthread_mutex_lock(&abuse->lock);
	slowed->waiting--;
	abuse->waiting--;
	pthread_mutex_unlock(&abuse->lock);
}

/* ---- the record ---- */

static void tell_reasons(struct witness *witness, struct buf *out)
{
	for (unsigned told = 0; told < TOLD; told++) {
		size_t most = 0;
		for (size_t i = 1; i < N_REASONS; i++)
			if (witness->reasons[i] > witness->reasons[most])
				most = i;
		if (!witness->reasons[most])
			return;
		buf_printf(out, "%s%s %u", told ? ", " : "", reason_name((enum reason)most), witness->reasons[most]);
		witness->reasons[most] = 0;
	}
}

static void record(struct deployment *deployment, struct witness *witness)
{
	autobuf struct buf detail = {0};
	Twokey__V1__Record made = TWOKEY__V1__RECORD__INIT;
	Google__Protobuf__Timestamp since = transaction_timestamp(witness->since_ms);
	tell_reasons(witness, &detail);
	made.event = TWOKEY__V1__EVENT__EVENT_ABUSE;
	made.gatekeeper = deployment->config->name;
	*(witness->is_identity ? &made.identity : &made.address) = witness->name;
	made.failures = witness->failures;
	made.failures_since = &since;
	made.detail = (char *)buf_cstr(&detail);
	struct audit_commit commit;
	struct err err = {0};
	if (audit_commit(deployment->audit, &made, NULL, &commit, &err) != ERR_OK)
		log_event(LOG_ERROR, "a summary of failures could not be recorded", "error", err.text, NULL);
	log_event(LOG_WARN, "repeated failures", witness->is_identity ? "identity" : "address", witness->name, "reasons",
	          made.detail, NULL);
}

/* Who still waits goes on waiting. */
static void begin_again(struct witness *witness)
{
	if (!witness->waiting)
		witness->name[0] = '\0';
	witness->failures = 0;
	witness->since_us = clock_monotonic_us();
	witness->since_ms = clock_now_ms(NULL);
	memset(witness->reasons, 0, sizeof witness->reasons);
}

void abuse_tend(struct deployment *deployment, bool all)
{
	struct abuse *abuse = deployment->abuse;
	const int64_t now = clock_monotonic_us();
	for (size_t i = 0; abuse && i < (size_t)SETS * WAYS; i++) {
		struct witness *witness = &abuse->witnesses[i / WAYS][i % WAYS], over = {0};
		pthread_mutex_lock(&abuse->lock);
		if (witness->name[0] && (all || now - witness->since_us >= MINUTE_US)) {
			over = *witness;
			begin_again(witness);
		}
		pthread_mutex_unlock(&abuse->lock);
		if (over.name[0] && over.failures > abuse->limit)
			record(deployment, &over);
	}
}
