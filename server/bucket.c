#include "server/bucket.h"

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
                                const struct s3_role *role, struct bucket *bucket, struct err *err)
{
	const struct s3_options options = {
	    .endpoint = config->endpoint,
	    .region = config->region,
	    .bucket = config->bucket,
	    .path_style = config->path_style,
	    .ca_file = config->ca_file,
	    .sse = config->sse,
	    .proxy = config->proxy,
	    .credentials = *credentials,
	    .role = role,
	};
	return store_open_s3(&options, &bucket->store, err);
}

static enum err_code open_with_secret(const struct config_bucket *config, struct hsm *hsm, struct bucket *bucket,
                                      struct err *err)
{
	enum err_code code = hsm_key_find(hsm, HSM_KEY_HMAC, config->secret, &bucket->secret, err);
	const struct s3_credentials credentials = {
	    .access_key_id = config->access_key_id, .date_key = date_key, .user = bucket->secret};
	return code == ERR_OK ? open_store(config, &credentials, NULL, bucket, err) : code;
}

static enum err_code open_with_certificate(const struct config_bucket *config, struct hsm *hsm, struct bucket *bucket,
                                           struct err *err)
{
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
	return open_store(config, &(struct s3_credentials){0}, &role, bucket, err);
}

static enum err_code open_with_imds(const struct config_bucket *config, struct hsm *hsm, struct bucket *bucket,
                                    struct err *err)
{
	(void)hsm;
	const struct s3_role role = {
	    .kind = S3_ROLE_INSTANCE, .endpoint = config->imds.endpoint, .role = config->imds.role};
	return open_store(config, &(struct s3_credentials){0}, &role, bucket, err);
}

static enum err_code open_with_container(const struct config_bucket *config, struct hsm *hsm, struct bucket *bucket,
                                         struct err *err)
{
	(void)hsm;
	const struct s3_role role = {.kind = S3_ROLE_CONTAINER,
	                             .relative_uri = config->container.relative_uri,
	                             .full_uri = config->container.full_uri,
	                             .token_file = config->container.token_file};
	return open_store(config, &(struct s3_credentials){0}, &role, bucket, err);
}

static enum err_code open_s3(const struct config_bucket *config, struct hsm *hsm, struct bucket *bucket,
                             struct err *err)
{
	static enum err_code (*const by_credentials[])(const struct config_bucket *, struct hsm *, struct bucket *,
	                                               struct err *) = {[CONFIG_TOKEN] = open_with_secret,
	                                                                [CONFIG_ROLES_ANYWHERE] = open_with_certificate,
	                                                                [CONFIG_IMDS] = open_with_imds,
	                                                                [CONFIG_CONTAINER] = open_with_container};
	return by_credentials[config->credentials](config, hsm, bucket, err);
}

enum err_code bucket_open(const struct config_bucket *config, struct hsm *hsm, struct bucket *ret, struct err *err)
{
	*ret = (struct bucket){.config = config};
	enum err_code code = hsm_key_find(hsm, HSM_KEY_AES, config->kek, &ret->kek, err);
	if (code == ERR_OK)
		code = config->store == CONFIG_S3 ? open_s3(config, hsm, ret, err)
		                                  : store_open_directory(config->directory, &ret->store, err);
	if (code != ERR_OK)
		err_prefix(err, "bucket %s", config->name);
	return code;
}

void bucket_close(struct bucket *bucket)
{
	store_free(bucket->store);
}
