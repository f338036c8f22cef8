/* twokey audit checkpoint, twokey audit prove: what anybody can check afterwards, offline. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/audit.h"
#include "cli/audit.h"
#include "common/pb.h"
#include "common/text.h"

/* ---- checkpoint ---- */

struct checkpoint_options {
	struct cli_connection connection;
	Twokey__V1__CheckpointRequest request;
	bool vkey, witnessed;
};

enum { OPT_VKEY = 0x200, OPT_WITNESSED, OPT_AT_LEAST, OPT_OUT };

static const struct argp_option checkpoint_options[] = {
    {"vkey", OPT_VKEY, NULL, 0, "show the key that verifies it instead", 2},
    {"witnessed", OPT_WITNESSED, NULL, 0, "the last one that the witness has cosigned", 2},
    {"at-least", OPT_AT_LEAST, "N", 0, "wait for one of so many records", 2},
    {0}};

static error_t parse_checkpoint(int key, char *arg, struct argp_state *state)
{
	struct checkpoint_options *given = (struct checkpoint_options *)state->input;
	switch (key) {
	case OPT_VKEY:
		given->vkey = true;
		return 0;
	case OPT_WITNESSED:
		given->witnessed = true;
		return 0;
	case OPT_AT_LEAST:
		given->request.at_least = cli_number(state, arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void show_checkpoint(const struct checkpoint_options *given, const Twokey__V1__CheckpointResponse *answer)
{
	if (given->vkey)
		puts(answer->vkey);
	else
		fputs(given->witnessed ? answer->witnessed_checkpoint : answer->checkpoint, stdout);
	if (answer->witness_trouble[0])
		fprintf(stderr, "twokey: not witnessed since record %" PRIu64 ": %s\n", answer->witnessed,
		        answer->witness_trouble);
}

int audit_checkpoint_command(int argc, char **argv)
{
	struct checkpoint_options given = {.request = TWOKEY__V1__CHECKPOINT_REQUEST__INIT};
	cli_parse(checkpoint_options, parse_checkpoint, "",
	          "Shows the last checkpoint: the signed statement of what the record is.", &given.connection, &given, argc,
	          argv);
	ProtobufCMessage *answer = NULL;
	int code = cli_connect(&given.connection);
	if (code == CLI_OK)
		code = cli_call(&given.connection, AUDIT_SERVICE "Checkpoint", &given.request.base,
		                &twokey__v1__checkpoint_response__descriptor, &answer);
	if (code == CLI_OK)
		show_checkpoint(&given, (const Twokey__V1__CheckpointResponse *)answer);
	pb_free(answer);
	cli_disconnect(&given.connection);
	return code;
}

/* ---- prove ---- */

struct prove_options {
	struct cli_connection connection;
	Twokey__V1__ProofRequest request;
	const char *out;
	bool given;
};

static const struct argp_option prove_options[] = {
    {"out", OPT_OUT, "FILE", 0, "where the proof goes; default: standard output", 2}, {0}};

static error_t parse_prove(int key, char *arg, struct argp_state *state)
{
	struct prove_options *given = (struct prove_options *)state->input;
	switch (key) {
	case OPT_OUT:
		given->out = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (given->given)
			argp_error(state, "one record at a time");
		given->request.what_case = TWOKEY__V1__PROOF_REQUEST__WHAT_INDEX;
		given->request.index = cli_number(state, arg);
		given->given = true;
		return 0;
	case ARGP_KEY_END:
		if (!given->given)
			argp_error(state, "say which record, by its index");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static enum err_code write_proof(const struct prove_options *given, const Twokey__V1__ProofResponse *answer,
                                 struct err *err)
{
	struct audit_proof proof = {.n = answer->n_hashes};
	autobuf struct buf text = {0};
	if (answer->n_hashes > AUDIT_PROOF_MAX)
		return err_set(err, ERR_INVALID, 0, "the answer is no proof");
	for (size_t i = 0; i < answer->n_hashes; i++) {
		if (answer->hashes[i].len != AUDIT_HASH_BYTES)
			return err_set(err, ERR_INVALID, 0, "the answer is no proof");
		memcpy(proof.hashes[i].bytes, answer->hashes[i].data, AUDIT_HASH_BYTES);
	}
	audit_proof_text(given->request.index, span_of(answer->record.data, answer->record.len), &proof,
	                 span_str(answer->checkpoint), &text);
	if (given->out)
		return text_write_file(given->out, buf_span(&text), 0644, err);
	fwrite(text.data, 1, text.len, stdout);
	return ERR_OK;
}

int audit_prove_command(int argc, char **argv)
{
	struct prove_options given = {.request = TWOKEY__V1__PROOF_REQUEST__INIT};
	struct err err = {0};
	cli_parse(prove_options, parse_prove, "INDEX",
	          "Proves that a record is in the log: a file with the record, its path in the tree and the signed "
	          "checkpoint (C2SP tlog-proof), which `twokey audit verify --proof` checks offline.",
	          &given.connection, &given, argc, argv);
	ProtobufCMessage *answer = NULL;
	int code = cli_connect(&given.connection);
	if (code == CLI_OK)
		code = cli_call(&given.connection, AUDIT_SERVICE "Proof", &given.request.base,
		                &twokey__v1__proof_response__descriptor, &answer);
	if (code == CLI_OK && write_proof(&given, (const Twokey__V1__ProofResponse *)answer, &err) != ERR_OK)
		code = cli_fail(&err);
	pb_free(answer);
	cli_disconnect(&given.connection);
	return code;
}
