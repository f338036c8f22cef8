#include <jansson.h>
#include <stdlib.h>

#include "s3client/role.h"
#include "s3client/s3_xml.h"

#define ATTEMPTS         3
#define BACKOFF_MS       100U
#define ACCESS_KEY_MAX   128
#define SECRET_MAX       256
#define TOKEN_MAX        8192
#define ERROR_HEADER     "x-amzn-errortype" /* "AccessDeniedException:http://..." */
#define ERROR_WORD_BYTES 64

/* ---- one exchange ---- */

/* Into memory that stays where it is: a buffer that grows would leave copies behind. */
static enum err_code read_body(struct http_exchange *exchange, struct buf *body, struct err *err)
{
	body->max = ROLE_ANSWER_MAX;
	uint8_t *at = buf_reserve(body, ROLE_ANSWER_MAX);
	for (size_t len = 1; len > 0;) {
		if (body->len == ROLE_ANSWER_MAX)
			return err_set(err, ERR_CORRUPT, 0, "the answer is longer than %zu bytes", ROLE_ANSWER_MAX);
		enum err_code code = http_read(exchange, at + body->len, ROLE_ANSWER_MAX - body->len, &len, err);
		if (code != ERR_OK)
			return code;
		body->len += len;
	}
	return ERR_OK;
}

void role_answer_done(struct buf *body)
{
	if (body->data)
		secret_wipe(body->data, body->cap);
	buf_done(body);
}

static const struct {
	long status;
	enum err_code code;
	const char *hint;
} meanings[] = {
    {400, ERR_PRECONDITION, "the request is not accepted"},
    {401, ERR_DENIED, "not allowed"},
    {403, ERR_DENIED, "not allowed"},
    {404, ERR_PRECONDITION, "there is no role"},
    {405, ERR_PRECONDITION, "it is not offered"},
    {429, ERR_UNAVAILABLE, "too many requests"},
};

static enum err_code fail_status(const struct http_exchange *exchange, struct err *err)
{
	long status = http_status(exchange);
	char word[ERROR_WORD_BYTES] = "";
	const char *header = http_header(exchange, ERROR_HEADER);
	autofree char *type = header ? xstrndup(header, strcspn(header, ":")) : NULL;
	if (type)
		s3_copy_word(type, word, sizeof word);
	for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
		if (meanings[i].status == status)
			return err_set(err, meanings[i].code, status, "answered %ld%s%s: %s", status, word[0] ? " " : "", word,
			               meanings[i].hint);
	}
	return err_set(err, ERR_UNAVAILABLE, status, "answered %ld%s%s", status, word[0] ? " " : "", word);
}

static enum err_code attempt(struct role *role, const struct http_request *request, struct buf *body, struct err *err)
{
	struct http_exchange *exchange = NULL;
	enum err_code code = http_begin(role->pool, request, &exchange, err);
	if (code != ERR_OK)
		return code;
	long status = http_status(exchange);
	code = status == 200 || status == 201 ? read_body(exchange, body, err) : fail_status(exchange, err);
	http_end(exchange);
	return code;
}

enum err_code role_exchange(struct role *role, const struct http_request *request, struct buf *body, struct err *err)
{
	for (unsigned failed = 0;; failed++) {
		enum err_code code = attempt(role, request, body, err);
		if (code == ERR_OK)
			return ERR_OK;
		role_answer_done(body);
		if (code != ERR_UNAVAILABLE || failed + 1 == ATTEMPTS)
			return code;
		code = wait_sleep(&request->wait, BACKOFF_MS << failed, err);
		if (code != ERR_OK)
			return code;
	}
}

/* ---- the document ---- */

/* Printable ASCII without blanks: what can stand in a header. */
static bool is_opaque(const char *text, size_t max)
{
	size_t len = text ? strlen(text) : 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	}
	return len > 0 && len <= max;
}

static struct secret *secret_of(const char *before, const char *text, size_t extra)
{
	size_t head = strlen(before), len = strlen(text);
	struct secret *secret = secret_new(head + len + extra);
	memcpy(secret_bytes(secret), before, head);
	memcpy(secret_bytes(secret) + head, text, len);
	return secret;
}

static enum err_code read_values(const struct role *role, const json_t *object, const struct role_names *names,
                                 struct role_set *ret, struct err *err)
{
	const char *id = json_string_value(json_object_get(object, names->access_key_id));
	const char *secret = json_string_value(json_object_get(object, names->secret));
	const char *token = json_string_value(json_object_get(object, names->token));
	const char *expiration = json_string_value(json_object_get(object, names->expiration));
	int64_t ends_ms = 0;
	if (!is_opaque(id, ACCESS_KEY_MAX) || strpbrk(id, "/,=") || !is_opaque(secret, SECRET_MAX) ||
	    !is_opaque(token, TOKEN_MAX))
		return err_set(err, ERR_CORRUPT, 0, "the answer holds no credentials");
	if (!expiration || !clock_parse(expiration, &ends_ms))
		return err_set(err, ERR_CORRUPT, 0, "the answer does not say when the credentials end");
	if (ends_ms <= clock_now_ms(role->clock))
		return err_set(err, ERR_UNAVAILABLE, 0, "the credentials have ended already; is this machine's clock right?");
	*ret = (struct role_set){.access_key_id = xstrdup(id),
	                         .secret = secret_of("AWS4", secret, 0),
	                         .token = secret_of("", token, 1),
	                         .ends_ms = ends_ms};
	return ERR_OK;
}

static void wipe_value(json_t *object, const char *name)
{
	json_t *value = json_object_get(object, name);
	if (json_is_string(value))
		secret_wipe((char *)json_string_value(value), json_string_length(value));
}

enum err_code role_read_set(const struct role *role, struct span json, const struct role_names *names,
                            struct role_set *ret, struct err *err)
{
	json_t *document = json_loadb((const char *)json.ptr, json.len, JSON_REJECT_DUPLICATES, NULL);
	json_t *object = document;
	if (names->set)
		object = json_object_get(json_array_get(json_object_get(document, names->set), 0), "credentials");
	enum err_code code = json_is_object(object) ? read_values(role, object, names, ret, err)
	                                            : err_set(err, ERR_CORRUPT, 0, "the answer is none");
	wipe_value(object, names->secret);
	wipe_value(object, names->token);
	json_decref(document);
	return code;
}
