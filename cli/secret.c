/* Secrets that a person gives, and where what belongs to a configuration goes. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "common/secret.h"

#define SECRET_BYTES 512 /* no AWS secret is longer than 128 */

/* One line from a file or stdin, straight into locked memory. */
enum err_code cli_read_secret(const char *source, struct secret **ret, struct err *err)
{
	const bool from_stdin = strcmp(source, "-") == 0;
	if (!from_stdin && strncmp(source, "file:", 5) != 0)
		return err_set(err, ERR_INVALID, 0, "a secret comes from file:PATH or -, not from %s", source);
	FILE *in = from_stdin ? stdin : fopen(source + 5, "re");
	if (!in)
		return err_set(err, ERR_NOT_FOUND, 0, "%s cannot be read", source);
	setvbuf(in, NULL, _IONBF, 0);
	struct secret *secret = secret_new(SECRET_BYTES);
	size_t len = fread(secret_bytes(secret), 1, SECRET_BYTES, in);
	if (!from_stdin)
		fclose(in);
	const uint8_t *end = memchr(secret_bytes(secret), '\n', len);
	if (end)
		len = (size_t)(end - secret_bytes(secret));
	if (len == 0 || len == SECRET_BYTES) {
		secret_free(secret);
		return err_set(err, ERR_INVALID, 0, "%s holds no secret access key: one line is expected", source);
	}
	secret_truncate(secret, len);
	*ret = secret;
	return ERR_OK;
}

char *cli_folder(const char *given, const char *config_path)
{
	const char *slash = strrchr(config_path, '/');
	return given ? xstrdup(given) : slash ? xstrndup(config_path, (size_t)(slash - config_path)) : xstrdup(".");
}
