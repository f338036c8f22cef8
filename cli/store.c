/* twokey store */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/use.h"
#include "common/pb.h"
#include "common/text.h"
#include "twokey/v1/gatekeeper.pb-c.h"

#define CHUNK_BYTES ((size_t)256 << 10)
#define CHUNK_FIELD 2 /* StoreRequest.chunk */

static int unreadable(const char *path)
{
	struct err err = {0};
	err_set(&err, ERR_NOT_FOUND, errno, "%s: %s", path, strerror(errno));
	return cli_fail(&err);
}

static int open_input(const char *path, int *ret_fd, uint64_t *ret_size)
{
	*ret_fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (*ret_fd < 0 || fstat(*ret_fd, &st) < 0)
		return unreadable(path);
	*ret_size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	return CLI_OK;
}

/* Fills a chunk as far as the input has bytes; 0 at its end, -1 on an error. */
static ssize_t read_chunk(int fd, uint8_t *out)
{
	size_t have = 0;
	while (have < CHUNK_BYTES) {
		ssize_t got = read(fd, out + have, CHUNK_BYTES - have);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		have += (size_t)got;
	}
	return (ssize_t)have;
}

/* Sends the file. *ret_server: the server has ended the call, and its status says why. */
static int send_chunks(struct rpc_stream *stream, int fd, const char *path, uint64_t size, bool *ret_server)
{
	struct cli_progress progress;
	cli_progress_init(&progress, "storing", size);
	uint64_t sent = 0;
	int code = CLI_OK;
	while (code == CLI_OK && !*ret_server) {
		autobuf struct buf chunk = {0}, head = {0};
		ssize_t got = read_chunk(fd, buf_reserve(&chunk, CHUNK_BYTES));
		if (got < 0)
			code = unreadable(path);
		if (got <= 0)
			break;
		chunk.len = (size_t)got;
		pb_append_bytes_header(&head, CHUNK_FIELD, chunk.len);
		struct err err = {0};
		*ret_server = rpc_stream_send(stream, buf_span(&head), &chunk, &err) != ERR_OK;
		sent += (uint64_t)got;
		cli_progress_show(&progress, sent);
	}
	cli_progress_end(&progress);
	return code;
}

static int take_response(struct cli_use *use, struct rpc_stream *stream)
{
	ProtobufCMessage *message = NULL;
	int code = cli_next(stream, &twokey__v1__store_response__descriptor, &message);
	if (code == CLI_OK && message) {
		const Twokey__V1__StoreResponse *response = (const Twokey__V1__StoreResponse *)message;
		char sha256[65] = "";
		if (response->sha256.len == 32)
			text_hex(span_of(response->sha256.data, 32), sha256);
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "stored %" PRIu64 " bytes, SHA-256 %s\n", response->bytes, sha256);
		code = cli_use_receipt(use, response->receipt);
	}
	pb_free(message);
	return code;
}

static int store(struct cli_use *use, int fd, uint64_t size)
{
	Twokey__V1__StoreHead head = TWOKEY__V1__STORE_HEAD__INIT;
	head.envelope = envelope_to_pb(&use->envelope, &use->view);
	head.content_type = (char *)(use->content_type ? use->content_type : "");
	Twokey__V1__StoreRequest request = TWOKEY__V1__STORE_REQUEST__INIT;
	request.part_case = TWOKEY__V1__STORE_REQUEST__PART_HEAD;
	request.head = &head;
	struct rpc_stream *stream = NULL;
	int code = cli_open_stream(&use->connection, "/twokey.v1.Gatekeeper/Store", &request.base, false, &stream);
	if (code != CLI_OK)
		return code;
	bool ended = false;
	code = send_chunks(stream, fd, use->file, size, &ended);
	if (code != CLI_OK) {
		/* Never half-closed: the gatekeeper leaves nothing behind. */
		rpc_stream_cancel(stream);
		rpc_stream_free(stream);
		return code;
	}
	struct err err = {0};
	if (!ended && rpc_stream_half_close(stream, &err) == ERR_OK)
		code = take_response(use, stream);
	int status = cli_end_stream(stream);
	return status == CLI_OK ? code : status;
}

int cli_store(int argc, char **argv)
{
	struct cli_use use = {0};
	int code = cli_use_begin(
	    &use, CLI_USE_FILE | CLI_USE_RECEIPT | CLI_USE_CONTENT_TYPE,
	    "Puts a file (or stdin, -) into the bucket, as an envelope allows. Nothing is visible there before all of "
	    "it has arrived.",
	    argc, argv);
	int fd = -1;
	uint64_t size = 0;
	if (code == CLI_OK)
		code = open_input(use.file, &fd, &size);
	if (code == CLI_OK)
		code = store(&use, fd, size);
	if (fd > STDIN_FILENO)
		close(fd);
	cli_use_end(&use);
	return code;
}
