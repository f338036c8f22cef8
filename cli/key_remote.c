/* twokey key status, use, retire: at a running deployment. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/key.h"
#include "cli/record_json.h"
#include "common/clock.h"
#include "common/pb.h"

enum action { STATUS, USE, RETIRE };

struct options {
	enum action action;
	struct cli_connection connection;
	Twokey__V1__KeyRole role;
	uint32_t generation;
	const char *bucket, *why, *access_key_id;
	bool count, force;
};

enum { OPT_BUCKET = 0x100, OPT_WHY, OPT_ACCESS_KEY_ID, OPT_COUNT, OPT_FORCE };

static void set_argument(struct argp_state *state, struct options *given, const char *arg)
{
	if (given->action == STATUS || given->generation)
		argp_error(state, "too many arguments");
	if (given->role) {
		char *end;
		unsigned long number = strtoul(arg, &end, 10);
		if (*end || number < 1 || number > 1000)
			argp_error(state, "a generation is a number from 1");
		given->generation = (uint32_t)number;
		return;
	}
	given->role = (Twokey__V1__KeyRole)record_enum_value(&twokey__v1__key_role__descriptor, arg);
	if (!given->role)
		argp_error(state, "roles are transaction, audit, kek and s3");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	switch (key) {
	case OPT_BUCKET:
		given->bucket = arg;
		return 0;
	case OPT_WHY:
		given->why = arg;
		return 0;
	case OPT_ACCESS_KEY_ID:
		given->access_key_id = arg;
		return 0;
	case OPT_COUNT:
		given->count = true;
		return 0;
	case OPT_FORCE:
		given->force = true;
		return 0;
	case ARGP_KEY_ARG:
		set_argument(state, given, arg);
		return 0;
	case ARGP_KEY_END:
		if (given->action != STATUS && !given->generation)
			argp_error(state, "say which: ROLE GENERATION; `twokey key status` tells what there is");
		if (given->action != STATUS && (!given->why || !given->why[0]))
			argp_error(state, "say why: --why TEXT");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ---- status ---- */

static void show_key(const Twokey__V1__KeyGeneration *key)
{
	char time[CLOCK_TEXT_MAX];
	printf("%-11s ", record_enum_name(&twokey__v1__key_role__descriptor, (int)key->role));
	cli_print(stdout, key->bucket[0] ? key->bucket : "-");
	printf(" %" PRIu32 " %-7s ", key->generation,
	       record_enum_name(&twokey__v1__key_state__descriptor, (int)key->state));
	cli_print(stdout, key->label);
	printf(" %s", key->key_id[0] ? key->key_id : "(not in the token)");
	if (key->access_key_id[0]) {
		fputs(" access key id ", stdout);
		cli_print(stdout, key->access_key_id);
	}
	if (key->accepted_until) {
		cli_format_time(key->accepted_until, time);
		printf(" accepted until %s", time);
	}
	if (key->since) {
		cli_format_time(key->since, time);
		printf(" since %s", time);
		if (key->who[0]) {
			fputs(" by ", stdout);
			cli_print(stdout, key->who);
			fputs(": ", stdout);
			cli_print(stdout, key->why);
		}
		printf(" (record %" PRIu64 ")", key->record);
	}
	putchar('\n');
}

static const char *label_of(const Twokey__V1__ListKeysResponse *keys, const char *id)
{
	for (size_t i = 0; i < keys->n_keys; i++)
		if (id[0] && strcmp(keys->keys[i]->key_id, id) == 0)
			return keys->keys[i]->label;
	return id[0] ? id : "(not sealed)";
}

static void show_counts(const Twokey__V1__ListKeysResponse *keys, const char *bucket,
                        const Twokey__V1__CountObjectsResponse *counted)
{
	for (size_t i = 0; i < counted->n_counts; i++) {
		printf("%" PRIu64 " objects of ", counted->counts[i]->objects);
		cli_print(stdout, bucket);
		fputs(" are sealed under ", stdout);
		cli_print(stdout, label_of(keys, counted->counts[i]->key_id));
		putchar('\n');
	}
	printf("%" PRIu64 " objects of ", counted->objects);
	cli_print(stdout, bucket);
	puts(" in all");
}

static int count_bucket(struct options *given, const Twokey__V1__ListKeysResponse *keys, const char *bucket)
{
	Twokey__V1__CountObjectsRequest request = TWOKEY__V1__COUNT_OBJECTS_REQUEST__INIT;
	struct rpc_stream *stream = NULL;
	struct cli_progress progress;
	request.bucket = (char *)bucket;
	int code = cli_open_stream(&given->connection, KEY_SERVICE "Count", &request.base, true, &stream);
	if (code != CLI_OK)
		return code;
	cli_progress_init(&progress, "counting objects", 0);
	for (bool more = true; more;) {
		ProtobufCMessage *message = NULL;
		code = cli_next(stream, &twokey__v1__count_objects_response__descriptor, &message);
		more = code == CLI_OK && message;
		const Twokey__V1__CountObjectsResponse *counted = (const Twokey__V1__CountObjectsResponse *)message;
		if (more && counted->complete) {
			cli_progress_end(&progress);
			show_counts(keys, bucket, counted);
		} else if (more) {
			cli_progress_show(&progress, counted->objects);
		}
		pb_free(message);
	}
	cli_progress_end(&progress);
	int ended = cli_end_stream(stream);
	return ended != CLI_OK ? ended : code;
}

