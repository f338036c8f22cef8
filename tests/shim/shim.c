/* The module itself: loads the real one, puts the profile around it, and the rules around that. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/shim/shim.h"

CK_FUNCTION_LIST *shim_real;
static CK_FUNCTION_LIST inner, outer;

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list);

/* A call under the rules. */
#define RULED(name, parameters, arguments)                                                                             \
	static CK_RV ruled_##name parameters                                                                               \
	{                                                                                                                  \
		CK_RV fault = CKR_OK;                                                                                          \
		bool after = false;                                                                                            \
		bool fails = shim_rule(SHIM_##name, &fault, &after);                                                           \
		if (fails && !after)                                                                                           \
			return fault;                                                                                              \
		CK_RV rv = inner.C_##name arguments;                                                                           \
		return fails ? fault : rv;                                                                                     \
	}

/* NSS wants its parameters there, and nothing else can put them there for a module that is named by its path. */
static CK_RV initialize(void *args)
{
	char *reserved = getenv("P11SHIM_RESERVED");
	CK_C_INITIALIZE_ARGS own = {.flags = CKF_OS_LOCKING_OK, .pReserved = reserved};
	return shim_real->C_Initialize(reserved ? (void *)&own : args);
}

RULED(Initialize, (void *args), (args))
RULED(Finalize, (void *reserved), (reserved))
RULED(GetSlotList, (CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *n), (present, slots, n))
RULED(GetTokenInfo, (CK_SLOT_ID slot, CK_TOKEN_INFO *info), (slot, info))
RULED(OpenSession, (CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *session),
      (slot, flags, application, notify, session))
RULED(CloseSession, (CK_SESSION_HANDLE session), (session))
RULED(GetSessionInfo, (CK_SESSION_HANDLE session, CK_SESSION_INFO *info), (session, info))
RULED(Login, (CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG len), (session, user, pin, len))
RULED(CreateObject, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG n, CK_OBJECT_HANDLE *object),
      (session, template, n, object))
RULED(GetAttributeValue, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG n),
      (session, object, template, n))
RULED(FindObjectsInit, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG n), (session, template, n))
RULED(FindObjects, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *n),
      (session, objects, max, n))
RULED(FindObjectsFinal, (CK_SESSION_HANDLE session), (session))
RULED(EncryptInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
      (session, mechanism, key))
RULED(Encrypt, (CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len),
      (session, data, len, out, out_len))
RULED(DecryptInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
      (session, mechanism, key))
RULED(Decrypt, (CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len),
      (session, data, len, out, out_len))
RULED(SignInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key), (session, mechanism, key))
RULED(Sign, (CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len),
      (session, data, len, out, out_len))
RULED(GenerateKey,
      (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template, CK_ULONG n, CK_OBJECT_HANDLE *key),
      (session, mechanism, template, n, key))
RULED(GenerateKeyPair,
      (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public, CK_ULONG n_public,
       CK_ATTRIBUTE *private, CK_ULONG n_private, CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key),
      (session, mechanism, public, n_public, private, n_private, public_key, private_key))
RULED(GenerateRandom, (CK_SESSION_HANDLE session, CK_BYTE *out, CK_ULONG len), (session, out, len))

static void load(void)
{
	const char *path = getenv("P11SHIM_MODULE"), *profile = getenv("P11SHIM_PROFILE");
	void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	CK_C_GetFunctionList get = NULL;
	if (library)
		*(void **)&get = dlsym(library, "C_GetFunctionList");
	if (!get || get(&shim_real) != CKR_OK) {
		fprintf(stderr, "shim: P11SHIM_MODULE: %s\n", path ? dlerror() : "not set");
		return;
	}
	inner = *shim_real;
	inner.C_Initialize = initialize;
	if (profile && strcmp(profile, "cloudhsm") == 0)
		shim_cloudhsm(&inner, shim_real);
	outer = inner;
	outer.C_GetFunctionList = C_GetFunctionList;
#define X(name) outer.C_##name = ruled_##name;
	X(Initialize)
	X(Finalize)
	X(GetSlotList)
	X(GetTokenInfo)
	X(OpenSession)
	X(CloseSession)
	X(GetSessionInfo)
	X(Login)
	X(CreateObject)
	X(GetAttributeValue)
	X(FindObjectsInit)
	X(FindObjects)
	X(FindObjectsFinal)
	X(EncryptInit)
	X(Encrypt)
	X(DecryptInit)
	X(Decrypt)
	X(SignInit)
	X(Sign)
	X(GenerateKey)
	X(GenerateKeyPair)
	X(GenerateRandom)
#undef X
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, load);
	if (!shim_real)
		return CKR_GENERAL_ERROR;
	*list = &outer;
	return CKR_OK;
}
