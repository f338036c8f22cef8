/* The entries of `callers`: whose certificates may do what, from where. */
#ifndef TWOKEY_SERVER_CONFIG_CALLER_H
#define TWOKEY_SERVER_CONFIG_CALLER_H

#include "server/config.h"

extern const struct yaml_type config_caller_type; /* of struct config_caller */

must_check enum err_code config_caller_check(const struct config *config, struct config_caller *caller,
                                             struct err *err);
void config_caller_done(struct config_caller *caller); /* what the table of fields does not own */

#endif
