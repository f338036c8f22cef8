/* The breaker, and the thread that closes it: it finalises and initialises the module, logs in, finds every key again
 * and tries it, until all of that works. It also makes the looks that hsm_check asks for, so that who asks is not kept
 * by the token. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "hsm/internal.h"

#define TROUBLE_MAX    8       /* failures of class C in a row that open the breaker, */
#define TROUBLE_US     1000000 /* when they last that long */
#define FIRST_PAUSE_US 50000
#define LAST_PAUSE_US  1000000
#define STEP_TRIES     5
#define STEP_PAUSE_US  10000
#define PROBE_US       250000 /* while the token is stalled */
#define STOP_US        2000000

void hsm_keeper_init(struct hsm_keeper *keeper)
{
	pthread_mutex_init(&keeper->lock, NULL);
	hsm_cond_init(&keeper->changed);
}

void hsm_keeper_done(struct hsm_keeper *keeper)
{
	pthread_cond_destroy(&keeper->changed);
	pthread_mutex_destroy(&keeper->lock);
}

/* ---- the breaker ---- */

static bool is_keeper(struct hsm *hsm)
{
	return hsm->keeper.running && pthread_equal(pthread_self(), hsm->keeper.thread);
}

enum err_code hsm_keeper_admit(struct hsm *hsm, struct err *err)
{
	struct hsm_keeper *keeper = &hsm->keeper;
	bool open = atomic_load(&keeper->open), stalled = atomic_load(&hsm->flights.stalled);
	if ((!open && !stalled) || is_keeper(hsm))
		return ERR_OK;
	if (!open)
		return hsm_flights_fail(hsm, err);
	pthread_mutex_lock(&keeper->lock);
	/* Without a native code: the keeper knows of it, and nobody is to act upon it again. */
	err_set(err, ERR_UNAVAILABLE, 0, "the token is out of order: %s", keeper->why.text);
	pthread_mutex_unlock(&keeper->lock);
	return ERR_UNAVAILABLE;
}

static void open_locked(struct hsm_keeper *keeper, const struct err *why)
{
	if (!keeper->running)
		return;
	keeper->why = *why;
	keeper->failures = 0;
	atomic_store(&keeper->open, true);
	pthread_cond_broadcast(&keeper->changed);
}

void hsm_keeper_open(struct hsm *hsm, const struct err *why)
{
	struct hsm_keeper *keeper = &hsm->keeper;
	if (is_keeper(hsm))
		return;
	pthread_mutex_lock(&keeper->lock);
	if (!atomic_load(&keeper->open))
		open_locked(keeper, why);
	pthread_mutex_unlock(&keeper->lock);
}

void hsm_keeper_success(struct hsm *hsm)
{
	atomic_store_explicit(&hsm->flights.landed_us, clock_monotonic_us(), memory_order_relaxed);
	if (atomic_load_explicit(&hsm->keeper.failures, memory_order_relaxed) > 0)
		atomic_store(&hsm->keeper.failures, 0);
}

void hsm_keeper_trouble(struct hsm *hsm, const struct err *why)
{
	struct hsm_keeper *keeper = &hsm->keeper;
	if (is_keeper(hsm))
		return;
	int64_t now = clock_monotonic_us();
	pthread_mutex_lock(&keeper->lock);
	if (keeper->failures == 0)
		keeper->failing_from_us = now;
	keeper->failures++;
	if (keeper->failures >= TROUBLE_MAX && now - keeper->failing_from_us >= TROUBLE_US && !atomic_load(&keeper->open))
		open_locked(keeper, why);
	pthread_mutex_unlock(&keeper->lock);
}

void hsm_keeper_pause(struct hsm *hsm, int64_t until_us)
{
	struct hsm_keeper *keeper = &hsm->keeper;
	struct timespec until = hsm_timespec(until_us);
	bool keeping = is_keeper(hsm);
	pthread_mutex_lock(&keeper->lock);
	while (!keeper->stop && (keeping || !atomic_load(&keeper->open)) &&
	       pthread_cond_timedwait(&keeper->changed, &keeper->lock, &until) != ETIMEDOUT)
		;
	pthread_mutex_unlock(&keeper->lock);
}

/* ---- bringing the token back ---- */

