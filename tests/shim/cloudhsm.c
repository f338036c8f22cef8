/* AWS CloudHSM's PKCS#11 library (Client SDK 5) as its manual and its users describe it, over another module. What is
 * not documented there is left as the module below has it. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/shim/shim.h"

#define SLOT_BASE    0x2000000000000001UL /* as observed: never 0, never an int */
#define EPOCH_SHIFT  40                   /* handles are good until C_Finalize only */
#define SESSIONS_MAX 4096
#define FRESH_MAX    64
#define IV_BYTES     12
#define DATA_MAX     16384
#define TEMPLATE_MAX 32
#define USER_MAX     31
#define PASSWORD_MIN 8
#define PASSWORD_MAX 32

static const CK_FUNCTION_LIST *below;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct session {
	CK_SESSION_HANDLE handle; /* 0: free */
	CK_BYTE *iv_out;          /* of a C_EncryptInit with AES-GCM: where the IV goes during C_Encrypt */
	CK_BYTE iv[IV_BYTES];
} sessions[SESSIONS_MAX];

static struct fresh {
	CK_OBJECT_HANDLE handle;
	unsigned refusals; /* uses that still fail: routed to an HSM that does not have it yet */
} fresh[FRESH_MAX];

static unsigned open_sessions;
static unsigned long epoch = 1;
static double tokens; /* of the throttle's bucket */
static struct timespec filled;

static unsigned long setting(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);
	return text ? strtoul(text, NULL, 10) : otherwise;
}

/* ---- handles ---- */

static CK_OBJECT_HANDLE outside(CK_OBJECT_HANDLE handle)
{
	return handle == CK_INVALID_HANDLE ? handle : handle | epoch << EPOCH_SHIFT;
}

/* 0 for a handle of another life of the library. */
static CK_OBJECT_HANDLE inside(CK_OBJECT_HANDLE handle)
{
	return handle >> EPOCH_SHIFT == epoch ? handle & ((1UL << EPOCH_SHIFT) - 1) : CK_INVALID_HANDLE;
}

static struct session *session_of(CK_SESSION_HANDLE handle)
{
	for (size_t i = 0; i < SESSIONS_MAX; i++)
		if (sessions[i].handle == handle)
			return &sessions[i];
	return NULL;
}

static void remember_fresh(CK_OBJECT_HANDLE handle)
{
	static size_t next;
	pthread_mutex_lock(&lock);
	fresh[next++ % FRESH_MAX] = (struct fresh){handle, (unsigned)setting("P11SHIM_SYNC", 2)};
	pthread_mutex_unlock(&lock);
}

static bool synchronised(CK_OBJECT_HANDLE handle)
{
	bool yes = true;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < FRESH_MAX && yes; i++)
		if (fresh[i].handle == handle && fresh[i].refusals > 0) {
			fresh[i].refusals--;
			yes = false;
		}
	pthread_mutex_unlock(&lock);
	return yes;
}

/* ---- throttling ---- */

static CK_RV throttle(void)
{
	double rate = (double)setting("P11SHIM_RATE", 0);
	if (rate == 0)
		return CKR_OK;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&lock);
	double s = (double)(now.tv_sec - filled.tv_sec) + (double)(now.tv_nsec - filled.tv_nsec) / 1e9;
	tokens = tokens + s * rate > rate / 10 ? rate / 10 : tokens + s * rate;
	filled = now;
	bool ok = tokens >= 1;
	tokens -= ok ? 1 : 0;
	pthread_mutex_unlock(&lock);
	return ok ? CKR_OK : CKR_FUNCTION_FAILED;
}

/* ---- slots, sessions, login ---- */

static CK_RV get_slot_list(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *n)
{
	CK_RV rv = below->C_GetSlotList(present, slots, n);
	for (CK_ULONG i = 0; rv == CKR_OK && slots && i < *n; i++)
		slots[i] += SLOT_BASE;
	return rv;
}

static CK_RV get_slot_info(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
	return below->C_GetSlotInfo(slot - SLOT_BASE, info);
}

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	CK_RV rv = below->C_GetTokenInfo(slot - SLOT_BASE, info);
	if (rv == CKR_OK)
		info->ulMaxSessionCount = info->ulMaxRwSessionCount = setting("P11SHIM_SESSIONS", 1024);
	return rv;
}

