/* Attributes of objects. */
#include "hsm/internal.h"

/* 1.2.840.10045.3.1.7, prime256v1, as CKA_EC_PARAMS has it. */
const uint8_t hsm_p256_oid[10] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};

CK_RV hsm_attr_read(struct hsm_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, struct hsm_attr *ret)
{
	CK_ATTRIBUTE attribute = {type, ret->value, sizeof ret->value};
	ret->present = false;
	ret->len = 0;
	CK_RV rv = hsm_call_attribute(session, object, &attribute);
	if (rv == CKR_OK && attribute.ulValueLen <= sizeof ret->value) {
		ret->present = true;
		ret->len = attribute.ulValueLen;
	}
	return rv;
}

CK_RV hsm_attr_flag(struct hsm_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool when_absent,
                    bool *ret)
{
	CK_BBOOL value = CK_FALSE;
	CK_ATTRIBUTE attribute = {type, &value, sizeof value};
	CK_RV rv = hsm_call_attribute(session, object, &attribute);
	*ret = attribute.ulValueLen == sizeof value ? value != CK_FALSE : when_absent;
	return rv;
}

CK_RV hsm_attr_number(struct hsm_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                      CK_ULONG when_absent, CK_ULONG *ret)
{
	CK_ULONG value = 0;
	CK_ATTRIBUTE attribute = {type, &value, sizeof value};
	CK_RV rv = hsm_call_attribute(session, object, &attribute);
	*ret = attribute.ulValueLen == sizeof value ? value : when_absent;
	return rv;
}

bool hsm_attr_is_p256(const struct hsm_attr *ec_params)
{
	return ec_params->len == sizeof hsm_p256_oid && memcmp(ec_params->value, hsm_p256_oid, sizeof hsm_p256_oid) == 0;
}

unsigned hsm_attr_bits(const struct hsm_attr *number)
{
	size_t i = 0;
	while (i < number->len && number->value[i] == 0)
		i++;
	unsigned bits = (unsigned)(number->len - i) * 8;
	for (unsigned top = 0x80; bits > 0 && !(number->value[i] & top); top >>= 1)
		bits--;
	return bits;
}
