/* The rules file: see shim.h. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/shim/shim.h"

#define RULES_MAX 64
#define POLL_NS   5000000

struct rule {
	enum shim_function function; /* SHIM_FUNCTIONS: any */
	unsigned long n, count, calls, fired;
	double prob;
	bool has_rv, after, stall;
	CK_RV rv;
	unsigned ms;
};

const char *const shim_names[SHIM_FUNCTIONS] = {
    "C_Initialize",
    "C_Finalize",
    "C_GetSlotList",
    "C_GetTokenInfo",
    "C_OpenSession",
    "C_CloseSession",
    "C_GetSessionInfo",
    "C_Login",
    "C_CreateObject",
    "C_GetAttributeValue",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_EncryptInit",
    "C_Encrypt",
    "C_DecryptInit",
    "C_Decrypt",
    "C_SignInit",
    "C_Sign",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_GenerateRandom",
};

static const struct {
	const char *name;
	CK_RV rv;
} errors[] = {
#define X(name) {#name, CKR_##name},
    X(HOST_MEMORY) X(GENERAL_ERROR) X(FUNCTION_FAILED) X(ARGUMENTS_BAD) X(DEVICE_ERROR) X(DEVICE_MEMORY)
        X(DEVICE_REMOVED) X(SESSION_HANDLE_INVALID) X(SESSION_CLOSED) X(SESSION_COUNT) X(OPERATION_ACTIVE)
            X(OPERATION_NOT_INITIALIZED) X(USER_NOT_LOGGED_IN) X(KEY_HANDLE_INVALID) X(OBJECT_HANDLE_INVALID)
                X(TOKEN_NOT_PRESENT) X(SLOT_ID_INVALID) X(CRYPTOKI_NOT_INITIALIZED) X(MECHANISM_INVALID)
                    X(PIN_INCORRECT) X(PIN_LOCKED) X(KEY_FUNCTION_NOT_PERMITTED) X(TEMPLATE_INCONSISTENT)
                        X(ENCRYPTED_DATA_INVALID)
#undef X
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[RULES_MAX];
static size_t n_rules;
static struct stat known;
static unsigned version;
static _Atomic unsigned long fired;

/* For tests in the same process: faults and delays since the start. */
__attribute__((visibility("default"))) unsigned long p11shim_fired(void);
unsigned long p11shim_fired(void)
{
	return atomic_load(&fired);
}

static void bad(const char *word)
{
	fprintf(stderr, "shim: no such word in a rule: %s\n", word);
	abort();
}

static CK_RV error_of(const char *name)
{
	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
		if (strcmp(errors[i].name, name) == 0)
			return errors[i].rv;
	char *end;
	CK_RV rv = strtoul(name, &end, 0);
	if (*end || end == name)
		bad(name);
	return rv;
}

static enum shim_function function_of(const char *name)
{
	enum shim_function i = 0;
	while (i < SHIM_FUNCTIONS && strcmp(shim_names[i], name) != 0)
		i++;
	if (i == SHIM_FUNCTIONS && strcmp(name, "*") != 0)
		bad(name);
	return i;
}

static void set_word(struct rule *rule, const char *word)
{
	const char *value = strchr(word, '=');
	value = value ? value + 1 : "";
	if (strncmp(word, "n=", 2) == 0)
		rule->n = strtoul(value, NULL, 10);
	else if (strncmp(word, "count=", 6) == 0)
		rule->count = strtoul(value, NULL, 10);
	else if (strncmp(word, "prob=", 5) == 0)
		rule->prob = strtod(value, NULL);
	else if (strncmp(word, "ms=", 3) == 0)
		rule->ms = (unsigned)strtoul(value, NULL, 10);
	else if (strcmp(word, "stall") == 0)
		rule->stall = true;
	else if (strcmp(word, "after") == 0)
		rule->after = true;
	else if (strncmp(word, "rv=", 3) == 0) {
		rule->has_rv = true;
		rule->rv = error_of(value);
	} else {
		bad(word);
	}
}

static void parse_line(char *line)
{
	char *rest = NULL, *word = strtok_r(line, " \t\n", &rest);
	if (!word || *word == '#' || n_rules == RULES_MAX)
		return;
	struct rule *rule = &rules[n_rules++];
	*rule = (struct rule){.function = function_of(word), .prob = 1};
	while ((word = strtok_r(NULL, " \t\n", &rest)))
		set_word(rule, word);
}

/* An editor's rename or a rewrite in place: either changes one of these. */
static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void reread_locked(void)
{
	static const char *path;
	if (!path)
		path = getenv("P11SHIM_RULES");
	struct stat now = {0};
	if (!path || (stat(path, &now) != 0 && known.st_ino == 0) || same_file(&now, &known))
		return;
	known = now;
	version++;
	n_rules = 0;
	FILE *file = fopen(path, "re");
	char line[256];
	while (file && fgets(line, sizeof line, file))
		parse_line(line);
	if (file)
		fclose(file);
}

/* Its own generator: the same for every run, and nobody else's sequence is disturbed. */
static bool happens(double prob)
{
	static unsigned short seed[3] = {1, 2, 3};
	return prob >= 1 || erand48(seed) < prob;
}

static const struct rule *match_locked(enum shim_function function)
{
	for (size_t i = 0; i < n_rules; i++) {
		struct rule *rule = &rules[i];
		if (rule->function != function && rule->function != SHIM_FUNCTIONS)
			continue;
		rule->calls++;
		if ((rule->n && rule->calls != rule->n) || (rule->count && rule->fired >= rule->count) || !happens(rule->prob))
			continue;
		rule->fired++;
		atomic_fetch_add(&fired, 1);
		return rule;
	}
	return NULL;
}

static void nap(long ns)
{
	struct timespec left = {ns / 1000000000, ns % 1000000000};
	while (nanosleep(&left, &left) != 0)
		;
}

static void wait_for_change(unsigned seen)
{
	for (;;) {
		nap(POLL_NS);
		pthread_mutex_lock(&lock);
		reread_locked();
		bool changed = version != seen;
		pthread_mutex_unlock(&lock);
		if (changed)
			return;
	}
}

bool shim_rule(enum shim_function function, CK_RV *rv, bool *after)
{
	pthread_mutex_lock(&lock);
	reread_locked();
	const struct rule *found = match_locked(function);
	const struct rule rule = found ? *found : (struct rule){0};
	unsigned seen = version;
	pthread_mutex_unlock(&lock);
	if (rule.ms)
		nap((long)rule.ms * 1000000);
	if (rule.stall)
		wait_for_change(seen);
	*rv = rule.rv;
	*after = rule.after;
	return rule.has_rv;
}