static CK_RV finalize(void *reserved)
{
	CK_RV rv = below->C_Finalize(reserved);
	pthread_mutex_lock(&lock);
	memset(sessions, 0, sizeof sessions);
	memset(fresh, 0, sizeof fresh);
	open_sessions = 0;
	epoch++;
	pthread_mutex_unlock(&lock);
	return rv;
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *ret)
{
	if (application || notify)
		return CKR_ARGUMENTS_BAD;
	if (!(flags & CKF_RW_SESSION))
		return CKR_FUNCTION_FAILED;
	pthread_mutex_lock(&lock);
	CK_RV rv = open_sessions < setting("P11SHIM_SESSIONS", 1024) ? CKR_OK : CKR_SESSION_COUNT;
	if (rv == CKR_OK)
		rv = below->C_OpenSession(slot - SLOT_BASE, flags, NULL, NULL, ret);
	if (rv == CKR_OK) {
		open_sessions++;
		*session_of(0) = (struct session){.handle = *ret};
	}
	pthread_mutex_unlock(&lock);
	return rv;
}

static CK_RV close_session(CK_SESSION_HANDLE handle)
{
	CK_RV rv = below->C_CloseSession(handle);
	pthread_mutex_lock(&lock);
	struct session *session = handle ? session_of(handle) : NULL;
	if (session) {
		*session = (struct session){0};
		open_sessions--;
	}
	pthread_mutex_unlock(&lock);
	return rv;
}

static CK_RV close_all_sessions(CK_SLOT_ID slot)
{
	pthread_mutex_lock(&lock);
	memset(sessions, 0, sizeof sessions);
	open_sessions = 0;
	pthread_mutex_unlock(&lock);
	return below->C_CloseAllSessions(slot - SLOT_BASE);
}

static CK_RV get_session_info(CK_SESSION_HANDLE session, CK_SESSION_INFO *info)
{
	CK_RV rv = below->C_GetSessionInfo(session, info);
	if (rv == CKR_OK)
		info->slotID += SLOT_BASE;
	return rv;
}

/* "user:password". The token below knows the password only. */
static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG len)
{
	const CK_BYTE *colon = pin ? memchr(pin, ':', len) : NULL;
	if (user != CKU_USER)
		return CKR_USER_TYPE_INVALID;
	if (!colon || colon == pin || colon - pin > USER_MAX)
		return CKR_PIN_INCORRECT;
	CK_ULONG password = len - (CK_ULONG)(colon - pin) - 1;
	if (password < PASSWORD_MIN || password > PASSWORD_MAX)
		return CKR_PIN_LEN_RANGE;
	return below->C_Login(session, user, pin + (len - password), password);
}

/* ---- mechanisms ---- */

static const CK_MECHANISM_TYPE mechanisms[] = {
    CKM_RSA_PKCS_KEY_PAIR_GEN,
    CKM_RSA_X9_31_KEY_PAIR_GEN,
    CKM_EC_KEY_PAIR_GEN,
    CKM_GENERIC_SECRET_KEY_GEN,
    CKM_AES_KEY_GEN,
    CKM_DES3_KEY_GEN,
    CKM_RSA_X_509,
    CKM_RSA_PKCS,
    CKM_RSA_PKCS_PSS,
    CKM_RSA_PKCS_OAEP,
    CKM_SHA256_RSA_PKCS,
    CKM_SHA384_RSA_PKCS,
    CKM_SHA512_RSA_PKCS,
    CKM_SHA256_RSA_PKCS_PSS,
    CKM_SHA384_RSA_PKCS_PSS,
    CKM_SHA512_RSA_PKCS_PSS,
    CKM_ECDSA,
    CKM_ECDSA_SHA1,
    CKM_SHA_1_HMAC,
    CKM_SHA256_HMAC,
    CKM_SHA384_HMAC,
    CKM_SHA512_HMAC,
    CKM_AES_CMAC,
    CKM_AES_ECB,
    CKM_AES_CTR,
    CKM_AES_CBC,
    CKM_AES_CBC_PAD,
    CKM_AES_GCM,
};

static bool known(CK_MECHANISM_TYPE type)
{
	for (size_t i = 0; i < sizeof mechanisms / sizeof mechanisms[0]; i++)
		if (mechanisms[i] == type)
			return true;
	return false;
}

static CK_RV get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *n)
{
	CK_MECHANISM_TYPE all[512];
	CK_ULONG count = 512, kept = 0;
	CK_RV rv = below->C_GetMechanismList(slot - SLOT_BASE, all, &count);
	for (CK_ULONG i = 0; rv == CKR_OK && i < count; i++)
		if (known(all[i]))
			all[kept++] = all[i];
	if (rv == CKR_OK && list && *n < kept)
		rv = CKR_BUFFER_TOO_SMALL;
	if (rv == CKR_OK && list)
		memcpy(list, all, kept * sizeof *all);
	*n = kept;
	return rv;
}

