/* Wraps the data keys of a bucket's objects under the current KEK, one object after another, while serving. */
#ifndef TWOKEY_SERVER_KEY_REWRAP_H
#define TWOKEY_SERVER_KEY_REWRAP_H

#include "server/request.h"

struct key_rewrap {
	const char *after; /* objects up to this one are passed over; "": none */
	const struct store_cancel *cancel;
	bool (*progress)(const struct key_rewrap *rewrap, void *user); /* now and then; false stops */
	void *user;
	/* Filled in, also on failure. */
	uint64_t objects, rewrapped, failed, not_sealed;
	char last[1025]; /* the last object looked at; "": none yet */
};

/* Under a granted request on request->bucket. What cannot be re-wrapped is counted and recorded, and does not stop the
 * rest. ERR_OK: every object was looked at. */
must_check enum err_code key_rewrap_run(struct request *request, struct key_rewrap *rewrap, struct err *err);

#endif
