/* Waiting that ends early: when the caller gives up, or its deadline has passed. */
#ifndef TWOKEY_S3CLIENT_WAIT_H
#define TWOKEY_S3CLIENT_WAIT_H

#include "s3client/s3client.h"

#define WAIT_POLL_MS 100 /* half of what struct store_cancel promises */

struct wait {
	const struct store_cancel *cancel; /* may be NULL */
	const struct clock *clock;         /* of the deadline */
};

/* ERR_OK, ERR_CANCELLED or ERR_DEADLINE. */
must_check enum err_code wait_check(const struct wait *wait, struct err *err);
must_check enum err_code wait_sleep(const struct wait *wait, unsigned ms, struct err *err);

#endif
