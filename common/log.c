#include "common/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/span.h"

static _Atomic enum log_level least_level = LOG_INFO;
static _Atomic enum log_format line_format = LOG_TEXT;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_setup(enum log_level least, enum log_format format)
{
	atomic_store(&least_level, least);
	atomic_store(&line_format, format);
}

bool log_wants(enum log_level level)
{
	return level >= atomic_load(&least_level);
}

/* A JSON string; bytes that are no printable ASCII or UTF-8 lead or continuation are escaped as they are. */
static void append_json_string(struct buf *line, const char *text)
{
	buf_append_byte(line, '"');
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p == '"' || *p == '\\')
			buf_printf(line, "\\%c", *p);
		else if (*p < 0x20 || *p == 0x7f)
			buf_printf(line, "\\u%04x", *p);
		else
			buf_append_byte(line, *p);
	}
	buf_append_byte(line, '"');
}

/* key=value, quoted when it is not one plain word: nobody can forge a line or a field. */
static void append_text_pair(struct buf *line, const char *key, const char *value)
{
	buf_printf(line, " %s=", key);
	if (value[0] && strcspn(value, " \"\\=\n\r\t\x1b\x7f") == strlen(value))
		buf_append_str(line, value);
	else
		append_json_string(line, value);
}

static void append_json_pair(struct buf *line, const char *key, const char *value)
{
	buf_append_byte(line, ',');
	append_json_string(line, key);
	buf_append_byte(line, ':');
	append_json_string(line, value);
}

void log_event(enum log_level level, const char *event, ...)
{
	if (!log_wants(level))
		return;
	bool json = atomic_load(&line_format) == LOG_JSON;
	char when[CLOCK_TEXT_MAX];
	clock_format(clock_now_ms(NULL), when);
	autobuf struct buf line = {.max = 65536};
	if (json) {
		buf_printf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":", when, level_names[level]);
		append_json_string(&line, event);
	} else {
		buf_printf(&line, "%s %-5s %s", when, level_names[level], event);
	}
	va_list args;
	va_start(args, event);
	for (const char *key; (key = va_arg(args, const char *));) {
		const char *value = va_arg(args, const char *);
		if (value)
			(json ? append_json_pair : append_text_pair)(&line, key, value);
	}
	va_end(args);
	buf_append_str(&line, json ? "}\n" : "\n");
	/* One write per line: lines of several threads do not mix. */
	if (write(STDERR_FILENO, line.data, line.len) < 0)
		return;
}
