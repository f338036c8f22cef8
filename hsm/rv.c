/* What a CK_RV means: its name, our category, and what helps. */
#include <p11-kit/p11-kit.h>

#include "hsm/internal.h"

enum help {
	HELP_NONE,  /* the same call would fail again, or nobody knows */
	HELP_RETRY, /* a stale session, login or handle: make them anew and try once more */
	HELP_PIN,   /* the PIN was refused: sending it again may lock the token */
};

static const struct {
	CK_RV rv;
	const char *name;
	enum err_code code;
	enum help help;
} table[] = {
#define X(name, code, help)                                                                                            \
	{                                                                                                                  \
		CKR_##name, "CKR_" #name, ERR_##code, HELP_##help                                                              \
	}
    X(HOST_MEMORY, UNAVAILABLE, NONE),
    X(SLOT_ID_INVALID, UNAVAILABLE, NONE),
    X(GENERAL_ERROR, UNAVAILABLE, NONE),
    X(FUNCTION_FAILED, UNAVAILABLE, NONE),
    X(ARGUMENTS_BAD, INTERNAL, NONE),
    X(ATTRIBUTE_READ_ONLY, UNIMPLEMENTED, NONE),
    X(ATTRIBUTE_SENSITIVE, DENIED, NONE),
    X(ATTRIBUTE_TYPE_INVALID, UNIMPLEMENTED, NONE),
    X(ATTRIBUTE_VALUE_INVALID, UNIMPLEMENTED, NONE),
    X(BUFFER_TOO_SMALL, INTERNAL, NONE),
    X(CRYPTOKI_NOT_INITIALIZED, UNAVAILABLE, NONE),
    X(DATA_INVALID, INVALID, NONE),
    X(DATA_LEN_RANGE, INVALID, NONE),
    X(DEVICE_ERROR, UNAVAILABLE, NONE),
    X(DEVICE_MEMORY, UNAVAILABLE, NONE),
    X(DEVICE_REMOVED, UNAVAILABLE, NONE),
    X(ENCRYPTED_DATA_INVALID, CORRUPT, NONE),
    X(ENCRYPTED_DATA_LEN_RANGE, CORRUPT, NONE),
    X(FUNCTION_NOT_SUPPORTED, UNIMPLEMENTED, NONE),
    X(KEY_FUNCTION_NOT_PERMITTED, DENIED, NONE),
    X(KEY_HANDLE_INVALID, UNAVAILABLE, RETRY),
    X(KEY_SIZE_RANGE, UNIMPLEMENTED, NONE),
    X(KEY_TYPE_INCONSISTENT, UNIMPLEMENTED, NONE),
    X(MECHANISM_INVALID, UNIMPLEMENTED, NONE),
    X(MECHANISM_PARAM_INVALID, UNIMPLEMENTED, NONE),
    X(OBJECT_HANDLE_INVALID, UNAVAILABLE, RETRY),
    X(OPERATION_ACTIVE, UNAVAILABLE, RETRY),
    X(OPERATION_NOT_INITIALIZED, UNAVAILABLE, RETRY),
    X(PIN_EXPIRED, DENIED, PIN),
    X(PIN_INCORRECT, DENIED, PIN),
    X(PIN_INVALID, DENIED, PIN),
    X(PIN_LEN_RANGE, DENIED, PIN),
    X(PIN_LOCKED, DENIED, PIN),
    X(SESSION_CLOSED, UNAVAILABLE, RETRY),
    X(SESSION_COUNT, UNAVAILABLE, NONE),
    X(SESSION_HANDLE_INVALID, UNAVAILABLE, RETRY),
    X(SESSION_READ_ONLY, PRECONDITION, NONE),
    X(TEMPLATE_INCOMPLETE, UNIMPLEMENTED, NONE),
    X(TEMPLATE_INCONSISTENT, UNIMPLEMENTED, NONE),
    X(TOKEN_NOT_PRESENT, UNAVAILABLE, NONE),
    X(TOKEN_NOT_RECOGNIZED, UNAVAILABLE, NONE),
    X(TOKEN_WRITE_PROTECTED, PRECONDITION, NONE),
    X(USER_NOT_LOGGED_IN, UNAVAILABLE, RETRY),
    X(USER_PIN_NOT_INITIALIZED, PRECONDITION, NONE),
    X(USER_TOO_MANY_TYPES, PRECONDITION, NONE),
#undef X
};

static const size_t n_table = sizeof table / sizeof table[0];

/* The row of a CK_RV, or n_table: vendors add their own. */
static size_t row(CK_RV rv)
{
	size_t i = 0;
	while (i < n_table && table[i].rv != rv)
		i++;
	return i;
}

enum err_code hsm_rv_code(CK_RV rv)
{
	size_t i = row(rv);
	return i < n_table ? table[i].code : ERR_UNAVAILABLE;
}

const char *hsm_rv_name(CK_RV rv)
{
	size_t i = row(rv);
	return i < n_table ? table[i].name : p11_kit_strerror(rv);
}

bool hsm_rv_retry(CK_RV rv)
{
	size_t i = row(rv);
	return i < n_table && table[i].help == HELP_RETRY;
}

bool hsm_rv_pin_refused(CK_RV rv)
{
	size_t i = row(rv);
	return i < n_table && table[i].help == HELP_PIN;
}

enum err_code hsm_rv_fail(struct err *err, CK_RV rv, const char *function)
{
	return err_set(err, hsm_rv_code(rv), (long)rv, "%s: %s (0x%lx)", function, hsm_rv_name(rv), rv);
}

enum err_code hsm_session_fail(const struct hsm_session *session, struct err *err)
{
	return hsm_rv_fail(err, session->rv, session->failed);
}
