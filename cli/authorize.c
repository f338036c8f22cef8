/* twokey authorize: asks a vendor's deployment for a transaction with the first signature. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/holder_key.h"
#include "common/pb.h"
#include "common/text.h"
#include "twokey/v1/gatekeeper.pb-c.h"

#define NETWORKS_MAX 16

struct options {
	struct cli_connection connection;
	Twokey__V1__AuthorizeRequest request;
	Twokey__V1__Constraints constraints;
	Twokey__V1__ByteRange range;
	Twokey__V1__Consent consent;
	char *networks[NETWORKS_MAX];
	uint8_t sha256[32], holder[32];
	const char *output, *holder_path;
	char *bucket; /* owned */
};

enum {
	OPT_GATEKEEPER = 0x100,
	OPT_SUBJECT,
	OPT_ACCOUNT,
	OPT_LIFETIME,
	OPT_PURPOSE,
	OPT_NETWORK,
	OPT_OVERWRITE,
	OPT_RANGE,
	OPT_MAX_BYTES,
	OPT_EXACT_BYTES,
	OPT_SHA256,
	OPT_HOLDER,
	OPT_HOLDER_SHA256,
	OPT_CONTENT_TYPE,
	OPT_USES,
	OPT_CORRELATION,
	OPT_CONSENT_BY,
	OPT_CONSENT_TEXT,
	OPT_VERSION_ID,
};

static const struct argp_option options[] = {
    {"gatekeeper", OPT_GATEKEEPER, "NAME", 0, "the gatekeeper that is to co-sign (needed)", 1},
    {"subject", OPT_SUBJECT, "WHO", 0, "the end user on whose behalf this is asked (needed)", 1},
    {"account", OPT_ACCOUNT, "NAME", 0, "tenant", 1},
    {"output", 'o', "FILE", 0, "where the envelope goes; default: stdout", 1},
    {"lifetime", OPT_LIFETIME, "SECONDS", 0, "default: what the vendor's deployment is configured for", 2},
    {"uses", OPT_USES, "N", 0, "how many times it may be used; default: once", 2},
    {"network", OPT_NETWORK, "CIDR", 0, "only from this network; may be repeated", 2},
    {"holder", OPT_HOLDER, "KEY.pub", 0, "only by the holder of this key: a PEM public key (twokey holder)", 2},
    {"holder-key-sha256", OPT_HOLDER_SHA256, "HEX", 0, "the same, by the SHA-256 of its SubjectPublicKeyInfo", 2},
    {"range", OPT_RANGE, "FIRST-LAST", 0, "get: only these bytes, both ends included", 2},
    {"version-id", OPT_VERSION_ID, "ID", 0, "get, delete: exactly this version", 2},
    {"overwrite", OPT_OVERWRITE, NULL, 0, "put: may replace an existing object", 2},
    {"max-bytes", OPT_MAX_BYTES, "N", 0, "put: at most so many bytes", 2},
    {"exact-bytes", OPT_EXACT_BYTES, "N", 0, "put: exactly so many bytes", 2},
    {"sha256", OPT_SHA256, "HEX", 0, "put: exactly this content", 2},
    {"content-type", OPT_CONTENT_TYPE, "TYPE", 0, "put: exactly this content type", 2},
    {"purpose", OPT_PURPOSE, "TEXT", 0, "for the record", 3},
    {"consent-by", OPT_CONSENT_BY, "WHO", 0, "for the record: who agreed", 3},
    {"consent-text", OPT_CONSENT_TEXT, "TEXT", 0, "for the record: to what", 3},
    {"correlation-id", OPT_CORRELATION, "ID", 0, "carried into logs and records", 3},
    {0}};

static uint64_t number(struct argp_state *state, const char *name, const char *text)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-')
		argp_error(state, "--%s takes a number, not `%s`", name, text);
	return value;
}

static void parse_range(struct options *given, const char *text, struct argp_state *state)
{
	if (!cli_read_range(text, &given->range.first, &given->range.length))
		argp_error(state, "--range takes FIRST-LAST, such as 0-65535, not `%s`", text);
	given->constraints.range = &given->range;
}

static void parse_digest(struct argp_state *state, const char *name, const char *text, uint8_t out[32],
                         ProtobufCBinaryData *field)
{
	if (!text_unhex(text, out, 32))
		argp_error(state, "--%s takes 64 hex digits", name);
	*field = (ProtobufCBinaryData){32, out};
}

static void parse_length(struct options *given, Twokey__V1__Constraints__LengthCase kind, uint64_t value)
{
	given->constraints.length_case = kind;
	given->constraints.max_bytes = value; /* a union with exact_bytes */
}

