/* What requests are signed with: the secret in the token, or temporary credentials of a role that are fetched when they
 * are first needed and again before they end. Thread-safe.
 *
 * One caller at a time fetches; the others go on with what there is while it is valid, and wait only when there is
 * nothing. */
#ifndef TWOKEY_S3CLIENT_CREDENTIALS_H
#define TWOKEY_S3CLIENT_CREDENTIALS_H

#include "s3client/day_key.h"
#include "s3client/wait.h"

struct credentials;

/* One set of credentials. Immutable but for its day key; shared by the requests that it signs. */
struct session {
	unsigned refs; /* atomic */
	char *access_key_id;
	struct secret *secret; /* "AWS4" and the secret; NULL: it is in the token */
	struct secret *token;  /* of x-amz-security-token, with a NUL at its end; NULL: none */
	int64_t ends_ms;       /* INT64_MAX: never */
	int64_t refresh_ms;    /* from then on a new set is wanted */
	struct day_key day_key;
};

/* ERR_INVALID: the role's settings cannot be. Nothing is fetched yet. */
must_check enum err_code credentials_open(const struct s3_options *options, struct credentials **ret, struct err *err);
void credentials_free(struct credentials *credentials); /* every session has been given back; accepts NULL */

/* A valid set. The caller gives it back. */
must_check enum err_code credentials_take(struct credentials *credentials, const struct wait *wait,
                                          struct session **ret, struct err *err);
void session_give_back(struct session *session); /* accepts NULL */
/* S3 has refused the session. True when a fresh one will be fetched, so that another attempt may help. */
bool credentials_doubt(struct credentials *credentials, struct session *session);

#endif