static struct hsm_key *first_key(struct hsm *hsm)
{
	pthread_mutex_lock(&hsm->keys_lock);
	struct hsm_key *key = hsm->keys;
	pthread_mutex_unlock(&hsm->keys_lock);
	return key;
}

/* A key that is not there any more is no reason to refuse the others; a token without any of them is another one, or
 * has not come up yet. */
static enum err_code try_keys(struct hsm *hsm, struct err *err)
{
	unsigned found = 0, gone = 0;
	for (struct hsm_key *key = first_key(hsm); key; key = key->next) {
		enum err_code code = hsm_selftest_key(key, err);
		if (code == ERR_OK)
			found++;
		else if (atomic_load(&key->gone))
			gone++;
		else
			return err_prefix(err, "key \"%s\"", key->label), code;
	}
	return found == 0 && gone > 0 ? ERR_UNAVAILABLE : ERR_OK;
}

static enum err_code restart(struct hsm *hsm, struct err *err)
{
	return hsm_module_restart(hsm->loaded, err);
}

static enum err_code find_token(struct hsm *hsm, struct err *err)
{
	CK_ULONG unused = 0;
	return hsm_token_find(hsm, &unused, err);
}

/* One step, a few times when its trouble may pass: one bad call must not send us back to the start. */
static enum err_code step(struct hsm *hsm, enum err_code (*function)(struct hsm *, struct err *), struct err *err)
{
	enum err_code code = function(hsm, err);
	for (unsigned i = 1; code != ERR_OK && i < STEP_TRIES; i++) {
		enum hsm_class class = hsm_rv_class((CK_RV)err->native);
		if (err->native == 0 || class == HSM_NEVER || class == HSM_PIN || class == HSM_LOST)
			break;
		hsm_keeper_pause(hsm, clock_monotonic_us() + STEP_PAUSE_US);
		code = function(hsm, err);
	}
	return code;
}

static enum err_code bring_back(struct hsm *hsm, struct err *err)
{
	if (!hsm_flights_drained(hsm, hsm_deadline(hsm)))
		return hsm_flights_fail(hsm, err);
	hsm_pool_drop_idle(hsm);
	hsm_session_free(hsm->login);
	hsm->login = NULL;
	enum err_code code = step(hsm, restart, err);
	if (code == ERR_OK)
		code = step(hsm, find_token, err);
	if (code == ERR_OK)
		code = step(hsm, hsm_login_again, err);
	if (code != ERR_OK)
		return code;
	atomic_fetch_add(&hsm->generation, 1);
	code = hsm_selftest_random(hsm, err);
	return code == ERR_OK ? try_keys(hsm, err) : code;
}

/* Waits until then, or until the keeper is to stop. */
static void rest_locked(struct hsm_keeper *keeper, int64_t until_us)
{
	struct timespec until = hsm_timespec(until_us);
	while (!keeper->stop && pthread_cond_timedwait(&keeper->changed, &keeper->lock, &until) != ETIMEDOUT)
		;
}

static void mend_locked(struct hsm *hsm)
{
	struct hsm_keeper *keeper = &hsm->keeper;
	int64_t pause_us = FIRST_PAUSE_US;
	while (!keeper->stop) {
		pthread_mutex_unlock(&keeper->lock);
		struct err err = {0};
		enum err_code code = bring_back(hsm, &err);
		pthread_mutex_lock(&keeper->lock);
		if (code == ERR_OK)
			break;
		keeper->why = err;
		keeper->found = err;
		keeper->answered = keeper->asked;
		pthread_cond_broadcast(&keeper->changed);
		rest_locked(keeper, clock_monotonic_us() + pause_us / 2 + arc4random_uniform((uint32_t)pause_us / 2));
		pause_us = 2 * pause_us < LAST_PAUSE_US ? 2 * pause_us : LAST_PAUSE_US;
	}
	keeper->failures = 0;
	atomic_store(&keeper->open, false);
	pthread_cond_broadcast(&keeper->changed);
}

/* ---- looking ---- */

/* A session may look logged in while the token behind it is gone: the keys have to be there as well. */
static enum err_code look_at(struct hsm_session *session, CK_OBJECT_HANDLE key, void *unused, struct err *err)
{
	(void)unused;
	uint8_t random[16];
	CK_ULONG type;
	enum err_code code = hsm_login_check(session, err);
	if (code != ERR_OK)
		return code;
	if (hsm_call_random(session, random, sizeof random) != CKR_OK)
		return hsm_session_fail(session, err);
	if (key != CK_INVALID_HANDLE && hsm_attr_number(session, key, CKA_KEY_TYPE, 0, &type) != CKR_OK)
		return hsm_session_fail(session, err);
	return ERR_OK;
}

