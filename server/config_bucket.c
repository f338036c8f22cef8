#include "server/config_bucket.h"

#include <stdlib.h>

static const struct yaml_name store_names[] = {{"directory", CONFIG_DIRECTORY}, {"s3", CONFIG_S3}, {0}};
static const struct yaml_name credentials_names[] = {{"token", CONFIG_TOKEN},
                                                     {"roles-anywhere", CONFIG_ROLES_ANYWHERE},
                                                     {"imds", CONFIG_IMDS},
                                                     {"container", CONFIG_CONTAINER},
                                                     {0}};

/* A key of an embedded section: its name in the file, and where its value goes in struct config_bucket. */
#define IN(section, member, kind_, ...)                                                                                \
	{                                                                                                                  \
		.name = #member, .kind = (kind_),                                                                              \
		.offset = offsetof(struct config_bucket, section.member) - offsetof(struct config_bucket, section),            \
		__VA_ARGS__                                                                                                    \
	}
#define SECTION(section_)                                                                                              \
	{                                                                                                                  \
		.size = sizeof((struct config_bucket *)NULL)->section_, .fields = section_##_fields,                           \
	}

static const struct yaml_field roles_anywhere_fields[] = {
    IN(roles_anywhere, trust_anchor, YAML_STRING, .required = true, .hint = "an ARN"),
    IN(roles_anywhere, profile, YAML_STRING, .required = true, .hint = "an ARN"),
    IN(roles_anywhere, role, YAML_STRING, .required = true, .hint = "an ARN"),
    IN(roles_anywhere, certificate, YAML_STRING, .required = true, .hint = "path of a PEM file, leaf first"),
    IN(roles_anywhere, key, YAML_STRING, .hint = "an RFC 7512 URI"),
    IN(roles_anywhere, session_name, YAML_STRING),
    IN(roles_anywhere, endpoint, YAML_STRING, .hint = "https://HOST"),
    IN(roles_anywhere, duration, YAML_UINT, .min = 900, .max = 43200),
    {0}};
static const struct yaml_field imds_fields[] = {
    IN(imds, endpoint, YAML_STRING, .hint = "http://169.254.169.254 or http://[fd00:ec2::254]"),
    IN(imds, role, YAML_STRING),
    {0}};
static const struct yaml_field container_fields[] = {
    IN(container, relative_uri, YAML_STRING, .hint = "a path that begins with a slash"),
    IN(container, full_uri, YAML_STRING),
    IN(container, token_file, YAML_STRING, .hint = "path of a file"),
    {0}};
static const struct yaml_type roles_anywhere_type = SECTION(roles_anywhere), imds_type = SECTION(imds),
                              container_type = SECTION(container);

static const struct yaml_field bucket_fields[] = {
    YAML_FIELD(struct config_bucket, name, YAML_STRING, .required = true),
    YAML_FIELD(struct config_bucket, store, YAML_ENUM, .required = true, .names = store_names),
    YAML_FIELD(struct config_bucket, directory, YAML_STRING, .hint = "path of a folder"),
    YAML_FIELD(struct config_bucket, endpoint, YAML_STRING, .hint = "https://HOST[:PORT]"),
    YAML_FIELD(struct config_bucket, region, YAML_STRING),
    YAML_FIELD(struct config_bucket, bucket, YAML_STRING),
    YAML_FIELD(struct config_bucket, access_key_id, YAML_STRING),
    YAML_FIELD(struct config_bucket, ca_file, YAML_STRING),
    YAML_FIELD(struct config_bucket, sse, YAML_STRING, .hint = "AES256 or aws:kms"),
    YAML_FIELD(struct config_bucket, proxy, YAML_STRING, .hint = "http://HOST:PORT"),
    YAML_FIELD(struct config_bucket, path_style, YAML_BOOL),
    YAML_FIELD(struct config_bucket, stall_timeout, YAML_UINT, .min = 1, .max = 600),
    YAML_FIELD(struct config_bucket, credentials, YAML_ENUM, .names = credentials_names),
    YAML_FIELD(struct config_bucket, roles_anywhere, YAML_MAP, .item = &roles_anywhere_type),
    YAML_FIELD(struct config_bucket, imds, YAML_MAP, .item = &imds_type),
    YAML_FIELD(struct config_bucket, container, YAML_MAP, .item = &container_type),
    YAML_FIELD(struct config_bucket, secret, YAML_STRING, .hint = "an RFC 7512 URI"),
    YAML_FIELD(struct config_bucket, kek, YAML_STRING, .hint = "an RFC 7512 URI"),
    {0}};
