/* A SoftHSM2 token of a test's own, in a temporary directory: softhsm_setup before hsm_open, softhsm_teardown after
 * hsm_free. The module reads SOFTHSM2_CONF when it is initialised. */
#ifndef TWOKEY_TESTS_UNIT_SOFTHSM_H
#define TWOKEY_TESTS_UNIT_SOFTHSM_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/span.h"
#include "hsm/hsm.h"

#define SOFTHSM_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define SOFTHSM_PIN    "12345678"

struct softhsm {
	char dir[64];
	char pin_path[96];
	char pin_source[104];
};

static inline void softhsm_write(const char *path, const char *text, unsigned mode)
{
	unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fchmod(fd, mode) != 0)
		abort();
	close(fd);
}

static inline void softhsm_run(const char *command)
{
	if (system(command) != 0) {
		fprintf(stderr, "failed: %s\n", command);
		abort();
	}
}

static inline void softhsm_add_token(const char *label)
{
	autofree char *command = xasprintf(
	    "softhsm2-util --init-token --free --label '%s' --so-pin 87654321 --pin " SOFTHSM_PIN " >/dev/null", label);
	softhsm_run(command);
}

static inline void softhsm_setup(struct softhsm *token, const char *label)
{
	snprintf(token->dir, sizeof token->dir, "/tmp/twokey-test-XXXXXX");
	if (!mkdtemp(token->dir))
		abort();
	autofree char *tokens = xasprintf("%s/tokens", token->dir);
	autofree char *conf = xasprintf("%s/softhsm2.conf", token->dir);
	autofree char *text = xasprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n"
	                                "library.reset_on_fork = true\n",
	                                tokens);
	if (mkdir(tokens, 0700) != 0)
		abort();
	softhsm_write(conf, text, 0600);
	setenv("SOFTHSM2_CONF", conf, 1);
	snprintf(token->pin_path, sizeof token->pin_path, "%s/pin", token->dir);
	snprintf(token->pin_source, sizeof token->pin_source, "file:%s", token->pin_path);
	softhsm_write(token->pin_path, SOFTHSM_PIN "\n", 0400);
	softhsm_add_token(label);
}

static inline void softhsm_teardown(struct softhsm *token)
{
	autofree char *command = xasprintf("rm -rf '%s'", token->dir);
	softhsm_run(command);
}

/* Options for the token of that URI. */
static inline struct hsm_options softhsm_options(const struct softhsm *token, const char *uri)
{
	return (struct hsm_options){.module = SOFTHSM_MODULE, .token = uri, .pin_source = token->pin_source};
}

#endif
