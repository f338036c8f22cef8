/* RFC 7512 URIs of tokens and keys. p11-kit parses; what it lets pass and we do not is refused here. */
#include <p11-kit/uri.h>
#include <stdlib.h>

#include "hsm/internal.h"

struct hsm_uri {
	P11KitUri *p11;
};

void hsm_uri_free(struct hsm_uri *uri)
{
	if (uri)
		p11_kit_uri_free(uri->p11);
	free(uri);
}

static bool has(const struct hsm_uri *uri, CK_ATTRIBUTE_TYPE type)
{
	return p11_kit_uri_get_attribute(uri->p11, type) != NULL;
}

/* The text is not repeated in errors: it may hold a PIN. */
static enum err_code check(const struct hsm_uri *uri, struct err *err)
{
	if (p11_kit_uri_any_unrecognized(uri->p11))
		return err_set(err, ERR_INVALID, 0, "the pkcs11: URI has an attribute that nobody knows");
	if (p11_kit_uri_get_pin_value(uri->p11) || p11_kit_uri_get_pin_source(uri->p11))
		return err_set(err, ERR_INVALID, 0, "the pkcs11: URI must not hold a PIN: give a pin source beside it");
	if (p11_kit_uri_get_module_path(uri->p11) || p11_kit_uri_get_module_name(uri->p11))
		return err_set(err, ERR_INVALID, 0, "the pkcs11: URI must not name a module: it is set beside it");
	return ERR_OK;
}

static enum err_code parse(const char *text, struct hsm_uri **ret, struct err *err)
{
	struct hsm_uri *uri = xcalloc(1, sizeof *uri);
	uri->p11 = p11_kit_uri_new();
	int rc = text ? p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri->p11) : P11_KIT_URI_BAD_SYNTAX;
	enum err_code code = rc == P11_KIT_URI_OK ? check(uri, err)
	                                          : err_set(err, ERR_INVALID, rc, "not a pkcs11: URI (RFC 7512): %s",
	                                                    p11_kit_uri_message(rc));
	if (code != ERR_OK)
		hsm_uri_free(uri);
	else
		*ret = uri;
	return code;
}

enum err_code hsm_uri_parse_token(const char *text, struct hsm_uri **ret, struct err *err)
{
	struct hsm_uri *uri = NULL;
	enum err_code code = parse(text, &uri, err);
	if (code != ERR_OK)
		return code;
	if (has(uri, CKA_LABEL) || has(uri, CKA_ID) || has(uri, CKA_CLASS)) {
		hsm_uri_free(uri);
		return err_set(err, ERR_INVALID, 0, "the token's pkcs11: URI must not name an object");
	}
	*ret = uri;
	return ERR_OK;
}

enum err_code hsm_uri_parse_key(const char *text, struct hsm_uri **ret, struct err *err)
{
	struct hsm_uri *uri = NULL;
	enum err_code code = parse(text, &uri, err);
	if (code != ERR_OK)
		return code;
	if (!has(uri, CKA_LABEL) && !has(uri, CKA_ID)) {
		hsm_uri_free(uri);
		return err_set(err, ERR_INVALID, 0, "the key's pkcs11: URI must have an object or id attribute");
	}
	*ret = uri;
	return ERR_OK;
}

bool hsm_uri_matches(const struct hsm_uri *uri, CK_SLOT_ID slot, const CK_TOKEN_INFO *info)
{
	CK_SLOT_ID wanted = p11_kit_uri_get_slot_id(uri->p11);
	return (wanted == (CK_SLOT_ID)-1 || wanted == slot) && p11_kit_uri_match_token_info(uri->p11, info);
}

size_t hsm_uri_template(const struct hsm_uri *uri, CK_ATTRIBUTE *out)
{
	static const CK_ATTRIBUTE_TYPE types[HSM_URI_ATTRIBUTES] = {CKA_LABEL, CKA_ID};
	size_t n = 0;
	for (size_t i = 0; i < HSM_URI_ATTRIBUTES; i++)
		if (has(uri, types[i]))
			out[n++] = *p11_kit_uri_get_attribute(uri->p11, types[i]);
	return n;
}

CK_OBJECT_CLASS hsm_uri_class(const struct hsm_uri *uri)
{
	CK_ATTRIBUTE *attribute = p11_kit_uri_get_attribute(uri->p11, CKA_CLASS);
	CK_OBJECT_CLASS class = CK_UNAVAILABLE_INFORMATION;
	if (attribute && attribute->ulValueLen == sizeof class)
		memcpy(&class, attribute->pValue, sizeof class);
	return class;
}

enum err_code hsm_uri_object(const char *text, char *out, size_t out_size, struct err *err)
{
	struct hsm_uri *uri = NULL;
	enum err_code code = parse(text, &uri, err);
	if (code != ERR_OK)
		return code;
	CK_ATTRIBUTE *label = p11_kit_uri_get_attribute(uri->p11, CKA_LABEL);
	if (!label || label->ulValueLen == 0 || memchr(label->pValue, 0, label->ulValueLen))
		code = err_set(err, ERR_INVALID, 0, "%s: has no object attribute", text);
	else if (label->ulValueLen >= out_size)
		code = err_set(err, ERR_INVALID, 0, "%s: its object attribute is too long", text);
	if (code == ERR_OK) {
		memcpy(out, label->pValue, label->ulValueLen);
		out[label->ulValueLen] = 0;
	}
	hsm_uri_free(uri);
	return code;
}
