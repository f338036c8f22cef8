/* twokey audit verify */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/audit.h"
#include "cli/audit.h"
#include "cli/audit_keys.h"
#include "common/text.h"

#define NOTES_MAX 32
#define PROOF_MAX ((size_t)256 << 10)

struct options {
	const char *directory; /* or the proof */
	bool proof;
	struct audit_keys keys;
	const char *notes[NOTES_MAX];
	size_t n_notes;
};

enum { OPT_KEY = 0x200, OPT_CHECKPOINT, OPT_PROOF };

static const struct argp_option options[] = {
    {"vkey", OPT_KEY, "VKEY", 0,
     "a key whose signatures count: as the server logs it, or a file with one a line, or NAME=FILE with a public key "
     "in "
     "PEM; the log's, and its witness's; may be repeated",
     2},
    {"proof", OPT_PROOF, NULL, 0, "what is given is a proof that `twokey audit prove` wrote; shows the record", 2},
    {"checkpoint", OPT_CHECKPOINT, "FILE", 0, "a checkpoint that the log must contain; may be repeated", 2},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_KEY:
		return audit_keys_add(&given->keys, arg, state);
	case OPT_PROOF:
		given->proof = true;
		return 0;
	case OPT_CHECKPOINT:
		if (given->n_notes == NOTES_MAX)
			argp_error(state, "at most %d checkpoints", NOTES_MAX);
		given->notes[given->n_notes++] = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (given->directory)
			argp_error(state, "one ledger at a time");
		given->directory = arg;
		return 0;
	case ARGP_KEY_END:
		if (!given->directory)
			argp_error(state, "say which ledger: its directory, or a copy of it");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void show_progress(uint64_t done, uint64_t total, void *user)
{
	struct cli_progress *progress = (struct cli_progress *)user;
	progress->total = total;
	cli_progress_show(progress, done);
}

static void report(const struct options *given, const struct audit_verify_result *result)
{
	printf("%" PRIu64 " records, unchanged and complete", result->records);
	if (result->tiles)
		printf("; tiles agree");
	putchar('\n');
	if (result->checkpoints == 0)
		puts("no checkpoint: nothing is signed");
	else if (given->keys.n == 0)
		printf("%zu checkpoints agree; their signatures were not checked: give --vkey\n", result->checkpoints);
	else
		printf("signed: records below %" PRIu64 "; witnessed: records below %" PRIu64 "\n", result->signed_size,
		       result->witnessed_size);
	if (result->records > result->signed_size && given->keys.n)
		printf("%" PRIu64 " records are newer than the last checkpoint\n", result->records - result->signed_size);
}

static enum err_code verify(const struct options *given, struct audit_verify_result *result, struct err *err)
{
	struct buf notes[NOTES_MAX] = {0};
	struct span spans[NOTES_MAX];
	struct cli_progress progress;
	enum err_code code = ERR_OK;
	for (size_t i = 0; code == ERR_OK && i < given->n_notes; i++) {
		code = text_read_file(given->notes[i], AUDIT_NOTE_MAX, &notes[i], err);
		spans[i] = buf_span(&notes[i]);
	}
	const struct audit_verify_options asked = {.directory = given->directory,
	                                           .keys = given->keys.items,
	                                           .n_keys = given->keys.n,
	                                           .notes = spans,
	                                           .n_notes = given->n_notes,
	                                           .progress = show_progress,
	                                           .user = &progress};
	cli_progress_init(&progress, "verifying", 0);
	if (code == ERR_OK)
		code = audit_verify(&asked, result, err);
	cli_progress_end(&progress);
	for (size_t i = 0; i < given->n_notes; i++)
		buf_done(&notes[i]);
	return code;
}

static enum err_code verify_proof(const struct options *given, struct err *err)
{
	autobuf struct buf text = {0};
	struct audit_proven proven = {0};
	enum err_code code = text_read_file(given->directory, PROOF_MAX, &text, err);
	if (code == ERR_OK)
		code = audit_proof_check(buf_span(&text), given->keys.items, given->keys.n, &proven, err);
	if (code != ERR_OK)
		return code;
	Twokey__V1__Record *record = twokey__v1__record__unpack(NULL, proven.record.len, proven.record.data);
	if (record)
		audit_print(record, false);
	printf("record %" PRIu64 " of %s is in its log of %" PRIu64 " records%s\n", proven.index, proven.origin,
	       proven.size, proven.witnessed ? ", as a witness has seen it" : "");
	twokey__v1__record__free_unpacked(record, NULL);
	buf_done(&proven.record);
	return ERR_OK;
}

int audit_verify_command(int argc, char **argv)
{
	struct options given = {0};
	struct audit_verify_result result = {0};
	struct err err = {0};
	cli_parse(options, parse, "DIRECTORY | --proof FILE",
	          "Verifies a record, offline: every record's checksum and its place in the chain and the tree, tiles, "
	          "checkpoints and their signatures. DIRECTORY is a ledger (its server may be running), a copy of it, or "
	          "a copy of its folder `tile` and its `checkpoint` alone.",
	          NULL, &given, argc, argv);
	enum err_code code = given.proof ? verify_proof(&given, &err) : verify(&given, &result, &err);
	if (code == ERR_OK && !given.proof)
		report(&given, &result);
	audit_keys_done(&given.keys);
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}
