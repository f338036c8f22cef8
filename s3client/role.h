/* The sources of temporary credentials; private to credentials.c and role*.c. */
#ifndef TWOKEY_S3CLIENT_ROLE_H
#define TWOKEY_S3CLIENT_ROLE_H

#include "common/secret.h"
#include "s3client/http.h"

/* The copied settings of a struct s3_role; which are set depends on the kind. */
struct role {
	const struct role_ops *ops;
	const struct clock *clock;
	struct http_pool *pool;
	char *origin; /* "http://169.254.169.254": what stands before the path */
	char *path;   /* CONTAINER */
	char *role, *token_file;
	/* ANYWHERE */
	char *host, *region, *serial, *leaf, *chain, *body, *trust_anchor_arn, *profile_arn, *role_arn;
	int64_t certificate_ends_ms;
	enum err_code (*sign)(void *user, const uint8_t digest[32], struct buf *der, struct err *err);
	void *user;
};

/* What a source hands out. */
struct role_set {
	char *access_key_id;
	struct secret *secret; /* "AWS4" and the secret access key */
	struct secret *token;  /* with a NUL at its end */
	int64_t ends_ms;
};
void role_set_done(struct role_set *set);

struct role_ops {
	const char *name; /* for error texts */
	enum err_code (*fetch)(struct role *role, const struct wait *wait, struct role_set *ret, struct err *err);
};

must_check enum err_code role_open(const struct s3_options *options, struct role **ret, struct err *err);
void role_free(struct role *role); /* accepts NULL */
/* On failure *ret is untouched. The texts of errors hold nothing that the source sent but words. */
must_check enum err_code role_fetch(struct role *role, const struct wait *wait, struct role_set *ret, struct err *err);

/* ---- one kind each: settings into an empty role ---- */

must_check enum err_code role_anywhere_init(struct role *role, const struct s3_role *from, struct err *err);
must_check enum err_code role_instance_init(struct role *role, const struct s3_role *from, struct err *err);
must_check enum err_code role_container_init(struct role *role, const struct s3_role *from, struct err *err);

/* ---- role_exchange.c ---- */

#define ROLE_ANSWER_MAX ((size_t)16 << 10)

/* Sends, again when that may help, and reads an answer of 200 or 201 into `body`, which the caller wipes with
 * role_answer_done. */
must_check enum err_code role_exchange(struct role *role, const struct http_request *request, struct buf *body,
                                       struct err *err);
void role_answer_done(struct buf *body);

/* The names that a source's JSON has for the four values. */
struct role_names {
	const char *set; /* the array whose first entry's "credentials" holds them; NULL: the document itself */
	const char *access_key_id, *secret, *token, *expiration;
};
/* ERR_CORRUPT when it is not that, ERR_UNAVAILABLE when the set has ended already. */
must_check enum err_code role_read_set(const struct role *role, struct span json, const struct role_names *names,
                                       struct role_set *ret, struct err *err);

/* An address as it is configured. */
struct role_url {
	char *origin, *host_port, *path; /* heap */
	bool https, loopback;
	char host[64]; /* without brackets */
};
/* Neither user, password, query nor fragment; false otherwise. */
bool role_url_parse(const char *text, struct role_url *ret);
void role_url_done(struct role_url *url);

#endif
