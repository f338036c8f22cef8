/* Logging in once, and again when the token has forgotten us. */
#include "hsm/internal.h"

static bool logged_in(struct hsm_session *session)
{
	CK_SESSION_INFO info;
	return session && hsm_call_session_info(session, &info) == CKR_OK && info.state == CKS_RW_USER_FUNCTIONS;
}

enum err_code hsm_login_check(struct hsm_session *session, struct err *err)
{
	if (logged_in(session))
		return ERR_OK;
	if (session->rv == CKR_OK) {
		session->rv = CKR_USER_NOT_LOGGED_IN;
		session->failed = "C_GetSessionInfo";
	}
	return hsm_session_fail(session, err);
}

/* Some tokens lock for good after a few wrong PINs: one that says it is near that is left to a person. */
static enum err_code check_flags(struct hsm_session *session, struct err *err)
{
	CK_TOKEN_INFO info;
	if (hsm_call_token_info(session, &info) != CKR_OK)
		return hsm_session_fail(session, err);
	if (info.flags & CKF_USER_PIN_LOCKED)
		return err_set(err, ERR_DENIED, (long)CKR_PIN_LOCKED, "the token's PIN is locked");
	if (info.flags & CKF_USER_PIN_FINAL_TRY)
		return err_set(err, ERR_DENIED, 0, "the token has one PIN try left: log in by hand first");
	if (info.flags & CKF_USER_PIN_TO_BE_CHANGED)
		return err_set(err, ERR_DENIED, 0, "the token wants its PIN changed first");
	return ERR_OK;
}

static enum err_code send_pin(struct hsm *hsm, struct hsm_session *session, struct err *err)
{
	if (hsm->pin_refused)
		return err_set(err, ERR_DENIED, 0, "the token refused the PIN; it is not sent again");
	enum err_code code = check_flags(session, err);
	if (code != ERR_OK)
		return code;
	autosecret struct secret *pin = NULL;
	code = hsm_pin_read(hsm->pin_source, hsm->info.label, &pin, err);
	if (code != ERR_OK) {
		if (err)
			err->native = 0; /* an errno is no CK_RV */
		return code;
	}
	CK_RV rv = hsm_call_login(session, secret_span(pin));
	hsm->pin_refused = rv != CKR_OK && hsm_rv_class(rv) == HSM_PIN;
	return rv == CKR_OK ? ERR_OK : hsm_session_fail(session, err);
}

enum err_code hsm_login(struct hsm *hsm, struct err *err)
{
	enum err_code code = hsm_session_new(hsm, &hsm->login, err);
	return code == ERR_OK ? send_pin(hsm, hsm->login, err) : code;
}

enum err_code hsm_login_again(struct hsm *hsm, struct err *err)
{
	if (logged_in(hsm->login))
		return ERR_OK;
	hsm_session_free(hsm->login);
	hsm->login = NULL;
	enum err_code code = hsm_session_new(hsm, &hsm->login, err);
	if (code != ERR_OK || logged_in(hsm->login))
		return code;
	if (strcmp(hsm->pin_source, "prompt") == 0)
		return err_set(err, ERR_UNAVAILABLE, 0, "the token logged us out and nobody is there to type the PIN: restart");
	code = send_pin(hsm, hsm->login, err);
	/* To whoever wanted a signature this is a token that is out of order. */
	if (code != ERR_OK && err)
		err->code = ERR_UNAVAILABLE;
	return code == ERR_OK ? ERR_OK : ERR_UNAVAILABLE;
}

/* False: the one who logs in for all does not come back. */
static bool enter(struct hsm *hsm, int64_t deadline_us)
{
	struct timespec deadline = hsm_timespec(deadline_us);
	pthread_mutex_lock(&hsm->login_lock);
	int rc = 0;
	while (hsm->logging_in && rc == 0)
		rc = pthread_cond_timedwait(&hsm->login_free, &hsm->login_lock, &deadline);
	bool entered = !hsm->logging_in;
	hsm->logging_in = true;
	pthread_mutex_unlock(&hsm->login_lock);
	return entered;
}

static void leave(struct hsm *hsm)
{
	pthread_mutex_lock(&hsm->login_lock);
	hsm->logging_in = false;
	pthread_cond_signal(&hsm->login_free);
	pthread_mutex_unlock(&hsm->login_lock);
}

enum err_code hsm_recover(struct hsm *hsm, unsigned generation, int64_t deadline_us, struct err *err)
{
	enum err_code code = ERR_OK;
	if (!enter(hsm, deadline_us))
		return err_set(err, ERR_UNAVAILABLE, 0, "the token does not answer to a login");
	if (atomic_load(&hsm->generation) == generation) {
		hsm_pool_drop_idle(hsm);
		code = hsm_login_again(hsm, err);
		if (code == ERR_OK)
			atomic_fetch_add(&hsm->generation, 1);
	}
	leave(hsm);
	return code;
}