const struct yaml_type config_bucket_type = {sizeof(struct config_bucket), bucket_fields,
                                             offsetof(struct config_bucket, mark)};

/* ECS and EKS tell a container by its environment where its role is. No secret is among it. */
static void fill_container(struct config_bucket *bucket)
{
	const char *relative = getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	const char *file = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
	if (bucket->container.relative_uri || bucket->container.full_uri)
		return;
	if (relative && relative[0])
		bucket->container.relative_uri = xstrdup(relative);
	else if (full && full[0])
		bucket->container.full_uri = xstrdup(full);
	if (file && file[0])
		config_default(&bucket->container.token_file, file);
}

void config_bucket_fill(const struct config *config, struct config_bucket *bucket)
{
	config_default_key(&bucket->kek, "twokey-kek-", bucket->name);
	config_default_key(&bucket->secret, "twokey-s3-", bucket->name);
	config_default(&bucket->bucket, bucket->name);
	config_resolve(config, &bucket->directory);
	config_resolve(config, &bucket->ca_file);
	if (bucket->credentials == CONFIG_ROLES_ANYWHERE)
		config_default_key(&bucket->roles_anywhere.key, "twokey-roles-anywhere-", bucket->name);
	config_resolve(config, &bucket->roles_anywhere.certificate);
	if (bucket->credentials == CONFIG_CONTAINER)
		fill_container(bucket);
	config_resolve(config, &bucket->container.token_file);
}

/* Each source's own section, and no other's. */
static enum err_code check_credentials(const struct config *config, const struct config_bucket *bucket, struct err *err)
{
	const bool has[] = {[CONFIG_TOKEN] = bucket->access_key_id,
	                    [CONFIG_ROLES_ANYWHERE] = bucket->roles_anywhere.trust_anchor,
	                    [CONFIG_IMDS] = bucket->imds.endpoint || bucket->imds.role,
	                    [CONFIG_CONTAINER] = bucket->container.relative_uri || bucket->container.full_uri};
	static const char *const needed[] = {
	    [CONFIG_TOKEN] = "an s3 store needs `access_key_id`, or other `credentials` than the token's",
	    [CONFIG_ROLES_ANYWHERE] = "`credentials: roles-anywhere` needs the section `roles_anywhere`",
	    [CONFIG_CONTAINER] = "`credentials: container` needs `container.relative_uri` or `container.full_uri`, "
	                         "or the environment of ECS or EKS"};
	const int chosen = bucket->credentials;
	if (chosen != CONFIG_IMDS && !has[chosen])
		return config_wrong(config, &bucket->mark, err, needed[chosen], "");
	for (int i = 0; i < (int)(sizeof has / sizeof has[0]); i++)
		if (i != chosen && has[i])
			return config_wrong(config, &bucket->mark, err,
			                    "settings of other `credentials` than those chosen: ", credentials_names[i].name);
	return ERR_OK;
}

enum err_code config_bucket_check(const struct config *config, size_t i, struct err *err)
{
	const struct config_bucket *bucket = config_bucket(config, i);
	for (size_t k = 0; k < i; k++)
		if (strcmp(config_bucket(config, k)->name, bucket->name) == 0)
			return config_wrong(config, &bucket->mark, err, "there is another bucket named ", bucket->name);
	if (bucket->store == CONFIG_DIRECTORY)
		return bucket->directory ? ERR_OK
		                         : config_wrong(config, &bucket->mark, err, "a directory store needs `directory`", "");
	if (!bucket->endpoint || !bucket->region)
		return config_wrong(config, &bucket->mark, err, "an s3 store needs `endpoint` and `region`", "");
	if (bucket->sse && strcmp(bucket->sse, "AES256") != 0 && strcmp(bucket->sse, "aws:kms") != 0)
		return config_wrong(config, &bucket->mark, err, "`sse` is AES256 or aws:kms, not ", bucket->sse);
	return check_credentials(config, bucket, err);
}
