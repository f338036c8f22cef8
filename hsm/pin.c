/* Where the PIN comes from. It goes from the file or the terminal straight into locked memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "hsm/internal.h"

#define PIN_MAX 255

static bool starts(const char *text, const char *prefix, const char **ret_rest)
{
	size_t len = strlen(prefix);
	*ret_rest = text + len;
	return strncmp(text, prefix, len) == 0;
}

/* Reads until the end, a newline, or one byte more than fits. False on a read error. */
static bool read_line(int fd, uint8_t *out, size_t max, size_t *ret_len)
{
	size_t len = 0;
	while (len < max) {
		ssize_t n = read(fd, out + len, max - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		if (n == 0)
			break;
		len += (size_t)n;
		if (out[len - 1] == '\n')
			break;
	}
	*ret_len = len;
	return true;
}

/* Takes one line from fd; `where` is named in errors. */
static enum err_code take_pin(int fd, const char *where, struct secret **ret, struct err *err)
{
	struct secret *pin = secret_new(PIN_MAX + 2);
	uint8_t *bytes = secret_bytes(pin);
	size_t len = 0;
	const char *wrong = NULL;
	if (!read_line(fd, bytes, PIN_MAX + 2, &len))
		wrong = "cannot be read";
	if (len > 0 && bytes[len - 1] == '\n')
		len--;
	if (!wrong && len == 0)
		wrong = "holds no PIN";
	if (!wrong && len > PIN_MAX)
		wrong = "is longer than a PIN";
	if (!wrong && memchr(bytes, '\n', len))
		wrong = "has more than one line";
	if (wrong) {
		secret_free(pin);
		return err_set(err, ERR_INVALID, 0, "%s %s", where, wrong);
	}
	secret_truncate(pin, len);
	*ret = pin;
	return ERR_OK;
}

/* Others must not have been able to read or replace the file. A group may read it: services share secrets that way. */
static enum err_code check_file(int fd, const char *path, struct err *err)
{
	struct stat st;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID, 0, "PIN file %s: not a regular file", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(err, ERR_DENIED, 0, "PIN file %s: belongs to user %u; must be root's or ours", path, st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH | S_IROTH))
		return err_set(err, ERR_DENIED, 0, "PIN file %s: mode %04o lets others read or change it; make it 0400 or 0440",
		               path, st.st_mode & 07777);
	return ERR_OK;
}

static enum err_code read_file(const char *path, struct secret **ret, struct err *err)
{
	if (path[0] != '/')
		return err_set(err, ERR_INVALID, 0, "a PIN file must be an absolute path");
	/* Non-blocking, so that a FIFO is refused instead of waited for. */
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == ELOOP)
		return err_set(err, ERR_DENIED, errno, "PIN file %s: must not be a symbolic link", path);
	if (fd < 0)
		return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_DENIED, errno, "PIN file %s: %s", path,
		               strerrordesc_np(errno));
	enum err_code code = check_file(fd, path, err);
	if (code != ERR_OK)
		return code;
	autofree char *where = xasprintf("PIN file %s", path);
	return take_pin(fd, where, ret, err);
}

/* systemd's LoadCredential= (systemd.exec(5)). */
static enum err_code read_credential(const char *name, struct secret **ret, struct err *err)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	if (!directory)
		return err_set(err, ERR_NOT_FOUND, 0, "credential:%s: the service was started without credentials", name);
	if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_set(err, ERR_INVALID, 0, "credential: must be followed by a plain name");
	autofree char *path = xasprintf("%s/%s", directory, name);
	return read_file(path, ret, err);
}

/* Neither echo nor signals while the PIN is typed: an interrupt must not leave the terminal mute. Control-C arrives as
 * a character and cancels. */
static enum err_code read_terminal(const char *what, struct secret **ret, struct err *err)
{
	autofd int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	struct termios before;
	if (fd < 0 || tcgetattr(fd, &before) != 0)
		return err_set(err, ERR_PRECONDITION, errno, "the PIN is to be asked for, but there is no terminal");
	struct termios mute = before;
	mute.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	tcsetattr(fd, TCSAFLUSH, &mute);
	dprintf(fd, "PIN for %s: ", what);
	struct secret *pin = NULL;
	enum err_code code = take_pin(fd, "the terminal", &pin, err);
	tcsetattr(fd, TCSAFLUSH, &before);
	dprintf(fd, "\n");
	if (code == ERR_OK && memchr(secret_bytes(pin), before.c_cc[VINTR], secret_span(pin).len)) {
		secret_free(pin);
		return err_set(err, ERR_CANCELLED, 0, "cancelled at the PIN prompt");
	}
	if (code == ERR_OK)
		*ret = pin;
	return code;
}

enum err_code hsm_pin_read(const char *source, const char *what, struct secret **ret, struct err *err)
{
	const char *rest;
	if (source && starts(source, "file:", &rest))
		return read_file(rest, ret, err);
	if (source && starts(source, "credential:", &rest))
		return read_credential(rest, ret, err);
	if (source && strcmp(source, "prompt") == 0)
		return read_terminal(what, ret, err);
	/* Not repeated: it may be the PIN itself. Commands ("|...") are refused as everything else. */
	return err_set(err, ERR_INVALID, 0, "the pin source must be file:/path, credential:NAME or prompt");
}