static void parse_argument(struct options *given, char *arg, struct argp_state *state)
{
	if (state->arg_num == 0) {
		given->request.operation = transaction_operation_from_name(arg);
		if (given->request.operation == TWOKEY__V1__OPERATION__OPERATION_UNSPECIFIED)
			argp_error(state, "the operation is get, put, list or delete, not `%s`", arg);
		return;
	}
	char *slash = strchr(arg, '/');
	if (state->arg_num != 1 || !slash)
		argp_error(state, "OPERATION and BUCKET/KEY are expected");
	given->bucket = xstrndup(arg, (size_t)(slash - arg));
	given->request.bucket = given->bucket;
	given->request.object = slash + 1;
}

static error_t parse_constraint(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_NETWORK:
		if (given->constraints.n_networks == NETWORKS_MAX)
			argp_error(state, "at most %d networks", NETWORKS_MAX);
		given->networks[given->constraints.n_networks++] = arg;
		return 0;
	case OPT_OVERWRITE:
		given->constraints.overwrite = true;
		return 0;
	case OPT_RANGE:
		parse_range(given, arg, state);
		return 0;
	case OPT_MAX_BYTES:
		parse_length(given, TWOKEY__V1__CONSTRAINTS__LENGTH_MAX_BYTES, number(state, "max-bytes", arg));
		return 0;
	case OPT_EXACT_BYTES:
		parse_length(given, TWOKEY__V1__CONSTRAINTS__LENGTH_EXACT_BYTES, number(state, "exact-bytes", arg));
		return 0;
	case OPT_SHA256:
		parse_digest(state, "sha256", arg, given->sha256, &given->constraints.content_sha256);
		return 0;
	case OPT_HOLDER:
		given->holder_path = arg;
		return 0;
	case OPT_HOLDER_SHA256:
		parse_digest(state, "holder-key-sha256", arg, given->holder, &given->constraints.holder_key_sha256);
		return 0;
	case OPT_CONTENT_TYPE:
		given->constraints.content_type = arg;
		return 0;
	case OPT_VERSION_ID:
		given->constraints.version_id = arg;
		return 0;
	case OPT_USES:
		given->constraints.uses = (uint32_t)number(state, "uses", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_GATEKEEPER:
		given->request.gatekeeper = arg;
		return 0;
	case OPT_SUBJECT:
		given->request.subject = arg;
		return 0;
	case OPT_ACCOUNT:
		given->request.account = arg;
		return 0;
	case 'o':
		given->output = arg;
		return 0;
	case OPT_LIFETIME:
		given->request.lifetime_seconds = (uint32_t)number(state, "lifetime", arg);
		return 0;
	case OPT_PURPOSE:
		given->request.purpose = arg;
		return 0;
	case OPT_CONSENT_BY:
		given->consent.given_by = arg;
		given->request.consent = &given->consent;
		return 0;
	case OPT_CONSENT_TEXT:
		given->consent.text = arg;
		given->request.consent = &given->consent;
		return 0;
	case OPT_CORRELATION:
		given->request.correlation_id = arg;
		return 0;
	case ARGP_KEY_ARG:
		parse_argument(given, arg, state);
		return 0;
	case ARGP_KEY_END:
		if (!given->bucket || !given->request.gatekeeper[0] || !given->request.subject[0])
			argp_error(state, "OPERATION, BUCKET/KEY, --gatekeeper and --subject are needed");
		return 0;
	default:
		return parse_constraint(key, arg, state);
	}
}

static int read_holder(struct options *given)
{
	if (!given->holder_path)
		return CLI_OK;
	if (given->constraints.holder_key_sha256.len)
		return cli_usage("--holder and --holder-key-sha256 say the same: give one of them");
	given->constraints.holder_key_sha256 = (ProtobufCBinaryData){sizeof given->holder, given->holder};
	return cli_holder_sha256(given->holder_path, given->holder);
}

int cli_authorize(int argc, char **argv)
{
	struct options given = {.request = TWOKEY__V1__AUTHORIZE_REQUEST__INIT,
	                        .constraints = TWOKEY__V1__CONSTRAINTS__INIT,
	                        .range = TWOKEY__V1__BYTE_RANGE__INIT,
	                        .consent = TWOKEY__V1__CONSENT__INIT};
	given.request.constraints = &given.constraints;
	given.constraints.networks = given.networks;
	cli_parse(options, parse, "OPERATION BUCKET/KEY",
	          "Asks a vendor's deployment to sign a transaction: get, put, list or delete one object (or prefix). "
	          "Prints a DSSE "
	          "envelope with one signature.",
	          &given.connection, &given, argc, argv);
	int code = read_holder(&given);
	if (code == CLI_OK)
		code = cli_connect(&given.connection);
	ProtobufCMessage *message = NULL;
	if (code == CLI_OK)
		code = cli_call(&given.connection, "/twokey.v1.Gatekeeper/Authorize", &given.request.base,
		                &twokey__v1__authorize_response__descriptor, &message);
	if (code == CLI_OK)
		code = cli_write_envelope_pb(given.output, ((const Twokey__V1__AuthorizeResponse *)message)->envelope);
	pb_free(message);
	cli_disconnect(&given.connection);
	free(given.bucket);
	return code;
}
