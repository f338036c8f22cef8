/* twokey unseal: what a copy of a bucket holds, with the token and nothing else: no server, no record, no network. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "hsm/hsm.h"
#include "s3client/s3client.h"
#include "seal/seal.h"
#include "server/config.h"

#define READ_BYTES ((size_t)256 << 10)
#define KEKS_MAX   64

struct options {
	const char *config, *gatekeeper, *bucket, *object, *prefix, *range, *copy, *output;
	struct hsm_options token;
};

struct unsealing {
	struct options given;
	struct hsm *hsm;
	struct store *store;
	struct hsm_key *keks[KEKS_MAX];
	size_t n_keks;
	uint64_t first, length; /* of the range; length 0: all */
	uint64_t objects, failed, not_sealed;
	struct cli_progress progress;
};

enum { OPT_MODULE = 0x100, OPT_TOKEN, OPT_PIN, OPT_IV, OPT_GATEKEEPER, OPT_BUCKET, OPT_OBJECT, OPT_PREFIX, OPT_RANGE };

static const struct argp_option argp_options[] = {
    {"config", 'c', "FILE", 0, "the gatekeeper's configuration: its token and its name", 1},
    {"module", OPT_MODULE, "FILE", 0, "instead: the PKCS#11 module", 1},
    {"token-uri", OPT_TOKEN, "URI", 0, "instead: which token, such as pkcs11:token=gatekeeper", 1},
    {"pin-source", OPT_PIN, "SOURCE", 0, "instead: file:PATH, credential:NAME or prompt (default)", 1},
    {"gcm-iv", OPT_IV, "caller|token", 0, "instead: who makes the IV of AES-GCM; CloudHSM: token", 1},
    {"gatekeeper", OPT_GATEKEEPER, "NAME", 0, "who sealed the objects; default: the configuration's name", 2},
    {"bucket", OPT_BUCKET, "NAME", 0, "of which bucket, by its name in the configuration (required)", 2},
    {"object", OPT_OBJECT, "KEY", 0, "one object; default: every object", 3},
    {"prefix", OPT_PREFIX, "PREFIX", 0, "only objects below it", 3},
    {"range", OPT_RANGE, "FIRST-LAST", 0, "with --object: only these plain bytes", 3},
    {0}};

static const struct cli_string strings[] = {{'c', offsetof(struct options, config)},
                                            {OPT_MODULE, offsetof(struct options, token.module)},
                                            {OPT_TOKEN, offsetof(struct options, token.token)},
                                            {OPT_PIN, offsetof(struct options, token.pin_source)},
                                            {OPT_GATEKEEPER, offsetof(struct options, gatekeeper)},
                                            {OPT_BUCKET, offsetof(struct options, bucket)},
                                            {OPT_OBJECT, offsetof(struct options, object)},
                                            {OPT_PREFIX, offsetof(struct options, prefix)},
                                            {OPT_RANGE, offsetof(struct options, range)},
                                            {0}};

