/* twokey policy revoke, reinstate, expire, add-user, remove-user, lockdown. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/policy.h"
#include "common/clock.h"
#include "common/pb.h"
#include "common/text.h"

enum action { REVOKE, REINSTATE, EXPIRE, ADD_USER, REMOVE_USER, LOCKDOWN };

struct options {
	enum action action;
	struct cli_connection connection;
	Twokey__V1__Target target;
	Twokey__V1__ObjectName object;
	Google__Protobuf__Timestamp at;
	bool has_at, never, whole_list, release;
	uint8_t transaction[16];
	const char *user, *bucket, *why;
};

enum {
	OPT_TRANSACTION = 0x100,
	OPT_OBJECT,
	OPT_PREFIX,
	OPT_USER,
	OPT_ACCOUNT,
	OPT_VENDOR_KEY,
	OPT_BUCKET,
	OPT_WHY,
	OPT_AT,
	OPT_NEVER,
	OPT_WHOLE_LIST,
	OPT_RELEASE,
};

#define TRANSACTION                                                                                                    \
	{                                                                                                                  \
		"transaction", OPT_TRANSACTION, "HEX", 0, "one transaction, by its id", 1                                      \
	}
#define OBJECT                                                                                                         \
	{                                                                                                                  \
		"object", OPT_OBJECT, "KEY", 0, "exactly this object", 1                                                       \
	}
#define PREFIX                                                                                                         \
	{                                                                                                                  \
		"prefix", OPT_PREFIX, "PREFIX", 0, "everything below this prefix", 1                                           \
	}
#define ACCOUNT                                                                                                        \
	{                                                                                                                  \
		"account", OPT_ACCOUNT, "NAME", 0, "a tenant, as transactions name it", 1                                      \
	}
#define VENDOR_KEY                                                                                                     \
	{                                                                                                                  \
		"vendor-key", OPT_VENDOR_KEY, "NAME", 0, "a vendor's key, by its name in the configuration", 1                 \
	}
#define BUCKET                                                                                                         \
	{                                                                                                                  \
		"bucket", OPT_BUCKET, "NAME", 0, "the object or prefix in this bucket only; default: in every one", 2          \
	}
#define WHY                                                                                                            \
	{                                                                                                                  \
		"why", OPT_WHY, "TEXT", 0, "the reason, for the record (required)", 3                                          \
	}

static const struct argp_option target_options[] = {
    TRANSACTION, OBJECT, PREFIX, {"user", OPT_USER, "WHO", 0, "an end user", 1}, ACCOUNT, VENDOR_KEY, BUCKET, WHY, {0}};
static const struct argp_option expire_options[] = {
    OBJECT,
    PREFIX,
    BUCKET,
    {"at", OPT_AT, "TIME", 0, "from then on, such as 2026-12-31 or 2026-12-31T18:00:00Z", 2},
    {"never", OPT_NEVER, NULL, 0, "remove the expiry", 2},
    WHY,
    {0}};
static const struct argp_option user_options[] = {
    OBJECT, BUCKET, {"user", OPT_USER, "WHO", 0, "the end user", 1}, WHY, {0}};
static const struct argp_option remove_user_options[] = {
    OBJECT,
    BUCKET,
    {"user", OPT_USER, "WHO", 0, "the end user; a list that is empty lets nobody in", 1},
    {"whole-list", OPT_WHOLE_LIST, NULL, 0, "remove the list: the rules alone decide again", 1},
    WHY,
    {0}};
static const struct argp_option lockdown_options[] = {
    {"release", OPT_RELEASE, NULL, 0, "end the lockdown", 1}, WHY, {0}};

static void set_target(struct argp_state *state, struct options *given, Twokey__V1__Target__TargetCase kind)
{
	if (given->target.target_case != TWOKEY__V1__TARGET__TARGET__NOT_SET)
		argp_error(state, "one target at a time");
	given->target.target_case = kind;
}

static void set_object(struct argp_state *state, struct options *given, Twokey__V1__Target__TargetCase kind, char *name)
{
	set_target(state, given, kind);
	given->object.object = name;
	given->target.object = &given->object; /* and `prefix`, in the same place */
}

static void set_transaction(struct argp_state *state, struct options *given, const char *hex)
{
	set_target(state, given, TWOKEY__V1__TARGET__TARGET_TRANSACTION_ID);
	if (!text_unhex(hex, given->transaction, sizeof given->transaction))
		argp_error(state, "a transaction's id has 32 hex digits");
	given->target.transaction_id = (ProtobufCBinaryData){sizeof given->transaction, given->transaction};
}

static void set_time(struct argp_state *state, struct options *given, const char *text)
{
	int64_t ms;
	if (!clock_parse(text, &ms))
		argp_error(state, "`%s` is no time such as 2026-12-31 or 2026-12-31T18:00:00Z", text);
	given->at = transaction_timestamp(ms);
	given->has_at = true;
}