static CK_RV get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
	return known(type) ? below->C_GetMechanismInfo(slot - SLOT_BASE, type, info) : CKR_MECHANISM_INVALID;
}

/* ---- objects ---- */

static const CK_ATTRIBUTE_TYPE attributes[] = {
    CKA_CLASS,       CKA_KEY_TYPE,
    CKA_TOKEN,       CKA_PRIVATE,
    CKA_LABEL,       CKA_ID,
    CKA_SENSITIVE,   CKA_EXTRACTABLE,
    CKA_LOCAL,       CKA_MODIFIABLE,
    CKA_DESTROYABLE, CKA_ALWAYS_SENSITIVE,
    CKA_ENCRYPT,     CKA_DECRYPT,
    CKA_SIGN,        CKA_VERIFY,
    CKA_WRAP,        CKA_UNWRAP,
    CKA_DERIVE,      CKA_TRUSTED,
    CKA_VALUE,       CKA_WRAP_WITH_TRUSTED,
    CKA_VALUE_LEN,   CKA_NEVER_EXTRACTABLE,
    CKA_MODULUS,     CKA_MODULUS_BITS,
    CKA_PRIME_1,     CKA_PRIME_2,
    CKA_EXPONENT_1,  CKA_PUBLIC_EXPONENT,
    CKA_EC_PARAMS,   CKA_PRIVATE_EXPONENT,
    CKA_EC_POINT,    CKA_EXPONENT_2,
    CKA_COEFFICIENT, CKA_CHECK_VALUE,
};

static bool supported(CK_ATTRIBUTE_TYPE type)
{
	for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++)
		if (attributes[i] == type)
			return true;
	return false;
}

static CK_ATTRIBUTE *attribute_of(CK_ATTRIBUTE *template, CK_ULONG n, CK_ATTRIBUTE_TYPE type)
{
	for (CK_ULONG i = 0; i < n; i++)
		if (template[i].type == type)
			return &template[i];
	return NULL;
}

static bool flag_is(CK_ATTRIBUTE *template, CK_ULONG n, CK_ATTRIBUTE_TYPE type, CK_BBOOL value)
{
	const CK_ATTRIBUTE *found = attribute_of(template, n, type);
	return found && found->ulValueLen == 1 && *(const CK_BBOOL *)found->pValue == value;
}

/* A template as the library takes it, with its defaults added: everything is private, also public keys, and what a
 * secret key is not asked to do it does not. */
struct template
{
	CK_ATTRIBUTE attributes[TEMPLATE_MAX + 8];
	CK_ULONG n;
};

static CK_RV complete(CK_ATTRIBUTE *template, CK_ULONG n, bool pair, struct template *ret)
{
	static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	static const CK_ATTRIBUTE_TYPE off[] = {CKA_ENCRYPT, CKA_DECRYPT, CKA_DERIVE, CKA_TOKEN};
	if (n > TEMPLATE_MAX)
		return CKR_TEMPLATE_INCONSISTENT;
	for (CK_ULONG i = 0; i < n; i++)
		if (!supported(template[i].type))
			return CKR_TEMPLATE_INCONSISTENT;
	if (flag_is(template, n, CKA_PRIVATE, CK_FALSE) || flag_is(template, n, CKA_MODIFIABLE, CK_FALSE))
		return CKR_TEMPLATE_INCONSISTENT;
	memcpy(ret->attributes, template, n * sizeof *template);
	ret->n = n;
	if (!attribute_of(template, n, CKA_PRIVATE))
		ret->attributes[ret->n++] = (CK_ATTRIBUTE){CKA_PRIVATE, &yes, sizeof yes};
	for (size_t i = 0; i < sizeof off / sizeof off[0] && !pair; i++)
		if (!attribute_of(template, n, off[i]))
			ret->attributes[ret->n++] = (CK_ATTRIBUTE){off[i], &no, sizeof no};
	return CKR_OK;
}

static CK_RV create_object(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG n, CK_OBJECT_HANDLE *object)
{
	struct template all;
	CK_RV rv = complete(template, n, false, &all);
	if (rv == CKR_OK)
		rv = below->C_CreateObject(session, all.attributes, all.n, object);
	if (rv == CKR_OK) {
		remember_fresh(*object);
		*object = outside(*object);
	}
	return rv;
}

