/* Where a PIN may come from, and where it may not. */
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>

#include "hsm/internal.h"
#include "tests/unit/harness.h"
#include "tests/unit/softhsm.h"

static char dir[] = "/tmp/twokey-pin-XXXXXX";
static char path[64];
static struct err err;

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/pin", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	autofree char *command = xasprintf("rm -rf %s", dir);
	softhsm_run(command);
	return 0;
}

static void expect_pin(const char *source, const char *expected)
{
	struct secret *pin = NULL;
	assert_ok(hsm_pin_read(source, "token", &pin, &err), err);
	assert_int_equal(secret_span(pin).len, strlen(expected));
	assert_memory_equal(secret_bytes(pin), expected, strlen(expected));
	secret_free(pin);
}

static void expect_refusal(const char *source, enum err_code code, const char *text)
{
	struct secret *pin = NULL;
	assert_err(hsm_pin_read(source, "token", &pin, &err), code);
	assert_null(pin);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void expect_file(const char *content, unsigned mode, const char *expected)
{
	softhsm_write(path, content, mode);
	autofree char *source = xasprintf("file:%s", path);
	expect_pin(source, expected);
}

static void expect_file_refusal(const char *content, unsigned mode, enum err_code code, const char *text)
{
	softhsm_write(path, content, mode);
	autofree char *source = xasprintf("file:%s", path);
	expect_refusal(source, code, text);
}

static void test_file(void **state)
{
	(void)state;
	char longest[257];
	memset(longest, 'x', 255);
	longest[255] = 0;
	expect_file("1234", 0400, "1234");
	expect_file("1234\n", 0600, "1234");
	expect_file("user:pass word\n", 0440, "user:pass word");
	expect_file(" 1234 ", 0400, " 1234 ");
	expect_file(longest, 0400, longest);
	longest[255] = '\n';
	longest[256] = 0;
	softhsm_write(path, longest, 0400);
	longest[255] = 0;
	autofree char *source = xasprintf("file:%s", path);
	expect_pin(source, longest);
}

static void test_file_of_bad_form(void **state)
{
	(void)state;
	char longer[258];
	memset(longer, 'x', 257);
	longer[257] = 0;
	expect_file_refusal("", 0400, ERR_INVALID, "holds no PIN");
	expect_file_refusal("\n", 0400, ERR_INVALID, "holds no PIN");
	expect_file_refusal("1234\n5678\n", 0400, ERR_INVALID, "more than one line");
	expect_file_refusal("1234\n\n", 0400, ERR_INVALID, "more than one line");
	expect_file_refusal(longer, 0400, ERR_INVALID, "longer");
	longer[256] = 0;
	expect_file_refusal(longer, 0400, ERR_INVALID, "longer");
	assert_null(strstr(err.text, "xxx"));
}

static void test_file_that_others_can_touch(void **state)
{
	(void)state;
	expect_file_refusal("1234", 0404, ERR_DENIED, "mode 0404");
	expect_file_refusal("1234", 0620, ERR_DENIED, "mode 0620");
	expect_file_refusal("1234", 0602, ERR_DENIED, "mode 0602");
	assert_null(strstr(err.text, "1234"));
}

static void test_file_that_is_no_file(void **state)
{
	(void)state;
	autofree char *link = xasprintf("%s/link", dir);
	autofree char *fifo = xasprintf("%s/fifo", dir);
	autofree char *link_source = xasprintf("file:%s", link);
	autofree char *fifo_source = xasprintf("file:%s", fifo);
	autofree char *dir_source = xasprintf("file:%s", dir);
	softhsm_write(path, "1234", 0400);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	expect_refusal(link_source, ERR_DENIED, "symbolic link");
	expect_refusal(fifo_source, ERR_INVALID, "not a regular file");
	expect_refusal(dir_source, ERR_INVALID, "not a regular file");
	expect_refusal("file:/nonexistent/pin", ERR_NOT_FOUND, "/nonexistent/pin");
	expect_refusal("file:pin", ERR_INVALID, "absolute");
}

static void test_file_of_somebody_else(void **state)
{
	(void)state;
	if (geteuid() != 0)
		exit(77); /* only root can make one */
	softhsm_write(path, "1234", 0400);
	assert_int_equal(chown(path, 12345, 12345), 0);
	autofree char *source = xasprintf("file:%s", path);
	expect_refusal(source, ERR_DENIED, "12345");
}

static void test_credential(void **state)
{
	(void)state;
	unsetenv("CREDENTIALS_DIRECTORY");
	expect_refusal("credential:pin", ERR_NOT_FOUND, "without credentials");
	setenv("CREDENTIALS_DIRECTORY", dir, 1);
	softhsm_write(path, "5678\n", 0400);
	expect_pin("credential:pin", "5678");
	expect_refusal("credential:other", ERR_NOT_FOUND, "other");
	expect_refusal("credential:", ERR_INVALID, "plain name");
	expect_refusal("credential:..", ERR_INVALID, "plain name");
	expect_refusal("credential:../pin", ERR_INVALID, "plain name");
}

static void test_commands_and_bare_pins(void **state)
{
	(void)state;
	expect_refusal("|cat /etc/pin", ERR_INVALID, "must be file:");
	expect_refusal("file:|cat", ERR_INVALID, "absolute");
	expect_refusal("87654321", ERR_INVALID, "must be file:");
	assert_null(strstr(err.text, "87654321"));
	expect_refusal("", ERR_INVALID, "must be file:");
	expect_refusal(NULL, ERR_INVALID, "must be file:");
}

static void test_prompt_without_terminal(void **state)
{
	(void)state;
	pid_t pid = fork();
	if (pid == 0) {
		setsid(); /* no controlling terminal */
		struct secret *pin = NULL;
		_exit(hsm_pin_read("prompt", "token", &pin, &err) == ERR_PRECONDITION ? 0 : 1);
	}
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Reads what the child shows on its terminal until it holds `text`, or the child is gone. */
static bool shown(int terminal, struct buf *screen, const char *text)
{
	for (;;) {
		if (strstr(buf_cstr(screen), text))
			return true;
		uint8_t bytes[256];
		ssize_t n = read(terminal, bytes, sizeof bytes);
		if (n <= 0)
			return false;
		buf_append(screen, span_of(bytes, (size_t)n));
	}
}

/* Types `keys` at the prompt of a child; its exit status is the error code, or 99 for another PIN than expected. */
static int at_prompt(const char *keys, const char *expected, struct buf *screen)
{
	int terminal;
	buf_clear(screen);
	pid_t pid = forkpty(&terminal, NULL, NULL, NULL);
	if (pid == 0) {
		struct secret *pin = NULL;
		enum err_code code = hsm_pin_read("prompt", "vault", &pin, &err);
		bool same = code != ERR_OK || span_eq(secret_span(pin), span_str(expected));
		_exit(same ? (int)code : 99);
	}
	assert_true(shown(terminal, screen, "PIN for vault: "));
	assert_int_equal(write(terminal, keys, strlen(keys)), strlen(keys));
	while (shown(terminal, screen, "\001never"))
		;
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(terminal);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_prompt(void **state)
{
	(void)state;
	autobuf struct buf screen = {0};
	assert_int_equal(at_prompt("secret1\n", "secret1", &screen), ERR_OK);
	assert_null(strstr(buf_cstr(&screen), "secret1")); /* no echo */
	assert_int_equal(at_prompt("\n", "", &screen), ERR_INVALID);
}

static void test_prompt_cancelled(void **state)
{
	(void)state;
	autobuf struct buf screen = {0};
	assert_int_equal(at_prompt("sec\003\n", "", &screen), ERR_CANCELLED);
}

HARNESS_MAIN(setup, teardown, cmocka_unit_test(test_file), cmocka_unit_test(test_file_of_bad_form),
             cmocka_unit_test(test_file_that_others_can_touch), cmocka_unit_test(test_file_that_is_no_file),
             cmocka_unit_test(test_file_of_somebody_else), cmocka_unit_test(test_credential),
             cmocka_unit_test(test_commands_and_bare_pins), cmocka_unit_test(test_prompt_without_terminal),
             cmocka_unit_test(test_prompt), cmocka_unit_test(test_prompt_cancelled))
