/* twokey fetch: the file appears under its name only when it is whole and its digest is right. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/use.h"
#include "common/pb.h"
#include "common/text.h"
#include "twokey/v1/gatekeeper.pb-c.h"

#define METHOD "/twokey.v1.Gatekeeper/Fetch"

struct fetched {
	struct cli_use use;
	FILE *out;
	char *target; /* the output's own name, symbolic links followed; NULL for stdout and what is no regular file */
	char *part;   /* temporary name beside it */
	EVP_MD_CTX *hash;
	uint64_t bytes;
	bool whole; /* the tail came, and fits */
	char sha256[65];
	struct envelope receipt;
	struct cli_progress progress;
};

static int failed(enum err_code code, const char *text)
{
	struct err err = {0};
	err_set(&err, code, 0, "%s", text);
	return cli_fail(&err);
}

static int unwritable(const char *path)
{
	struct err err = {0};
	err_set(&err, ERR_INVALID, errno, "%s: %s", path, strerror(errno));
	return cli_fail(&err);
}

static int open_part(struct fetched *fetched, const char *output)
{
	char *real = realpath(output, NULL);
	fetched->target = real ? real : xstrdup(output);
	fetched->part = xasprintf("%s.part-XXXXXX", fetched->target);
	int fd = mkostemp(fetched->part, O_CLOEXEC);
	fetched->out = fd < 0 ? NULL : fdopen(fd, "w");
	return fetched->out ? CLI_OK : unwritable(output);
}

static int open_output(struct fetched *fetched)
{
	const char *output = fetched->use.output;
	if (!output || strcmp(output, "-") == 0) {
		fetched->out = stdout;
		return CLI_OK;
	}
	struct stat st;
	if (stat(output, &st) < 0 || S_ISREG(st.st_mode))
		return open_part(fetched, output);
	/* A device or a pipe is written to; nothing takes its place. A directory fails here, before a use is spent. */
	fetched->out = fopen(output, "we");
	return fetched->out ? CLI_OK : unwritable(output);
}

/* Gives the file its name, or removes what there is of it. */
static int close_output(struct fetched *fetched, int code)
{
	if (!fetched->out)
		return code;
	bool written = fflush(fetched->out) == 0;
	if (fetched->part)
		written = written && fsync(fileno(fetched->out)) == 0;
	if (fetched->out != stdout)
		written = fclose(fetched->out) == 0 && written;
	if (fetched->part) {
		if (code == CLI_OK && written)
			written = rename(fetched->part, fetched->target) == 0;
		if (code != CLI_OK || !written)
			unlink(fetched->part);
	}
	return code == CLI_OK && !written ? failed(ERR_INVALID, "the output could not be written") : code;
}

static int take_chunk(struct fetched *fetched, ProtobufCBinaryData chunk)
{
	EVP_DigestUpdate(fetched->hash, chunk.data, chunk.len);
	fetched->bytes += chunk.len;
	cli_progress_show(&fetched->progress, fetched->bytes);
	if (chunk.len == 0 || fwrite(chunk.data, 1, chunk.len, fetched->out) == chunk.len)
		return CLI_OK;
	return failed(ERR_INVALID, "the output could not be written");
}

static int take_tail(struct fetched *fetched, const Twokey__V1__FetchTail *tail)
{
	uint8_t sha256[32];
	EVP_DigestFinal_ex(fetched->hash, sha256, NULL);
	if (tail->bytes != fetched->bytes || tail->sha256.len != sizeof sha256 ||
	    memcmp(tail->sha256.data, sha256, sizeof sha256) != 0)
		return failed(ERR_CORRUPT, "what arrived is not what the gatekeeper sent");
	fetched->whole = true;
	text_hex(span_of(sha256, sizeof sha256), fetched->sha256);
	struct err err = {0};
	return envelope_from_pb(tail->receipt, &fetched->receipt, &err) == ERR_OK ? CLI_OK : cli_fail(&err);
}

static int take(struct fetched *fetched, const Twokey__V1__FetchResponse *response)
{
	switch (response->part_case) {
	case TWOKEY__V1__FETCH_RESPONSE__PART_HEAD:
		fetched->progress.total = response->head->size;
		return CLI_OK;
	case TWOKEY__V1__FETCH_RESPONSE__PART_CHUNK:
		return take_chunk(fetched, response->chunk);
	case TWOKEY__V1__FETCH_RESPONSE__PART_TAIL:
		return take_tail(fetched, response->tail);
	default:
		return CLI_OK; /* a newer server's part */
	}
}

static int receive(struct fetched *fetched, struct rpc_stream *stream)
{
	for (;;) {
		ProtobufCMessage *message = NULL;
		int code = cli_next(stream, &twokey__v1__fetch_response__descriptor, &message);
		if (code != CLI_OK || !message)
			return code;
		code = take(fetched, (const Twokey__V1__FetchResponse *)message);
		pb_free(message);
		if (code != CLI_OK)
			return code;
	}
}

static int fetch(struct fetched *fetched)
{
	Twokey__V1__FetchRequest request = TWOKEY__V1__FETCH_REQUEST__INIT;
	request.envelope = envelope_to_pb(&fetched->use.envelope, &fetched->use.view);
	struct rpc_stream *stream = NULL;
	int code = cli_use_prove(&fetched->use, METHOD, &request.proof);
	if (code == CLI_OK)
		code = cli_open_stream(&fetched->use.connection, METHOD, &request.base, true, &stream);
	if (code != CLI_OK)
		return code;
	cli_progress_init(&fetched->progress, "fetching", 0);
	int received = receive(fetched, stream);
	cli_progress_end(&fetched->progress);
	if (received != CLI_OK) {
		rpc_stream_cancel(stream);
		rpc_stream_free(stream);
		return received;
	}
	code = cli_end_stream(stream);
	if (code == CLI_OK && !fetched->whole)
		code = failed(ERR_CORRUPT, "the object ended without its tail");
	return code;
}

int cli_fetch(int argc, char **argv)
{
	struct fetched fetched = {0};
	int code = cli_use_begin(
	    &fetched.use, CLI_USE_OUTPUT | CLI_USE_RECEIPT,
	    "Gets the object that an envelope names. A file appears only when it is whole; on stdout, trust it "
	    "when the exit code is 0.",
	    argc, argv);
	if (code == CLI_OK)
		code = open_output(&fetched);
	fetched.hash = EVP_MD_CTX_new();
	if (code == CLI_OK && EVP_DigestInit_ex(fetched.hash, EVP_sha256(), NULL))
		code = fetch(&fetched);
	code = close_output(&fetched, code);
	if (code == CLI_OK && isatty(STDERR_FILENO))
		fprintf(stderr, "fetched %" PRIu64 " bytes, SHA-256 %s\n", fetched.bytes, fetched.sha256);
	if (code == CLI_OK && fetched.use.receipt)
		code = cli_write_envelope(fetched.use.receipt, &fetched.receipt);
	EVP_MD_CTX_free(fetched.hash);
	free(fetched.part);
	free(fetched.target);
	envelope_done(&fetched.receipt);
	cli_use_end(&fetched.use);
	return code;
}
