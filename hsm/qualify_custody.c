/* Attributes say that a key cannot leave the token. Does the token keep its word? */
#include "hsm/qualify.h"

#define OUT_MAX 4096

static enum err_code read_value(struct hsm_session *session, CK_OBJECT_HANDLE object, void *unused, struct err *err)
{
	(void)unused;
	uint8_t value[OUT_MAX];
	CK_ATTRIBUTE attribute = {CKA_VALUE, value, sizeof value};
	if (hsm_call_attribute(session, object, &attribute) != CKR_OK)
		return hsm_session_fail(session, err);
	bool shown = attribute.ulValueLen != CK_UNAVAILABLE_INFORMATION && attribute.ulValueLen > 0;
	secret_wipe(value, sizeof value);
	return shown ? err_set(err, ERR_PRECONDITION, 0, "C_GetAttributeValue gives away a key that is SENSITIVE") : ERR_OK;
}

enum err_code hsm_qualify_unread(struct qualify *qualify, struct err *err)
{
	struct hsm_key *const keys[] = {qualify->ec, qualify->aes, qualify->mac};
	enum err_code code = ERR_OK;
	for (size_t i = 0; code == ERR_OK && i < sizeof keys / sizeof keys[0]; i++)
		code = keys[i] ? hsm_run(qualify->hsm, keys[i], read_value, NULL, err) : hsm_qualify_missing(err);
	return code;
}

/* A key of the session's, made for wrapping, as anybody in the process could make it. */
static CK_RV make_wrapping_key(struct hsm_session *session, CK_OBJECT_HANDLE *ret)
{
	static CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	static CK_KEY_TYPE type = CKK_AES;
	static CK_ULONG len = HSM_AES_BYTES;
	static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
	                           {CKA_KEY_TYPE, &type, sizeof type},
	                           {CKA_VALUE_LEN, &len, sizeof len},
	                           {CKA_TOKEN, &no, sizeof no},
	                           {CKA_WRAP, &yes, sizeof yes}};
	return hsm_call_generate(session, CKM_AES_KEY_GEN, template, sizeof template / sizeof template[0], ret);
}

/* Whatever it is refused with, it is refused: also when there is no such mechanism, or no key to wrap with. */
static enum err_code wrap_out(struct hsm_session *session, CK_OBJECT_HANDLE object, void *unused, struct err *err)
{
	(void)unused;
	static const CK_MECHANISM_TYPE mechanisms[] = {CKM_AES_KEY_WRAP, CKM_AES_KEY_WRAP_PAD};
	CK_OBJECT_HANDLE wrapping;
	if (make_wrapping_key(session, &wrapping) != CKR_OK)
		return ERR_OK;
	for (size_t i = 0; i < sizeof mechanisms / sizeof mechanisms[0]; i++) {
		CK_MECHANISM mechanism = {.mechanism = mechanisms[i]};
		uint8_t out[OUT_MAX];
		CK_ULONG len = sizeof out;
		if (hsm_call_wrap_key(session, &mechanism, wrapping, object, out, &len) == CKR_OK)
			return err_set(err, ERR_PRECONDITION, 0, "a key that is not EXTRACTABLE is given away, wrapped");
	}
	return ERR_OK;
}

enum err_code hsm_qualify_unwrapped(struct qualify *qualify, struct err *err)
{
	struct hsm_key *const keys[] = {qualify->ec, qualify->aes, qualify->mac};
	enum err_code code = ERR_OK;
	for (size_t i = 0; code == ERR_OK && i < sizeof keys / sizeof keys[0]; i++)
		code = keys[i] ? hsm_run(qualify->hsm, keys[i], wrap_out, NULL, err) : hsm_qualify_missing(err);
	return code;
}
