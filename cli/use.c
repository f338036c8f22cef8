#include "cli/use.h"

#include <stdio.h>

#include "cli/holder_key.h"
#include "common/clock.h"

enum { OPT_RECEIPT = 0x200, OPT_CONTENT_TYPE, OPT_JSON, OPT_HOLDER_KEY };

struct input {
	struct cli_use *use;
	unsigned flags;
};

static const struct {
	unsigned flag; /* 0: every command has it */
	struct argp_option option;
} known[] = {
    {CLI_USE_OUTPUT, {"output", 'o', "FILE", 0, "where the result goes; default: stdout", 0}},
    {CLI_USE_RECEIPT, {"receipt", OPT_RECEIPT, "FILE", 0, "keep the gatekeeper's signed receipt", 0}},
    {CLI_USE_CONTENT_TYPE, {"content-type", OPT_CONTENT_TYPE, "TYPE", 0, "default: application/octet-stream", 0}},
    {CLI_USE_JSON, {"json", OPT_JSON, NULL, 0, "one JSON object per line", 0}},
    {0,
     {"holder-key", OPT_HOLDER_KEY, "FILE", 0, "the private key of the holder that the envelope names (twokey holder)",
      0}},
};

#define N_KNOWN (sizeof known / sizeof known[0])

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct input *input = (struct input *)state->input;
	const bool has_file = input->flags & CLI_USE_FILE;
	switch (key) {
	case 'o':
		input->use->output = arg;
		return 0;
	case OPT_RECEIPT:
		input->use->receipt = arg;
		return 0;
	case OPT_CONTENT_TYPE:
		input->use->content_type = arg;
		return 0;
	case OPT_JSON:
		input->use->json = true;
		return 0;
	case OPT_HOLDER_KEY:
		input->use->holder_path = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num == 0)
			input->use->envelope_path = arg;
		else if (state->arg_num == 1 && has_file)
			input->use->file = arg;
		else
			argp_error(state, "too many arguments");
		return 0;
	case ARGP_KEY_END:
		if (!input->use->envelope_path || (has_file && !input->use->file))
			argp_error(state, has_file ? "ENVELOPE and FILE are needed" : "ENVELOPE is needed: a file, or - for stdin");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cli_use_begin(struct cli_use *use, unsigned flags, const char *doc, int argc, char **argv)
{
	struct argp_option options[N_KNOWN + 1] = {0};
	size_t n = 0;
	for (size_t i = 0; i < N_KNOWN; i++)
		if (!known[i].flag || (flags & known[i].flag))
			options[n++] = known[i].option;
	struct input input = {.use = use, .flags = flags};
	cli_parse(options, parse, flags & CLI_USE_FILE ? "ENVELOPE FILE" : "ENVELOPE", doc, &use->connection, &input, argc,
	          argv);
	int code = cli_read_envelope(use->envelope_path, &use->envelope);
	if (code == CLI_OK && use->holder_path)
		code = cli_holder_key_read(use->holder_path, &use->holder);
	return code == CLI_OK ? cli_connect(&use->connection) : code;
}

int cli_use_prove(struct cli_use *use, const char *method, Twokey__V1__HolderProof **ret)
{
	*ret = NULL;
	if (!use->holder)
		return CLI_OK;
	const struct transaction_call call = {method, clock_now_ms(NULL)};
	struct err err = {0};
	if (holder_prove(use->holder, &use->envelope, &call, &use->proof, &err) != ERR_OK)
		return cli_fail(&err);
	*ret = &use->proof.message;
	return CLI_OK;
}

void cli_use_end(struct cli_use *use)
{
	cli_disconnect(&use->connection);
	envelope_done(&use->envelope);
	holder_proof_done(&use->proof);
	holder_key_free(use->holder);
}

int cli_use_receipt(const struct cli_use *use, const Twokey__V1__Envelope *receipt)
{
	return use->receipt ? cli_write_envelope_pb(use->receipt, receipt) : CLI_OK;
}
