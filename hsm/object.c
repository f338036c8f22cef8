/* From a template to the one key that it names, with everything checked that can be read: class, type, size, custody,
 * and the public key beside a private one. */
#include "common/text.h"
#include "hsm/internal.h"

#define CANDIDATES_MAX 16

static const struct {
	CK_OBJECT_CLASS class;
	const char *name;
} kinds[] = {
    [HSM_KEY_SIGN] = {CKO_PRIVATE_KEY, "a private key"},
    [HSM_KEY_AES] = {CKO_SECRET_KEY, "an AES key"},
    [HSM_KEY_HMAC] = {CKO_SECRET_KEY, "a generic secret"},
};

static const CK_BBOOL yes = CK_TRUE;

/* Public keys and certificates commonly share the label of a private key: only private and secret keys count. */
static enum err_code find_one(struct hsm_session *session, CK_ATTRIBUTE *attributes, size_t n, CK_OBJECT_HANDLE *ret,
                              CK_OBJECT_CLASS *ret_class, struct err *err)
{
	CK_ATTRIBUTE template[HSM_URI_ATTRIBUTES + 1] = {{CKA_TOKEN, (void *)&yes, sizeof yes}};
	memcpy(template + 1, attributes, n * sizeof *attributes);
	CK_OBJECT_HANDLE objects[CANDIDATES_MAX];
	size_t count = 0;
	if (hsm_call_find(session, template, n + 1, objects, CANDIDATES_MAX, &count) != CKR_OK)
		return hsm_session_fail(session, err);
	unsigned found = 0;
	for (size_t i = 0; i < count; i++) {
		CK_OBJECT_CLASS class = CK_UNAVAILABLE_INFORMATION;
		if (hsm_attr_number(session, objects[i], CKA_CLASS, CK_UNAVAILABLE_INFORMATION, &class) != CKR_OK)
			return hsm_session_fail(session, err);
		if (class != CKO_PRIVATE_KEY && class != CKO_SECRET_KEY)
			continue;
		*ret = objects[i];
		*ret_class = class;
		found++;
	}
	if (count == CANDIDATES_MAX || found > 1)
		return err_set(err, ERR_INVALID, 0, "names several keys, must name one");
	if (found == 1)
		return ERR_OK;
	/* Whoever was logged out in the meantime sees no private object. */
	enum err_code code = hsm_login_check(session, err);
	return code == ERR_OK ? err_set(err, ERR_NOT_FOUND, 0, "the token has no such key") : code;
}

static enum err_code read_names(struct hsm_session *session, struct hsm_key *key, struct err *err)
{
	struct hsm_attr label, id;
	if (hsm_attr_read(session, key->handle, CKA_LABEL, &label) != CKR_OK ||
	    hsm_attr_read(session, key->handle, CKA_ID, &id) != CKR_OK)
		return hsm_session_fail(session, err);
	if (label.len > HSM_LABEL_MAX || memchr(label.value, 0, label.len))
		return err_set(err, ERR_INVALID, 0, "its CKA_LABEL is too long or no text");
	if (id.len > HSM_ID_MAX)
		return err_set(err, ERR_INVALID, 0, "its CKA_ID is longer than %d bytes", HSM_ID_MAX);
	/* The id is the name under which a KEK is remembered beside every object. */
	if (id.len == 0 && key->kind != HSM_KEY_SIGN)
		return err_set(err, ERR_INVALID, 0, "it has no CKA_ID");
	memcpy(key->label, label.value, label.len);
	key->label[label.len] = 0;
	memcpy(key->id, id.value, id.len);
	key->id_len = id.len;
	return ERR_OK;
}

/* What cannot be read is not believed. */
static enum err_code check_custody(struct hsm_session *session, CK_OBJECT_HANDLE object, struct err *err)
{
	bool sensitive, extractable;
	if (hsm_attr_flag(session, object, CKA_SENSITIVE, false, &sensitive) != CKR_OK ||
	    hsm_attr_flag(session, object, CKA_EXTRACTABLE, true, &extractable) != CKR_OK)
		return hsm_session_fail(session, err);
	if (!sensitive || extractable)
		return err_set(err, ERR_DENIED, 0, "its value could leave the token (CKA_SENSITIVE %d, CKA_EXTRACTABLE %d)",
		               sensitive, extractable);
	return ERR_OK;
}

static enum err_code check_secret(struct hsm_session *session, const struct hsm_key *key, struct err *err)
{
	if (key->kind == HSM_KEY_HMAC)
		return ERR_OK;
	CK_ULONG len;
	if (hsm_attr_number(session, key->handle, CKA_VALUE_LEN, 0, &len) != CKR_OK)
		return hsm_session_fail(session, err);
	return len == HSM_AES_BYTES ? ERR_OK : err_set(err, ERR_INVALID, 0, "is no AES-256 key");
}

