/* The client's side: a channel, and the one-request-one-response call. */
#include <stdlib.h>

#include <grpc/grpc_security.h>

#include "common/text.h"
#include "rpc/stream.h"
#include "rpc/tls.h"

#define SYSTEM_ROOTS "/etc/ssl/certs/ca-certificates.crt"
#define MESSAGE_MAX  (4 << 20)
#define RECONNECT_MS 10000
#define CLIENT_ARGS  8

static grpc_arg int_arg(const char *key, int value)
{
	grpc_arg arg = {.type = GRPC_ARG_INTEGER, .key = (char *)key};
	arg.value.integer = value;
	return arg;
}

static grpc_arg string_arg(const char *key, const char *value)
{
	grpc_arg arg = {.type = GRPC_ARG_STRING, .key = (char *)key};
	arg.value.string = (char *)value;
	return arg;
}

static size_t args_make(const struct rpc_client_options *options, grpc_arg *args)
{
	size_t n = 0;
	/* Otherwise all channels of the process to one address share a connection, whatever their certificates. */
	args[n++] = int_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
	args[n++] = int_arg(GRPC_ARG_ENABLE_RETRIES, 0);
	args[n++] = int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, MESSAGE_MAX);
	args[n++] = int_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, RECONNECT_MS);
	args[n++] = int_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1);
	args[n++] = string_arg(GRPC_ARG_PRIMARY_USER_AGENT_STRING,
	                       options->user_agent ? options->user_agent : "twokey/" TWOKEY_VERSION);
	if (options->server_name) {
		args[n++] = string_arg(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, options->server_name);
		args[n++] = string_arg(GRPC_ARG_DEFAULT_AUTHORITY, options->server_name);
	}
	return n;
}

static grpc_channel *channel_new(const struct rpc_client_options *options, const struct rpc_pem *pem)
{
	grpc_ssl_pem_key_cert_pair pair = {.private_key = pem->key, .cert_chain = pem->certificate};
	grpc_channel_credentials *credentials =
	    grpc_ssl_credentials_create_ex(pem->ca, pem->certificate ? &pair : NULL, NULL, NULL);
	if (!credentials)
		return NULL;
	grpc_arg args[CLIENT_ARGS];
	grpc_channel_args all = {args_make(options, args), args};
	autofree char *target = xasprintf("dns:///%s", options->target);
	grpc_channel *channel = grpc_channel_create(target, credentials, &all);
	grpc_channel_credentials_release(credentials);
	return channel;
}

static bool target_ok(const char *target)
{
	const char *colon = target ? strrchr(target, ':') : NULL;
	return colon && colon != target && colon[1] && strspn(colon + 1, "0123456789") == strlen(colon + 1) &&
	       !strpbrk(target, "/?#@ ");
}

enum err_code rpc_client_new(const struct rpc_client_options *options, struct rpc_client **ret, struct err *err)
{
	if (!target_ok(options->target))
		return err_set(err, ERR_INVALID, 0, "not a host and port: %.100s", options->target ? options->target : "");
	struct rpc_tls files = {.certificate = options->certificate,
	                        .key = options->key,
	                        .client_ca = options->ca ? options->ca : SYSTEM_ROOTS};
	struct rpc_pem pem;
	enum err_code code = rpc_pem_load(&files, &pem, err);
	if (code != ERR_OK)
		return code;
	grpc_channel *channel = channel_new(options, &pem);
	rpc_pem_done(&pem);
	if (!channel)
		return err_set(err, ERR_INVALID, 0, "the TLS files cannot be used");
	struct rpc_client *client = xcalloc(1, sizeof(*client));
	client->channel = channel;
	*ret = client;
	return ERR_OK;
}

void rpc_client_free(struct rpc_client *client)
{
	if (!client)
		return;
	grpc_channel_destroy(client->channel);
	free(client);
}

/* A server may answer without having read the request: then sending fails and there is an answer all the same. */
static enum err_code exchange(struct rpc_stream *stream, struct span request, struct buf *response, struct err *err)
{
	bool end = false;
	if (rpc_stream_send(stream, request, NULL, NULL) == ERR_OK)
		(void)!rpc_stream_half_close(stream, NULL);
	enum err_code code = rpc_stream_recv(stream, response, &end, err);
	if (code == ERR_OK && end)
		code = err_set(err, ERR_INTERNAL, 0, "an answer without a message");
	return code;
}

enum err_code rpc_unary(struct rpc_client *client, const char *path, struct span request, int64_t deadline_ms,
                        struct buf *response, struct rpc_status *ret, struct err *err)
{
	struct rpc_stream *stream = NULL;
	*ret = (struct rpc_status){0};
	buf_clear(response);
	enum err_code code = rpc_stream_open(client, path, deadline_ms, &stream, err);
	if (code != ERR_OK) {
		*ret = (struct rpc_status){code, xstrdup(err_text(code)), xstrdup(""), xstrdup("")};
		return code;
	}
	struct err detail = {0};
	code = exchange(stream, request, response, &detail);
	if (code == ERR_EXHAUSTED)
		rpc_stream_cancel(stream);
	rpc_stream_finish(stream, ret);
	rpc_stream_free(stream);
	if (ret->code != ERR_OK && code != ERR_EXHAUSTED)
		return err_set(err, ret->code, 0, "%s", ret->message);
	return code == ERR_OK ? ERR_OK : err_set(err, code, 0, "%s", detail.text);
}
