/* What a person reads. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "common/clock.h"

#define PROGRESS_PERIOD_US 200000

static int exit_of(enum err_code code)
{
	switch (code) {
	case ERR_OK:
		return CLI_OK;
	case ERR_UNAVAILABLE:
	case ERR_DEADLINE:
		return CLI_UNAVAILABLE;
	default:
		return CLI_FAILED;
	}
}

int cli_fail(const struct err *err)
{
	fputs("twokey: ", stderr);
	cli_print(stderr, err->text[0] ? err->text : err_text(err->code));
	fputc('\n', stderr);
	return exit_of(err->code);
}

int cli_usage(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	fputs("twokey: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	return CLI_USAGE;
}

int cli_ended(const struct rpc_status *status)
{
	if (status->code == ERR_OK)
		return CLI_OK;
	const bool decided = status->reason && status->reason[0];
	const bool retry = status->code == ERR_UNAVAILABLE || status->code == ERR_DEADLINE;
	fprintf(stderr, "twokey: %s: ", retry ? "unavailable" : decided ? "refused" : "failed");
	if (decided)
		fprintf(stderr, "%s: ", status->reason);
	cli_print(stderr, status->message && status->message[0] ? status->message : err_text(status->code));
	if (status->record && status->record[0])
		fprintf(stderr, " (record %s)", status->record);
	fputc('\n', stderr);
	return retry ? CLI_UNAVAILABLE : decided ? CLI_REFUSED : exit_of(status->code);
}

void cli_print(FILE *out, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		/* C0, DEL, and C1 as UTF-8 (C2 80 .. C2 9F). */
		if (*p < 0x20 || *p == 0x7f)
			fprintf(out, "\\x%02x", *p);
		else if (*p == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
			fprintf(out, "\\u00%02x", *++p);
		else
			fputc(*p, out);
	}
}

void cli_progress_init(struct cli_progress *progress, const char *what, uint64_t total)
{
	*progress = (struct cli_progress){
	    .what = what, .total = total, .started_us = clock_monotonic_us(), .visible = isatty(STDERR_FILENO) == 1};
}

void cli_progress_show(struct cli_progress *progress, uint64_t done)
{
	if (!progress->visible)
		return;
	int64_t now = clock_monotonic_us();
	if (now - progress->shown_us < PROGRESS_PERIOD_US)
		return;
	progress->shown_us = now;
	double seconds = (double)(now - progress->started_us) / 1e6;
	double mib = (double)done / (1 << 20);
	fprintf(stderr, "\r\x1b[K%s %.1f MiB", progress->what, mib);
	if (progress->total)
		fprintf(stderr, " of %.1f MiB (%.0f %%)", (double)progress->total / (1 << 20),
		        100.0 * (double)done / (double)progress->total);
	if (seconds > 0.5)
		fprintf(stderr, ", %.1f MiB/s", mib / seconds);
	fflush(stderr);
}

void cli_progress_end(struct cli_progress *progress)
{
	if (progress->visible && progress->shown_us)
		fputs("\r\x1b[K", stderr);
}
