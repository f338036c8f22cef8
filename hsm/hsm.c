/* Opening and closing the token. */
#include <stdlib.h>

#include "hsm/internal.h"

#define DEFAULT_SESSIONS   64
#define DEFAULT_TIMEOUT_MS 5000

static enum err_code check_options(const struct hsm_options *options, struct err *err)
{
	if (!options->token || !options->pin_source)
		return err_set(err, ERR_INVALID, 0, "the token's URI and a pin source are needed");
	if (options->gcm_iv != HSM_GCM_IV_CALLER && options->gcm_iv != HSM_GCM_IV_TOKEN)
		return err_set(err, ERR_INVALID, 0, "unknown AES-GCM IV mode");
	return ERR_OK;
}

static enum err_code set_limit(struct hsm *hsm, const struct hsm_options *options, CK_ULONG token_max, struct err *err)
{
	unsigned limit = options->max_sessions ? options->max_sessions : DEFAULT_SESSIONS;
	if (token_max != 0 && token_max < limit)
		limit = (unsigned)token_max;
	if (limit < 2)
		return err_set(err, ERR_INVALID, 0, "at least two sessions are needed: one of them only holds the login");
	hsm->pool.limit = limit - 1;
	return ERR_OK;
}

static struct hsm *hsm_new(const struct hsm_options *options)
{
	struct hsm *hsm = xcalloc(1, sizeof *hsm);
	hsm->token_uri = xstrdup(options->token);
	hsm->pin_source = xstrdup(options->pin_source);
	hsm->gcm_iv = options->gcm_iv;
	hsm->timeout_ms = options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
	hsm_pool_init(&hsm->pool, 0);
	hsm_flights_init(&hsm->flights);
	hsm_keeper_init(&hsm->keeper);
	pthread_mutex_init(&hsm->login_lock, NULL);
	hsm_cond_init(&hsm->login_free);
	pthread_mutex_init(&hsm->keys_lock, NULL);
	return hsm;
}

enum err_code hsm_open(const struct hsm_options *options, struct hsm **ret, struct err *err)
{
	enum err_code code = check_options(options, err);
	if (code != ERR_OK)
		return code;
	struct hsm *hsm = hsm_new(options);
	CK_ULONG token_max = 0;
	code = hsm_module_load(options->module, &hsm->loaded, err);
	hsm->module = hsm->loaded;
	if (code == ERR_OK)
		code = hsm_token_find(hsm, &token_max, err);
	if (code == ERR_OK)
		code = set_limit(hsm, options, token_max, err);
	if (code == ERR_OK)
		code = hsm_login(hsm, err);
	if (code == ERR_OK)
		code = hsm_selftest_random(hsm, err);
	if (code != ERR_OK) {
		hsm_free(hsm);
		return code;
	}
	hsm_watch_start(hsm);
	hsm_keeper_start(hsm);
	*ret = hsm;
	return ERR_OK;
}

/* The token logs us out with the last session. C_Logout would log out everybody else in this process as well. */
void hsm_free(struct hsm *hsm)
{
	if (!hsm || !hsm_keeper_stop(hsm) || hsm_stuck(hsm) > 0)
		return;
	hsm_watch_stop(hsm);
	hsm_pool_drop_idle(hsm);
	hsm_session_free(hsm->login);
	hsm_key_free_all(hsm);
	hsm_module_unload(hsm->loaded);
	hsm_pool_done(&hsm->pool);
	hsm_flights_done(&hsm->flights);
	hsm_keeper_done(&hsm->keeper);
	pthread_mutex_destroy(&hsm->login_lock);
	pthread_cond_destroy(&hsm->login_free);
	pthread_mutex_destroy(&hsm->keys_lock);
	free(hsm->token_uri);
	free(hsm->pin_source);
	free(hsm);
}
