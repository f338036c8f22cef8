/* https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html */
#include "common/text.h"
#include "s3client/role.h"

#define TASK_ORIGIN    "http://169.254.170.2"
#define TOKEN_FILE_MAX ((size_t)8192)

/* The token as the file has it, without a line end; a line end inside would be another header. */
static enum err_code read_token(const struct role *role, struct buf *token, struct err *err)
{
	enum err_code code = text_read_file(role->token_file, TOKEN_FILE_MAX, token, err);
	if (code != ERR_OK)
		return err_set(err, ERR_PRECONDITION, 0, "the file of the authorization token cannot be read");
	while (token->len > 0 && (token->data[token->len - 1] == '\n' || token->data[token->len - 1] == '\r'))
		token->len--;
	for (size_t i = 0; i < token->len; i++) {
		if (token->data[i] < ' ' || token->data[i] > '~')
			return err_set(err, ERR_PRECONDITION, 0, "the file of the authorization token holds more than a token");
	}
	return token->len > 0 ? ERR_OK : err_set(err, ERR_PRECONDITION, 0, "the authorization token is empty");
}

static enum err_code fetch(struct role *role, const struct wait *wait, struct role_set *ret, struct err *err)
{
	static const struct role_names names = {NULL, "AccessKeyId", "SecretAccessKey", "Token", "Expiration"};
	struct buf token = {0}, answer = {0};
	enum err_code code = role->token_file ? read_token(role, &token, err) : ERR_OK;
	if (code == ERR_OK) {
		autofree char *url = xasprintf("%s%s", role->origin, role->path);
		const struct sigv4_pair header = {"authorization", buf_cstr(&token)};
		const struct http_request request = {
		    .method = "GET", .url = url, .headers = &header, .n_headers = role->token_file ? 1 : 0, .wait = *wait};
		code = role_exchange(role, &request, &answer, err);
	}
	if (code == ERR_OK)
		code = role_read_set(role, buf_span(&answer), &names, ret, err);
	role_answer_done(&answer);
	role_answer_done(&token);
	return code;
}

static const struct role_ops ops = {"the container endpoint", fetch};

/* Credentials must not be asked of, nor the token shown to, just anybody over plain HTTP. */
static bool is_allowed(const struct role_url *url)
{
	static const char *const own[] = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23"};
	bool allowed = url->https || url->loopback;
	for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
		allowed = allowed || strcmp(url->host, own[i]) == 0;
	return allowed;
}

enum err_code role_container_init(struct role *role, const struct s3_role *from, struct err *err)
{
	if (!from->relative_uri == !from->full_uri)
		return err_set(err, ERR_INVALID, 0, "the container endpoint is given by a relative or by a full URI");
	if (from->relative_uri && from->relative_uri[0] != '/')
		return err_set(err, ERR_INVALID, 0, "a relative URI begins with a slash");
	autofree char *text = from->full_uri ? xstrdup(from->full_uri) : xasprintf("%s%s", TASK_ORIGIN, from->relative_uri);
	struct role_url url;
	bool good = role_url_parse(text, &url) && is_allowed(&url);
	if (good) {
		role->origin = xstrdup(url.origin);
		role->path = xstrdup(url.path);
	}
	role_url_done(&url);
	if (!good)
		return err_set(err, ERR_INVALID, 0,
		               "the container endpoint is https://, or http:// to this machine, 169.254.170.2, "
		               "169.254.170.23 or [fd00:ec2::23]");
	role->token_file = from->token_file ? xstrdup(from->token_file) : NULL;
	role->ops = &ops;
	return ERR_OK;
}
