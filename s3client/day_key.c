#include "s3client/day_key.h"

#include <stdio.h>

void day_key_init(struct day_key *day_key, const struct s3_credentials *credentials)
{
	*day_key = (struct day_key){.credentials = *credentials};
	pthread_mutex_init(&day_key->lock, NULL);
}

static void forget_locked(struct day_key *day_key)
{
	secret_free(day_key->key);
	day_key->key = NULL;
	day_key->scope[0] = 0;
}

void day_key_done(struct day_key *day_key)
{
	forget_locked(day_key);
	pthread_mutex_destroy(&day_key->lock);
}

void day_key_forget(struct day_key *day_key)
{
	pthread_mutex_lock(&day_key->lock);
	forget_locked(day_key);
	pthread_mutex_unlock(&day_key->lock);
}

static enum err_code derive_locked(struct day_key *day_key, const struct sigv4_scope *scope, struct err *err)
{
	char day[9] = "";
	memcpy(day, scope->timestamp, 8);
	forget_locked(day_key);
	autosecret struct secret *date_key = secret_new(32);
	enum err_code code = day_key->credentials.date_key(day_key->credentials.user, day, secret_bytes(date_key), err);
	if (code != ERR_OK)
		return code;
	day_key->key = secret_new(32);
	sigv4_derive_key(secret_bytes(date_key), scope->region, scope->service, secret_bytes(day_key->key));
	return ERR_OK;
}

enum err_code day_key_sign(struct day_key *day_key, const struct sigv4_scope *scope, struct span string_to_sign,
                           char ret_hex[65], struct err *err)
{
	char wanted[sizeof day_key->scope];
	int len = snprintf(wanted, sizeof wanted, "%.8s/%s/%s", scope->timestamp, scope->region, scope->service);
	if (len < 0 || (size_t)len >= sizeof wanted)
		return err_set(err, ERR_INVALID, 0, "the region's name is too long");
	enum err_code code = ERR_OK;
	pthread_mutex_lock(&day_key->lock);
	if (strcmp(day_key->scope, wanted) != 0)
		code = derive_locked(day_key, scope, err);
	if (code == ERR_OK) {
		memcpy(day_key->scope, wanted, sizeof wanted);
		sigv4_signature(secret_bytes(day_key->key), string_to_sign, ret_hex);
	}
	pthread_mutex_unlock(&day_key->lock);
	return code;
}
