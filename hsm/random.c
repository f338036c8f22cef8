/* The token's random numbers. */
#include "hsm/internal.h"

/* What every module gives in one call; NSS refuses a megabyte. */
#define AT_ONCE 1024

static enum err_code fill(struct hsm_session *session, CK_OBJECT_HANDLE unused, void *user, struct err *err)
{
	(void)unused;
	const struct buf *out = (const struct buf *)user;
	for (size_t done = 0; done < out->len; done += AT_ONCE) {
		size_t len = out->len - done < AT_ONCE ? out->len - done : AT_ONCE;
		if (hsm_call_random(session, out->data + done, len) != CKR_OK)
			return hsm_session_fail(session, err);
	}
	return ERR_OK;
}

enum err_code hsm_random(struct hsm *hsm, uint8_t *out, size_t len, struct err *err)
{
	struct buf view = {.data = out, .len = len};
	return hsm_run(hsm, NULL, fill, &view, err);
}
