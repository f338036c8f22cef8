/* https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html (version 2: every question
 * carries a token that only a PUT gives). */
#include <ctype.h>

#include "s3client/role.h"

#define DEFAULT_ENDPOINT "http://169.254.169.254"
#define TOKEN_PATH       "/latest/api/token"
#define ROLE_PATH        "/latest/meta-data/iam/security-credentials/"
#define TOKEN_SECONDS    "60" /* it is used at once */
#define ROLE_NAME_MAX    64   /* IAM's */

static bool is_role_name(const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && !strchr("+=,.@_-", name[i]))
			return false;
	}
	return len > 0 && len <= ROLE_NAME_MAX;
}

static enum err_code ask(struct role *role, const struct wait *wait, const char *method, const char *path,
                         const struct sigv4_pair *header, struct buf *answer, struct err *err)
{
	autofree char *url = xasprintf("%s%s", role->origin, path);
	const struct http_request request = {
	    .method = method, .url = url, .headers = header, .n_headers = 1, .wait = *wait};
	return role_exchange(role, &request, answer, err);
}

static enum err_code get_token(struct role *role, const struct wait *wait, struct buf *token, struct err *err)
{
	const struct sigv4_pair header = {"x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS};
	enum err_code code = ask(role, wait, "PUT", TOKEN_PATH, &header, token, err);
	if (code != ERR_OK)
		return code;
	const char *text = buf_cstr(token);
	for (size_t i = 0; i < token->len; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return err_set(err, ERR_CORRUPT, 0, "the answer is no token");
	}
	return token->len > 0 ? ERR_OK : err_set(err, ERR_CORRUPT, 0, "the answer is no token");
}

/* The service lists the one role of the instance. */
static enum err_code get_role_path(struct role *role, const struct wait *wait, const struct sigv4_pair *header,
                                   char **ret, struct err *err)
{
	if (role->role) {
		*ret = xasprintf(ROLE_PATH "%s", role->role);
		return ERR_OK;
	}
	autobuf struct buf answer = {0};
	enum err_code code = ask(role, wait, "GET", ROLE_PATH, header, &answer, err);
	if (code != ERR_OK)
		return code;
	const char *text = buf_cstr(&answer);
	autofree char *name = xstrndup(text, strcspn(text, "\r\n"));
	if (!is_role_name(name))
		return err_set(err, ERR_CORRUPT, 0, "the answer names no role");
	*ret = xasprintf(ROLE_PATH "%s", name);
	return ERR_OK;
}

static enum err_code get_set(struct role *role, const struct wait *wait, const struct sigv4_pair *header,
                             struct role_set *ret, struct err *err)
{
	static const struct role_names names = {NULL, "AccessKeyId", "SecretAccessKey", "Token", "Expiration"};
	autofree char *path = NULL;
	enum err_code code = get_role_path(role, wait, header, &path, err);
	if (code != ERR_OK)
		return code;
	struct buf answer = {0};
	code = ask(role, wait, "GET", path, header, &answer, err);
	if (code == ERR_OK)
		code = role_read_set(role, buf_span(&answer), &names, ret, err);
	role_answer_done(&answer);
	return code;
}

static enum err_code fetch(struct role *role, const struct wait *wait, struct role_set *ret, struct err *err)
{
	struct buf token = {0};
	enum err_code code = get_token(role, wait, &token, err);
	if (code == ERR_OK) {
		const struct sigv4_pair header = {"x-aws-ec2-metadata-token", buf_cstr(&token)};
		code = get_set(role, wait, &header, ret, err);
	}
	role_answer_done(&token);
	return code;
}

static const struct role_ops ops = {"the instance's metadata service", fetch};

enum err_code role_instance_init(struct role *role, const struct s3_role *from, struct err *err)
{
	static const char *const own[] = {"169.254.169.254", "fd00:ec2::254"};
	struct role_url url;
	bool good = role_url_parse(from->endpoint ? from->endpoint : DEFAULT_ENDPOINT, &url);
	good = good && !url.https && strcmp(url.path, "/") == 0 &&
	       (url.loopback || strcmp(url.host, own[0]) == 0 || strcmp(url.host, own[1]) == 0);
	if (good)
		role->origin = xstrdup(url.origin);
	role_url_done(&url);
	if (!good)
		return err_set(err, ERR_INVALID, 0,
		               "the metadata service is at http://169.254.169.254 or http://[fd00:ec2::254]");
	if (from->role && !is_role_name(from->role))
		return err_set(err, ERR_INVALID, 0, "a role's name is letters, digits and +=,.@_- of at most %d",
		               ROLE_NAME_MAX);
	role->role = from->role ? xstrdup(from->role) : NULL;
	role->ops = &ops;
	return ERR_OK;
}
