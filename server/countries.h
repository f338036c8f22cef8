/* Keeps the country database fresh, and tells the log what an operator must know of it. */
#ifndef TWOKEY_SERVER_COUNTRIES_H
#define TWOKEY_SERVER_COUNTRIES_H

#include "server/deployment.h"

/* What the log was last told. One thread at a time. */
struct countries_watch {
	char trouble[sizeof(struct err)];
	bool told_unusable, told_old;
};

/* Looks at the file: every few seconds, and before serving. */
void countries_look(struct countries_watch *watch, struct deployment *deployment);

#endif
