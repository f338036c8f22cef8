/* The ENGINE interface is deprecated in OpenSSL 3 and all that libgrpc 1.51 knows. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "rpc/token_key.h"

#include <stdlib.h>

#include <openssl/engine.h>

#define MODULE_VARIABLE "PKCS11_MODULE_PATH"

bool rpc_token_key_is(const char *key)
{
	return key && strncmp(key, "pkcs11:", 7) == 0;
}

/* The engine does not unescape the path, and '&' would start another attribute. */
static bool plain_path(const char *path)
{
	return path[0] == '/' &&
	       strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-@") == strlen(path);
}

static enum err_code pin_path(const char *source, char **ret, struct err *err)
{
	autofree char *path = NULL;
	if (strncmp(source, "file:", 5) == 0) {
		path = xstrdup(source + 5);
	} else if (strncmp(source, "credential:", 11) == 0) {
		const char *directory = getenv("CREDENTIALS_DIRECTORY");
		if (!directory)
			return err_set(err, ERR_INVALID, 0, "TLS key: %s, but there is no CREDENTIALS_DIRECTORY", source);
		path = xasprintf("%s/%s", directory, source + 11);
	} else {
		return err_set(err, ERR_INVALID, 0, "TLS key: the PIN source must be file:/path or credential:NAME");
	}
	if (!plain_path(path))
		return err_set(err, ERR_INVALID, 0,
		               "TLS key: the PIN source must be an absolute path of letters, digits, /._-@");
	*ret = path;
	path = NULL;
	return ERR_OK;
}

/* One module per process: a second one would be ignored by the engine, silently. */
static enum err_code module_set(const char *module, struct err *err)
{
	const char *now = getenv(MODULE_VARIABLE);
	if (now && strcmp(now, module) != 0)
		return err_set(err, ERR_INVALID, 0, "TLS key: " MODULE_VARIABLE " already names another module: %s", now);
	if (!now && setenv(MODULE_VARIABLE, module, 1) != 0)
		return err_set(err, ERR_INVALID, 0, "TLS key: the module cannot be set");
	return ERR_OK;
}

enum err_code rpc_token_key_name(const struct rpc_tls *tls, char **ret, struct err *err)
{
	if (strstr(tls->key, "pin-value"))
		return err_set(err, ERR_INVALID, 0, "TLS key: a PIN does not belong in the URI; use a PIN source");
	if (!tls->module || tls->module[0] != '/')
		return err_set(err, ERR_INVALID, 0, "TLS key: a key in a token needs the absolute path of the PKCS#11 module");
	if (!tls->pin_source)
		return err_set(err, ERR_INVALID, 0, "TLS key: a key in a token needs a PIN source");
	if (strchr(tls->key, '?'))
		return err_set(err, ERR_INVALID, 0, "TLS key: the URI must have no query part");
	autofree char *path = NULL;
	enum err_code code = pin_path(tls->pin_source, &path, err);
	if (code == ERR_OK)
		code = module_set(tls->module, err);
	if (code == ERR_OK)
		*ret = xasprintf("engine:pkcs11:%s?pin-source=file:%s", tls->key, path);
	return code;
}

void rpc_token_key_tidy(void)
{
	ENGINE *engine = ENGINE_by_id("pkcs11");
	if (!engine)
		return;
	ENGINE_unregister_EC(engine);
	ENGINE_unregister_RSA(engine);
	ENGINE_unregister_pkey_meths(engine);
	ENGINE_free(engine);
}
