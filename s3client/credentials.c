#include "s3client/credentials.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "s3client/role.h"

#define REFRESH_BEFORE_MS ((int64_t)15 * 60 * 1000) /* a new set is wanted so long before the end of the old one */
#define PAUSE_FIRST_MS    1000U                     /* after a failure; doubles up to PAUSE_LAST_MS */
#define PAUSE_LAST_MS     30000U
#define DOUBT_EVERY_US    ((int64_t)30 * 1000000)

struct credentials {
	struct role *role; /* NULL: one session for ever */
	const struct clock *clock;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct session *current; /* NULL: none was fetched yet */
	bool fetching;
	unsigned pause_ms;
	int64_t not_before_us; /* of the next attempt after a failure */
	int64_t doubted_us;    /* when S3 refused a session last; 0: never */
	struct err failure;    /* of the last attempt */
};

/* ---- sessions ---- */

/* What the token does with a secret of its own. */
static enum err_code hmac_of_secret(void *user, const char *yyyymmdd, uint8_t out[32], struct err *err)
{
	struct span key = secret_span((const struct secret *)user);
	unsigned len = 32;
	if (!HMAC(EVP_sha256(), key.ptr, (int)key.len, (const uint8_t *)yyyymmdd, strlen(yyyymmdd), out, &len))
		return err_set(err, ERR_INTERNAL, 0, "HMAC-SHA-256 failed");
	return ERR_OK;
}

static struct session *session_new(const struct s3_credentials *of)
{
	struct session *session = xcalloc(1, sizeof *session);
	session->refs = 1;
	session->ends_ms = session->refresh_ms = INT64_MAX;
	session->access_key_id = xstrdup(of->access_key_id);
	day_key_init(&session->day_key, of);
	return session;
}

static struct session *session_ref(struct session *session)
{
	__atomic_add_fetch(&session->refs, 1, __ATOMIC_RELAXED);
	return session;
}

