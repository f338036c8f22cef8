/* Opens a configured bucket: its store, its KEK, and its S3 secret in the token. */
#ifndef TWOKEY_SERVER_BUCKET_H
#define TWOKEY_SERVER_BUCKET_H

#include "server/deployment.h"

must_check enum err_code bucket_open(const struct config_bucket *config, struct hsm *hsm, struct bucket *ret,
                                     struct err *err);
void bucket_close(struct bucket *bucket);

#endif
