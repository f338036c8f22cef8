/* Keys: found once, kept with their handle, found again after a recovery. */
#include <stdlib.h>

#include "hsm/internal.h"

struct find_args {
	const struct hsm_uri *uri;
	struct hsm_key *key;
};

static void key_free(struct hsm_key *key)
{
	if (key)
		buf_done(&key->spki);
	free(key);
}

void hsm_key_free_all(struct hsm *hsm)
{
	while (hsm->keys) {
		struct hsm_key *next = hsm->keys->next;
		key_free(hsm->keys);
		hsm->keys = next;
	}
}

/* Does a URI that names token or class as well name ours? */
static enum err_code check_uri(struct hsm_session *session, const struct find_args *find, struct err *err)
{
	CK_TOKEN_INFO info;
	if (hsm_call_token_info(session, &info) != CKR_OK)
		return hsm_session_fail(session, err);
	if (!hsm_uri_matches(find->uri, session->hsm->slot, &info))
		return err_set(err, ERR_NOT_FOUND, 0, "names another token");
	CK_OBJECT_CLASS wanted = find->key->kind == HSM_KEY_SIGN ? CKO_PRIVATE_KEY : CKO_SECRET_KEY;
	CK_OBJECT_CLASS named = hsm_uri_class(find->uri);
	if (named != CK_UNAVAILABLE_INFORMATION && named != wanted)
		return err_set(err, ERR_INVALID, 0, "its type attribute asks for another kind of object");
	return ERR_OK;
}

static enum err_code find(struct hsm_session *session, CK_OBJECT_HANDLE unused, void *user, struct err *err)
{
	(void)unused;
	struct find_args *args = (struct find_args *)user;
	buf_clear(&args->key->spki);
	args->key->generation = atomic_load(&session->hsm->generation);
	enum err_code code = hsm_login_check(session, err);
	if (code == ERR_OK)
		code = check_uri(session, args, err);
	if (code != ERR_OK)
		return code;
	CK_ATTRIBUTE template[HSM_URI_ATTRIBUTES];
	size_t n = hsm_uri_template(args->uri, template);
	return hsm_object_find(session, template, n, args->key, err);
}

static bool same(const struct hsm_key *a, const struct hsm_key *b)
{
	return a->kind == b->kind && strcmp(a->label, b->label) == 0 && strcmp(a->key_id, b->key_id) == 0 &&
	       span_eq(span_of(a->id, a->id_len), span_of(b->id, b->id_len));
}

/* Puts a key into the list, or gives the one that is there already. */
static struct hsm_key *keep(struct hsm *hsm, struct hsm_key *key)
{
	pthread_mutex_lock(&hsm->keys_lock);
	struct hsm_key *known = hsm->keys;
	while (known && !same(known, key))
		known = known->next;
	if (!known) {
		key->next = hsm->keys;
		hsm->keys = key;
	}
	pthread_mutex_unlock(&hsm->keys_lock);
	if (known)
		key_free(key);
	return known ? known : key;
}

enum err_code hsm_key_find(struct hsm *hsm, enum hsm_key_kind kind, const char *text, struct hsm_key **ret,
                           struct err *err)
{
	struct hsm_uri *uri = NULL;
	enum err_code code = hsm_uri_parse_key(text, &uri, err);
	if (code != ERR_OK)
		return code;
	struct hsm_key *key = xcalloc(1, sizeof *key);
	key->hsm = hsm;
	key->kind = kind;
	struct find_args args = {uri, key};
	code = hsm_run(hsm, NULL, find, &args, err);
	hsm_uri_free(uri);
	if (code == ERR_OK)
		code = hsm_selftest_key(key, err);
	if (code != ERR_OK) {
		err_prefix(err, "%s", text);
		key_free(key);
		return code;
	}
	*ret = keep(hsm, key);
	return ERR_OK;
}

/* The same key and no other: what was found at first is what has to be found again. */
static enum err_code find_again(struct hsm_session *session, struct hsm_key *key, CK_OBJECT_HANDLE *ret,
                                struct err *err)
{
	struct hsm_key again = {.hsm = key->hsm, .kind = key->kind};
	CK_ATTRIBUTE template[HSM_URI_ATTRIBUTES] = {
	    {CKA_LABEL, (void *)key->label, strlen(key->label)},
	    {CKA_ID, (void *)key->id, key->id_len},
	};
	enum err_code code = hsm_login_check(session, err);
	if (code == ERR_OK)
		code = hsm_object_find(session, template, key->id_len ? 2 : 1, &again, err);
	if (code == ERR_OK && !same(key, &again))
		code = err_set(err, ERR_PRECONDITION, 0, "another key has taken its place in the token");
	*ret = again.handle;
	buf_done(&again.spki);
	if (code == ERR_OK || code == ERR_NOT_FOUND || code == ERR_PRECONDITION)
		atomic_store(&key->gone, code != ERR_OK);
	if (code == ERR_OK)
		return ERR_OK;
	err_prefix(err, "key \"%s\" is not to be found again", key->label);
	if (err)
		err->code = ERR_UNAVAILABLE;
	return ERR_UNAVAILABLE;
}

enum err_code hsm_key_handle(struct hsm_session *session, struct hsm_key *key, CK_OBJECT_HANDLE *ret, struct err *err)
{
	struct hsm *hsm = session->hsm;
	unsigned now = atomic_load(&hsm->generation);
	pthread_mutex_lock(&hsm->keys_lock);
	CK_OBJECT_HANDLE handle = key->handle;
	bool fresh = key->generation == now;
	pthread_mutex_unlock(&hsm->keys_lock);
	if (!fresh) {
		enum err_code code = find_again(session, key, &handle, err);
		if (code != ERR_OK)
			return code;
		pthread_mutex_lock(&hsm->keys_lock);
		key->handle = handle;
		key->generation = now;
		pthread_mutex_unlock(&hsm->keys_lock);
	}
	*ret = handle;
	return ERR_OK;
}

struct span hsm_key_spki(const struct hsm_key *key)
{
	return buf_span(&key->spki);
}

const char *hsm_key_id(const struct hsm_key *key)
{
	return key->key_id;
}

const char *hsm_key_label(const struct hsm_key *key)
{
	return key->label;
}