/* The public key object that belongs to a private one: by CKA_ID, or by label when it has no id. */
static enum err_code find_public(struct hsm_session *session, const struct hsm_key *key, CK_OBJECT_HANDLE *ret,
                                 struct err *err)
{
	const CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
	CK_ATTRIBUTE template[] = {
	    {CKA_CLASS, (void *)&class, sizeof class},
	    {CKA_TOKEN, (void *)&yes, sizeof yes},
	    {CKA_ID, (void *)key->id, key->id_len},
	};
	if (key->id_len == 0)
		template[2] = (CK_ATTRIBUTE){CKA_LABEL, (void *)key->label, strlen(key->label)};
	CK_OBJECT_HANDLE objects[2];
	size_t count = 0;
	if (hsm_call_find(session, template, 3, objects, 2, &count) != CKR_OK)
		return hsm_session_fail(session, err);
	if (count != 1)
		return err_set(err, ERR_INVALID, 0, "has %s public key beside it", count ? "more than one" : "no");
	*ret = objects[0];
	return ERR_OK;
}

static enum err_code read_ec(struct hsm_session *session, CK_OBJECT_HANDLE public, struct hsm_key *key, struct err *err)
{
	struct hsm_attr params, point;
	if (hsm_attr_read(session, public, CKA_EC_PARAMS, &params) != CKR_OK ||
	    hsm_attr_read(session, public, CKA_EC_POINT, &point) != CKR_OK)
		return hsm_session_fail(session, err);
	if (!hsm_attr_is_p256(&params))
		return err_set(err, ERR_INVALID, 0, "is on another curve than P-256");
	return hsm_spki_ec(&point, &key->spki, err);
}

static enum err_code read_rsa(struct hsm_session *session, CK_OBJECT_HANDLE public, struct hsm_key *key,
                              struct err *err)
{
	struct hsm_attr modulus, exponent;
	if (hsm_attr_read(session, public, CKA_MODULUS, &modulus) != CKR_OK ||
	    hsm_attr_read(session, public, CKA_PUBLIC_EXPONENT, &exponent) != CKR_OK)
		return hsm_session_fail(session, err);
	if (hsm_attr_bits(&modulus) < HSM_MIN_RSA || modulus.len > HSM_SIG_MAX)
		return err_set(err, ERR_INVALID, 0, "is RSA of %u bits; 2048 to 8192 are accepted", hsm_attr_bits(&modulus));
	return hsm_spki_rsa(&modulus, &exponent, &key->spki, err);
}

static enum err_code read_public(struct hsm_session *session, struct hsm_key *key, struct err *err)
{
	CK_OBJECT_HANDLE public = CK_INVALID_HANDLE;
	enum err_code code = find_public(session, key, &public, err);
	if (code == ERR_OK)
		code = key->type == CKK_RSA ? read_rsa(session, public, key, err) : read_ec(session, public, key, err);
	if (code != ERR_OK)
		return code;
	uint8_t hash[32];
	text_sha256(buf_span(&key->spki), hash);
	text_hex(span_of(hash, sizeof hash), key->key_id);
	return ERR_OK;
}

static bool type_fits(enum hsm_key_kind kind, CK_KEY_TYPE type)
{
	switch (kind) {
	case HSM_KEY_SIGN:
		return type == CKK_EC || type == CKK_RSA;
	case HSM_KEY_AES:
		return type == CKK_AES;
	case HSM_KEY_HMAC:
		return type == CKK_GENERIC_SECRET || type == CKK_SHA256_HMAC;
	}
	return false;
}

enum err_code hsm_object_find(struct hsm_session *session, CK_ATTRIBUTE *template, size_t n, struct hsm_key *key,
                              struct err *err)
{
	CK_OBJECT_CLASS class = CK_UNAVAILABLE_INFORMATION;
	enum err_code code = find_one(session, template, n, &key->handle, &class, err);
	if (code != ERR_OK)
		return code;
	if (hsm_attr_number(session, key->handle, CKA_KEY_TYPE, CK_UNAVAILABLE_INFORMATION, &key->type) != CKR_OK)
		return hsm_session_fail(session, err);
	if (class != kinds[key->kind].class || !type_fits(key->kind, key->type))
		return err_set(err, ERR_INVALID, 0, "is not %s of an accepted type", kinds[key->kind].name);
	code = read_names(session, key, err);
	if (code == ERR_OK)
		code = check_custody(session, key->handle, err);
	if (code != ERR_OK)
		return code;
	if (key->kind == HSM_KEY_SIGN)
		return read_public(session, key, err);
	text_hex(span_of(key->id, key->id_len), key->key_id);
	return check_secret(session, key, err);
}
