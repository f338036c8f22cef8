#include "common/log.h"

#include "common/span.h"
#include "tests/unit/harness.h"

static FILE *captured;
static int real_stderr;

/* From here on stderr goes to a file. */
static void capture(void)
{
	captured = tmpfile();
	assert_non_null(captured);
	real_stderr = dup(STDERR_FILENO);
	assert_int_equal(dup2(fileno(captured), STDERR_FILENO), STDERR_FILENO);
}

static char *release(void)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	rewind(captured);
	char *out = xcalloc(1, 4096);
	size_t len = fread(out, 1, 4095, captured);
	out[len] = '\0';
	fclose(captured);
	return out;
}

/* What follows the time stamp. */
static const char *after_time(const char *line)
{
	assert_true(strlen(line) > 25);
	assert_memory_equal(line + 23, "Z ", 2);
	return line + 25;
}

static void test_text_lines(void **state)
{
	(void)state;
	log_setup(LOG_INFO, LOG_TEXT);
	capture();
	log_event(LOG_WARN, "serving", "address", "127.0.0.1:1", "absent", NULL, "note", "two words", NULL);
	autofree char *out = release();
	assert_string_equal(after_time(out), "warn  serving address=127.0.0.1:1 note=\"two words\"\n");
}

static void test_text_cannot_be_forged(void **state)
{
	(void)state;
	log_setup(LOG_INFO, LOG_TEXT);
	capture();
	log_event(LOG_INFO, "seen", "user", "a\n2026 error x y=\"1\"\x1b[31m", "empty", "", NULL);
	autofree char *out = release();
	assert_string_equal(after_time(out),
	                    "info  seen user=\"a\\u000a2026 error x y=\\\"1\\\"\\u001b[31m\" empty=\"\"\n");
}

static void test_json_lines(void **state)
{
	(void)state;
	log_setup(LOG_INFO, LOG_JSON);
	capture();
	log_event(LOG_ERROR, "lost", "why", "a \"quoted\\ \t thing\x7f", NULL);
	autofree char *out = release();
	const char *level = strstr(out, ",\"level\"");
	assert_memory_equal(out, "{\"time\":\"", 9);
	assert_non_null(level);
	assert_string_equal(level,
	                    ",\"level\":\"error\",\"event\":\"lost\",\"why\":\"a \\\"quoted\\\\ \\u0009 thing\\u007f\"}\n");
}

static void test_levels_below_the_least_are_silent(void **state)
{
	(void)state;
	log_setup(LOG_WARN, LOG_TEXT);
	assert_false(log_wants(LOG_DEBUG));
	assert_false(log_wants(LOG_INFO));
	assert_true(log_wants(LOG_WARN));
	assert_true(log_wants(LOG_ERROR));
	capture();
	log_event(LOG_DEBUG, "silent", NULL);
	log_event(LOG_INFO, "silent", NULL);
	autofree char *out = release();
	assert_string_equal(out, "");
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_text_lines), cmocka_unit_test(test_text_cannot_be_forged),
             cmocka_unit_test(test_json_lines), cmocka_unit_test(test_levels_below_the_least_are_silent))
