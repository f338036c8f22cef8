/* twokey store */
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

#define METHOD      "/twokey.v1.Gatekeeper/Store"
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

struct sending {
	struct rpc_stream *stream;
	EVP_MD_CTX *hash;
	uint64_t sent;
	bool ended; /* the server has ended the call, and its status says why */
};

static void send_chunk(struct sending *sending, struct buf *chunk)
{
	autobuf struct buf head = {0};
	struct err err = {0};
	EVP_DigestUpdate(sending->hash, chunk->data, chunk->len);
	sending->sent += chunk->len;
	pb_append_bytes_header(&head, CHUNK_FIELD, chunk->len);
	sending->ended = rpc_stream_send(sending->stream, buf_span(&head), chunk, &err) != ERR_OK;
}

/* Sends the file. */
static int send_chunks(struct sending *sending, int fd, const char *path, uint64_t size)
{
	struct cli_progress progress;
	cli_progress_init(&progress, "storing", size);
	int code = CLI_OK;
	while (code == CLI_OK && !sending->ended) {
		autobuf struct buf chunk = {0};
		ssize_t got = read_chunk(fd, buf_reserve(&chunk, CHUNK_BYTES));
		if (got < 0)
			code = unreadable(path);
		if (got <= 0)
			break;
		chunk.len = (size_t)got;
		send_chunk(sending, &chunk);
		cli_progress_show(&progress, sending->sent);
	}
	cli_progress_end(&progress);
	return code;
}

/* Says that this was all, and closes our side. */
static void send_tail(struct sending *sending)
{
	uint8_t sha256[32];
	EVP_DigestFinal_ex(sending->hash, sha256, NULL);
	Twokey__V1__StoreTail tail = TWOKEY__V1__STORE_TAIL__INIT;
	tail.bytes = sending->sent;
	tail.sha256 = (ProtobufCBinaryData){sizeof sha256, sha256};
	Twokey__V1__StoreRequest request = TWOKEY__V1__STORE_REQUEST__INIT;
	request.part_case = TWOKEY__V1__STORE_REQUEST__PART_TAIL;
	request.tail = &tail;
	autobuf struct buf bytes = {0};
	pb_pack(&request.base, &bytes);
	struct err err = {0};
	sending->ended = rpc_stream_send(sending->stream, buf_span(&bytes), NULL, &err) != ERR_OK ||
	                 rpc_stream_half_close(sending->stream, &err) != ERR_OK;
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
	int code = cli_use_prove(use, METHOD, &head.proof);
	if (code == CLI_OK)
		code = cli_open_stream(&use->connection, METHOD, &request.base, false, &stream);
	if (code != CLI_OK)
		return code;
	struct sending sending = {.stream = stream, .hash = EVP_MD_CTX_new()};
	EVP_DigestInit_ex(sending.hash, EVP_sha256(), NULL);
	code = send_chunks(&sending, fd, use->file, size);
	if (code != CLI_OK) {
		/* Without its tail: the gatekeeper leaves nothing behind. */
		EVP_MD_CTX_free(sending.hash);
		rpc_stream_cancel(stream);
		rpc_stream_free(stream);
		return code;
	}
	if (!sending.ended)
		send_tail(&sending);
	EVP_MD_CTX_free(sending.hash);
	if (!sending.ended)
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
