#include "identity/oidc_keys.h"

#include <jansson.h>
#include <stdlib.h>

#include "common/text.h"

#define KEYS_MAX 64
#define RSA_BITS 2048

struct oidc_key {
	cjose_jwk_t *jwk;
	char *kid, *alg; /* "": any for its type */
	bool rsa;
};

struct oidc_keys {
	struct oidc_key keys[KEYS_MAX];
	size_t n;
};

static const struct {
	const char *name;
	bool rsa;
} algorithms[] = {{"RS256", true}, {"PS256", true}, {"ES256", false}};

static bool alg_fits(const char *alg, bool rsa)
{
	for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++)
		if (strcmp(algorithms[i].name, alg) == 0)
			return algorithms[i].rsa == rsa;
	return false;
}

bool oidc_alg_is_known(const char *alg)
{
	return alg_fits(alg, true) || alg_fits(alg, false);
}

static const char *member(const json_t *key, const char *name)
{
	const char *text = json_string_value(json_object_get(key, name));
	return text ? text : "";
}

static bool is_pinned(const json_t *key, bool rsa, const char *const *thumbprints, size_t n)
{
	autobuf struct buf text = {0};
	uint8_t digest[32];
	if (rsa)
		buf_printf(&text, "{\"e\":\"%s\",\"kty\":\"RSA\",\"n\":\"%s\"}", member(key, "e"), member(key, "n"));
	else
		buf_printf(&text, "{\"crv\":\"%s\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", member(key, "crv"),
		           member(key, "x"), member(key, "y"));
	text_sha256(buf_span(&text), digest);
	for (size_t i = 0; i < n; i++) {
		autobuf struct buf wanted = {.max = 64};
		if (text_unbase64(span_str(thumbprints[i]), &wanted) &&
		    span_eq(buf_span(&wanted), span_of(digest, sizeof digest)))
			return true;
	}
	return n == 0;
}

/* For signatures, of a type and size that is accepted, and the public half only. */
static bool is_usable(const json_t *key, bool *ret_rsa)
{
	const char *type = member(key, "kty"), *use = member(key, "use"), *alg = member(key, "alg");
	*ret_rsa = strcmp(type, "RSA") == 0;
	if (!*ret_rsa && (strcmp(type, "EC") != 0 || strcmp(member(key, "crv"), "P-256") != 0))
		return false;
	return (!use[0] || strcmp(use, "sig") == 0) && (!alg[0] || alg_fits(alg, *ret_rsa)) && !json_object_get(key, "d");
}

static void add(struct oidc_keys *keys, const json_t *key, bool rsa)
{
	cjose_err error;
	char *text = json_dumps(key, JSON_COMPACT);
	cjose_jwk_t *jwk = text ? cjose_jwk_import(text, strlen(text), &error) : NULL;
	free(text);
	if (jwk && rsa && cjose_jwk_get_keysize(jwk, &error) < RSA_BITS) {
		cjose_jwk_release(jwk);
		jwk = NULL;
	}
	if (jwk)
		keys->keys[keys->n++] = (struct oidc_key){jwk, xstrdup(member(key, "kid")), xstrdup(member(key, "alg")), rsa};
}

enum err_code oidc_keys_parse(struct span json, const char *const *thumbprints, size_t n_thumbprints,
                              struct oidc_keys **ret, struct err *err)
{
	json_t *document = json_loadb((const char *)json.ptr, json.len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *list = json_object_get(document, "keys");
	struct oidc_keys *keys = xcalloc(1, sizeof *keys);
	for (size_t i = 0; i < json_array_size(list) && keys->n < KEYS_MAX; i++) {
		const json_t *key = json_array_get(list, i);
		bool rsa;
		if (is_usable(key, &rsa) && is_pinned(key, rsa, thumbprints, n_thumbprints))
			add(keys, key, rsa);
	}
	json_decref(document);
	if (keys->n == 0) {
		oidc_keys_free(keys);
		return err_set(err, ERR_INVALID, 0,
		               "the issuer's keys: no key set (RFC 7517), or none with a key that can be used");
	}
	*ret = keys;
	return ERR_OK;
}

void oidc_keys_free(struct oidc_keys *keys)
{
	if (!keys)
		return;
	for (size_t i = 0; i < keys->n; i++) {
		cjose_jwk_release(keys->keys[i].jwk);
		free(keys->keys[i].kid);
		free(keys->keys[i].alg);
	}
	free(keys);
}

const cjose_jwk_t *oidc_keys_find(const struct oidc_keys *keys, const char *kid, const char *alg)
{
	const cjose_jwk_t *found = NULL;
	for (size_t i = 0; i < keys->n; i++) {
		const struct oidc_key *key = &keys->keys[i];
		if (!alg_fits(alg, key->rsa) || (key->alg[0] && strcmp(key->alg, alg) != 0))
			continue;
		if (kid[0] && strcmp(key->kid, kid) == 0)
			return key->jwk;
		if (!kid[0] && found)
			return NULL; /* which of them? */
		if (!kid[0])
			found = key->jwk;
	}
	return found;
}
