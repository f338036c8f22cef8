/* Envelopes in files, messages on the wire. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "common/clock.h"
#include "common/pb.h"
#include "common/text.h"

#define ENVELOPE_FILE_MAX ((size_t)64 << 10)
#define MESSAGE_BUDGET    ((size_t)64 << 20)
#define UNARY_TIMEOUT_MS  60000

int cli_read_envelope(const char *path, struct envelope *ret)
{
	autobuf struct buf bytes = {0};
	struct err err = {0};
	enum err_code code = text_read_file(strcmp(path, "-") == 0 ? "/dev/stdin" : path, ENVELOPE_FILE_MAX, &bytes, &err);
	if (code == ERR_OK) {
		code = envelope_parse(buf_span(&bytes), ret, &err);
		if (code != ERR_OK)
			err_prefix(&err, "%s is no envelope", path);
	}
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}

int cli_write_envelope(const char *path, const struct envelope *envelope)
{
	autobuf struct buf json = {0};
	envelope_to_json(envelope, &json);
	buf_append_byte(&json, '\n');
	if (!path || strcmp(path, "-") == 0) {
		if (fwrite(json.data, 1, json.len, stdout) == json.len && fflush(stdout) == 0)
			return CLI_OK;
		perror("twokey: stdout");
		return CLI_FAILED;
	}
	struct err err = {0};
	if (text_write_file(path, buf_span(&json), 0600, &err) == ERR_OK)
		return CLI_OK;
	(void)cli_fail(&err);
	return CLI_FAILED; /* our own disk: nothing that a repetition would mend */
}

int cli_write_envelope_pb(const char *path, const Twokey__V1__Envelope *message)
{
	struct envelope envelope = {0};
	struct err err = {0};
	int code =
	    envelope_from_pb(message, &envelope, &err) == ERR_OK ? cli_write_envelope(path, &envelope) : cli_fail(&err);
	envelope_done(&envelope);
	return code;
}

int cli_call(struct cli_connection *connection, const char *path, const ProtobufCMessage *request,
             const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
	int64_t deadline = cli_deadline_ms(connection);
	if (!deadline)
		deadline = clock_now_ms(NULL) + UNARY_TIMEOUT_MS;
	autobuf struct buf out = {0}, in = {0};
	pb_pack(request, &out);
	struct rpc_status status = {0};
	struct err err = {0};
	int code = CLI_OK;
	enum err_code called = rpc_unary(connection->client, path, buf_span(&out), deadline, &in, &status, &err);
	if (status.code != ERR_OK)
		code = cli_ended(&status);
	else if (called != ERR_OK)
		code = cli_fail(&err);
	else if (pb_unpack(type, buf_span(&in), PB_LENIENT, MESSAGE_BUDGET, ret, &err) != ERR_OK)
		code = cli_fail(&err);
	rpc_status_done(&status);
	return code;
}

int cli_open_stream(struct cli_connection *connection, const char *path, const ProtobufCMessage *request,
                    bool half_close, struct rpc_stream **ret)
{
	autobuf struct buf out = {0};
	pb_pack(request, &out);
	struct rpc_stream *stream = NULL;
	struct err err = {0};
	if (rpc_stream_open(connection->client, path, cli_deadline_ms(connection), &stream, &err) != ERR_OK)
		return cli_fail(&err);
	/* A server that has ended the call already says why in its status. */
	if (rpc_stream_send(stream, buf_span(&out), NULL, &err) != ERR_OK ||
	    (half_close && rpc_stream_half_close(stream, &err) != ERR_OK)) {
		int code = cli_end_stream(stream);
		return code == CLI_OK ? cli_fail(&err) : code;
	}
	*ret = stream;
	return CLI_OK;
}

int cli_next(struct rpc_stream *stream, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret)
{
	*ret = NULL;
	autobuf struct buf in = {0};
	struct err err = {0};
	bool end = false;
	enum err_code code = rpc_stream_recv(stream, &in, &end, &err);
	if (code == ERR_OK && !end)
		code = pb_unpack(type, buf_span(&in), PB_LENIENT, MESSAGE_BUDGET, ret, &err);
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}

int cli_end_stream(struct rpc_stream *stream)
{
	struct rpc_status status = {0};
	rpc_stream_finish(stream, &status);
	int code = cli_ended(&status);
	rpc_status_done(&status);
	rpc_stream_free(stream);
	return code;
}

void cli_format_time(const Google__Protobuf__Timestamp *time, char *out)
{
	clock_format(transaction_time_ms(time), out);
}