/* Is what the action needs there? */
static void check(struct argp_state *state, const struct options *given)
{
	bool has_target = given->target.target_case != TWOKEY__V1__TARGET__TARGET__NOT_SET;
	if (given->action != LOCKDOWN && !has_target)
		argp_error(state, "say what is meant; --help lists the options");
	if (given->action == EXPIRE && given->has_at == given->never)
		argp_error(state, "say --at TIME or --never");
	if (given->action == ADD_USER && !given->user)
		argp_error(state, "say who: --user WHO");
	if (given->action == REMOVE_USER && !given->user == !given->whole_list)
		argp_error(state, "say who: --user WHO, or --whole-list");
	if (!given->why || !given->why[0])
		argp_error(state, "say why: --why TEXT");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *given = (struct options *)state->input;
	bool user_is_target = given->action == REVOKE || given->action == REINSTATE;
	switch (key) {
	case OPT_TRANSACTION:
		set_transaction(state, given, arg);
		return 0;
	case OPT_OBJECT:
		set_object(state, given, TWOKEY__V1__TARGET__TARGET_OBJECT, arg);
		return 0;
	case OPT_PREFIX:
		set_object(state, given, TWOKEY__V1__TARGET__TARGET_PREFIX, arg);
		return 0;
	case OPT_USER:
		if (user_is_target)
			set_target(state, given, TWOKEY__V1__TARGET__TARGET_USER);
		if (user_is_target)
			given->target.user = arg;
		given->user = arg;
		return 0;
	case OPT_ACCOUNT:
		set_target(state, given, TWOKEY__V1__TARGET__TARGET_ACCOUNT);
		given->target.account = arg;
		return 0;
	case OPT_VENDOR_KEY:
		set_target(state, given, TWOKEY__V1__TARGET__TARGET_VENDOR_KEY);
		given->target.vendor_key = arg;
		return 0;
	case OPT_BUCKET:
		given->object.bucket = arg;
		return 0;
	case OPT_WHY:
		given->why = arg;
		return 0;
	case OPT_AT:
		set_time(state, given, arg);
		return 0;
	case OPT_NEVER:
		given->never = true;
		return 0;
	case OPT_WHOLE_LIST:
		given->whole_list = true;
		return 0;
	case OPT_RELEASE:
		given->release = true;
		return 0;
	case ARGP_KEY_END:
		check(state, given);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int change(struct options *given, const char *method, const ProtobufCMessage *request)
{
	ProtobufCMessage *message = NULL;
	int code = policy_call(&given->connection, method, request, &twokey__v1__change_response__descriptor, &message);
	if (code == CLI_OK)
		printf("in force (record %" PRIu64 ")\n", ((const Twokey__V1__ChangeResponse *)message)->record);
	pb_free(message);
	return code;
}

static void parse_options(enum action action, const struct argp_option *options, const char *doc, struct options *given,
                          int argc, char **argv)
{
	*given = (struct options){.action = action};
	twokey__v1__target__init(&given->target);
	twokey__v1__object_name__init(&given->object);
	cli_parse(options, parse, NULL, doc, &given->connection, given, argc, argv);
}

int policy_revoke(int argc, char **argv)
{
	struct options given;
	parse_options(REVOKE, target_options,
	              "Takes something back: from now on it is refused, and transfers that are running are cut.", &given,
	              argc, argv);
	Twokey__V1__RevokeRequest request = TWOKEY__V1__REVOKE_REQUEST__INIT;
	request.target = &given.target;
	request.why = (char *)given.why;
	return change(&given, POLICY_SERVICE "Revoke", &request.base);
}

int policy_reinstate(int argc, char **argv)
{
	struct options given;
	parse_options(REINSTATE, target_options, "Undoes a revocation of exactly the same target.", &given, argc, argv);
	Twokey__V1__ReinstateRequest request = TWOKEY__V1__REINSTATE_REQUEST__INIT;
	request.target = &given.target;
	request.why = (char *)given.why;
	return change(&given, POLICY_SERVICE "Reinstate", &request.base);
}

int policy_expire(int argc, char **argv)
{
	struct options given;
	parse_options(
	    EXPIRE, expire_options,
	    "Sets, moves or removes the moment from which on an object, or everything below a prefix, is refused.", &given,
	    argc, argv);
	Twokey__V1__SetExpiryRequest request = TWOKEY__V1__SET_EXPIRY_REQUEST__INIT;
	bool prefix = given.target.target_case == TWOKEY__V1__TARGET__TARGET_PREFIX;
	request.what_case =
	    prefix ? TWOKEY__V1__SET_EXPIRY_REQUEST__WHAT_PREFIX : TWOKEY__V1__SET_EXPIRY_REQUEST__WHAT_OBJECT;
	request.object = &given.object; /* and `prefix`, in the same place */
	request.expires_at = given.has_at ? &given.at : NULL;
	request.why = (char *)given.why;
	return change(&given, POLICY_SERVICE "SetExpiry", &request.base);
}

int policy_add_user(int argc, char **argv)
{
	struct options given;
	parse_options(ADD_USER, user_options,
	              "Adds a user to an object's list. An object with a list is open to nobody else.", &given, argc, argv);
	Twokey__V1__AddUserRequest request = TWOKEY__V1__ADD_USER_REQUEST__INIT;
	request.object = &given.object;
	request.user = (char *)given.user;
	request.why = (char *)given.why;
	return change(&given, POLICY_SERVICE "AddUser", &request.base);
}

int policy_remove_user(int argc, char **argv)
{
	struct options given;
	parse_options(REMOVE_USER, remove_user_options, "Takes a user off an object's list, or the whole list away.",
	              &given, argc, argv);
	Twokey__V1__RemoveUserRequest request = TWOKEY__V1__REMOVE_USER_REQUEST__INIT;
	request.object = &given.object;
	request.user = (char *)(given.user ? given.user : "");
	request.whole_list = given.whole_list;
	request.why = (char *)given.why;
	return change(&given, POLICY_SERVICE "RemoveUser", &request.base);
}

int policy_lockdown(int argc, char **argv)
{
	struct options given;
	parse_options(LOCKDOWN, lockdown_options,
	              "Stops everything at once: every decision is refused, every running transfer is cut. Nothing of the "
	              "vendor's is needed. --release goes on.",
	              &given, argc, argv);
	Twokey__V1__LockdownRequest request = TWOKEY__V1__LOCKDOWN_REQUEST__INIT;
	request.release = given.release;
	request.why = (char *)given.why;
	return change(&given, POLICY_SERVICE "Lockdown", &request.base);
}
