/* A forwarding PKCS#11 module for tests, around the one that $P11SHIM_MODULE names. What it does besides:
 *
 *	$P11SHIM_PROFILE=cloudhsm   behaves as AWS CloudHSM's library is documented to
 *	$P11SHIM_RULES=FILE         fails, delays or stalls calls; the file is read again whenever it changes
 *	$P11SHIM_RESERVED           is passed to C_Initialize: NSS takes its parameters so
 *	$P11SHIM_SESSIONS, $P11SHIM_RATE, $P11SHIM_SYNC   cloudhsm: most sessions (1024); operations per second before it
 *	                            throttles (0: never); refused uses of a fresh key (2)
 *
 * A rule is one line: FUNCTION (or *) and any of
 *	n=4          only the fourth call since the rules were read
 *	prob=0.05    each call with that probability
 *	count=1      at most so often
 *	rv=NAME      CKR_NAME without CKR_, or a number; none: the call is only delayed
 *	ms=700       first wait so long
 *	stall        first wait until the rules are changed
 *	after        forward the call first, then fail: the reply was lost */
#ifndef TWOKEY_TESTS_SHIM_SHIM_H
#define TWOKEY_TESTS_SHIM_SHIM_H

#include <p11-kit/pkcs11.h>
#include <stdbool.h>

enum shim_function {
	SHIM_Initialize,
	SHIM_Finalize,
	SHIM_GetSlotList,
	SHIM_GetTokenInfo,
	SHIM_OpenSession,
	SHIM_CloseSession,
	SHIM_GetSessionInfo,
	SHIM_Login,
	SHIM_CreateObject,
	SHIM_GetAttributeValue,
	SHIM_FindObjectsInit,
	SHIM_FindObjects,
	SHIM_FindObjectsFinal,
	SHIM_EncryptInit,
	SHIM_Encrypt,
	SHIM_DecryptInit,
	SHIM_Decrypt,
	SHIM_SignInit,
	SHIM_Sign,
	SHIM_GenerateKey,
	SHIM_GenerateKeyPair,
	SHIM_GenerateRandom,
	SHIM_FUNCTIONS
};

extern const char *const shim_names[SHIM_FUNCTIONS]; /* "C_Initialize" */
extern CK_FUNCTION_LIST *shim_real;

/* rules.c: waits as the rules say; true when the call is to fail with *rv, after forwarding it when *after. */
bool shim_rule(enum shim_function function, CK_RV *rv, bool *after);

/* cloudhsm.c: replaces the functions that behave otherwise there, in `list`, which forwards to `below`. */
void shim_cloudhsm(CK_FUNCTION_LIST *list, const CK_FUNCTION_LIST *below);

#endif
