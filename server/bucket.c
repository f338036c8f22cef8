#include "server/bucket.h"

/* The first HMAC of the SigV4 chain: the secret stays in the token, the day's key comes out. */
static enum err_code date_key(void *user, const char *yyyymmdd, uint8_t out[32], struct err *err)
{
	return hsm_hmac((struct hsm_key *)user, span_str(yyyymmdd), out, err);
}

static enum err_code open_s3(const struct config_bucket *config, struct hsm *hsm, struct bucket *bucket,
                             struct err *err)
{
	enum err_code code = hsm_key_find(hsm, HSM_KEY_HMAC, config->secret, &bucket->secret, err);
	if (code != ERR_OK)
		return code;
	const struct s3_options options = {
	    .endpoint = config->endpoint,
	    .region = config->region,
	    .bucket = config->bucket,
	    .path_style = config->path_style,
	    .ca_file = config->ca_file,
	    .sse = config->sse,
	    .credentials = {.access_key_id = config->access_key_id, .date_key = date_key, .user = bucket->secret},
	};
	return store_open_s3(&options, &bucket->store, err);
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
