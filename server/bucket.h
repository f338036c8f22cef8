/* Opens a configured bucket: its store, its KEK, and its S3 secret in the token. */
#ifndef TWOKEY_SERVER_BUCKET_H
#define TWOKEY_SERVER_BUCKET_H

#include "server/deployment.h"

must_check enum err_code bucket_open(const struct config_bucket *config, struct hsm *hsm, struct keys *keys,
                                     struct bucket *ret, struct err *err);
/* Opens a store of its own with a generation of the S3 secret, to try it. access_key_id "": the configuration's. */
must_check enum err_code bucket_try_secret(const struct config_bucket *config, struct hsm_key *secret,
                                           const char *access_key_id, struct store **ret, struct err *err);
/* Has its S3 secret been replaced? */
bool bucket_is_behind(const struct bucket *bucket, struct keys *keys);
/* Goes on with the S3 secret that is current. One thread at a time. */
must_check enum err_code bucket_follow_keys(struct bucket *bucket, struct hsm *hsm, struct keys *keys, struct err *err);
void bucket_close(struct bucket *bucket);

#endif
