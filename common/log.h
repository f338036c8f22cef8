/* The log for operators: one line per event on stderr, JSON or plain text. Thread-safe. Rooms below server/ and cli/
 * log at debug only: they return errors. Nothing secret is ever passed here. */
#ifndef TWOKEY_COMMON_LOG_H
#define TWOKEY_COMMON_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

void log_setup(enum log_level least, enum log_format format);
bool log_wants(enum log_level level);

/* log_event(LOG_INFO, "serving", "address", "127.0.0.1:8443", NULL): an event in a few words, then pairs of key and
 * value (strings), then NULL. A NULL value leaves its pair out. */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));

#endif
