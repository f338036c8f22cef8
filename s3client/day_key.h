/* The one signing key that is outside the token: good for one day, one region and one service, in locked memory, wiped
 * when the day changes. Thread-safe: one caller at a time asks the token. */
#ifndef TWOKEY_S3CLIENT_DAY_KEY_H
#define TWOKEY_S3CLIENT_DAY_KEY_H

#include <pthread.h>

#include "common/secret.h"
#include "s3client/s3client.h"
#include "s3client/sigv4.h"

struct day_key {
	struct s3_credentials credentials; /* access_key_id is not used here */
	pthread_mutex_t lock;
	char scope[96]; /* of `key`: day, region and service; "" when there is none */
	struct secret *key;
};

void day_key_init(struct day_key *day_key, const struct s3_credentials *credentials);
void day_key_done(struct day_key *day_key);
/* Signs with the key of the scope: of the day that starts its timestamp, its region and service. The errors are
 * date_key's. */
must_check enum err_code day_key_sign(struct day_key *day_key, const struct sigv4_scope *scope,
                                      struct span string_to_sign, char ret_hex[65], struct err *err);
/* Forgets the key: the next signature asks the token again. */
void day_key_forget(struct day_key *day_key);

#endif