void session_give_back(struct session *session)
{
	if (!session || __atomic_sub_fetch(&session->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	day_key_done(&session->day_key);
	secret_free(session->secret);
	secret_free(session->token);
	free(session->access_key_id);
	free(session);
}

/* Somewhere in the last quarter of an hour but a third of it, so that many gatekeepers do not ask at once; of a short
 * life, in its last third. */
static int64_t refresh_at(int64_t now_ms, int64_t ends_ms)
{
	int64_t before = (ends_ms - now_ms) / 3;
	if (before > REFRESH_BEFORE_MS)
		before = REFRESH_BEFORE_MS;
	uint32_t random = 0;
	if (getrandom(&random, sizeof random, 0) != sizeof random)
		return ends_ms - before;
	return ends_ms - before + (int64_t)random % (before / 3 + 1);
}

static struct session *session_of_set(const struct credentials *credentials, struct role_set *set)
{
	const struct s3_credentials of = {set->access_key_id, hmac_of_secret, set->secret};
	struct session *session = session_new(&of);
	session->secret = set->secret;
	session->token = set->token;
	session->ends_ms = set->ends_ms;
	session->refresh_ms = refresh_at(clock_now_ms(credentials->clock), set->ends_ms);
	set->secret = set->token = NULL;
	return session;
}

/* ---- life ---- */

enum err_code credentials_open(const struct s3_options *options, struct credentials **ret, struct err *err)
{
	struct role *role = NULL;
	enum err_code code = options->role ? role_open(options, &role, err) : ERR_OK;
	if (code != ERR_OK)
		return code;
	struct credentials *credentials = xcalloc(1, sizeof *credentials);
	credentials->role = role;
	credentials->clock = options->clock;
	pthread_mutex_init(&credentials->lock, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&credentials->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (!role)
		credentials->current = session_new(&options->credentials);
	*ret = credentials;
	return ERR_OK;
}

void credentials_free(struct credentials *credentials)
{
	if (!credentials)
		return;
	session_give_back(credentials->current);
	role_free(credentials->role);
	pthread_cond_destroy(&credentials->changed);
	pthread_mutex_destroy(&credentials->lock);
	free(credentials);
}

/* ---- fetching ---- */

static void note_failure(struct credentials *credentials, enum err_code code, const struct err *why)
{
	credentials->failure = *why;
	if (code == ERR_CANCELLED || code == ERR_DEADLINE) /* that says nothing of the source */
		return;
	unsigned pause = credentials->pause_ms ? credentials->pause_ms * 2 : PAUSE_FIRST_MS;
	credentials->pause_ms = pause < PAUSE_LAST_MS ? pause : PAUSE_LAST_MS;
	credentials->not_before_us = clock_monotonic_us() + (int64_t)credentials->pause_ms * 1000;
}

/* The lock is given up meanwhile. */
static enum err_code fetch_locked(struct credentials *credentials, const struct wait *wait, struct err *err)
{
	credentials->fetching = true;
	pthread_mutex_unlock(&credentials->lock);
	struct role_set set = {0};
	struct err why = {0};
	enum err_code code = role_fetch(credentials->role, wait, &set, &why);
	struct session *session = code == ERR_OK ? session_of_set(credentials, &set) : NULL;
	role_set_done(&set);
	pthread_mutex_lock(&credentials->lock);
	credentials->fetching = false;
	pthread_cond_broadcast(&credentials->changed);
	if (code != ERR_OK) {
		note_failure(credentials, code, &why);
		return err_set(err, code, why.native, "%s", why.text);
	}
	session_give_back(credentials->current);
	credentials->current = session;
	credentials->pause_ms = 0;
	credentials->not_before_us = 0;
	return ERR_OK;
}

static void wait_for_change_locked(struct credentials *credentials)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += WAIT_POLL_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&credentials->changed, &credentials->lock, &until);
}

/* One step towards a valid session; *ret_again: look again. */
static enum err_code renew_locked(struct credentials *credentials, const struct wait *wait, bool valid, bool *ret_again,
                                  struct err *err)
{
	*ret_again = false;
	bool pause = clock_monotonic_us() < credentials->not_before_us;
	if (valid && (credentials->fetching || pause))
		return ERR_OK;
	if (credentials->fetching) {
		wait_for_change_locked(credentials);
		*ret_again = true;
		return wait_check(wait, err);
	}
	if (pause)
		return err_set(err, credentials->failure.code, credentials->failure.native, "%s", credentials->failure.text);
	enum err_code code = fetch_locked(credentials, wait, err);
	*ret_again = code == ERR_OK;
	return valid && code != ERR_CANCELLED && code != ERR_DEADLINE ? ERR_OK : code;
}

static enum err_code take_locked(struct credentials *credentials, const struct wait *wait, struct session **ret,
                                 struct err *err)
{
	for (bool again = true; again;) {
		const struct session *current = credentials->current;
		int64_t now = clock_now_ms(credentials->clock);
		if (current && now < current->refresh_ms)
			break;
		enum err_code code = renew_locked(credentials, wait, current && now < current->ends_ms, &again, err);
		if (code != ERR_OK)
			return code;
	}
	*ret = session_ref(credentials->current);
	return ERR_OK;
}

enum err_code credentials_take(struct credentials *credentials, const struct wait *wait, struct session **ret,
                               struct err *err)
{
	pthread_mutex_lock(&credentials->lock);
	enum err_code code = take_locked(credentials, wait, ret, err);
	pthread_mutex_unlock(&credentials->lock);
	return code;
}

bool credentials_doubt(struct credentials *credentials, struct session *session)
{
	if (!credentials->role) {
		day_key_forget(&session->day_key); /* the secret in the token may have been replaced */
		return false;
	}
	pthread_mutex_lock(&credentials->lock);
	int64_t now = clock_monotonic_us();
	bool replaced = credentials->current != session, fresh = false;
	if (!replaced && (credentials->doubted_us == 0 || now - credentials->doubted_us > DOUBT_EVERY_US)) {
		credentials->doubted_us = now;
		session->refresh_ms = 0;
		fresh = true;
	}
	pthread_mutex_unlock(&credentials->lock);
	return replaced || fresh;
}
