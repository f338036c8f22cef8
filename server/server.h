/* Serving: from a configuration to a running deployment and back. */
#ifndef TWOKEY_SERVER_SERVER_H
#define TWOKEY_SERVER_SERVER_H

#include "server/config.h"

/* Opens everything, serves until SIGTERM or SIGINT, drains, closes. Logs "serving" with the address when ready. Call it
 * first thing, in a process with one thread: signals are blocked for all threads that follow. */
must_check enum err_code server_run(const struct config *config, struct err *err);

/* Checks everything but the ledger, and binds nothing: works beside a running server. */
must_check enum err_code server_check(const struct config *config, struct err *err);

/* Makes what is missing in the token: transaction and audit keys, a KEK for each bucket, S3 secrets that are given;
 * writes the public keys to `folder`. Tells each step by the callback. Safe to repeat. */
struct server_secret {
	const char *bucket;          /* name in the config */
	const struct secret *secret; /* the AWS secret access key, without "AWS4" */
};
must_check enum err_code server_init(const struct config *config, const char *folder,
                                     const struct server_secret *secrets, size_t n_secrets,
                                     void (*tell)(const char *line, void *user), void *user, struct err *err);

/* Makes the next generation of a key beside the ones that are there (S3: imports it), writes its public key, and tells
 * what is to be done next. A running server takes no notice before it is told to use it. */
struct server_key_new {
	const char *role; /* "transaction", "audit", "kek", "s3" */
	const char *bucket, *folder;
	const struct secret *secret; /* s3 only: the AWS secret access key, without "AWS4" */
};
must_check enum err_code server_key_new(const struct config *config, const struct server_key_new *wanted,
                                        void (*tell)(const char *line, void *user), void *user, struct err *err);

#endif
