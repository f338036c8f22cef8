/* The entries of `buckets`, and what config.c shares with them. */
#ifndef TWOKEY_SERVER_CONFIG_BUCKET_H
#define TWOKEY_SERVER_CONFIG_BUCKET_H

#include "server/config.h"

extern const struct yaml_type config_bucket_type; /* of struct config_bucket */
/* Defaults and absolute paths. */
void config_bucket_fill(const struct config *config, struct config_bucket *bucket);
must_check enum err_code config_bucket_check(const struct config *config, size_t i, struct err *err);

/* ---- config.c ---- */

void config_default(char **value, const char *standard);
/* "pkcs11:object=LABELNAME" */
void config_default_key(char **uri, const char *label, const char *name);
/* Makes a path absolute, from the folder of the file that names it; NULL stays. */
void config_resolve(const struct config *config, char **path);
/* ERR_INVALID with the file's name, and line and column when there is a mark. */
enum err_code config_wrong(const struct config *config, const struct yaml_mark *mark, struct err *err, const char *text,
                           const char *what);

#endif
