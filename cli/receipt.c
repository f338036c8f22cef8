/* twokey receipt verify */
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "common/clock.h"
#include "common/pb.h"
#include "common/text.h"

enum { KEYS_MAX = 16, OPT_KEY = 0x100, PEM_MAX = 65536, RECEIPT_BUDGET = 1 << 20 };

struct options {
	const char *receipt, *content;
	const char *keys[KEYS_MAX];
	size_t n_keys;
};

static const struct argp_option options[] = {
    {"key", OPT_KEY, "FILE", 0, "a gatekeeper's public audit key, PEM; may be repeated (needed)", 1}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_KEY:
		if (given->n_keys == KEYS_MAX)
			argp_error(state, "at most %d keys", KEYS_MAX);
		given->keys[given->n_keys++] = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (given->content)
			argp_error(state, "one receipt and one file");
		*(given->receipt ? &given->content : &given->receipt) = arg;
		return 0;
	case ARGP_KEY_END:
		if (!given->receipt)
			argp_error(state, "say which receipt");
		if (!given->n_keys)
			argp_error(state, "say whose receipt it should be: --key");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static enum err_code add_keys(const struct options *given, struct keyring *ring, struct err *err)
{
	enum err_code code = ERR_OK;
	for (size_t i = 0; code == ERR_OK && i < given->n_keys; i++) {
		autobuf struct buf pem = {0};
		code = text_read_file(given->keys[i], PEM_MAX, &pem, err);
		if (code == ERR_OK)
			code = keyring_add_pem(ring, given->keys[i], buf_span(&pem), 0, 0, err);
		if (code != ERR_OK)
			err_prefix(err, "%s", given->keys[i]);
	}
	return code;
}

static enum err_code check_signature(const struct options *given, const struct envelope *envelope, struct err *err)
{
	struct keyring *ring = keyring_new();
	enum err_code code = add_keys(given, ring, err);
	if (code == ERR_OK && strcmp(envelope->type, TRANSACTION_RECEIPT_TYPE) != 0)
		code = err_set(err, ERR_INVALID, 0, "%s: no receipt, but %s", given->receipt, envelope->type);
	if (code == ERR_OK && !keyring_verify(ring, envelope, clock_now_ms(NULL)))
		code = err_set(err, ERR_CORRUPT, 0, "%s: none of the keys has signed it", given->receipt);
	keyring_free(ring);
	return code;
}

static enum err_code digest(const char *path, uint8_t sha256[32], uint64_t *ret_bytes, struct err *err)
{
	uint8_t bytes[65536];
	autofd int fd = strcmp(path, "-") == 0 ? dup(0) : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, ERR_NOT_FOUND, 0, "%s: it cannot be opened", path);
	EVP_MD_CTX *hash = EVP_MD_CTX_new();
	ssize_t got = -1;
	*ret_bytes = 0;
	if (hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL))
		while ((got = read(fd, bytes, sizeof bytes)) > 0 && EVP_DigestUpdate(hash, bytes, (size_t)got))
			*ret_bytes += (uint64_t)got;
	bool whole = got == 0 && EVP_DigestFinal_ex(hash, sha256, NULL);
	EVP_MD_CTX_free(hash);
	return whole ? ERR_OK : err_set(err, ERR_UNAVAILABLE, 0, "%s: it cannot be read", path);
}

static enum err_code check_content(const struct options *given, const Twokey__V1__Receipt *receipt, struct err *err)
{
	uint8_t sha256[32];
	uint64_t bytes;
	if (!given->content)
		return ERR_OK;
	enum err_code code = digest(given->content, sha256, &bytes, err);
	if (code != ERR_OK)
		return code;
	if (bytes != receipt->bytes || receipt->sha256.len != sizeof sha256 ||
	    memcmp(receipt->sha256.data, sha256, sizeof sha256) != 0)
		return err_set(err, ERR_CORRUPT, 0, "%s: it is not the content that the receipt is for", given->content);
	return ERR_OK;
}

static void show(const Twokey__V1__Receipt *receipt, bool content)
{
	static const char *const done[] = {"", "fetched", "stored", "listed", "removed"};
	const size_t n = sizeof done / sizeof done[0];
	char time[CLOCK_TEXT_MAX] = "";
	if (receipt->time)
		cli_format_time(receipt->time, time);
	printf("good: %s ", (size_t)receipt->operation < n ? done[receipt->operation] : "");
	cli_print(stdout, receipt->bucket);
	putchar('/');
	cli_print(stdout, receipt->object);
	printf(", %" PRIu64 " %s, %s, record %" PRIu64 " of ", receipt->bytes,
	       receipt->operation == TWOKEY__V1__OPERATION__OPERATION_LIST ? "objects" : "bytes", time, receipt->record);
	cli_print(stdout, receipt->gatekeeper);
	puts(content ? "; the content is the receipt's" : "");
}

static int verify(int argc, char **argv)
{
	struct options given = {0};
	cli_parse(options, parse, "RECEIPT [FILE]",
	          "Checks a receipt's signature, and that FILE is the content that it is for. Needs no server.", NULL,
	          &given, argc, argv);
	struct envelope envelope = {0};
	struct err err = {0};
	int code = cli_read_envelope(given.receipt, &envelope);
	if (code != CLI_OK)
		return code;
	ProtobufCMessage *message = NULL;
	enum err_code checked = check_signature(&given, &envelope, &err);
	if (checked == ERR_OK)
		checked = pb_unpack(&twokey__v1__receipt__descriptor, buf_span(&envelope.payload), PB_LENIENT, RECEIPT_BUDGET,
		                    &message, &err);
	const Twokey__V1__Receipt *receipt = (const Twokey__V1__Receipt *)message;
	if (checked == ERR_OK)
		checked = check_content(&given, receipt, &err);
	if (checked == ERR_OK)
		show(receipt, given.content != NULL);
	pb_free(message);
	envelope_done(&envelope);
	return checked == ERR_OK ? CLI_OK : cli_fail(&err);
}

int cli_receipt(int argc, char **argv)
{
	static const struct cli_command commands[] = {
	    {"verify", verify, "is it a gatekeeper's, and of this content?"},
	    {0},
	};
	return cli_dispatch("receipt", "Works with the signed receipts that gatekeepers give.", commands, argc, argv);
}
