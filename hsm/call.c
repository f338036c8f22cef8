/* One wrapper per C_* function: the only place from which the module is entered with a session. */
#include "hsm/internal.h"

static CK_RV note(struct hsm_session *session, const char *function, CK_RV rv)
{
	if (rv != CKR_OK) {
		session->rv = rv;
		session->failed = function;
	}
	return rv;
}

#define CALL(session, function, ...) note(session, #function, (session)->hsm->module->function(__VA_ARGS__))

static CK_BYTE_PTR bytes(struct span span)
{
	return (CK_BYTE_PTR)span.ptr;
}

/* Read-write and without callbacks: AWS CloudHSM refuses anything else. */
CK_RV hsm_call_open_session(struct hsm_session *session)
{
	return CALL(session, C_OpenSession, session->hsm->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
	            &session->handle);
}

/* What a session says when it closes helps nobody. */
void hsm_call_close_session(struct hsm_session *session)
{
	session->hsm->module->C_CloseSession(session->handle);
}

CK_RV hsm_call_session_info(struct hsm_session *session, CK_SESSION_INFO *ret)
{
	return CALL(session, C_GetSessionInfo, session->handle, ret);
}

CK_RV hsm_call_token_info(struct hsm_session *session, CK_TOKEN_INFO *ret)
{
	return CALL(session, C_GetTokenInfo, session->hsm->slot, ret);
}

/* The login belongs to the whole application: another user of the token in this process may have done it. */
CK_RV hsm_call_login(struct hsm_session *session, struct span pin)
{
	CK_RV rv = session->hsm->module->C_Login(session->handle, CKU_USER, bytes(pin), pin.len);
	return note(session, "C_Login", rv == CKR_USER_ALREADY_LOGGED_IN ? CKR_OK : rv);
}

CK_RV hsm_call_random(struct hsm_session *session, uint8_t *out, size_t len)
{
	return CALL(session, C_GenerateRandom, session->handle, out, len);
}

CK_RV hsm_call_find(struct hsm_session *session, CK_ATTRIBUTE *template, size_t n, CK_OBJECT_HANDLE *ret, size_t max,
                    size_t *ret_count)
{
	CK_RV rv = CALL(session, C_FindObjectsInit, session->handle, template, n);
	if (rv != CKR_OK)
		return rv;
	size_t count = 0;
	CK_ULONG got = 1;
	while (count < max && got > 0) {
		rv = CALL(session, C_FindObjects, session->handle, ret + count, max - count, &got);
		if (rv != CKR_OK)
			return rv;
		count += got;
	}
	*ret_count = count;
	return CALL(session, C_FindObjectsFinal, session->handle);
}

/* An attribute that the object lacks or keeps to itself is an answer and leaves the session sound. */
CK_RV hsm_call_attribute(struct hsm_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attribute)
{
	CK_RV rv = session->hsm->module->C_GetAttributeValue(session->handle, object, attribute, 1);
	if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE || rv == CKR_BUFFER_TOO_SMALL) {
		attribute->ulValueLen = CK_UNAVAILABLE_INFORMATION;
		return CKR_OK;
	}
	return note(session, "C_GetAttributeValue", rv);
}

CK_RV hsm_call_create(struct hsm_session *session, CK_ATTRIBUTE *template, size_t n)
{
	CK_OBJECT_HANDLE object;
	return CALL(session, C_CreateObject, session->handle, template, n, &object);
}

CK_RV hsm_call_destroy(struct hsm_session *session, CK_OBJECT_HANDLE object)
{
	return CALL(session, C_DestroyObject, session->handle, object);
}

CK_RV hsm_call_generate(struct hsm_session *session, CK_MECHANISM_TYPE type, CK_ATTRIBUTE *template, size_t n,
                        CK_OBJECT_HANDLE *ret)
{
	CK_MECHANISM mechanism = {.mechanism = type};
	return CALL(session, C_GenerateKey, session->handle, &mechanism, template, n, ret);
}

CK_RV hsm_call_wrap_key(struct hsm_session *session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
                        CK_OBJECT_HANDLE key, uint8_t *out, CK_ULONG *len)
{
	return CALL(session, C_WrapKey, session->handle, mechanism, wrapping, key, out, len);
}

CK_RV hsm_call_generate_pair(struct hsm_session *session, CK_MECHANISM_TYPE type, CK_ATTRIBUTE *public, size_t n_public,
                             CK_ATTRIBUTE *private, size_t n_private)
{
	CK_MECHANISM mechanism = {.mechanism = type};
	CK_OBJECT_HANDLE public_object, private_object;
	return CALL(session, C_GenerateKeyPair, session->handle, &mechanism, public, n_public, private, n_private,
	            &public_object, &private_object);
}

CK_RV hsm_call_sign(struct hsm_session *session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, struct span data,
                    uint8_t *out, CK_ULONG *len)
{
	CK_RV rv = CALL(session, C_SignInit, session->handle, mechanism, key);
	return rv != CKR_OK ? rv : CALL(session, C_Sign, session->handle, bytes(data), data.len, out, len);
}

CK_RV hsm_call_encrypt(struct hsm_session *session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, struct span data,
                       uint8_t *out, CK_ULONG *len)
{
	CK_RV rv = CALL(session, C_EncryptInit, session->handle, mechanism, key);
	return rv != CKR_OK ? rv : CALL(session, C_Encrypt, session->handle, bytes(data), data.len, out, len);
}

CK_RV hsm_call_decrypt(struct hsm_session *session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, struct span data,
                       uint8_t *out, CK_ULONG *len)
{
	CK_RV rv = CALL(session, C_DecryptInit, session->handle, mechanism, key);
	return rv != CKR_OK ? rv : CALL(session, C_Decrypt, session->handle, bytes(data), data.len, out, len);
}