static int show_status(struct options *given)
{
	Twokey__V1__ListKeysRequest request = TWOKEY__V1__LIST_KEYS_REQUEST__INIT;
	ProtobufCMessage *message = NULL;
	int code = cli_call(&given->connection, KEY_SERVICE "List", &request.base,
	                    &twokey__v1__list_keys_response__descriptor, &message);
	if (code != CLI_OK)
		return code;
	const Twokey__V1__ListKeysResponse *keys = (const Twokey__V1__ListKeysResponse *)message;
	const char *last = "";
	for (size_t i = 0; i < keys->n_keys; i++)
		show_key(keys->keys[i]);
	for (size_t i = 0; given->count && code == CLI_OK && i < keys->n_keys; i++) {
		const Twokey__V1__KeyGeneration *key = keys->keys[i];
		if (key->role != TWOKEY__V1__KEY_ROLE__KEY_ROLE_KEK || strcmp(key->bucket, last) == 0)
			continue;
		last = key->bucket;
		code = count_bucket(given, keys, last);
	}
	pb_free(message);
	return code;
}

int key_status(int argc, char **argv)
{
	static const struct argp_option options[] = {
	    {"count", OPT_COUNT, NULL, 0, "also count the objects under each KEK: reads the head of every object", 1}, {0}};
	struct options given = {.action = STATUS};
	cli_parse(options, parse, NULL, "Tells which keys a running deployment has, and which are current.",
	          &given.connection, &given, argc, argv);
	int code = cli_connect(&given.connection);
	if (code == CLI_OK)
		code = show_status(&given);
	cli_disconnect(&given.connection);
	return code;
}

/* ---- use, retire ---- */

int key_use(int argc, char **argv)
{
	static const struct argp_option options[] = {
	    {"bucket", OPT_BUCKET, "NAME", 0, "whose key (kek, s3)", 1},
	    {"access-key-id", OPT_ACCESS_KEY_ID, "ID", 0, "s3: what belongs to the new secret", 1},
	    {"why", OPT_WHY, "TEXT", 0, "the reason, for the record (required)", 2},
	    {0}};
	struct options given = {.action = USE, .bucket = "", .access_key_id = ""};
	cli_parse(options, parse, "transaction|audit|kek|s3 GENERATION",
	          "Makes a generation of a key the current one, at once. What the old one signed or sealed stays good.",
	          &given.connection, &given, argc, argv);
	Twokey__V1__UseKeyRequest request = TWOKEY__V1__USE_KEY_REQUEST__INIT;
	request.role = given.role;
	request.generation = given.generation;
	request.bucket = (char *)given.bucket;
	request.why = (char *)given.why;
	request.access_key_id = (char *)given.access_key_id;
	ProtobufCMessage *message = NULL;
	int code = cli_connect(&given.connection);
	if (code == CLI_OK)
		code = cli_call(&given.connection, KEY_SERVICE "Use", &request.base,
		                &twokey__v1__key_change_response__descriptor, &message);
	if (code == CLI_OK)
		printf("current: %s (record %" PRIu64 ")\n", ((const Twokey__V1__KeyChangeResponse *)message)->key_id,
		       ((const Twokey__V1__KeyChangeResponse *)message)->record);
	pb_free(message);
	cli_disconnect(&given.connection);
	return code;
}

static int follow_retiring(struct rpc_stream *stream)
{
	struct cli_progress progress;
	int code = CLI_OK;
	cli_progress_init(&progress, "counting objects", 0);
	for (bool more = true; more;) {
		ProtobufCMessage *message = NULL;
		code = cli_next(stream, &twokey__v1__retire_key_response__descriptor, &message);
		more = code == CLI_OK && message;
		const Twokey__V1__RetireKeyResponse *told = (const Twokey__V1__RetireKeyResponse *)message;
		if (more && told->complete)
			printf("retired (record %" PRIu64 "); the key is still in the token: remove it there, with the token's own "
			       "tool, when you are sure\n",
			       told->record);
		else if (more)
			cli_progress_show(&progress, told->objects);
		pb_free(message);
	}
	cli_progress_end(&progress);
	return code;
}

int key_retire(int argc, char **argv)
{
	static const struct argp_option options[] = {
	    {"bucket", OPT_BUCKET, "NAME", 0, "whose key (kek, s3)", 1},
	    {"why", OPT_WHY, "TEXT", 0, "the reason, for the record (required)", 2},
	    {"force", OPT_FORCE, NULL, 0, "kek: although objects need it: they can be read no more", 2},
	    {0}};
	struct options given = {.action = RETIRE, .bucket = ""};
	cli_parse(
	    options, parse, "transaction|audit|kek|s3 GENERATION",
	    "Takes an old generation of a key out of use. Refused while something needs it; for a KEK every object of "
	    "its bucket is looked at first.",
	    &given.connection, &given, argc, argv);
	Twokey__V1__RetireKeyRequest request = TWOKEY__V1__RETIRE_KEY_REQUEST__INIT;
	request.role = given.role;
	request.generation = given.generation;
	request.bucket = (char *)given.bucket;
	request.why = (char *)given.why;
	request.force = given.force;
	struct rpc_stream *stream = NULL;
	int code = cli_connect(&given.connection);
	if (code == CLI_OK)
		code = cli_open_stream(&given.connection, KEY_SERVICE "Retire", &request.base, true, &stream);
	if (code == CLI_OK) {
		int followed = follow_retiring(stream);
		code = cli_end_stream(stream);
		if (code == CLI_OK)
			code = followed;
	}
	cli_disconnect(&given.connection);
	return code;
}
