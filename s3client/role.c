#include "s3client/role.h"

#include <curl/curl.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT_MS 2000
#define STALL_TIMEOUT_MS   5000

void role_set_done(struct role_set *set)
{
	free(set->access_key_id);
	secret_free(set->secret);
	secret_free(set->token);
	*set = (struct role_set){0};
}

static enum err_code init(struct role *role, const struct s3_role *from, struct err *err)
{
	switch (from->kind) {
	case S3_ROLE_ANYWHERE:
		return role_anywhere_init(role, from, err);
	case S3_ROLE_INSTANCE:
		return role_instance_init(role, from, err);
	case S3_ROLE_CONTAINER:
		return role_container_init(role, from, err);
	}
	return err_set(err, ERR_INVALID, 0, "no such source of credentials");
}

enum err_code role_open(const struct s3_options *options, struct role **ret, struct err *err)
{
	struct role *role = xcalloc(1, sizeof *role);
	role->clock = options->clock;
	enum err_code code = init(role, options->role, err);
	if (code != ERR_OK) {
		role_free(role);
		return code;
	}
	bool inside = options->role->kind != S3_ROLE_ANYWHERE; /* what this machine's own role service says stays here */
	const struct http_options http = {.ca_file = options->ca_file,
	                                  .proxy = inside ? NULL : options->proxy,
	                                  .connect_timeout_ms = CONNECT_TIMEOUT_MS,
	                                  .stall_timeout_ms = STALL_TIMEOUT_MS};
	role->pool = http_pool_new(&http);
	*ret = role;
	return ERR_OK;
}

void role_free(struct role *role)
{
	if (!role)
		return;
	char *texts[] = {role->origin,           role->path,        role->role,    role->token_file, role->host,
	                 role->region,           role->serial,      role->leaf,    role->chain,      role->body,
	                 role->trust_anchor_arn, role->profile_arn, role->role_arn};
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		free(texts[i]);
	http_pool_free(role->pool);
	free(role);
}

enum err_code role_fetch(struct role *role, const struct wait *wait, struct role_set *ret, struct err *err)
{
	enum err_code code = role->ops->fetch(role, wait, ret, err);
	if (code != ERR_OK)
		err_prefix(err, "credentials from %s", role->ops->name);
	return code;
}

/* ---- addresses ---- */

static bool is_loopback(const char *host)
{
	return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 || strncmp(host, "127.", 4) == 0;
}

/* A name that begins with digits is none: "127.example.com" is not this machine. */
static bool is_numeric_v4(const char *host)
{
	return host[strspn(host, "0123456789.")] == 0;
}

static char *get(CURLU *url, CURLUPart part, unsigned flags)
{
	char *text = NULL;
	if (curl_url_get(url, part, &text, flags) != CURLUE_OK)
		return NULL;
	char *copy = xstrdup(text);
	curl_free(text);
	return copy;
}

static bool has(CURLU *url, CURLUPart part)
{
	autofree char *text = get(url, part, 0);
	return text != NULL;
}

static void take_brackets(const char *host, char *out, size_t size)
{
	size_t len = strlen(host);
	bool bracketed = len >= 2 && host[0] == '[' && host[len - 1] == ']';
	if (len < size)
		memcpy(out, host + bracketed, len - 2 * (size_t)bracketed);
}

bool role_url_parse(const char *text, struct role_url *ret)
{
	*ret = (struct role_url){0};
	CURLU *url = curl_url();
	if (!url || curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK) {
		curl_url_cleanup(url);
		return false;
	}
	autofree char *scheme = get(url, CURLUPART_SCHEME, 0), *host = get(url, CURLUPART_HOST, 0);
	autofree char *port = get(url, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
	bool plain = !has(url, CURLUPART_USER) && !has(url, CURLUPART_PASSWORD) && !has(url, CURLUPART_QUERY) &&
	             !has(url, CURLUPART_FRAGMENT);
	bool good = scheme && host && plain && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
	if (good) {
		ret->https = scheme[4] == 's';
		take_brackets(host, ret->host, sizeof ret->host);
		ret->loopback = is_loopback(ret->host) && (strncmp(ret->host, "127.", 4) != 0 || is_numeric_v4(ret->host));
		ret->host_port = xasprintf("%s%s%s", host, port ? ":" : "", port ? port : "");
		ret->origin = xasprintf("%s://%s", scheme, ret->host_port);
		ret->path = get(url, CURLUPART_PATH, 0);
	}
	curl_url_cleanup(url);
	return good;
}

void role_url_done(struct role_url *url)
{
	free(url->origin);
	free(url->host_port);
	free(url->path);
	*url = (struct role_url){0};
}