static void check_options(struct argp_state *state, const struct options *given)
{
	if (!given->copy)
		argp_error(state, "say where the copy of the bucket is");
	if (!given->bucket)
		argp_error(state, "--bucket NAME is needed: objects are bound to it");
	if (!given->config && !(given->token.module && given->token.token && given->gatekeeper))
		argp_error(state, "--config, or --module, --token-uri and --gatekeeper are needed");
	if (!given->object && !given->output)
		argp_error(state, "say into which folder");
	if (given->range && !given->object)
		argp_error(state, "--range needs --object");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	if (cli_keep_string(strings, given, key, arg))
		return 0;
	switch (key) {
	case OPT_IV:
		if (strcmp(arg, "token") != 0 && strcmp(arg, "caller") != 0)
			argp_error(state, "--gcm-iv is caller or token, not `%s`", arg);
		given->token.gcm_iv = strcmp(arg, "token") == 0 ? HSM_GCM_IV_TOKEN : HSM_GCM_IV_CALLER;
		return 0;
	case ARGP_KEY_ARG:
		if (given->output)
			argp_error(state, "too many arguments");
		*(given->copy ? &given->output : &given->copy) = arg;
		return 0;
	case ARGP_KEY_END:
		check_options(state, given);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static enum err_code parse_range(struct unsealing *unsealing, struct err *err)
{
	const char *range = unsealing->given.range;
	if (range && !cli_read_range(range, &unsealing->first, &unsealing->length))
		return err_set(err, ERR_INVALID, 0, "a range is FIRST-LAST, as in 0-1023");
	return ERR_OK;
}

/* ---- keys ---- */

/* By the id that the object's head names: every generation is found, also one that is out of use. */
static enum err_code find_kek(struct unsealing *unsealing, const char *id, struct hsm_key **ret, struct err *err)
{
	for (size_t i = 0; i < unsealing->n_keks; i++)
		if (strcmp(hsm_key_id(unsealing->keks[i]), id) == 0) {
			*ret = unsealing->keks[i];
			return ERR_OK;
		}
	if (strlen(id) % 2 || unsealing->n_keks == KEKS_MAX)
		return err_set(err, ERR_CORRUPT, 0, "the KEK %s cannot be looked for", id);
	autobuf struct buf uri = {0};
	buf_append_str(&uri, "pkcs11:id=");
	for (const char *at = id; *at; at += 2)
		buf_printf(&uri, "%%%.2s", at);
	enum err_code code = hsm_key_find(unsealing->hsm, HSM_KEY_AES, buf_cstr(&uri), ret, err);
	if (code == ERR_OK)
		unsealing->keks[unsealing->n_keks++] = *ret;
	else
		err_prefix(err, "the KEK %s", id);
	return code;
}

/* ---- one object ---- */

static const char *object_meta(void *user, const char *name)
{
	return store_object_meta((const struct store_object *)user, name);
}

static enum err_code write_all(FILE *out, struct buf *plain, struct err *err)
{
	size_t written = plain->len ? fwrite(plain->data, 1, plain->len, out) : 0;
	bool whole = written == plain->len;
	buf_clear(plain);
	return whole ? ERR_OK : err_set(err, ERR_UNAVAILABLE, errno, "writing: %s", strerror(errno));
}

static enum err_code copy_range(struct unsealing *unsealing, const char *key, uint64_t first, uint64_t length,
                                struct opener *opener, bool header, FILE *out, struct err *err)
{
	const struct store_get get = {.key = key, .has_range = true, .first = first, .length = length};
	struct store_download *download = NULL;
	struct store_object object = {0};
	autobuf struct buf plain = {0};
	autofree uint8_t *bytes = xcalloc(1, READ_BYTES);
	size_t got = 1;
	enum err_code code = store_download_begin(unsealing->store, &get, &download, &object, err);
	store_object_done(&object);
	while (code == ERR_OK && got > 0) {
		code = store_download_read(download, bytes, READ_BYTES, &got, err);
		if (code == ERR_OK && got > 0)
			code = header ? seal_open_stream_header(opener, span_of(bytes, got), err)
			              : seal_open_update(opener, span_of(bytes, got), &plain, err);
		if (code == ERR_OK)
			code = write_all(out, &plain, err);
	}
	store_download_end(download);
	return code;
}

static enum err_code copy_plain(struct unsealing *unsealing, const char *key, struct opener *opener,
                                uint64_t plain_size, uint64_t first, uint64_t length, FILE *out, struct err *err)
{
	struct seal_range plan;
	autobuf struct buf none = {0};
	enum err_code code = ERR_OK;
	seal_plan(plain_size, first, length, &plan);
	if (!plan.has_stream_header)
		code = copy_range(unsealing, key, 0, SEAL_HEADER_BYTES, opener, true, out, err);
	if (code == ERR_OK)
		code = copy_range(unsealing, key, plan.stored_first, plan.stored_length, opener, false, out, err);
	return code == ERR_OK ? seal_open_final(opener, &none, err) : code;
}

static enum err_code cut_range(const struct unsealing *unsealing, uint64_t plain_size, uint64_t *ret_first,
                               uint64_t *ret_length, struct err *err)
{
	*ret_first = unsealing->first;
	*ret_length = plain_size;
	if (!unsealing->length)
		return ERR_OK;
	if (unsealing->first >= plain_size)
		return err_set(err, ERR_INVALID, 0, "the object has %" PRIu64 " bytes", plain_size);
	uint64_t left = plain_size - unsealing->first;
	*ret_length = unsealing->length < left ? unsealing->length : left;
	return ERR_OK;
}

static enum err_code unseal(struct unsealing *unsealing, const char *key, const struct store_object *object, FILE *out,
                            struct err *err)
{
	const struct seal_context context = {unsealing->given.gatekeeper, unsealing->given.bucket, key};
	struct seal_header header;
	struct hsm_key *kek = NULL;
	struct opener *opener = NULL;
	uint64_t plain_size = 0, first = 0, length = 0;
	enum err_code code = seal_header_read(object_meta, (void *)(uintptr_t)object, &header, err);
	if (code == ERR_OK && !seal_plain_size(object->size, &plain_size))
		code = err_set(err, ERR_CORRUPT, 0, "no sealed object has %" PRIu64 " bytes", object->size);
	if (code == ERR_OK)
		code = cut_range(unsealing, plain_size, &first, &length, err);
	if (code == ERR_OK)
		code = find_kek(unsealing, header.kek_id, &kek, err);
	if (code == ERR_OK)
		code = seal_open_begin(kek, &context, &header, object->size, first, length, &opener, err);
	if (code == ERR_OK)
		code = copy_plain(unsealing, key, opener, plain_size, first, length, out, err);
	seal_open_free(opener);
	return code;
}

/* ---- where it goes ---- */

/* A key is somebody's text: none leads out of the folder. */
static bool stays_inside(const char *key)
{
	for (const char *at = key;; at++) {
		size_t len = strcspn(at, "/");
		if (len == 0 || (len == 1 && at[0] == '.') || (len == 2 && at[0] == '.' && at[1] == '.'))
			return false;
		at += len;
		if (!*at)
			return true;
	}
}

static enum err_code make_folders(char *path, struct err *err)
{
	for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
		*slash = 0;
		int made = mkdir(path, 0700);
		*slash = '/';
		if (made != 0 && errno != EEXIST)
			return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	}
	return ERR_OK;
}

/* The file has its name only when it is whole. An existing one is not touched. */
static enum err_code unseal_to(struct unsealing *unsealing, const char *key, const struct store_object *object,
                               const char *path, struct err *err)
{
	autofree char *part = xasprintf("%s.part-XXXXXX", path);
	int fd = mkostemp(part, O_CLOEXEC);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	if (!out)
		return err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", part, strerror(errno));
	enum err_code code = unseal(unsealing, key, object, out, err);
	bool flushed = fflush(out) == 0 && fsync(fd) == 0;
	if (fclose(out) != 0 || !flushed)
		code = code == ERR_OK ? err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", part, strerror(errno)) : code;
	if (code == ERR_OK && link(part, path) != 0)
		code = err_set(err, ERR_EXISTS, errno, "%s: %s", path, strerror(errno));
	unlink(part);
	return code;
}

static enum err_code unseal_into_folder(struct unsealing *unsealing, const char *key, const struct store_object *object,
                                        struct err *err)
{
	if (!stays_inside(key))
		return err_set(err, ERR_INVALID, 0, "such a name makes no file; ask for it with --object");
	autofree char *path = xasprintf("%s/%s", unsealing->given.output, key);
	enum err_code code = make_folders(path, err);
	return code == ERR_OK ? unseal_to(unsealing, key, object, path, err) : code;
}

/* ---- all of them ---- */

static void tell_failure(const char *key, const struct err *err)
{
	fputs("twokey: ", stderr);
	cli_print(stderr, key);
	fputs(": ", stderr);
	cli_print(stderr, err->text);
	fputc('\n', stderr);
}

static bool each(const struct store_entry *entry, void *user)
{
	struct unsealing *unsealing = (struct unsealing *)user;
	struct store_object object = {0};
	struct err err = {0};
	enum err_code code = store_head(unsealing->store, entry->key, NULL, &object, &err);
	bool sealed = code == ERR_OK && store_object_meta(&object, SEAL_META_FORMAT);
	if (sealed)
		code = unseal_into_folder(unsealing, entry->key, &object, &err);
	else if (code == ERR_OK)
		unsealing->not_sealed++;
	if (code != ERR_OK) {
		unsealing->failed++;
		cli_progress_end(&unsealing->progress);
		tell_failure(entry->key, &err);
	}
	store_object_done(&object);
	cli_progress_show(&unsealing->progress, ++unsealing->objects);
	return true;
}

static enum err_code unseal_one(struct unsealing *unsealing, struct err *err)
{
	const char *key = unsealing->given.object, *output = unsealing->given.output;
	struct store_object object = {0};
	enum err_code code = store_head(unsealing->store, key, NULL, &object, err);
	if (code == ERR_OK && output && strcmp(output, "-") != 0)
		code = unseal_to(unsealing, key, &object, output, err);
	else if (code == ERR_OK)
		code = unseal(unsealing, key, &object, stdout, err);
	store_object_done(&object);
	if (code == ERR_OK && fflush(stdout) != 0)
		code = err_set(err, ERR_UNAVAILABLE, errno, "stdout: %s", strerror(errno));
	return code;
}

static enum err_code unseal_all(struct unsealing *unsealing, struct err *err)
{
	const char *prefix = unsealing->given.prefix ? unsealing->given.prefix : "";
	cli_progress_init(&unsealing->progress, "unsealing objects", 0);
	enum err_code code = store_list(unsealing->store, prefix, NULL, each, unsealing, err);
	cli_progress_end(&unsealing->progress);
	printf("%" PRIu64 " objects, %" PRIu64 " unsealed, %" PRIu64 " failed, %" PRIu64 " not sealed\n",
	       unsealing->objects, unsealing->objects - unsealing->failed - unsealing->not_sealed, unsealing->failed,
	       unsealing->not_sealed);
	if (code == ERR_OK && unsealing->failed > 0)
		code = err_set(err, ERR_CORRUPT, 0, "not every object could be unsealed");
	return code;
}

static enum err_code run(struct unsealing *unsealing, struct err *err)
{
	enum err_code code = parse_range(unsealing, err);
	if (code == ERR_OK)
		code = store_open_copy(unsealing->given.copy, &unsealing->store, err);
	if (code == ERR_OK)
		code = hsm_open(&unsealing->given.token, &unsealing->hsm, err);
	if (code == ERR_OK)
		code = unsealing->given.object ? unseal_one(unsealing, err) : unseal_all(unsealing, err);
	hsm_free(unsealing->hsm);
	store_free(unsealing->store);
	return code;
}

int cli_unseal(int argc, char **argv)
{
	struct unsealing unsealing = {.given = {.token = {.pin_source = "prompt"}}};
	struct options *given = &unsealing.given;
	struct config config = {0};
	struct err err = {0};
	cli_parse(argp_options, parse, "COPY [OUTPUT]",
	          "Recovers sealed objects from a copy of a bucket, with the token and nothing else. COPY is a folder: a "
	          "directory store's, or one with a file for each object and its metadata as extended attributes (rclone "
	          "copy --metadata) or beside it in KEY.head.json (aws s3api head-object). OUTPUT is a folder, or with "
	          "--object a file or - (default). Nothing is recorded: whoever has the token can do this.",
	          NULL, given, argc, argv);
	enum err_code code = given->config ? config_load(given->config, &config, &err) : ERR_OK;
	if (code == ERR_OK && given->config) {
		given->token = config_hsm_options(&config);
		given->gatekeeper = given->gatekeeper ? given->gatekeeper : config.name;
	}
	if (code == ERR_OK)
		code = run(&unsealing, &err);
	config_done(&config);
	return code == ERR_OK ? CLI_OK : cli_fail(&err);
}
