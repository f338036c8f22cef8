/* Changes of keys while serving: judged, recorded, then in effect. */
#ifndef TWOKEY_SERVER_KEY_CHANGE_H
#define TWOKEY_SERVER_KEY_CHANGE_H

#include "server/request.h"

struct key_change {
	Twokey__V1__KeyRole role;
	Twokey__V1__KeyAction action;
	const char *bucket, *why, *access_key_id;
	unsigned generation;
	/* Filled in. */
	struct key_line *line;
	struct key_view view;
};

/* Looks into the token and records the generations that are new there. */
must_check enum reason key_change_look(struct deployment *deployment, struct err *detail);
/* Fills line and view. NO_SUCH_KEY, MALFORMED. */
enum reason key_change_find(struct deployment *deployment, struct key_change *change, struct err *detail);
/* What a record of the change says. */
void key_change_record(const struct key_change *change, Twokey__V1__Record *record);
/* Makes a generation current: at once, durably. */
enum reason key_change_use(struct request *request, struct key_change *change);
/* May it be retired, as far as can be said without looking at objects? */
enum reason key_change_may_retire(struct request *request, const struct key_change *change);
enum reason key_change_retire(struct request *request, struct key_change *change);

#endif
