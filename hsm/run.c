/* One operation: a session of its own, and what the class of its error allows until the deadline. */
#include <stdlib.h>

#include "hsm/internal.h"

#define FRESH_MAX      2 /* sessions thrown away before a pause */
#define FIRST_PAUSE_US 2000
#define LAST_PAUSE_US  250000

struct effort {
	struct hsm *hsm;
	struct hsm_key *key;
	int64_t deadline_us;
	unsigned generation; /* of the failed try */
	unsigned fresh;
	bool logged_in_again;
	int64_t pause_us;
};

static enum err_code attempt(struct effort *effort, hsm_op *op, void *args, struct err *err, bool *ret_answer)
{
	struct hsm *hsm = effort->hsm;
	struct hsm_session *session = NULL;
	*ret_answer = false;
	effort->generation = atomic_load(&hsm->generation);
	enum err_code code = hsm_pool_take(hsm, effort->deadline_us, &session, err);
	if (code != ERR_OK)
		return code;
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	bool was_gone = effort->key && atomic_load(&effort->key->gone);
	if (effort->key)
		code = hsm_key_handle(session, effort->key, &object, err);
	if (code == ERR_OK)
		code = op(session, object, args, err);
	else if (session->rv == CKR_OK && !was_gone)
		hsm_keeper_open(hsm, err); /* a key that was there is not: is this still our token? */
	*ret_answer = session->answer;
	hsm_pool_give_back(session);
	return code;
}

/* With jitter, so that those who failed together do not come back together. False: no time is left. */
static bool pause(struct effort *effort)
{
	int64_t now = clock_monotonic_us();
	int64_t until = now + effort->pause_us / 2 + arc4random_uniform((uint32_t)effort->pause_us);
	if (until >= effort->deadline_us)
		return false;
	effort->pause_us = 2 * effort->pause_us < LAST_PAUSE_US ? 2 * effort->pause_us : LAST_PAUSE_US;
	hsm_keeper_pause(effort->hsm, until);
	return true;
}

/* Class B. Trouble on the way there has a class of its own. */
static bool log_in_again(struct effort *effort, struct err *err)
{
	effort->logged_in_again = true;
	if (hsm_recover(effort->hsm, effort->generation, effort->deadline_us, err) == ERR_OK)
		return true;
	switch (hsm_rv_class((CK_RV)err->native)) {
	case HSM_LOST:
		hsm_keeper_open(effort->hsm, err);
		return false;
	case HSM_FRESH:
	case HSM_LOGIN:
	case HSM_BACKOFF:
		effort->logged_in_again = false;
		hsm_keeper_trouble(effort->hsm, err);
		return err->native != 0 && pause(effort);
	default:
		return false;
	}
}

/* Is another try worth it, after what has to come before it? */
static bool again(struct effort *effort, struct err *err)
{
	if (err->native == 0)
		return false;
	switch (hsm_rv_class((CK_RV)err->native)) {
	case HSM_FRESH:
		hsm_pool_drop_idle(effort->hsm);
		if (effort->fresh++ < FRESH_MAX)
			return true;
		return effort->logged_in_again ? pause(effort) : log_in_again(effort, err);
	case HSM_LOGIN:
		if (!effort->logged_in_again)
			return log_in_again(effort, err);
		/* Logged in, found again, and still refused: a key that has not reached every HSM of a cluster yet. */
		hsm_keeper_trouble(effort->hsm, err);
		return pause(effort);
	case HSM_BACKOFF:
		hsm_keeper_trouble(effort->hsm, err);
		return pause(effort);
	case HSM_LOST:
		hsm_keeper_open(effort->hsm, err);
		return false;
	case HSM_NEVER:
	case HSM_PIN:
		return false;
	}
	return false;
}

enum err_code hsm_run(struct hsm *hsm, struct hsm_key *key, hsm_op *op, void *args, struct err *err)
{
	struct hsm_flight flight;
	struct err own = {0};
	struct err *detail = err ? err : &own;
	hsm_flight_begin(hsm, &flight);
	struct effort effort = {.hsm = hsm, .key = key, .deadline_us = flight.deadline_us, .pause_us = FIRST_PAUSE_US};
	enum err_code code;
	bool answer;
	do {
		detail->native = 0;
		code = attempt(&effort, op, args, detail, &answer);
	} while (code != ERR_OK && !answer && again(&effort, detail));
	if (code == ERR_OK)
		hsm_keeper_success(hsm);
	if (!hsm_flight_end(hsm, &flight))
		code = err_set(err, ERR_UNAVAILABLE, 0, "the token answered after more than %u ms", hsm->timeout_ms);
	return code;
}
