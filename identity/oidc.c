#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cjose/cjose.h>
#include <jansson.h>

#include "common/text.h"
#include "identity/identity.h"
#include "identity/oidc_keys.h"

#define TOKEN_MAX   ((size_t)8 << 10)
#define SKEW_S      60
#define HEADER_MAX  2048
#define FRESH_US    (3600 * (int64_t)1000000) /* keys are asked for again */
#define BELIEVED_US (24 * FRESH_US)           /* without an answer keys are believed for so long */
#define BETWEEN_US  (3 * (int64_t)1000000)    /* attempts, whoever shows tokens with unknown keys */
#define NEVER       INT64_MIN

struct identity_oidc {
	char *issuer, *audience, *claim, *keys_file;
	char **thumbprints;
	size_t n_thumbprints;
	bool bind_nonce;
	int64_t max_age_s;
	const struct clock *clock;
	enum err_code (*fetch)(void *user, struct buf *out, struct err *err);
	void *user;

	pthread_mutex_t fetching; /* one at a time, others wait for its result */
	int64_t asked_us, got_us; /* of fetching */
	struct timespec file_changed;
	struct err trouble;

	pthread_mutex_t lock; /* of the keys */
	struct oidc_keys *keys;
};

static char *copy(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

/* ---- keys ---- */

static enum err_code read_keys(struct identity_oidc *oidc, struct buf *out, struct err *err)
{
	return oidc->keys_file ? text_read_file(oidc->keys_file, OIDC_KEYS_MAX, out, err)
	                       : oidc->fetch(oidc->user, out, err);
}

/* Takes up all of them, or none. */
static enum err_code take_keys(struct identity_oidc *oidc, struct err *err)
{
	autobuf struct buf json = {.max = OIDC_KEYS_MAX + 1};
	struct oidc_keys *keys = NULL;
	enum err_code code = read_keys(oidc, &json, err);
	if (code == ERR_OK)
		code =
		    oidc_keys_parse(buf_span(&json), (const char *const *)oidc->thumbprints, oidc->n_thumbprints, &keys, err);
	oidc->asked_us = clock_monotonic_us();
	if (code != ERR_OK)
		return code;
	oidc->got_us = oidc->asked_us;
	pthread_mutex_lock(&oidc->lock);
	struct oidc_keys *old = oidc->keys;
	oidc->keys = keys;
	pthread_mutex_unlock(&oidc->lock);
	oidc_keys_free(old);
	return ERR_OK;
}

static bool file_changed(struct identity_oidc *oidc)
{
	struct stat st;
	if (stat(oidc->keys_file, &st) != 0 ||
	    (st.st_ctim.tv_sec == oidc->file_changed.tv_sec && st.st_ctim.tv_nsec == oidc->file_changed.tv_nsec))
		return false;
	oidc->file_changed = st.st_ctim;
	return true;
}

static bool is_due(struct identity_oidc *oidc, bool unknown)
{
	if (oidc->keys_file)
		return file_changed(oidc);
	const int64_t now = clock_monotonic_us();
	const bool old = oidc->got_us == NEVER || now - oidc->got_us >= FRESH_US;
	return (old || unknown) && (oidc->asked_us == NEVER || now - oidc->asked_us >= BETWEEN_US);
}

/* Keys that can be believed; `unknown`: a token names one that is not among them. False: *detail says why. */
static bool keep_fresh(struct identity_oidc *oidc, bool unknown, struct err *detail)
{
	pthread_mutex_lock(&oidc->fetching);
	if (is_due(oidc, unknown) && take_keys(oidc, &oidc->trouble) == ERR_OK)
		oidc->trouble = (struct err){0};
	const bool have = oidc->got_us != NEVER;
	const bool believed = have && (oidc->keys_file || clock_monotonic_us() - oidc->got_us < BELIEVED_US);
	if (!believed)
		*detail = oidc->trouble;
	pthread_mutex_unlock(&oidc->fetching);
	return believed;
}

/* ---- a token ---- */

struct token {
	struct span header; /* base64url, as it stands there */
	char alg[8], kid[256];
};

static bool copy_member(const json_t *object, const char *name, char *out, size_t size)
{
	const char *text = json_string_value(json_object_get(object, name));
	if (!text || strlen(text) >= size)
		return false;
	memcpy(out, text, strlen(text) + 1);
	return true;
}

/* Of the header: the algorithm, out of a short list, and which key. Keys that a token brings itself are never looked
 * at.
 */
static bool read_header(const char *text, struct token *ret)
{
	const size_t len = strcspn(text, ".");
	autobuf struct buf json = {.max = HEADER_MAX};
	if (!text[len] || len > HEADER_MAX || !text_unbase64(span_of(text, len), &json))
		return false;
	json_t *header = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *kid = json_object_get(header, "kid");
	const bool good = json_is_object(header) && !json_object_get(header, "crit") &&
	                  copy_member(header, "alg", ret->alg, sizeof ret->alg) && oidc_alg_is_known(ret->alg) &&
	                  (!kid || copy_member(header, "kid", ret->kid, sizeof ret->kid));
	json_decref(header);
	return good;
}

static json_t *claims_of(cjose_jws_t *jws)
{
	uint8_t *plain = NULL;
	size_t len = 0;
	cjose_err error;
	if (!cjose_jws_get_plaintext(jws, &plain, &len, &error))
		return NULL;
	json_t *claims = json_loadb((const char *)plain, len, JSON_REJECT_DUPLICATES, NULL);
	if (claims && !json_is_object(claims)) {
		json_decref(claims);
		return NULL;
	}
	return claims;
}

/* The claims, when a key verifies the signature. *ret_unknown: no key of that name. */
static json_t *verify(struct identity_oidc *oidc, const char *text, const struct token *token, bool *ret_unknown)
{
	cjose_err error;
	json_t *claims = NULL;
	cjose_jws_t *jws = cjose_jws_import(text, strlen(text), &error);
	pthread_mutex_lock(&oidc->lock);
	const cjose_jwk_t *key = oidc->keys ? oidc_keys_find(oidc->keys, token->kid, token->alg) : NULL;
	*ret_unknown = !key;
	if (jws && key && cjose_jws_verify(jws, key, &error))
		claims = claims_of(jws);
	pthread_mutex_unlock(&oidc->lock);
	cjose_jws_release(jws);
	return claims;
}

static bool is_text(const json_t *value, const char *text)
{
	return json_is_string(value) && json_string_length(value) == strlen(text) &&
	       strcmp(json_string_value(value), text) == 0;
}

/* OpenID Connect Core 1.0, section 3.1.3.7: of several audiences the authorized party is we. */
static bool audience_is_we(const struct identity_oidc *oidc, const json_t *claims)
{
	const json_t *audience = json_object_get(claims, "aud"), *party = json_object_get(claims, "azp");
	bool ours = is_text(audience, oidc->audience);
	for (size_t i = 0; i < json_array_size(audience); i++)
		ours |= is_text(json_array_get(audience, i), oidc->audience);
	if (json_array_size(audience) > 1 && !party)
		return false;
	return ours && (!party || is_text(party, oidc->audience));
}

static bool number_of(const json_t *claims, const char *name, int64_t *ret)
{
	const json_t *value = json_object_get(claims, name);
	const double number = json_number_value(value);
	if (!json_is_number(value) || number < 0 || number > 1e12)
		return false;
	*ret = (int64_t)number;
	return true;
}

static const char *check_times(const struct identity_oidc *oidc, const json_t *claims)
{
	const int64_t now = clock_now_ms(oidc->clock) / 1000;
	int64_t expires, issued, not_before = 0;
	if (!number_of(claims, "exp", &expires) || !number_of(claims, "iat", &issued))
		return "it does not say when it was issued and when it expires";
	if (now >= expires + SKEW_S)
		return "it has expired";
	if (issued > now + SKEW_S)
		return "it was issued in the future";
	if (now - issued > oidc->max_age_s + SKEW_S)
		return "it was issued too long ago";
	if (json_object_get(claims, "nbf") && (!number_of(claims, "nbf", &not_before) || not_before > now + SKEW_S))
		return "it is not valid yet";
	return NULL;
}

static const char *check_claims(const struct identity_oidc *oidc, const json_t *claims,
                                const struct identity_oidc_use *use)
{
	const char *wrong = check_times(oidc, claims);
	if (!is_text(json_object_get(claims, "iss"), oidc->issuer))
		return "it is of another issuer";
	if (!audience_is_we(oidc, claims))
		return "it is for somebody else";
	if (wrong)
		return wrong;
	if (!is_text(json_object_get(claims, oidc->claim), use->subject))
		return "it does not name the transaction's subject";
	if (strcmp(oidc->claim, "email") == 0 && json_is_false(json_object_get(claims, "email_verified")))
		return "its e-mail address is not verified";
	if (oidc->bind_nonce && !is_text(json_object_get(claims, "nonce"), use->nonce))
		return "its nonce is not the transaction's id";
	return NULL;
}

static enum reason wrong(struct err *detail, const char *why)
{
	err_set(detail, ERR_UNAUTHENTICATED, 0, "ID token: %s", why);
	return REASON_ID_TOKEN_INVALID;
}

enum reason identity_oidc_check(struct identity_oidc *oidc, const struct identity_oidc_use *use, struct err *detail)
{
	struct token token = {0};
	if (strlen(use->token) > TOKEN_MAX || !read_header(use->token, &token))
		return wrong(detail, "it is none, or signed in a way that is not accepted");
	if (!keep_fresh(oidc, false, detail))
		return REASON_IDENTITY_PROVIDER_UNAVAILABLE;
	bool unknown = false;
	json_t *claims = verify(oidc, use->token, &token, &unknown);
	if (unknown && keep_fresh(oidc, true, detail))
		claims = verify(oidc, use->token, &token, &unknown);
	if (!claims)
		return wrong(detail, unknown ? "its key is not the issuer's" : "its signature does not hold");
	const char *why = check_claims(oidc, claims, use);
	json_decref(claims);
	return why ? wrong(detail, why) : REASON_NONE;
}

/* ---- life ---- */

enum err_code identity_oidc_new(const struct identity_oidc_options *options, struct identity_oidc **ret,
                                struct err *err)
{
	struct identity_oidc *oidc = xcalloc(1, sizeof *oidc);
	*oidc = (struct identity_oidc){.issuer = copy(options->issuer),
	                               .audience = copy(options->audience),
	                               .claim = copy(options->claim),
	                               .keys_file = copy(options->keys_file),
	                               .n_thumbprints = options->n_thumbprints,
	                               .bind_nonce = options->bind_nonce,
	                               .max_age_s = options->max_age_s,
	                               .clock = options->clock,
	                               .fetch = options->fetch,
	                               .user = options->user,
	                               .asked_us = NEVER,
	                               .got_us = NEVER};
	oidc->thumbprints = xcalloc(options->n_thumbprints + 1, sizeof *oidc->thumbprints);
	for (size_t i = 0; i < options->n_thumbprints; i++)
		oidc->thumbprints[i] = copy(options->thumbprints[i]);
	pthread_mutex_init(&oidc->fetching, NULL);
	pthread_mutex_init(&oidc->lock, NULL);
	enum err_code code = ERR_OK;
	if (oidc->keys_file) {
		(void)file_changed(oidc);
		code = take_keys(oidc, err);
	}
	if (code == ERR_OK)
		*ret = oidc;
	else
		identity_oidc_free(oidc);
	return code;
}

void identity_oidc_free(struct identity_oidc *oidc)
{
	if (!oidc)
		return;
	oidc_keys_free(oidc->keys);
	for (size_t i = 0; i < oidc->n_thumbprints; i++)
		free(oidc->thumbprints[i]);
	free(oidc->thumbprints);
	free(oidc->issuer);
	free(oidc->audience);
	free(oidc->claim);
	free(oidc->keys_file);
	pthread_mutex_destroy(&oidc->fetching);
	pthread_mutex_destroy(&oidc->lock);
	free(oidc);
}
