#include "cli/ocsf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/record_json.h"
#include "common/text.h"
#include "transaction/transaction.h"

/* https://schema.ocsf.io: classes, activities and enumerations by number. */
enum { CATEGORY_APPLICATION = 6, CLASS_DATASTORE_ACTIVITY = 6005 };
#define SCHEMA_VERSION "1.9.0"

static const struct {
	int id;
	const char *name;
} activities[] = {
    [TWOKEY__V1__OPERATION__OPERATION_UNSPECIFIED] = {0, "Unknown"},
    [TWOKEY__V1__OPERATION__OPERATION_GET] = {1, "Read"},
    [TWOKEY__V1__OPERATION__OPERATION_PUT] = {5, "Write"},
    [TWOKEY__V1__OPERATION__OPERATION_LIST] = {8, "List"},
    [TWOKEY__V1__OPERATION__OPERATION_DELETE] = {7, "Delete"},
};
enum { N_ACTIVITIES = sizeof activities / sizeof activities[0] };

static bool tells_of_access(const Twokey__V1__Record *record)
{
	return record->event >= TWOKEY__V1__EVENT__EVENT_AUTHORIZE && record->event <= TWOKEY__V1__EVENT__EVENT_COMPLETION;
}

static bool is_denied(const Twokey__V1__Record *record)
{
	return record->decision == TWOKEY__V1__DECISION__DECISION_DENIED;
}

static bool has_failed(const Twokey__V1__Record *record)
{
	return is_denied(record) || (record->outcome[0] && strcmp(record->outcome, "complete") != 0);
}

static const char *or_unknown(const char *text)
{
	return text[0] ? text : "unknown";
}

static void set_text(json_t *object, const char *name, const char *text)
{
	if (text[0])
		json_object_set_new(object, name, json_string(text));
}

static json_t *metadata(const Twokey__V1__Record *record)
{
	char uid[24];
	snprintf(uid, sizeof uid, "%" PRIu64, record->index);
	json_t *metadata = json_pack("{s:s, s:s, s:I, s:s, s:{s:s, s:s, s:s}, s:[s, s]}", "version", SCHEMA_VERSION, "uid",
	                             uid, "sequence", (json_int_t)record->index, "log_name", "audit", "product", "name",
	                             "twokey", "vendor_name", "twokey", "version", TWOKEY_VERSION, "profiles",
	                             "security_control", "record_integrity");
	set_text(metadata, "correlation_uid", record->correlation_id);
	set_text(metadata, "event_code", record_enum_name(&twokey__v1__event__descriptor, record->event));
	return metadata;
}

static json_t *actor(const Twokey__V1__Record *record)
{
	const char *name = record->subject[0] ? record->subject : record->identity;
	json_t *user = json_pack("{s:s, s:i}", "name", or_unknown(name), "type_id", name[0] ? 1 : 0);
	if (record->account[0])
		json_object_set_new(user, "account", json_pack("{s:s}", "name", record->account));
	json_t *actor = json_pack("{s:o}", "user", user);
	set_text(actor, "invoked_by", record->vendor_key);
	return actor;
}

static json_t *source(const Twokey__V1__Record *record)
{
	json_t *endpoint = json_object();
	set_text(endpoint, record->address[0] ? "ip" : "name", or_unknown(record->address));
	if (record->country[0])
		json_object_set_new(endpoint, "location", json_pack("{s:s}", "country", record->country));
	return endpoint;
}

static json_t *databucket(const Twokey__V1__Record *record)
{
	json_t *bucket = json_pack("{s:s, s:i, s:s}", "name", or_unknown(record->bucket), "type_id", 1, "type", "S3");
	if (record->object[0]) {
		const char *slash = strrchr(record->object, '/');
		const char *name = slash && slash[1] ? slash + 1 : record->object;
		json_t *file = json_pack("{s:s, s:s, s:i}", "name", name, "path", record->object, "type_id", 1);
		set_text(file, "version", record->version_id);
		if (record->bytes)
			json_object_set_new(file, "size", json_integer((json_int_t)record->bytes));
		json_object_set_new(bucket, "file", file);
	}
	return bucket;
}

