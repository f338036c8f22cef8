#include "server/bucket.h"

#include <stdatomic.h>

#include "common/text.h"

#define CERTIFICATES_MAX ((size_t)65536)

/* The first HMAC of the SigV4 chain: the secret stays in the token, the day's key comes out. */
static enum err_code date_key(void *user, const char *yyyymmdd, uint8_t out[32], struct err *err)
{
	return hsm_hmac((struct hsm_key *)user, span_str(yyyymmdd), out, err);
}

static enum err_code sign(void *user, const uint8_t digest[32], struct buf *der, struct err *err)
{
	return hsm_sign((struct hsm_key *)user, digest, der, err);
}

static enum err_code open_store(const struct config_bucket *config, const struct s3_credentials *credentials,
                                const struct s3_role *role, struct store **ret, struct err *err)
{
	const struct s3_options options = {
	    .endpoint = config->endpoint,
	    .region = config->region,
	    .bucket = config->bucket,
	    .path_style = config->path_style,
	    .ca_file = config->ca_file,
	    .sse = config->sse,
	    .proxy = config->proxy,
	    .stall_timeout_ms = (unsigned)config->stall_timeout * 1000,
	    .credentials = *credentials,
	    .role = role,
	};
	return store_open_s3(&options, ret, err);
}

enum err_code bucket_try_secret(const struct config_bucket *config, struct hsm_key *secret, const char *access_key_id,
                                struct store **ret, struct err *err)
{
	const struct s3_credentials credentials = {.access_key_id =
	                                               access_key_id[0] ? access_key_id : config->access_key_id,
	                                           .date_key = date_key,
	                                           .user = secret};
	return open_store(config, &credentials, NULL, ret, err);
}

static enum err_code open_with_secret(struct bucket *bucket, struct hsm *hsm, struct keys *keys, struct store **ret,
                                      struct err *err)
{
	(void)hsm;
	if (!bucket->secret)
		bucket->secret = keys_line(keys, TWOKEY__V1__KEY_ROLE__KEY_ROLE_S3, bucket->config->name);
	unsigned generation;
	struct hsm_key *key = keys_current(keys, bucket->secret, &generation);
	struct key_view view;
	bool known = keys_view(keys, bucket->secret, generation, &view);
	bucket->secret_generation = generation;
	return bucket_try_secret(bucket->config, key, known ? view.access_key_id : "", ret, err);
}

static enum err_code open_with_certificate(struct bucket *bucket, struct hsm *hsm, struct keys *keys,
                                           struct store **ret, struct err *err)
{
	(void)keys;
	const struct config_bucket *config = bucket->config;
	struct hsm_key *key = NULL;
	autobuf struct buf certificates = {0};
	enum err_code code = hsm_key_find(hsm, HSM_KEY_SIGN, config->roles_anywhere.key, &key, err);
	if (code == ERR_OK)
		code = text_read_file(config->roles_anywhere.certificate, CERTIFICATES_MAX, &certificates, err);
	if (code != ERR_OK)
		return code;
	const struct s3_role role = {.kind = S3_ROLE_ANYWHERE,
	                             .endpoint = config->roles_anywhere.endpoint,
	                             .trust_anchor_arn = config->roles_anywhere.trust_anchor,
	                             .profile_arn = config->roles_anywhere.profile,
	                             .role_arn = config->roles_anywhere.role,
	                             .session_name = config->roles_anywhere.session_name,
	                             .duration_s = (unsigned)config->roles_anywhere.duration,
	                             .certificates = buf_span(&certificates),
	                             .spki = hsm_key_spki(key),
	                             .sign = sign,
	                             .user = key};
	return open_store(config, &(struct s3_credentials){0}, &role, ret, err);
}

static enum err_code open_with_imds(struct bucket *bucket, struct hsm *hsm, struct keys *keys, struct store **ret,
                                    struct err *err)
{
	(void)keys;
	const struct config_bucket *config = bucket->config;
	(void)hsm;
	const struct s3_role role = {
	    .kind = S3_ROLE_INSTANCE, .endpoint = config->imds.endpoint, .role = config->imds.role};
	return open_store(config, &(struct s3_credentials){0}, &role, ret, err);
}

static enum err_code open_with_container(struct bucket *bucket, struct hsm *hsm, struct keys *keys, struct store **ret,
                                         struct err *err)
{
	(void)keys;
	const struct config_bucket *config = bucket->config;
	(void)hsm;
	const struct s3_role role = {.kind = S3_ROLE_CONTAINER,
	                             .relative_uri = config->container.relative_uri,
	                             .full_uri = config->container.full_uri,
	                             .token_file = config->container.token_file};
	return open_store(config, &(struct s3_credentials){0}, &role, ret, err);
}

static enum err_code open_s3(struct bucket *bucket, struct hsm *hsm, struct keys *keys, struct store **ret,
                             struct err *err)
{
	static enum err_code (*const by_credentials[])(struct bucket *, struct hsm *, struct keys *, struct store **,
	                                               struct err *) = {[CONFIG_TOKEN] = open_with_secret,
	                                                                [CONFIG_ROLES_ANYWHERE] = open_with_certificate,
	                                                                [CONFIG_IMDS] = open_with_imds,
	                                                                [CONFIG_CONTAINER] = open_with_container};
	return by_credentials[bucket->config->credentials](bucket, hsm, keys, ret, err);
}

enum err_code bucket_open(const struct config_bucket *config, struct hsm *hsm, struct keys *keys, struct bucket *ret,
                          struct err *err)
{
	*ret = (struct bucket){.config = config, .kek = keys_line(keys, TWOKEY__V1__KEY_ROLE__KEY_ROLE_KEK, config->name)};
	struct store *store = NULL;
	enum err_code code = config->store == CONFIG_S3 ? open_s3(ret, hsm, keys, &store, err)
	                                                : store_open_directory(config->directory, &store, err);
	atomic_init(&ret->store, store);
	if (code != ERR_OK)
		err_prefix(err, "bucket %s", config->name);
	return code;
}

bool bucket_is_behind(const struct bucket *bucket, struct keys *keys)
{
	unsigned current;
	if (!bucket->secret)
		return false;
	keys_current(keys, bucket->secret, &current);
	return current != bucket->secret_generation;
}

enum err_code bucket_follow_keys(struct bucket *bucket, struct hsm *hsm, struct keys *keys, struct err *err)
{
	if (!bucket_is_behind(bucket, keys))
		return ERR_OK;
	if (bucket->n_old_stores == BUCKET_STORES_MAX)
		return err_set(err, ERR_EXHAUSTED, 0, "bucket %s: too many changes of credentials in one run; restart",
		               bucket->config->name);
	struct store *store = NULL;
	unsigned before = bucket->secret_generation;
	enum err_code code = open_with_secret(bucket, hsm, keys, &store, err);
	if (code != ERR_OK) {
		bucket->secret_generation = before;
		err_prefix(err, "bucket %s", bucket->config->name);
		return code;
	}
	bucket->old_stores[bucket->n_old_stores++] = atomic_exchange(&bucket->store, store);
	return ERR_OK;
}

void bucket_close(struct bucket *bucket)
{
	store_free(bucket->store);
	for (size_t i = 0; i < bucket->n_old_stores; i++)
		store_free(bucket->old_stores[i]);
}
