#include "cli/holder_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/secret.h"
#include "common/text.h"

#define KEY_FILE_MAX ((size_t)16 << 10)

static enum err_code system_error(const char *path, struct err *err)
{
	const int number = errno;
	return err_set(err, number == EEXIST ? ERR_EXISTS : ERR_INVALID, number, "%s: %s", path, strerror(number));
}

static enum err_code write_new(const char *path, struct span bytes, mode_t mode, struct err *err)
{
	autofd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return system_error(path, err);
	if (write(fd, bytes.ptr, bytes.len) != (ssize_t)bytes.len || fsync(fd) < 0) {
		enum err_code code = system_error(path, err);
		unlink(path);
		return code;
	}
	return ERR_OK;
}

static enum err_code write_both(const char *path, const struct holder_key *key, struct err *err)
{
	autofree char *public_path = xasprintf("%s.pub", path);
	autobuf struct buf public_pem = {0};
	struct secret *pem = NULL;
	holder_key_public_pem(key, &public_pem);
	enum err_code code = holder_key_private_pem(key, &pem, err);
	if (code == ERR_OK)
		code = write_new(path, secret_span(pem), 0600, err);
	secret_free(pem);
	if (code != ERR_OK)
		return code;
	code = write_new(public_path, buf_span(&public_pem), 0644, err);
	if (code != ERR_OK)
		unlink(path);
	return code;
}

int cli_holder_key_new(const char *path, struct holder_key **ret)
{
	struct err err = {0};
	struct holder_key *key = NULL;
	enum err_code code = holder_key_make(&key, &err);
	if (code == ERR_OK)
		code = write_both(path, key, &err);
	if (code != ERR_OK) {
		holder_key_free(key);
		return cli_fail(&err);
	}
	*ret = key;
	return CLI_OK;
}

static enum err_code check_mode(const char *path, struct err *err)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return system_error(path, err);
	if (S_ISREG(st.st_mode) && (st.st_mode & 077))
		return err_set(err, ERR_DENIED, 0, "%s: others can read this private key: chmod 600", path);
	return ERR_OK;
}

int cli_holder_key_read(const char *path, struct holder_key **ret)
{
	struct err err = {0};
	struct buf pem = {0};
	enum err_code code = check_mode(path, &err);
	if (code == ERR_OK)
		code = text_read_file(path, KEY_FILE_MAX, &pem, &err);
	if (code == ERR_OK) {
		code = holder_key_from_pem(buf_span(&pem), ret, &err);
		if (code != ERR_OK)
			err_prefix(&err, "%s", path);
	}
	if (pem.len)
		secret_wipe(pem.data, pem.len);
	buf_done(&pem);
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}

int cli_holder_sha256(const char *path, uint8_t out[32])
{
	struct err err = {0};
	autobuf struct buf pem = {0};
	enum err_code code = text_read_file(path, KEY_FILE_MAX, &pem, &err);
	if (code == ERR_OK) {
		code = holder_sha256_of_pem(buf_span(&pem), out, &err);
		if (code != ERR_OK)
			err_prefix(&err, "%s", path);
	}
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}