static CK_RV generate_key(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template, CK_ULONG n,
                          CK_OBJECT_HANDLE *key)
{
	struct template all;
	CK_RV rv = known(mechanism->mechanism) ? complete(template, n, false, &all) : CKR_MECHANISM_INVALID;
	if (rv == CKR_OK)
		rv = below->C_GenerateKey(session, mechanism, all.attributes, all.n, key);
	if (rv == CKR_OK) {
		remember_fresh(*key);
		*key = outside(*key);
	}
	return rv;
}

static CK_RV generate_key_pair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public,
                               CK_ULONG n_public, CK_ATTRIBUTE *private, CK_ULONG n_private,
                               CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
	struct template a, b;
	CK_RV rv = known(mechanism->mechanism) ? complete(public, n_public, true, &a) : CKR_MECHANISM_INVALID;
	if (rv == CKR_OK)
		rv = complete(private, n_private, true, &b);
	if (rv == CKR_OK)
		rv =
		    below->C_GenerateKeyPair(session, mechanism, a.attributes, a.n, b.attributes, b.n, public_key, private_key);
	if (rv == CKR_OK) {
		remember_fresh(*private_key);
		*public_key = outside(*public_key);
		*private_key = outside(*private_key);
	}
	return rv;
}

static CK_RV destroy_object(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
	return inside(object) ? below->C_DestroyObject(session, inside(object)) : CKR_OBJECT_HANDLE_INVALID;
}

static CK_RV get_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG n)
{
	if (!inside(object))
		return CKR_OBJECT_HANDLE_INVALID;
	for (CK_ULONG i = 0; i < n; i++)
		if (!supported(template[i].type)) {
			template[i].ulValueLen = CK_UNAVAILABLE_INFORMATION;
			return CKR_ATTRIBUTE_TYPE_INVALID;
		}
	return below->C_GetAttributeValue(session, inside(object), template, n);
}

static CK_RV set_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG n)
{
	return inside(object) ? below->C_SetAttributeValue(session, inside(object), template, n)
	                      : CKR_OBJECT_HANDLE_INVALID;
}

static CK_RV find_objects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *n)
{
	CK_RV rv = below->C_FindObjects(session, objects, max, n);
	for (CK_ULONG i = 0; rv == CKR_OK && i < *n; i++)
		objects[i] = outside(objects[i]);
	return rv;
}

/* ---- using keys ---- */

typedef CK_RV init_function(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);

static CK_RV use(init_function *init, CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	if (!mechanism || !known(mechanism->mechanism))
		return CKR_MECHANISM_INVALID;
	if (!inside(key) || !synchronised(inside(key)))
		return CKR_KEY_HANDLE_INVALID;
	CK_RV rv = throttle();
	if (rv == CKR_OK)
		rv = init(session, mechanism, inside(key));
	return rv == CKR_OBJECT_HANDLE_INVALID ? CKR_KEY_HANDLE_INVALID : rv;
}

static CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	return use(below->C_SignInit, session, mechanism, key);
}

/* The HSM makes the IV. It wants 12 zeros, and puts the IV there during C_Encrypt: not before. */
static CK_RV gcm_encrypt_init(CK_SESSION_HANDLE handle, CK_GCM_PARAMS *params, CK_OBJECT_HANDLE key)
{
	static const CK_BYTE zeros[IV_BYTES];
	if (!params || !params->iv_ptr || params->iv_len != IV_BYTES || memcmp(params->iv_ptr, zeros, IV_BYTES) != 0)
		return CKR_MECHANISM_PARAM_INVALID;
	CK_BYTE iv[IV_BYTES];
	CK_RV rv = below->C_GenerateRandom(handle, iv, sizeof iv);
	CK_GCM_PARAMS own = *params;
	own.iv_ptr = iv;
	own.iv_bits = 8 * IV_BYTES;
	CK_MECHANISM mechanism = {CKM_AES_GCM, &own, sizeof own};
	if (rv == CKR_OK)
		rv = use(below->C_EncryptInit, handle, &mechanism, key);
	pthread_mutex_lock(&lock);
	struct session *session = session_of(handle);
	if (session && rv == CKR_OK) {
		session->iv_out = params->iv_ptr;
		memcpy(session->iv, iv, sizeof iv);
	}
	pthread_mutex_unlock(&lock);
	return rv;
}

