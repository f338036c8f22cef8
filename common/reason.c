#include "common/reason.h"

#include <stddef.h>

static const struct {
	const char *name, *text;
	enum err_code code;
} reasons[] = {
#define X(name, code, text) {#name, text, ERR_##code},
    REASONS(X)
#undef X
};

#define N_REASONS (sizeof reasons / sizeof reasons[0])

const char *reason_name(enum reason reason)
{
	if (reason == REASON_NONE)
		return "";
	return (size_t)reason < N_REASONS ? reasons[reason].name : "INTERNAL";
}

const char *reason_text(enum reason reason)
{
	return (size_t)reason < N_REASONS ? reasons[reason].text : "internal error";
}

enum err_code reason_code(enum reason reason)
{
	return (size_t)reason < N_REASONS ? reasons[reason].code : ERR_INTERNAL;
}
