/* DSSE's JSON form of an envelope: {"payload": base64, "payloadType": text, "signatures": [{"keyid": text, "sig":
 * base64}]} (envelope.md, version 1.0). Either base64 alphabet; empty members may be left out; nothing else may be
 * there. */
#include <jansson.h>

#include "common/text.h"
#include "transaction/internal.h"

static enum err_code malformed(struct err *err, const char *what)
{
	return err_set(err, ERR_INVALID, 0, "the envelope's JSON: %s", what);
}

static enum err_code take_text(json_t *value, char **ret, struct err *err)
{
	if (value && !json_is_string(value))
		return malformed(err, "payloadType and keyid are strings");
	*ret = xstrndup(value ? json_string_value(value) : "", json_string_length(value));
	return ERR_OK;
}

static enum err_code take_base64(json_t *value, struct buf *out, struct err *err)
{
	if (value && !json_is_string(value))
		return malformed(err, "payload and sig are strings");
	if (value && !text_unbase64(span_of(json_string_value(value), json_string_length(value)), out))
		return malformed(err, "payload and sig are base64");
	return ERR_OK;
}

/* True when the object has no member but these (a NULL ends them). */
static bool only(json_t *object, const char *const *members)
{
	size_t known = 0;
	for (; *members; members++)
		known += json_object_get(object, *members) != NULL;
	return known == json_object_size(object);
}

static enum err_code take_signature(json_t *value, struct envelope_signature *ret, struct err *err)
{
	static const char *const members[] = {"keyid", "sig", NULL};
	if (!json_is_object(value) || !only(value, members))
		return malformed(err, "a signature is an object of keyid and sig");
	enum err_code code = take_text(json_object_get(value, "keyid"), &ret->keyid, err);
	return code ? code : take_base64(json_object_get(value, "sig"), &ret->sig, err);
}

static enum err_code take_signatures(json_t *array, struct envelope *ret, struct err *err)
{
	if (array && !json_is_array(array))
		return malformed(err, "signatures is an array");
	for (size_t i = 0; i < json_array_size(array); i++) {
		struct envelope_signature *signature = envelope_add_signature(ret);
		if (!signature)
			return err_set(err, ERR_EXHAUSTED, 0, "the envelope has more than %d signatures",
			               TRANSACTION_SIGNATURES_MAX);
		enum err_code code = take_signature(json_array_get(array, i), signature, err);
		if (code)
			return code;
	}
	return ERR_OK;
}

static enum err_code take_envelope(json_t *root, struct envelope *ret, struct err *err)
{
	static const char *const members[] = {"payload", "payloadType", "signatures", NULL};
	if (!json_is_object(root) || !only(root, members))
		return malformed(err, "an envelope is an object of payload, payloadType and signatures");
	enum err_code code = take_text(json_object_get(root, "payloadType"), &ret->type, err);
	code = code ? code : take_base64(json_object_get(root, "payload"), &ret->payload, err);
	code = code ? code : take_signatures(json_object_get(root, "signatures"), ret, err);
	return code ? code : envelope_check(ret, err);
}

enum err_code envelope_parse_json(struct span text, struct envelope *ret, struct err *err)
{
	json_error_t why;
	json_t *root = json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return err_set(err, ERR_INVALID, 0, "the envelope's JSON: byte %d: %s", why.position,
		               json_error_code(&why) == json_error_duplicate_key ? "a member appears twice" : "syntax error");
	struct envelope envelope = {0};
	enum err_code code = take_envelope(root, &envelope, err);
	json_decref(root);
	if (code) {
		envelope_done(&envelope);
		return code;
	}
	envelope_digest(envelope.type, buf_span(&envelope.payload), envelope.digest);
	*ret = envelope;
	return ERR_OK;
}

static json_t *base64_value(const struct buf *bytes)
{
	autobuf struct buf text = {0};
	text_base64(buf_span(bytes), &text);
	return json_string(buf_cstr(&text));
}

void envelope_to_json(const struct envelope *envelope, struct buf *out)
{
	json_t *signatures = json_array();
	for (size_t i = 0; i < envelope->n_signatures; i++) {
		const struct envelope_signature *signature = &envelope->signatures[i];
		json_array_append_new(signatures,
		                      json_pack("{s:s, s:o}", "keyid", signature->keyid, "sig", base64_value(&signature->sig)));
	}
	json_t *root = json_pack("{s:o, s:s, s:o}", "payload", base64_value(&envelope->payload), "payloadType",
	                         envelope->type, "signatures", signatures);
	char *text = json_dumps(root, JSON_COMPACT);
	if (text)
		buf_append_str(out, text);
	else
		out->failed = true; /* a type or keyid that is not UTF-8, which nothing that was parsed has */
	free(text);
	json_decref(root);
}
