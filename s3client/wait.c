#include "s3client/wait.h"

#include <time.h>

enum err_code wait_check(const struct wait *wait, struct err *err)
{
	const struct store_cancel *cancel = wait->cancel;
	if (!cancel)
		return ERR_OK;
	if (cancel->cancelled && cancel->cancelled(cancel->user))
		return err_set(err, ERR_CANCELLED, 0, "cancelled by the caller");
	if (cancel->deadline_ms != 0 && clock_now_ms(wait->clock) > cancel->deadline_ms)
		return err_set(err, ERR_DEADLINE, 0, "the caller's deadline has passed");
	return ERR_OK;
}

enum err_code wait_sleep(const struct wait *wait, unsigned ms, struct err *err)
{
	enum err_code code = wait_check(wait, err);
	while (code == ERR_OK && ms > 0) {
		unsigned step = ms < WAIT_POLL_MS ? ms : WAIT_POLL_MS;
		struct timespec pause = {.tv_nsec = (long)step * 1000000};
		nanosleep(&pause, NULL);
		ms -= step;
		code = wait_check(wait, err);
	}
	return code;
}