static void look_locked(struct hsm *hsm)
{
	struct hsm_keeper *keeper = &hsm->keeper;
	unsigned asked = keeper->asked;
	pthread_mutex_unlock(&keeper->lock);
	struct err err = {0};
	struct hsm_key *key = first_key(hsm);
	enum err_code code = hsm_run(hsm, key, look_at, NULL, &err);
	while (code == ERR_OK && key && (key = key->next))
		code = hsm_run(hsm, key, look_at, NULL, &err);
	bool lost = code != ERR_OK && hsm_rv_class((CK_RV)err.native) == HSM_LOST;
	pthread_mutex_lock(&keeper->lock);
	if (lost && !atomic_load(&keeper->open))
		open_locked(keeper, &err);
	keeper->found = code == ERR_OK ? (struct err){0} : err;
	keeper->answered = asked;
	pthread_cond_broadcast(&keeper->changed);
}

static void *keep(void *user)
{
	struct hsm *hsm = (struct hsm *)user;
	struct hsm_keeper *keeper = &hsm->keeper;
	pthread_mutex_lock(&keeper->lock);
	while (!keeper->stop) {
		struct timespec until = hsm_timespec(clock_monotonic_us() + PROBE_US);
		if (atomic_load(&keeper->open))
			mend_locked(hsm);
		else if (keeper->asked != keeper->answered || atomic_load(&hsm->flights.stalled))
			look_locked(hsm);
		if (!keeper->stop && !atomic_load(&keeper->open) && keeper->asked == keeper->answered)
			pthread_cond_timedwait(&keeper->changed, &keeper->lock, &until);
	}
	keeper->ended = true;
	pthread_cond_broadcast(&keeper->changed);
	pthread_mutex_unlock(&keeper->lock);
	return NULL;
}

enum err_code hsm_check(struct hsm *hsm, struct err *err)
{
	struct hsm_keeper *keeper = &hsm->keeper;
	enum err_code code = hsm_keeper_admit(hsm, err);
	if (code != ERR_OK)
		return code;
	struct timespec deadline = hsm_timespec(hsm_deadline(hsm));
	pthread_mutex_lock(&keeper->lock);
	unsigned look = ++keeper->asked;
	pthread_cond_broadcast(&keeper->changed);
	int rc = 0;
	while ((int)(keeper->answered - look) < 0 && rc == 0)
		rc = pthread_cond_timedwait(&keeper->changed, &keeper->lock, &deadline);
	if ((int)(keeper->answered - look) < 0)
		code = err_set(err, ERR_UNAVAILABLE, 0, "the token does not answer");
	else if (keeper->found.code != ERR_OK)
		code = err_set(err, ERR_UNAVAILABLE, keeper->found.native, "%s", keeper->found.text);
	pthread_mutex_unlock(&keeper->lock);
	return code;
}

void hsm_keeper_start(struct hsm *hsm)
{
	struct hsm_keeper *keeper = &hsm->keeper;
	pthread_mutex_lock(&keeper->lock); /* so that the thread sees its own id */
	if (pthread_create(&keeper->thread, NULL, keep, hsm) != 0)
		abort(); /* no thread left at start-up: nothing would work */
	keeper->running = true;
	pthread_mutex_unlock(&keeper->lock);
}

bool hsm_keeper_stop(struct hsm *hsm)
{
	struct hsm_keeper *keeper = &hsm->keeper;
	if (!keeper->running)
		return true;
	pthread_mutex_lock(&keeper->lock);
	keeper->stop = true;
	pthread_cond_broadcast(&keeper->changed);
	struct timespec deadline = hsm_timespec(clock_monotonic_us() + STOP_US);
	int rc = 0;
	while (!keeper->ended && rc == 0)
		rc = pthread_cond_timedwait(&keeper->changed, &keeper->lock, &deadline);
	bool ended = keeper->ended;
	pthread_mutex_unlock(&keeper->lock);
	if (ended)
		pthread_join(keeper->thread, NULL);
	return ended;
}