static CK_RV encrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	if (mechanism && mechanism->mechanism == CKM_AES_GCM)
		return gcm_encrypt_init(session, (CK_GCM_PARAMS *)mechanism->pParameter, key);
	return use(below->C_EncryptInit, session, mechanism, key);
}

static CK_RV encrypt(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
	if (len > DATA_MAX)
		return CKR_DATA_LEN_RANGE;
	CK_RV rv = below->C_Encrypt(handle, data, len, out, out_len);
	pthread_mutex_lock(&lock);
	struct session *session = session_of(handle);
	if (session && session->iv_out && out && rv == CKR_OK) {
		memcpy(session->iv_out, session->iv, IV_BYTES);
		session->iv_out = NULL;
	}
	pthread_mutex_unlock(&lock);
	return rv;
}

static CK_RV decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	return use(below->C_DecryptInit, session, mechanism, key);
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
	return len > DATA_MAX ? CKR_DATA_LEN_RANGE : below->C_Sign(session, data, len, out, out_len);
}

static CK_RV generate_random(CK_SESSION_HANDLE session, CK_BYTE *out, CK_ULONG len)
{
	CK_RV rv = throttle();
	return rv == CKR_OK ? below->C_GenerateRandom(session, out, len) : rv;
}

/* ---- what is not there ---- */

static CK_RV no_update(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len)
{
	(void)session, (void)in, (void)in_len, (void)out, (void)out_len;
	return CKR_MECHANISM_INVALID;
}

static CK_RV no_sign_update(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len)
{
	(void)session, (void)in, (void)in_len;
	return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV no_wait(CK_FLAGS flags, CK_SLOT_ID *slot, void *reserved)
{
	(void)flags, (void)slot, (void)reserved;
	return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV no_seed(CK_SESSION_HANDLE session, CK_BYTE *seed, CK_ULONG len)
{
	(void)session, (void)seed, (void)len;
	return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV no_copy(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG n,
                     CK_OBJECT_HANDLE *copy)
{
	(void)session, (void)object, (void)template, (void)n, (void)copy;
	return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV no_size(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ULONG *size)
{
	(void)session, (void)object, (void)size;
	return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV no_set_pin(CK_SESSION_HANDLE session, CK_BYTE *old, CK_ULONG old_len, CK_BYTE *pin, CK_ULONG len)
{
	(void)session, (void)old, (void)old_len, (void)pin, (void)len;
	return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV no_init_pin(CK_SESSION_HANDLE session, CK_BYTE *pin, CK_ULONG len)
{
	(void)session, (void)pin, (void)len;
	return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV no_init_token(CK_SLOT_ID slot, CK_BYTE *pin, CK_ULONG len, CK_BYTE *label)
{
	(void)slot, (void)pin, (void)len, (void)label;
	return CKR_FUNCTION_NOT_SUPPORTED;
}

void shim_cloudhsm(CK_FUNCTION_LIST *list, const CK_FUNCTION_LIST *module)
{
	below = module;
	list->C_Finalize = finalize;
	list->C_GetSlotList = get_slot_list;
	list->C_GetSlotInfo = get_slot_info;
	list->C_GetTokenInfo = get_token_info;
	list->C_GetMechanismList = get_mechanism_list;
	list->C_GetMechanismInfo = get_mechanism_info;
	list->C_OpenSession = open_session;
	list->C_CloseSession = close_session;
	list->C_CloseAllSessions = close_all_sessions;
	list->C_GetSessionInfo = get_session_info;
	list->C_Login = login;
	list->C_CreateObject = create_object;
	list->C_DestroyObject = destroy_object;
	list->C_GetAttributeValue = get_attribute_value;
	list->C_SetAttributeValue = set_attribute_value;
	list->C_FindObjects = find_objects;
	list->C_GenerateKey = generate_key;
	list->C_GenerateKeyPair = generate_key_pair;
	list->C_SignInit = sign_init;
	list->C_Sign = sign;
	list->C_EncryptInit = encrypt_init;
	list->C_Encrypt = encrypt;
	list->C_DecryptInit = decrypt_init;
	list->C_GenerateRandom = generate_random;
	list->C_EncryptUpdate = no_update;
	list->C_DecryptUpdate = no_update;
	list->C_SignUpdate = no_sign_update;
	list->C_WaitForSlotEvent = no_wait;
	list->C_SeedRandom = no_seed;
	list->C_CopyObject = no_copy;
	list->C_GetObjectSize = no_size;
	list->C_SetPIN = no_set_pin;
	list->C_InitPIN = no_init_pin;
	list->C_InitToken = no_init_token;
}