static void set_control(json_t *event, const Twokey__V1__Record *record)
{
	json_object_set_new(event, "action_id", json_integer(is_denied(record) ? 2 : 1));
	json_object_set_new(event, "action", json_string(is_denied(record) ? "Denied" : "Allowed"));
	json_object_set_new(event, "disposition_id", json_integer(is_denied(record) ? 2 : 1));
	json_object_set_new(event, "disposition", json_string(is_denied(record) ? "Blocked" : "Allowed"));
	if (record->rule[0])
		json_object_set_new(event, "policy", json_pack("{s:s}", "name", record->rule));
}

static void set_status(json_t *event, const Twokey__V1__Record *record)
{
	const char *code = record->outcome[0] ? record->outcome : record->reason;
	json_object_set_new(event, "status_id", json_integer(has_failed(record) ? 2 : 1));
	json_object_set_new(event, "status", json_string(has_failed(record) ? "Failure" : "Success"));
	set_text(event, "status_code", code);
	set_text(event, "status_detail", record->detail);
	json_object_set_new(event, "severity_id", json_integer(has_failed(record) ? 2 : 1));
	if (record->duration_us)
		json_object_set_new(event, "duration", json_integer((json_int_t)(record->duration_us / 1000)));
}

/* The fingerprint covers the event as compact JSON with sorted keys, without itself. */
static void attest(json_t *event, struct ocsf_chain *chain, const char *uid)
{
	json_t *attestation = json_pack("{s:s, s:s}", "chain_uid", chain->uid, "uid", uid);
	if (chain->fingerprint[0])
		json_object_set_new(attestation, "prev_event",
		                    json_pack("{s:s, s:{s:i, s:s}}", "uid", chain->previous, "fingerprint", "algorithm_id", 3,
		                              "value", chain->fingerprint));
	json_object_set_new(event, "attestation", attestation);
	char *canonical = json_dumps(event, JSON_COMPACT | JSON_SORT_KEYS);
	uint8_t sha256[32];
	text_sha256(span_str(canonical), sha256);
	text_hex(span_of(sha256, sizeof sha256), chain->fingerprint);
	snprintf(chain->previous, sizeof chain->previous, "%s", uid);
	free(canonical);
	json_object_set_new(
	    attestation, "fingerprint",
	    json_pack("{s:i, s:s, s:s}", "algorithm_id", 3, "algorithm", "SHA-256", "value", chain->fingerprint));
}

json_t *ocsf_event(const Twokey__V1__Record *record, struct ocsf_chain *chain)
{
	if (!tells_of_access(record))
		return NULL;
	size_t operation = (size_t)record->operation < N_ACTIVITIES ? (size_t)record->operation : 0;
	char uid[24];
	snprintf(uid, sizeof uid, "%" PRIu64, record->index);
	json_t *event =
	    json_pack("{s:i, s:s, s:i, s:s, s:i, s:s, s:i, s:I}", "category_uid", CATEGORY_APPLICATION, "category_name",
	              "Application Activity", "class_uid", CLASS_DATASTORE_ACTIVITY, "class_name", "Datastore Activity",
	              "activity_id", activities[operation].id, "activity_name", activities[operation].name, "type_uid",
	              CLASS_DATASTORE_ACTIVITY * 100 + activities[operation].id, "time",
	              (json_int_t)transaction_time_ms(record->time));
	json_object_set_new(event, "metadata", metadata(record));
	json_object_set_new(event, "actor", actor(record));
	json_object_set_new(event, "src_endpoint", source(record));
	json_object_set_new(event, "databucket", databucket(record));
	json_object_set_new(event, "type_id", json_integer(2));
	if (record->user_agent[0])
		json_object_set_new(event, "http_request", json_pack("{s:s}", "user_agent", record->user_agent));
	set_status(event, record);
	set_control(event, record);
	json_object_set_new(event, "unmapped", record_json(record));
	attest(event, chain, uid);
	return event;
}
